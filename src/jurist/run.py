"""A run: the folder where all of one piece of work lies.

`journal.sqlite` holds every answered call and is never rewritten. Every other file is derived from it and
from the user's own files, in input order, and replaces the one before it only when it is whole: so starting a
run again after kill -9 makes the same files once more, and asks no call twice.
"""

from __future__ import annotations

import errno
import fcntl
import filecmp
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from .errors import DataError, RunError, SettingError
from .journal import Journal, disk_full, take_lock

_V = TypeVar("_V")
W = TypeVar("W", bound="Writer")

_encode_json = msgspec.json.Encoder().encode
ASIDE: Final = ("agreement", "calibrate", "compare", "proxy")
"""Labelling runs of a loop's round that only measure."""
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
MARKER: Final = "run.json"
BEGUN: Final = {".lock", MARKER, *(f"journal.sqlite{end}" for end in ("", ".lock", "-wal", "-shm"))}
"""What a run begins with."""
REPORTS: Final = ("report.html", "audit.json")
"""Derived from the labels: they go when the labels change."""


class Marker(Struct, frozen=True):
    """`run.json`: that this folder is a run, and of what."""

    source: str = ""
    """The file the rows came from, as an absolute path."""
    rows: frozenset[str] = frozenset()
    """Hashes of its first rows. With half of them it is the same input, under whatever name: rows were
    mended or added.
    """


class Run(ExitStack):
    """Open it with `with Run(path) as run:`; one process at a time."""

    def __init__(
        self, path: str | Path, *, journal: str | Path | None = None, before: Path | None = None
    ) -> None:
        """`before`: a copy of another journal, whose answers count too."""
        if not str(path).strip():
            raise SettingError("--out is empty. Name a folder: --out run")
        super().__init__()
        self.path = Path(path)
        self._is_new = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._refuse_foreign()
            self.callback(os.close, lock(self.path))
            if not (self.path / MARKER).exists():
                self.write_json(MARKER, Marker())
            # In a shared journal the folder says whose money was spent; a run's own may move with it.
            kept = Path(journal) if journal else self.path / "journal.sqlite"
            kept.parent.mkdir(parents=True, exist_ok=True)
            self.journal = Journal(kept, run=str(self.path.resolve()) if journal else "", before=before)
            self.callback(self.journal.close)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise cannot_write(self.path, error) from error
            raise

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any, /) -> bool | None:
        """A folder in which nothing was done before it failed does not stay."""
        left = {one.name for one in self.path.iterdir()} if self._is_new and error is not None else {""}
        unused = left <= BEGUN and not len(self.journal)
        super().__exit__(kind, error, trace)
        if unused:
            shutil.rmtree(self.path, ignore_errors=True)
        return None

    def file(self, noun: str) -> Path:
        return self.path / f"{noun}.jsonl"

    def claim(self, marker: Marker, replace: bool) -> None:
        """Refuse to put other rows into a run, unless that is what was asked for."""
        before = read_json(self.path / MARKER, Marker)
        other = before.source != marker.source
        if before.rows and marker.rows:
            other = 2 * len(before.rows & marker.rows) < len(before.rows)
        if before.source and other and not replace:
            same = before.source == marker.source
            what = "whose rows are others now" if same else f"not of {marker.source}"
            raise RunError(
                f"{self.path} is a run of {before.source}, {what}."
                " Choose another folder with --out, or replace its labels with: --replace true"
            )
        self.write_json(MARKER, marker)

    @contextmanager
    def writing(self, *nouns: str) -> Iterator[dict[str, Writer]]:
        """Writers for these nouns; the files appear together at the end, or not at all."""
        changed = False
        with whole_files({noun: self.file(noun) for noun in nouns}, Writer) as writers:
            yield writers
            if "preferences" in writers:
                changed = writers["preferences"].changed()
        for name in REPORTS if changed else ():
            (self.path / name).unlink(missing_ok=True)

    def write_text(self, name: str, text: str) -> None:
        try:
            write_whole(self.path / name, text.encode())
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def write_json(self, name: str, value: Any) -> None:
        self.write_text(name, msgspec.json.format(_encode_json(value), indent=1).decode() + "\n")

    def _refuse_foreign(self) -> None:
        """A folder with files of somebody else's is not a place to write prompts.jsonl into."""
        if (self.path / MARKER).exists():
            return
        there = sorted(one.name for one in self.path.iterdir() if not one.name.startswith("."))
        if there:
            raise RunError(
                f"{self.path} is no run and holds {there[0]}{' and more' if there[1:] else ''}; a run might"
                f" overwrite them. Choose a new folder: --out {quote(str(self.path / 'run'))}"
            )


