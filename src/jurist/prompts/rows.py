"""Where rows come from: files, folders, the hub or memory, each read as a stream.

A row that cannot be read takes its place in the stream as a `BadRow`: whoever reads stops there or drops it.
"""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from datetime import date
from importlib import import_module
from io import TextIOWrapper
from itertools import chain
from pathlib import Path, PurePosixPath
from shlex import quote
from typing import IO, Any, Literal, TypeVar, cast

import msgspec

from ..errors import DataError, MissingExtra, SettingError, nearest
from ..records import Dropped

_T = TypeVar("_T")
Source = str | os.PathLike[str] | Iterable[Any]
"""A file, a folder, `s3://...`, `hub:owner/name:split`; rows: dicts, texts, a `Dataset`, a data frame."""
Rows = Iterator[tuple[str, Any]]
Drop = Callable[[Dropped], None]
OnError = Literal["stop", "drop"]
LEFT_OUT = ("empty", "prompts_differ")
"""What data simply holds, as against a file that is not what it should be: never a reason to stop."""
SKIP = "Leave such rows out with: --on_error drop"

_decode = msgspec.json.Decoder().decode
_BOM = b"\xef\xbb\xbf"
csv.field_size_limit((1 << 31) - 1)  # the default is 131,072 characters, and answers may be longer


