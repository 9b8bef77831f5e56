"""Rows from files, folders and memory."""

import gzip
import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurist.errors import DataError, MissingExtra
from jurist.prompts import load_prompts
from jurist.prompts.rows import read_rows

ROWS = [{"prompt": "Why?", "domain": "d"}, {"prompt": "How?"}, {"prompt": "Why?"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
FILES = {
    "a.jsonl": LINES,
    "a.jsonl.gz": gzip.compress(LINES.encode()),
    "lines.json": LINES,
    "list.json": json.dumps(ROWS, indent=1),
    "one_line.json": json.dumps(ROWS),
    "a.csv": "prompt,domain\nWhy?,d\nHow?,\nWhy?,\n",
    "bom.jsonl": "\ufeff" + LINES.replace("\n", "\n\n  \n"),
    "bom.csv": "\ufeffprompt,domain\r\nWhy?,d\r\n\r\nHow?,\r\nWhy?,\r\n",
}


def asked(source, **how):
    return [prompt.messages[-1].content for prompt in load_prompts(source, **how)]


def write(path, data):
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def test_every_kind_of_file_gives_the_same_prompts_once_each(tmp_path):
    for path in (write(tmp_path / name, data) for name, data in FILES.items()):
        left = []

        assert asked(path, dropped=left.append) == ["Why?", "How?"], path
        assert [row.kind for row in left] == ["prompts: duplicate"], path


def test_a_file_that_fsspec_opens_is_read_like_one_on_disk():
    fsspec = pytest.importorskip("fsspec")
    for name, data in FILES.items():
        with fsspec.open(f"memory://bucket/{name}", "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
        assert asked(f"memory://bucket/{name}") == ["Why?", "How?"], name
    for url, says in (("memory://bucket/none.csv", "none.csv"), ("nope://a.csv", "Protocol not known")):
        with pytest.raises(DataError, match=says):
            asked(url)


class Frame(dict):
    """As much of a pandas data frame as is used."""

    columns, to_dict = ("prompt", "domain"), None


def test_rows_in_memory_are_taken_wherever_a_path_is():
    frame = Frame(prompt=["Why?", "How?"], domain=["d", float("nan")])
    for source in (ROWS, iter(ROWS), ["Why?", "How?"], frame):
        assert asked(source) == ["Why?", "How?"]
    assert [prompt.domain for prompt in load_prompts(frame)] == ["d", ""]


def test_what_is_no_rows_is_refused():
    for source in ({"train": ROWS, "test": ROWS}, b"rows.jsonl", 3):
        with pytest.raises(DataError, match="rows are a path or a list of dicts, not "):
            asked(source)


def test_a_folder_is_read_file_by_file(tmp_path):
    write(tmp_path / "b.jsonl", LINES)
    write(tmp_path / "a.jsonl", '{"prompt": "First?"}\n')
    write(tmp_path / "notes.txt", "no rows")

    assert asked(tmp_path) == ["First?", "Why?", "How?"]


@pytest.mark.slow
def test_parquet_and_a_folder_that_datasets_saved_are_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list(ROWS)
    rows.save_to_disk(tmp_path / "set")
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "sets")
    rows.to_parquet(tmp_path / "a.parquet")

    assert asked(tmp_path / "set") == asked(tmp_path / "a.parquet") == ["Why?", "How?"]
    with pytest.raises(DataError, match=r"Name one of them: .*/sets/train or .*/sets/test"):
        asked(tmp_path / "sets")
    with pytest.raises(DataError, match=r"file .*fake\.parquet"):
        asked(write(tmp_path / "fake.parquet", b"plain"))


def test_limit_counts_prompts_and_reads_no_further(tmp_path):
    path = write(tmp_path / "a.jsonl", LINES + "broken")

    assert asked(path, limit=2) == ["Why?", "How?"]
    assert asked(path, limit=0) == []


@pytest.mark.parametrize(
    ("name", "data", "reason", "says"),
    [
        ("a.jsonl", b'{"prompt": "Wh', "not_json", "not JSON ("),
        ("a.jsonl", b'{"prompt": "\xff"}', "not_utf8", "can't decode byte 0xff"),
        ("a.jsonl", b"[" * 100_000, "not_json", "not JSON ("),
        ("a.jsonl", b'"text"', "not_an_object", "'text' is not a row"),
        ("a.jsonl.gz", b"{", "not_json", "zcat {path} | sed -n 2p; or"),
        ("a.csv", b"So, or not?,d", "cells", "not as many cells as the header. Look"),
    ],
)
def test_a_bad_row_stops_with_its_line_or_is_dropped_with_its_reason(tmp_path, name, data, reason, says):
    head, good = (b"prompt,domain\n", b"How?,\n") if name == "a.csv" else (b"", b'{"prompt": "How?"}\n')
    path, text = tmp_path / name, (head or good) + data + b"\n" + good
    write(path, gzip.compress(text) if name.endswith(".gz") else text)
    left = []
    with pytest.raises(DataError, match=rf"^{path}:2\b") as error:
        asked(path)

    assert says.format(path=path) in str(error.value)
    assert str(error.value).endswith("--on_error drop") or reason == "not_an_object"
    assert asked(path, on_error="drop", dropped=left.append) == ["How?"]
    assert [(row.subject_id, row.reason) for row in left][:1] == [(f"{path}:2", reason)]


FAULTS = {
    "a.txt": (b"Why?", "e.g. a.jsonl"),
    "cut.jsonl.gz": (gzip.compress(LINES.encode())[:-9], "file {path}"),
    "cut.json": (b'[{"prompt": "Why?"}, {"pro', "file {path}"),
    "object.json": (b'{\n"prompt": "Why?"}', "give a list"),
    "latin.csv": (b"prompt\nna\xefve?\n", "file {path}"),
    "empty.jsonl": (b"", "{path} is empty: there is no row in it. Look at it with: ls -l {path}"),
    "my file.jsonl.gz": (b"plain", "file '{path}'"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_is_not_what_its_name_says_is_refused_with_what_to_type(tmp_path, name):
    data, ends = FAULTS[name]
    path = write(tmp_path / name, data)
    with pytest.raises(DataError) as error:
        asked(path, on_error="drop")

    assert str(error.value).endswith(ends.format(path=path))


def test_the_hub_without_its_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"pip install 'jurist\[hub\]'"):
        asked("hub:owner/name:train")


def test_an_answer_may_be_longer_than_csv_expects(tmp_path):
    path = write(tmp_path / "a.csv", "prompt\n" + "x" * 200_000 + "\n")

    assert len(asked(path)[0]) == 200_000


@settings(max_examples=15, deadline=None)
@given(data=st.binary(max_size=60), name=st.sampled_from(["a.jsonl", "a.csv", "a.json", "a.jsonl.gz"]))
def test_any_bytes_are_rows_or_refused(tmp_path_factory, data, name):
    path = write(tmp_path_factory.mktemp("any") / name, data)
    left = []
    try:
        kept = list(load_prompts(path, on_error="drop", dropped=left.append))
    except DataError:
        return
    assert len(kept) + len(left) == len(list(read_rows(path)))
    if name == "a.jsonl":
        lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")  # the mark of UTF-8 is no row
        assert len(kept) + len(left) == len([line for line in lines if line.strip()])
