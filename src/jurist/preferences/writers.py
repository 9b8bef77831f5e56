"""Rows onto disk: each file is written under another name and renamed when it is whole."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from typing import Any, Protocol

import msgspec

from ..errors import DataError
from ..prompts.rows import needed
from ..run import Writer


class Rows(Protocol):
    """Takes rows; `finish` writes the last of them, `commit` puts the file in its place, `discard` leaves
    none.
    """

    def add(self, record: Any) -> None: ...

    def finish(self) -> None: ...

    def commit(self) -> None: ...

    def discard(self) -> None: ...


class Parquet:
    """Row groups of a thousand, so that memory does not grow with the file."""

    def __init__(self, path: Path) -> None:
        self.arrow = needed("pyarrow", f"writing {path}", "parquet")
        parquet = needed("pyarrow.parquet", f"writing {path}", "parquet")
        self.path, self.draft = path, path.with_name(f".{path.name}.part")
        self.schema = self._schema()
        self.file = parquet.ParquetWriter(self.draft, self.schema)
        self.rows: list[Any] = []

    def _schema(self) -> Any:
        pa = self.arrow
        messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
        texts = [(name, messages) for name in ("prompt", "chosen", "rejected")]
        numbers = [(name, pa.float64()) for name in ("p", "margin", "weight")]
        return pa.schema([*texts, *numbers, ("id", pa.string())])

    def add(self, record: Any) -> None:
        self.rows.append(msgspec.to_builtins(record))
        if len(self.rows) == 1000:
            self._flush()

    def _flush(self) -> None:
        if self.rows:
            self.file.write_table(self.arrow.Table.from_pylist(self.rows, schema=self.schema))
            self.rows = []

    def finish(self) -> None:
        self._flush()
        self.file.close()

    def commit(self) -> None:
        self.draft.replace(self.path)

    def discard(self) -> None:
        with suppress(OSError):
            self.file.close()
        self.draft.unlink(missing_ok=True)


class SavedDataset:
    """A folder for `datasets.load_from_disk`, made from a Parquet file that is then taken away."""

    def __init__(self, path: Path) -> None:
        self.datasets = needed("datasets", f"writing {path}", "hub")
        self.path, self.draft = path, path.with_name(f".{path.name}.part")
        self.parquet = Parquet(path.with_name(f".{path.name}.parquet"))

    def add(self, record: Any) -> None:
        self.parquet.add(record)

    def finish(self) -> None:
        self.parquet.finish()
        self.parquet.commit()
        cache = self.path.with_name(f".{self.path.name}.cache")
        try:
            loaded = self.datasets.Dataset.from_parquet(str(self.parquet.path), cache_dir=str(cache))
            loaded.save_to_disk(str(self.draft))
        finally:
            self.parquet.path.unlink(missing_ok=True)
            rmtree(cache, ignore_errors=True)

    def commit(self) -> None:
        if self.path.exists():
            rmtree(self.path)
        self.draft.replace(self.path)

    def discard(self) -> None:
        self.parquet.discard()
        rmtree(self.draft, ignore_errors=True)


WRITERS: dict[str, tuple[Callable[[Path], Rows], str]] = {
    "jsonl": (lambda path: Writer(path), ".jsonl"),
    "parquet": (Parquet, ".parquet"),
    "datasets": (SavedDataset, ""),
}
"""Each with the ending of the files it writes."""


def list_splits(folder: Path, splits: list[str]) -> None:
    """The file by which `datasets.load_from_disk` knows a folder of several splits."""
    (folder / "dataset_dict.json").write_bytes(msgspec.json.encode({"splits": splits}))


def in_place(out: Path, split: str, suffix: str, is_test: bool) -> Path:
    """Where a split goes: into the folder `out`, or beside the file `out` when that is named as a file."""
    if not out.suffix or out.is_dir():
        return out / f"{split}{suffix}"
    return out.with_stem(f"{out.stem}_{split}") if is_test else out


def made_room(path: Path) -> None:
    """The folder a file will lie in."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot make the folder {path.parent}: {error.strerror}. Look at it with: ls -ld {path.parent}"
        ) from error
