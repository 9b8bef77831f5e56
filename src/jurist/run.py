"""A run: the folder where all of one piece of work lies.

`journal.sqlite` is what was paid for, and is never rewritten. Every other file is derived from it and from
the user's own files, in input order, and takes the place of its forerunner only when it is whole: so starting
a run again after kill -9 makes the same files once more, and asks no call twice.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

import msgspec

from .errors import DataError, JuristError, RunError
from .journal import Journal

V = TypeVar("V")
W = TypeVar("W", bound="Writer")

_encode_json = msgspec.json.Encoder().encode
_FLUSH_BYTES: Final = 1 << 16
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class Run:
    """Open it with `with Run(path) as run:`; one process at a time."""

    def __init__(self, path: str | Path, *, journal: str | Path | None = None) -> None:
        self.path = Path(path)
        self._lock: int | None = None
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = lock(self.path)
            # In a shared journal the folder says whose money was spent; a run's own journal may move with it.
            self.journal = (
                Journal(Path(journal), run=str(self.path.resolve()))
                if journal
                else Journal(self.path / "journal.sqlite")
            )
        except OSError as error:
            raise _no_folder(self.path, error) from error
        except JuristError:
            self._unlock()
            raise

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        try:
            self.journal.close()
        finally:
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def file(self, noun: str) -> Path:
        return self.path / f"{noun}.jsonl"

    @contextmanager
    def writing(self, *nouns: str) -> Iterator[dict[str, Writer]]:
        """Writers for these nouns; the files appear together at the end, or not at all."""
        try:
            with whole_files({noun: self.file(noun) for noun in nouns}, Writer) as writers:
                yield writers
        except OSError as error:
            if error.errno in _FULL:
                raise _no_room(self.path, error) from error
            raise  # another system error may be about the user's own files: it keeps its name

    def write_text(self, name: str, text: str) -> None:
        """A small file, whole or not at all."""
        try:
            write_whole(self.path / name, text.encode())
        except OSError as error:
            raise _no_room(self.path, error) from error

    def write_json(self, name: str, value: Any) -> None:
        self.write_text(name, msgspec.json.format(_encode_json(value), indent=1).decode() + "\n")


class Writer:
    """Records to one JSONL file, in large writes; invisible under its name until `appear`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = path.with_name(path.name + ".partial")
        self._buffer = bytearray()
        try:
            self._file = self._part.open("wb", buffering=0)
        except OSError as error:
            raise _no_folder(path.parent, error) from error

    def add(self, record: Any) -> None:
        self._buffer += _encode_json(record)
        self._buffer += b"\n"
        if len(self._buffer) > _FLUSH_BYTES:
            self._drain()

    def _drain(self) -> None:
        data = bytes(self._buffer)
        self._buffer.clear()
        self.write(data)

    def write(self, data: bytes | memoryview) -> int:
        """Bytes as they are, past the buffer of records."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        return len(data)

    def finish(self) -> None:
        self._drain()
        os.fsync(self._file.fileno())
        self._file.close()

    def appear(self) -> None:
        self._part.replace(self.path)

    def abandon(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)


@contextmanager
def whole_files(paths: Mapping[str, Path], new: Callable[[Path], W]) -> Iterator[dict[str, W]]:
    """A writer for each path; the files appear together at the end, or not at all."""
    writers: dict[str, W] = {}
    try:
        for name, path in paths.items():
            writers[name] = new(path)
        yield writers
        for writer in writers.values():
            writer.finish()
    except BaseException:
        for writer in writers.values():
            writer.abandon()
        raise
    for writer in writers.values():
        writer.appear()


def write_whole(path: Path, data: bytes) -> None:
    """A small file, whole or not at all."""
    part = path.with_name(f"{path.name}.partial")
    try:
        part.write_bytes(data)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def read_records(path: Path, cls: type[V], called: str = "") -> Iterator[V]:
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
                        f" Look at it with: sed -n {number}p {path}"
                    ) from None
    except FileNotFoundError:
        raise RunError(
            f"there is no {path.name} in {path.parent}. Make it with: {again(path.parent)}"
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from None


def again(folder: Path) -> str:
    """The command that takes up what was begun in a folder, as far as it can be told."""
    recipe = folder / "recipe.yaml"
    return f"jurist label --recipe {recipe}" if recipe.exists() else f"jurist label --out {folder} ..."


def read_json(path: Path, cls: type[V]) -> V:
    """One of the run's small JSON files."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=cls)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise RunError(
            f"{path} is damaged ({error}). Nothing is lost, the journal is whole: make it again with:"
            f" jurist label --recipe {path.parent / 'recipe.yaml'}"
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> RunError:
    return RunError(f"cannot read {path} ({_reason(error)}). Look at it with: ls -ld {path}")


def lock(folder: Path) -> int:
    """Two processes in one folder would overwrite each other's files."""
    import fcntl

    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(handle, 32).decode(errors="replace").strip() or "another process"
        os.close(handle)
        raise RunError(
            f"{folder} is being worked on by process {owner}. Wait for it, or choose another --out"
        ) from None
    os.ftruncate(handle, 0)
    os.write(handle, str(os.getpid()).encode())
    return handle


def _no_folder(path: Path, error: OSError) -> JuristError:
    if error.errno in _FULL:
        return _no_room(path, error)
    return RunError(f"cannot write in {path} ({_reason(error)}). Choose another folder with: --out FOLDER")


def _reason(error: OSError) -> str:
    return (os.strerror(error.errno) if error.errno else str(error)).lower()


def _no_room(path: Path, error: OSError) -> JuristError:
    if error.errno in _FULL:
        return RunError(
            f"the disk is full: {path} takes no more. Every call paid for is safe in the journal:"
            " free some space and run again"
        )
    return _no_folder(path, error)