class Writer:
    """Records to one JSONL file, in large writes; invisible under its name until `commit`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.on_full: Callable[[], None] = lambda: None
        self._part = path.with_name(f".{path.name}.partial")
        try:
            self._file = self._part.open("wb", buffering=1 << 16)
        except OSError as error:
            raise cannot_write(path.parent, error) from error

    def add(self, record: Any) -> None:
        self.write(_encode_json(record) + b"\n")

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            if error.errno in _FULL:  # the room goes to the journal: these files can be made again
                self.on_full()
            raise

    def changed(self) -> bool:
        """Whether what was written is not what the file holds."""
        self._file.flush()
        return not self.path.exists() or not filecmp.cmp(self.path, self._part, shallow=False)

    def finish(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def commit(self) -> None:
        self._part.replace(self.path)

    def discard(self) -> None:
        with suppress(OSError):  # what was not written yet finds no room either
            self._file.close()
        self._part.unlink(missing_ok=True)


@contextmanager
def whole_files(paths: Mapping[str, Path], new: Callable[[Path], W]) -> Iterator[dict[str, W]]:
    """A writer for each path; the files appear together at the end, or not at all."""
    writers: dict[str, W] = {}

    def discard() -> None:
        for writer in writers.values():
            writer.discard()

    try:
        for name, path in paths.items():
            writers[name] = new(path)
            writers[name].on_full = discard
        yield writers
        for writer in writers.values():
            writer.finish()
    except BaseException as error:
        discard()
        if isinstance(error, OSError) and error.errno in _FULL:
            raise disk_full(next(iter(paths.values())).parent) from error
        raise  # another system error may be about the user's own files: it keeps its name
    for writer in writers.values():
        writer.commit()


def write_whole(path: Path, data: bytes) -> None:
    """A small file, whole or not at all."""
    part = path.with_name(f".{path.name}.partial")
    try:
        part.write_bytes(data)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def read_records(path: Path, cls: type[_V], called: str = "") -> Iterator[_V]:
    """Records of one JSONL file, one at a time, and what to call them where one is none."""
    decode = msgspec.json.Decoder(cls).decode
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield decode(line)
                except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
                    raise DataError(
                        f"{path}:{number} is not a {called or cls.__name__.lower()}: {error}."
                        f" Look at it with: sed -n {number}p {quote(str(path))}"
                    ) from None
    except FileNotFoundError:
        raise unfinished(path.parent, f"there is no {path.name} in {path.parent}") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def unfinished(folder: Path, what: str) -> RunError:
    """Why a run lacks something: somebody is at work on it, or it was never finished."""
    owner = owner_of(folder)
    if owner:
        return RunError(f"{what}: process {owner} is working on it. Wait for it to end")
    return RunError(f"{what}. Make it with: {again(folder)}")


def again(folder: Path) -> str:
    """The command that goes on with what was begun in a folder, as far as it can be told."""
    recipe = folder / "recipe.yaml"
    if recipe.exists():
        return f"jurist label --recipe {quote(str(recipe))}"
    return f"jurist label --out {quote(str(folder))} ..."


def read_json(path: Path, cls: type[_V]) -> _V:
    """One of the run's small JSON files."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=cls)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise RunError(
            f"{path} is damaged ({error}). Nothing is lost, the journal is whole. Make it again with:"
            f" {again(path.parent)}"
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from None


def newest_labels(loop: Path) -> Path | None:
    """The labelling run of a loop's last round that has one, `label` where it has several."""
    found = [file.parent for file in loop.glob("round-*/*/preferences.jsonl")]
    return max(
        (run for run in found if run.name.partition("-")[0] not in ASIDE),
        key=lambda run: (int(run.parent.name.partition("-")[2]), run.name == "label", run.name),
        default=None,
    )


def lock(folder: Path) -> int:
    """Two processes in one folder would overwrite each other's files."""
    return take_lock(folder / ".lock", str(folder), "choose another --out")


def owner_of(folder: Path) -> str:
    """The process that is at work in a folder; empty where none is."""
    path = folder / ".lock"
    if not path.exists():
        return ""
    with path.open() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return handle.read(32).strip() or "another process"
    return ""


def _unreadable(path: Path, error: OSError) -> RunError:
    reason = (error.strerror or str(error)).lower()
    return RunError(f"cannot read {path} ({reason}). Look at it with: ls -ld {quote(str(path))}")


def cannot_write(path: Path, error: OSError) -> RunError:
    if error.errno in _FULL:
        return disk_full(path)
    reason = (error.strerror or str(error)).lower()
    return RunError(f"cannot write in {path} ({reason}). Choose another folder with: --out FOLDER")
