import gzip
import json
import resource

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurist.errors import DataError, MissingExtra, SettingError
from jurist.prompts import load_prompts, split_of
from jurist.prompts.load import COLUMNS
from jurist.records import Dropped, content_id

ROWS = [{"prompt": "Why?", "domain": "d"}, {"prompt": "How?"}, {"prompt": "Why?"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def asked(source, **how):
    return [prompt.messages[-1].content for prompt in load_prompts(source, **how)]


def written(folder, name, rows=ROWS):
    path = folder / name
    if name.endswith(".parquet"):
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif name.endswith(".csv"):
        path.write_text("prompt,domain\nWhy?,d\nHow?,\nWhy?,\n")
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(LINES.encode()))
    elif name == "list.json":
        path.write_text(json.dumps(rows, indent=1))
    elif name == "data.json":
        path.write_text(json.dumps({"data": rows}, indent=1))
    else:
        path.write_text(LINES)
    return path


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.jsonl.gz", "lines.json", "list.json", "data.json", "a.csv", "a.parquet"]
)
def test_every_kind_of_file_gives_the_same_prompts_once_each(tmp_path, name):
    left: list[Dropped] = []

    assert asked(written(tmp_path, name), dropped=left.append) == ["Why?", "How?"]
    assert [(row.stage, row.reason) for row in left] == [("prompts", "duplicate")]


def test_a_folder_of_files_is_read_in_the_order_of_their_names(tmp_path):
    written(tmp_path, "b.jsonl", ROWS)
    (tmp_path / "a.jsonl").write_text('{"prompt": "First?"}\n')
    (tmp_path / "notes.txt").write_text("no rows")

    assert asked(tmp_path) == ["First?", "Why?", "How?"]


def test_a_byte_order_mark_and_empty_lines_are_no_rows(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "Why?"}\n\n  \n{"prompt": "How?"}')

    assert asked(path) == ["Why?", "How?"]


def test_limit_counts_prompts_and_reads_no_further(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(LINES + "broken")

    assert asked(path, limit=2) == ["Why?", "How?"]
    assert asked(path, limit=0) == []


@pytest.mark.parametrize(
    ("data", "reason", "says"),
    [
        (b'{"prompt": "Wh', "not_json", "a.jsonl:2 stops in the middle of a row"),
        (b'{"prompt": "Why"} x', "not_json", "a.jsonl:2 is not JSON"),
        (b'{"prompt": "\xff"}', "not_utf8", "a.jsonl:2 is not UTF-8 (byte 0xff at column 13)"),
        (b"[" * 100_000, "not_json", "a.jsonl:2 is not JSON"),
        (b'"text"', "not_an_object", "a.jsonl:2 holds 'text', not a row"),
        (b"NaN", "not_json", "a.jsonl:2 is not JSON"),
    ],
)
def test_a_bad_line_stops_with_its_place_or_leaves_by_name(tmp_path, data, reason, says):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"prompt": "Why?"}\n' + data + b'\n{"prompt": "How?"}\n')
    left: list[Dropped] = []
    with pytest.raises(DataError) as error:
        asked(path)

    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert asked(path, on_error="drop", dropped=left.append) == ["Why?", "How?"]
    assert [(row.subject_id, row.reason) for row in left] == [(f"{path}:2", reason)]


@pytest.mark.parametrize(
    ("name", "data", "ends"),
    [
        ("a.txt", b"Why?", "e.g. a.jsonl"),
        ("cut.jsonl.gz", gzip.compress(LINES.encode())[:-9], "gzip -t {path}"),
        ("fake.jsonl.gz", b"plain", "gzip -t {path}"),
        ("cut.json", b'[{"prompt": "Why?"}, {"pro', "tail -c 200 {path}"),
        ("three.json", b"3", "head -c 200 {path}"),
        ("fake.parquet", b"plain", "head -c 4 {path}"),
        ("latin.csv", b"prompt\nna\xefve?\n", "sed -n 2p {path}"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused_with_the_next_thing_to_type(
    tmp_path, name, data, ends
):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError) as error:
        asked(path)

    assert str(error.value).endswith(ends.format(path=path))


def test_a_file_that_is_not_there_is_told_from_its_neighbours(tmp_path):
    written(tmp_path, "prompts.jsonl")
    with pytest.raises(DataError, match=r"Did you mean 'prompts.jsonl'\?"):
        asked(tmp_path / "promts.jsonl")
    with pytest.raises(DataError, match="no folder"):
        asked(tmp_path / "no" / "promts.jsonl")


def test_a_folder_without_rows_is_refused(tmp_path):
    with pytest.raises(DataError, match=f"ls {tmp_path}"):
        asked(tmp_path)


def test_an_unknown_way_to_go_on_is_refused():
    with pytest.raises(SettingError, match="Did you mean 'drop'"):
        asked([{"prompt": "Why?"}], on_error="dropp")


def test_the_hub_without_its_extra_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"pip install 'jurist\[hub\]'"):
        asked("hub:owner/name:train")


def test_a_prompt_never_changes_sides():
    ids = [content_id("prompt", i) for i in range(20_000)]
    share = sum(split_of(id, 0.05) == "test" for id in ids) / len(ids)

    assert abs(share - 0.05) < 0.006
    assert all(split_of(id, 0.1) == "test" for id in ids if split_of(id, 0.05) == "test")
    assert {split_of(id, 0.0) for id in ids} == {"train"}


NAMES = st.sampled_from(sorted(COLUMNS | {"role", "content", "from", "value", "meta", "id", "text"}))
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
ROW = st.dictionaries(
    NAMES, ANYTHING | st.sampled_from(["user", "assistant", "\n\nHuman: a\n\nAssistant: b"])
)


@settings(max_examples=80, deadline=None)
@given(row=ROW | ANYTHING)
def test_any_json_value_is_a_prompt_or_a_reason(row):
    left: list[Dropped] = []
    kept = list(
        load_prompts(
            [row] if not isinstance(row, str) else [{"prompt": row}], on_error="drop", dropped=left.append
        )
    )

    assert len(kept) + len(left) == 1
    for prompt in kept:
        assert msgspec.json.decode(msgspec.json.encode(prompt), type=type(prompt)).id == prompt.id


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=60))
def test_any_bytes_are_prompts_or_reasons(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "a.jsonl"
    path.write_bytes(data)
    left: list[Dropped] = []
    kept = list(load_prompts(path, on_error="drop", dropped=left.append))

    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")  # the mark of UTF-8 is no row
    assert len(kept) + len(left) == len([line for line in lines if line.strip()])


@pytest.mark.slow
def test_two_hundred_thousand_rows_take_little_more_memory_than_ten_thousand(tmp_path):
    path = tmp_path / "many.jsonl"
    with path.open("w") as file:
        for i in range(200_000):
            file.write(json.dumps({"prompt": f"question {i} " + "word " * 100}) + "\n")
    assert sum(1 for _ in load_prompts(path, limit=10_000)) == 10_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in load_prompts(path)) == 200_000
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    assert grown < 12_000  # KB; the texts are 100 MB