class BadRow(DataError):
    """One row that cannot be used, and the short word it is counted under."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def ignore(row: Dropped) -> None:
    """For callers who do not keep what was dropped."""


def parse_rows(
    source: Source,
    parse: Callable[[dict[str, Any]], _T],
    known: Set[str],
    stage: str,
    *,
    columns: Mapping[str, str] | None = None,
    on_error: OnError = "stop",
    dropped: Drop = ignore,
) -> Iterator[_T]:
    """`parse(row)` of each row, under our names of columns; bad rows stop the work or are dropped."""
    for ours in columns or ():
        if ours not in known:
            raise SettingError(nearest("column", ours, known))
    for where, row in read_rows(source):
        try:
            parsed = parse(rename_columns(row, columns or {}))
        except UnicodeEncodeError:
            reason, what = "not_utf8", f"half of a surrogate pair is no text. {SKIP}"
        except BadRow as error:
            reason, what = error.reason, str(error)
        else:
            yield parsed
            continue
        if on_error != "drop" and reason not in LEFT_OUT:
            raise BadRow(reason, f"{where}: {what}")
        dropped(Dropped(where, stage, reason, f"{where}: {what}"))


def rename_columns(row: Any, columns: Mapping[str, str]) -> dict[str, Any]:
    """The row under the names used here; `columns` says `ours: theirs`."""
    if isinstance(row, BadRow):
        raise row
    if not isinstance(row, Mapping):
        example = '{"prompt": "Why is the sky blue?"}'
        raise BadRow("not_an_object", f"{clip(row)} is not a row. A row looks like: {example}")
    if not columns:
        return row if isinstance(row, dict) else dict(row)
    for ours, theirs in columns.items():
        if theirs not in row:
            raise BadRow("no_column", f"{missing(theirs, row)} Write it as: --columns.{ours} ...")
    taken = set(columns.values())
    return {k: v for k, v in row.items() if k not in taken} | {o: row[t] for o, t in columns.items()}


def missing(name: str, row: Mapping[str, Any]) -> str:
    """What to say when a row has no such column, or nothing in it."""
    if name in row:
        return f"its {name} is empty."
    return nearest("column", name, [str(key)[:60] for key in row] or ["none"])


def read_rows(source: Source) -> Rows:
    """Each row with the place it came from, as `file:line`; what stands there may be a `BadRow`."""
    if not isinstance(source, str | os.PathLike):
        return _from_memory(source)
    if str(source).startswith("hub:"):
        return _from_hub(str(source))
    if "://" in str(source):
        remote = cast(Path, _Remote(str(source)))
        return _refuse_empty(_from_file(remote), remote)
    path = Path(source).expanduser()
    if not path.exists():
        raise DataError(f"no file {path}. See what is there with: ls {for_shell(path.parent)}")
    return _refuse_empty(_from_folder(path) if path.is_dir() else _from_file(path), path)


class _Remote:
    """A file that fsspec opens, in a bucket or wherever; it is read as it comes."""

    def __init__(self, url: str) -> None:
        path = PurePosixPath(url)
        self.url, self.name, self.stem, self.suffix = url, path.name, path.stem, path.suffix

    def __str__(self) -> str:
        return self.url

    def open(self, mode: str) -> IO[bytes]:
        fsspec = require("fsspec", f"reading {self}", "hub")
        try:
            return cast(IO[bytes], fsspec.open(self.url, mode, compression="infer").open())
        except (ImportError, OSError, ValueError) as error:  # an ImportError says what to install
            raise DataError(f"{self} cannot be opened: {first_line(error)}. Try another source") from None


def _refuse_empty(rows: Rows, path: Path) -> Rows:
    if (first := next(rows, None)) is None:
        raise _refused(path, "is empty: there is no row in it. Look at it with: ls -l")
    yield first
    yield from rows


def _from_memory(source: Any, name: str = "") -> Rows:
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        names = [str(name) for name in source.columns]
        cells = zip(*(source[name] for name in source.columns), strict=True)
        source = (dict(zip(names, row, strict=True)) for row in cells)
    elif isinstance(source, Mapping | bytes) or not isinstance(source, Iterable):
        what = f"{name}rows are a path or a list of dicts, not {type(source).__name__}"
        raise DataError(f"{what}. Name one of its splits, or give a list")
    for n, row in enumerate(source, 1):
        if isinstance(row, Mapping):
            row = {column: _plain(cell) for column, cell in row.items()}
        yield f"{name}row {n}", {"prompt": row} if isinstance(row, str) else row


def _plain(value: Any) -> Any:
    """A cell as a file would hold it: numpy's values as Python's, NaN and NA as none, dates as text."""
    value = value.tolist() if hasattr(value, "tolist") else value
    is_nan = isinstance(value, float) and value != value
    if is_nan or type(value).__name__ in ("NAType", "NaTType"):
        return None
    return str(value) if isinstance(value, date | os.PathLike) else value


def without_nulls(value: Any) -> Any:
    """Without the empty cells that a table has where a record leaves a field out."""
    if isinstance(value, Mapping):
        return {name: without_nulls(cell) for name, cell in value.items() if cell is not None}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value


def _from_folder(path: Path) -> Rows:
    """One of our runs (its prompts), a `datasets` folder, or files of rows in the order of their names."""
    if (path / "prompts.jsonl").exists():
        return _from_file(path / "prompts.jsonl")
    if (path / "state.json").exists() or (path / "dataset_dict.json").exists():
        saved = require("datasets", f"reading the dataset folder {path}", "hub").load_from_disk(str(path))
        if isinstance(saved, Mapping):
            splits = " or ".join(for_shell(path / split) for split in saved)
            raise DataError(f"{path} holds several splits. Name one of them: {splits}")
        return _from_memory(saved, f"{path}, ")
    files = sorted(p for p in path.iterdir() if p.name.removesuffix(".gz").endswith(tuple(_READERS)))
    if not files:
        raise _refused(path, f"has no file ending in {', '.join(_READERS)}. See what is there with: ls")
    return (row for file in files for row in _from_file(file))


def _from_hub(source: str) -> Rows:
    """`hub:owner/name` or `hub:owner/name:split`, streamed, so nothing is kept on disk."""
    datasets = require("datasets", f"reading {source}", "hub")
    name, _, split = source.removeprefix("hub:").partition(":")
    try:
        datasets.disable_progress_bars()
        data = datasets.load_dataset(name, split=split or "train", streaming=True)
        yield from _from_memory(data, f"{source}, ")
    except Exception as error:  # the hub's client raises dozens of kinds, of four libraries
        look = f"Try it alone with: hf download --repo-type dataset {for_shell(name)}"
        raise DataError(f"{source} could not be read ({first_line(error)}). {look}") from error


def _from_file(path: Path) -> Rows:
    name = path.name.removesuffix(".gz")
    reader = next((read for ending, read in _READERS.items() if name.endswith(ending)), None)
    if reader is None:
        known = f"files that can be read end in {', '.join(_READERS)} (.gz too)"
        raise DataError(f"{known}, not so {path}. Name it by what it holds, e.g. {path.stem}.jsonl")
    try:
        yield from reader(path)
    except (EOFError, gzip.BadGzipFile, zlib.error, csv.Error, ValueError, RecursionError) as error:
        what = f"cannot be read to its end ({first_line(error)}). See what it is with: file"
        raise _refused(path, what) from error


def _refused(path: Path, what: str) -> DataError:
    """What is wrong with a file, ending in a command that is given its name."""
    return DataError(f"{path} {what} {for_shell(path)}")


def _open(path: Path) -> IO[bytes]:
    if isinstance(path, Path) and path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    return path.open("rb")


def _jsonl(path: Path) -> Rows:
    with _open(path) as file:
        for n, line in enumerate(file, 1):
            text = (line.removeprefix(_BOM) if n == 1 else line).strip()
            try:
                yield f"{path}:{n}", _decode(text)
            except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
                if text:
                    reason = "not_utf8" if isinstance(error, UnicodeError) else "not_json"
                    what = f"the line is not JSON ({first_line(error)}). {_look(path, n)}"
                    yield f"{path}:{n}", BadRow(reason, what)


def _json(path: Path) -> Rows:
    """One list of rows, held whole; or, as many `.json` files are, one row a line."""
    with _open(path) as file:
        start = file.readline().removeprefix(_BOM)
        if start.lstrip().startswith(b"[") or start.strip() == b"{":
            yield from _from_memory(_decode(start + file.read()), f"{path}, ")
            return
    yield from _jsonl(path)


def _csv(path: Path) -> Rows:
    with _open(path) as file:
        text = TextIOWrapper(file, "utf-8-sig", newline="")
        first = text.readline()
        # Excel parts columns by semicolons where a comma is the decimal point.
        part = max(",;\t", key=first.count)
        table = csv.reader(chain([first], text), delimiter=part)
        header = next(table, [])
        for cells in table:
            n = table.line_num
            if len(cells) == len(header) and any(cells):
                yield f"{path}:{n}", dict(zip(header, cells, strict=True))
            elif any(cells):
                yield f"{path}:{n}", BadRow("cells", f"not as many cells as the header. {_look(path, n)}")


def _parquet(path: Path) -> Rows:
    parquet = require("pyarrow.parquet", f"reading {path}", "parquet")
    with _open(path) as file:
        batches = parquet.ParquetFile(file).iter_batches(batch_size=256)
        yield from _from_memory((row for batch in batches for row in batch.to_pylist()), f"{path}, ")


_READERS = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}


def require(module: str, purpose: str, extra: str) -> Any:
    """A module that is no part of the core, or word of what to install."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(purpose, module.partition(".")[0], extra) from error


def for_shell(value: object) -> str:
    """A path or a name as it is typed on a command line."""
    return quote(str(value))


def _look(path: Path, n: int) -> str:
    file = for_shell(path)
    show = f"zcat {file} | sed -n {n}p" if path.suffix == ".gz" else f"sed -n {n}p {file}"
    return f"Look at it with: {show}; or leave such rows out with: --on_error drop"


def first_line(error: BaseException) -> str:
    """The first line of an error, or its class when it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def clip(value: Any) -> str:
    """A value short enough for an error message of one line."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
