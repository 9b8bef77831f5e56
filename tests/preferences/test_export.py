import json
import sys
from unittest.mock import Mock

import msgspec
import pytest

from jurist.completions import load_groups
from jurist.errors import DataError
from jurist.preferences.export import FORMATS, push, write_export
from jurist.prompts.load import split_of
from jurist.records import Completion, Message, Preference, Prompt, content_id

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
GOOD, BAD = ({"role": "assistant", "content": text} for text in ("Because.", "No."))


def preference(question="Why?", rejected="No.", p=0.75):
    prompt = Prompt.of((Message("system", "Be brief."), Message("user", question)))
    one, other = Completion.of(prompt.id, "Because."), Completion.of(prompt.id, rejected)
    name = content_id("preference", prompt.id, one.id, other.id)
    return Preference(name, prompt, one, other, p, margin=4.0, weight=2.0, source="best_vs_worst:j")


ONE = preference()
MANY = [preference(f"Why {i}?") for i in range(100)]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


LABEL = {"p": 0.75, "score_margin": 4.0, "weight": 2.0, "id": ONE.id}
WHOLE = [{"chosen": [*ASKED, GOOD], "rejected": [*ASKED, BAD], **LABEL}]
ROWS = {
    "trl": [{"prompt": ASKED, "chosen": [GOOD], "rejected": [BAD], **LABEL}],
    "trl_implicit": WHOLE,
    "openrlhf": WHOLE,
    "kto": [
        {"prompt": ASKED, "completion": [GOOD], "label": True, "id": ONE.id},
        {"prompt": ASKED, "completion": [BAD], "label": False, "id": ONE.id},
    ],
    "sft": [{"messages": [*ASKED, GOOD], "id": ONE.chosen.id}],
    "jsonl": [json.loads(msgspec.json.encode(ONE))],
}


def test_each_format_has_the_rows_its_trainer_reads_and_a_margin_under_no_name_that_it_does(tmp_path):
    for format, rows in ROWS.items():
        assert write_export([ONE], tmp_path, format) == {"train": len(rows)}
        assert lines(tmp_path / "train.jsonl") == rows
        assert format == "jsonl" or "margin" not in rows[0]
    assert ROWS.keys() | {"parquet"} == FORMATS.keys()


@pytest.mark.slow
def test_parquet_reads_back_row_for_row(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    pairs = [preference(f"Why {i}?") for i in range(1100)]
    counts = write_export(pairs, tmp_path, "parquet")
    table = parquet.read_table(tmp_path / "train.parquet")
    write_export(pairs, tmp_path, "trl")

    assert counts == {"train": 1100}
    assert write_export([preference(p=0.5)], tmp_path / "tie", "parquet") == {"train": 1}
    assert table.to_pylist() == lines(tmp_path / "train.jsonl")
    assert parquet.ParquetFile(tmp_path / "train.parquet").num_row_groups == 2


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_datasets_loads_every_format(tmp_path, capfd, format):
    datasets = pytest.importorskip("datasets")
    counts = write_export(MANY, tmp_path / "out", format, held_out=0.2)
    assert capfd.readouterr() == ("", "")

    datasets.disable_progress_bars()
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == counts
    if "trl" in format:
        data_utils = pytest.importorskip("trl.data_utils")
        assert data_utils.is_conversational(loaded["train"][0])


def test_what_was_exported_loads_again_as_pairs(tmp_path):
    for format in ("trl", "trl_implicit"):
        write_export([ONE], tmp_path, format)
        (group,) = load_groups(tmp_path / "train.jsonl")

        assert group.prompt.messages == ONE.prompt.messages
        assert [c.text for c in group.completions] == ["Because.", "No."]


def test_a_tie_is_dropped_where_its_reader_cannot_see_that_it_is_one(tmp_path):
    for format in ROWS:
        left = []
        counts = write_export([preference(p=0.5)], tmp_path, format, dropped=left.append)
        keeps = format == "jsonl"

        assert counts == {"train": int(keeps)}
        assert [row.kind for row in left] == ([] if keeps else ["export: tie"])


def test_an_answer_is_taught_once(tmp_path):
    left = []
    pairs = [preference(rejected=text) for text in ("No.", "Never.")]

    assert write_export(pairs, tmp_path, "sft", dropped=left.append) == {"train": 1}
    assert [row.reason for row in left] == ["duplicate"]


def test_a_prompt_lies_on_one_side_and_no_old_test_split_is_left(tmp_path):
    counts = write_export(MANY, tmp_path, "kto", held_out=0.2)

    assert sum(counts.values()) == 2 * len(MANY)
    assert counts["test"] == 2 * sum(split_of(p.prompt.id, 0.2) == "test" for p in MANY)
    assert {split: len(lines(tmp_path / f"{split}.jsonl")) for split in counts} == counts

    write_export(MANY, tmp_path, "kto")
    assert [p.name for p in tmp_path.iterdir()] == ["train.jsonl"]
    assert len(lines(tmp_path / "train.jsonl")) == 2 * len(MANY)


@pytest.mark.parametrize("format", ["trl", pytest.param("parquet", marks=pytest.mark.slow)])
def test_an_export_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, format):
    write_export([ONE], tmp_path, format)
    (path,) = tmp_path.iterdir()
    before = path.read_bytes()

    def broken():
        yield from MANY * 11
        raise KeyError("what the pipeline met")

    with pytest.raises(KeyError):
        write_export(broken(), tmp_path, format)

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_push_that_fails_says_where_the_files_are(tmp_path, monkeypatch):
    hub = Mock()
    hub.HfApi.return_value.create_repo.side_effect = ConnectionError("no route to host\nat all")
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    with pytest.raises(DataError) as error:
        push(tmp_path, "me/pairs")

    told = f"me/pairs was not pushed (no route to host); the files are in {tmp_path}."
    assert str(error.value).startswith(told)
    assert str(error.value).endswith(f"hf upload me/pairs {tmp_path} --repo-type dataset")
