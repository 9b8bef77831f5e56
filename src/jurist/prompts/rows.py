"""Where rows come from: files, folders, the hub or memory. Every source is read as a stream, row by row.

A row that cannot be read does not end the stream: it is handed on as a `BadRow` in the place of its row, and
whoever reads decides whether to stop there or to leave it out by name.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from ..errors import DataError, MissingExtra, nearest
from ..records import Dropped

Source = str | Path | Iterable[Mapping[str, Any] | str]

_decode = msgspec.json.Decoder().decode


class BadRow(DataError):
    """One row that cannot be used, and the short word it is counted under."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def ignore(row: Dropped) -> None:
    """For callers who do not keep what was left out."""


def require(module: str, purpose: str, extra: str) -> Any:
    """A module that is no part of the core, or word of what to install."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(purpose, module.partition(".")[0], extra) from error


def read_rows(source: Source) -> Iterator[tuple[str, Any]]:
    """Each row with the place it came from, as `file:line`; what stands there may be a `BadRow`."""
    if not isinstance(source, str | Path):
        return _from_memory(source)
    if str(source).startswith("hub:"):
        return _from_hub(str(source))
    path = Path(source).expanduser()
    if path.is_dir():
        return _from_folder(path)
    if not path.exists():
        raise DataError(_no_file(path))
    return reader_of(path)(path)


def reader_of(path: Path) -> Callable[[Path], Iterator[tuple[str, Any]]]:
    """How a file with this ending is read."""
    name = path.name.removesuffix(".gz")
    for ending, reader in READERS.items():
        if name.endswith(ending) and (ending != ".parquet" or name == path.name):
            return reader
    raise DataError(
        f"{path} ends in '{path.suffix}'; files that can be read end in {', '.join(READERS)} (.gz too). "
        f"Name it by what it holds, e.g. {path.with_suffix('.jsonl').name}"
    )


def _no_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f"no file {path}, and no folder {path.parent} either. See where you are with: pwd"
    there = [p.name for p in path.parent.iterdir() if not p.name.startswith(".")]
    if not there:
        return f"no file {path}: its folder is empty. See where you are with: pwd"
    close = nearest("file", path.name, there)
    return close if len(close) < 300 else f"no file {path}. See what is there with: ls {path.parent}"


def _from_memory(rows: Iterable[Mapping[str, Any] | str]) -> Iterator[tuple[str, Any]]:
    for n, row in enumerate(rows, 1):
        yield f"row {n}", {"prompt": row} if isinstance(row, str) else row


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    return path.open("rb")


def _guarded(path: Path, rows: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """What the system says about a file, said as a `DataError`."""
    try:
        yield from rows
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path} is not a whole gzip file ({error}). Check it with: gzip -t {path}"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}. Look at it with: ls -l {path}") from error


def _jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    def rows() -> Iterator[tuple[str, Any]]:
        with _opened(path) as file:
            for n, line in enumerate(file, 1):
                text = line.removeprefix(b"\xef\xbb\xbf") if n == 1 else line
                try:
                    yield f"{path}:{n}", _decode(text)
                except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
                    if text.strip():
                        yield f"{path}:{n}", _bad_line(text, path, n, error)

    return _guarded(path, rows())


def _bad_line(line: bytes, path: Path, n: int, error: Exception) -> BadRow:
    where = f"{path}:{n}"
    way_out = f"Look at it with: sed -n {n}p {path}; or leave such rows out with: --on_error drop"
    try:
        text = line.decode()
    except UnicodeDecodeError as utf8:
        at = f"byte {line[utf8.start]:#04x} at column {utf8.start + 1}"
        return BadRow("not_utf8", f"{where} is not UTF-8 ({at}). {way_out}")
    ends = text.rstrip()
    if ends.startswith("{") and not ends.endswith("}") and "truncated" in str(_error(ends)):
        last = f"...{ends[-24:]}" if len(ends) > 24 else ends
        return BadRow("not_json", f"{where} stops in the middle of a row ({last!r}). {way_out}")
    return BadRow("not_json", f"{where} is not JSON ({error}). {way_out}")


def _error(text: str) -> Exception | None:
    """What is wrong with the line once its end is taken off, which inside a text is an error of its own."""
    try:
        _decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        return error
    return None


def _json(path: Path) -> Iterator[tuple[str, Any]]:
    """One list of rows, which has to be held whole; or, as many `.json` files are, one row a line."""

    def rows() -> Iterator[tuple[str, Any]]:
        with _opened(path) as file:
            start = file.readline().removeprefix(b"\xef\xbb\xbf").strip()
            if start.startswith(b"{") and start.endswith(b"}"):
                yield from _jsonl(path)
                return
            data = start + file.read()
        try:
            whole = _decode(data)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise DataError(
                f"{path} is not one whole JSON list ({error}). Look at its end with: tail -c 200 {path}"
            ) from error
        if isinstance(whole, dict):
            whole = whole.get("data", [whole])
        if not isinstance(whole, list):
            raise DataError(
                f"{path} holds {clip(whole)}, not a list of rows. Look at its start with: head -c 200 {path}"
            )
        for n, row in enumerate(whole, 1):
            yield f"{path}, row {n}", row

    return _guarded(path, rows())


def _csv(path: Path) -> Iterator[tuple[str, Any]]:
    def lines(file: IO[bytes]) -> Iterator[str]:
        for n, line in enumerate(file, 1):
            try:
                yield line.decode("utf-8-sig" if n == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(f"{path}:{n} is not UTF-8. Look at it with: sed -n {n}p {path}") from error

    def rows() -> Iterator[tuple[str, Any]]:
        with _opened(path) as file:
            table = csv.DictReader(lines(file))
            try:
                for row in table:
                    where = f"{path}:{table.line_num}"
                    yield where, {k: v for k, v in row.items() if k is not None and v is not None}
            except csv.Error as error:
                raise DataError(
                    f"{path}:{table.line_num} is not CSV ({error}). "
                    f"Look at it with: sed -n {table.line_num}p {path}"
                ) from error

    return _guarded(path, rows())


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    pyarrow = require("pyarrow", f"reading {path}", "parquet")
    parquet = require("pyarrow.parquet", f"reading {path}", "parquet")
    try:
        file = parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is not a Parquet file ({first_line(error)}). Look at its start with: head -c 4 {path}"
        ) from error

    def rows() -> Iterator[tuple[str, Any]]:
        n = 0
        for batch in file.iter_batches(batch_size=256):
            for row in batch.to_pylist():
                n += 1
                yield f"{path}, row {n}", row

    return _guarded(path, rows())


READERS: dict[str, Callable[[Path], Iterator[tuple[str, Any]]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}


def _from_folder(path: Path) -> Iterator[tuple[str, Any]]:
    """One of our runs (its prompts), a `datasets` folder, or files of rows in the order of their names."""
    if (path / "prompts.jsonl").exists():
        return _jsonl(path / "prompts.jsonl")
    if (path / "state.json").exists() or (path / "dataset_dict.json").exists():
        return _from_saved_dataset(path)
    files = sorted(p for p in path.iterdir() if p.name.removesuffix(".gz").endswith(tuple(READERS)))
    if not files:
        raise DataError(
            f"{path} is a folder without a file ending in {', '.join(READERS)}. "
            f"See what is there with: ls {path}"
        )
    return (row for file in files for row in reader_of(file)(file))


def _from_saved_dataset(path: Path) -> Iterator[tuple[str, Any]]:
    datasets = require("datasets", f"reading the dataset folder {path}", "hub")
    loaded = datasets.load_from_disk(str(path))
    if isinstance(loaded, datasets.DatasetDict):
        raise DataError(
            f"{path} holds the splits {', '.join(loaded)}. Name one, e.g. {path / next(iter(loaded), '')}"
        )
    return ((f"{path}, row {n}", row) for n, row in enumerate(loaded, 1))


def _from_hub(source: str) -> Iterator[tuple[str, Any]]:
    """`hub:owner/name` or `hub:owner/name:split`, streamed, so nothing is kept on disk."""
    datasets = require("datasets", f"reading {source}", "hub")
    name, _, split = source.removeprefix("hub:").partition(":")

    def rows() -> Iterator[tuple[str, Any]]:
        try:
            data = datasets.load_dataset(name, split=split or "train", streaming=True)
            for n, row in enumerate(data, 1):
                yield f"{source}, row {n}", row
        except DataError:
            raise
        except Exception as error:  # the hub's client raises dozens of kinds, of four libraries
            raise DataError(
                f"{source} could not be read ({first_line(error)}). "
                f"Try it alone with: hf download --repo-type dataset {name}"
            ) from error

    return rows()


def first_line(error: BaseException) -> str:
    """The first line of an error, or its class when it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def clip(value: Any) -> str:
    """A value short enough for an error message of one line."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
