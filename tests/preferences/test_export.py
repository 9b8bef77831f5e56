import json

import msgspec
import pytest

from jurist.completions import load_groups
from jurist.errors import DataError, MissingExtra, SettingError
from jurist.preferences.export import FORMATS, export, export_targets, push
from jurist.prompts import split_of
from jurist.records import Completion, Message, Preference, Prompt, content_id

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
GOOD, BAD = ({"role": "assistant", "content": text} for text in ("Because.", "No."))


def preference(question="Why?", chosen="Because.", rejected="No.", p=0.75):
    prompt = Prompt.of((Message("system", "Be brief."), Message("user", question)))
    one, other = Completion.of(prompt.id, chosen), Completion.of(prompt.id, rejected)
    name = content_id("preference", prompt.id, one.id, other.id)
    return Preference(name, prompt, one, other, p, margin=2 * p - 1, weight=2.0, source="best_vs_worst:j")


ONE = preference()
MANY = [preference(f"Why {i}?") for i in range(400)]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


LABEL = {"p": 0.75, "margin": 0.5, "weight": 2.0, "id": ONE.id}
WHOLE = {"chosen": [*ASKED, GOOD], "rejected": [*ASKED, BAD]}
ROWS = {
    "trl": [{"prompt": ASKED, "chosen": [GOOD], "rejected": [BAD], **LABEL}],
    "trl_implicit": [{**WHOLE, **LABEL}],
    "kto": [
        {"prompt": ASKED, "completion": [GOOD], "label": True, "id": ONE.id},
        {"prompt": ASKED, "completion": [BAD], "label": False, "id": ONE.id},
    ],
    "sft": [{"messages": [*ASKED, GOOD], "id": ONE.chosen.id}],
    "openrlhf": [{**WHOLE, "margin": 0.5, "id": ONE.id}],
    "handbook": [
        {
            "prompt": "Why?",
            "prompt_id": ONE.prompt.id,
            **WHOLE,
            "messages": [*ASKED, GOOD],
            "score_chosen": 0.75,
            "score_rejected": 0.25,
        }
    ],
}


@pytest.mark.parametrize("format", ROWS)
def test_each_format_has_the_rows_its_trainer_reads(tmp_path, format):
    counts = export([ONE], tmp_path, format)
    (file,) = tmp_path.iterdir()

    assert lines(file) == ROWS[format]
    assert counts == {file.stem: len(ROWS[format])}


def test_our_own_format_reads_back_equal(tmp_path):
    export([ONE], tmp_path / "pairs.jsonl", "jsonl")
    (line,) = (tmp_path / "pairs.jsonl").read_bytes().splitlines()

    assert msgspec.json.decode(line, type=Preference) == ONE


def test_parquet_reads_back_row_for_row(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    pairs = [preference(f"Why {i}?") for i in range(2100)]
    counts = export(pairs, tmp_path / "pairs.parquet", "parquet")
    table = parquet.read_table(tmp_path / "pairs.parquet")
    export(pairs, tmp_path / "pairs.jsonl", "trl")

    assert counts == {"train": 2100}
    assert table.to_pylist() == lines(tmp_path / "pairs.jsonl")
    assert parquet.ParquetFile(tmp_path / "pairs.parquet").num_row_groups == 3


def test_a_datasets_folder_reads_back_row_for_row(tmp_path):
    datasets = pytest.importorskip("datasets")
    counts = export(MANY, tmp_path / "set", "datasets", held_out=0.2)
    whole = datasets.load_from_disk(str(tmp_path / "set"))
    assert {split: len(rows) for split, rows in whole.items()} == counts
    train = datasets.load_from_disk(str(tmp_path / "set" / "train"))
    export(MANY, tmp_path / "lines", "trl", held_out=0.2)

    assert counts["train"] == len(train)
    assert sorted(p.name for p in (tmp_path / "set").iterdir()) == ["dataset_dict.json", "test", "train"]
    assert list(train) == lines(tmp_path / "lines" / "train.jsonl")


def test_what_was_exported_for_trl_loads_again_as_pairs(tmp_path):
    for format in ("trl", "trl_implicit", "openrlhf", "handbook"):
        export([ONE], tmp_path / format, format)
        (file,) = (tmp_path / format).iterdir()
        (group,) = load_groups(file)

        assert group.prompt.messages == ONE.prompt.messages, format
        assert [c.text for c in group.completions] == ["Because.", "No."], format


@pytest.mark.parametrize("format", sorted(set(FORMATS) - {"datasets", "parquet"}))
def test_a_prompt_lies_on_one_side_and_every_row_somewhere(tmp_path, format):
    counts = export(MANY, tmp_path, format, held_out=0.2)
    train, test = FORMATS[format].splits
    each = len(FORMATS[format].rows(ONE))

    assert sum(counts.values()) == each * len(MANY)
    assert counts[test] == each * sum(split_of(p.prompt.id, 0.2) == "test" for p in MANY)
    assert len(lines(tmp_path / f"{train}.jsonl")) == counts[train]
    assert len(lines(tmp_path / f"{test}.jsonl")) == counts[test]


def test_a_file_has_its_test_split_beside_it(tmp_path):
    export(MANY, tmp_path / "pairs.jsonl", "trl", held_out=0.2)

    assert sorted(p.name for p in tmp_path.iterdir()) == ["pairs.jsonl", "pairs_test.jsonl"]


def test_an_export_without_a_test_split_takes_the_old_one_away(tmp_path):
    export(MANY, tmp_path, "trl", held_out=0.2)
    export(MANY, tmp_path, "trl")

    assert [p.name for p in tmp_path.iterdir()] == ["train.jsonl"]
    assert len(lines(tmp_path / "train.jsonl")) == len(MANY)


@pytest.mark.parametrize("format", ["kto", "sft"])
def test_a_format_that_cannot_tell_a_tie_leaves_ties_out_by_name(tmp_path, format):
    left = []
    counts = export([preference(p=0.5)], tmp_path, format, dropped=left.append)

    assert counts == {"train": 0}
    assert [(row.stage, row.reason) for row in left] == [("export", "tie")]


def test_an_answer_is_taught_once(tmp_path):
    left = []
    pairs = [preference(rejected=text) for text in ("No.", "Never.")]

    assert export(pairs, tmp_path, "sft", dropped=left.append) == {"train": 1}
    assert [row.reason for row in left] == ["duplicate"]


def test_targets_become_rows_of_messages(tmp_path):
    counts = export_targets([(ONE.prompt, ONE.chosen)], tmp_path)

    assert counts == {"train": 1}
    assert lines(tmp_path / "train.jsonl") == ROWS["sft"]


@pytest.mark.parametrize("format", ["trl", "parquet"])
def test_an_export_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, format):
    path = tmp_path / ("pairs.parquet" if format == "parquet" else "pairs.jsonl")
    export([ONE], path, format)
    before = path.read_bytes()

    def broken():
        yield ONE
        raise KeyError("what the pipeline met")

    with pytest.raises(KeyError):
        export(broken(), path, format)

    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_an_unknown_format_is_refused_with_its_nearest(tmp_path):
    with pytest.raises(SettingError, match="Did you mean 'handbook'"):
        export([], tmp_path, "handbok")


def test_a_file_with_the_wrong_ending_is_refused_with_the_right_one(tmp_path):
    with pytest.raises(SettingError, match=r"or: .*pairs.jsonl$"):
        export([ONE], tmp_path / "pairs.parquet", "trl")


def test_a_share_that_is_none_is_refused(tmp_path):
    with pytest.raises(SettingError, match=r"held_out: 0\.05"):
        export([ONE], tmp_path, "trl", held_out=1.0)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="ls -ld"):
        export([ONE], tmp_path / "file" / "below", "trl")


def test_pushing_without_the_extra_says_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"pip install 'jurist\[hub\]'"):
        export([ONE], tmp_path, "trl", push_to="me/pairs")

    assert lines(tmp_path / "train.jsonl") == ROWS["trl"]


def test_a_push_that_fails_says_where_the_files_are(tmp_path, monkeypatch):
    import sys
    from types import ModuleType

    asked = []

    class HfApi:
        def create_repo(self, repo, **how):
            asked.append((repo, how["repo_type"]))
            raise ConnectionError("no route to host\nat all")

    hub = ModuleType("huggingface_hub")
    hub.HfApi = HfApi
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    with pytest.raises(DataError) as error:
        push(tmp_path, "me/pairs")

    assert asked == [("me/pairs", "dataset")]
    assert str(error.value).startswith(
        f"me/pairs was not pushed (no route to host); the files are in {tmp_path}."
    )
    assert str(error.value).endswith(f"hf upload me/pairs {tmp_path} --repo-type dataset")


def test_only_a_folder_can_be_pushed(tmp_path):
    with pytest.raises(SettingError, match="only a folder"):
        push(tmp_path / "pairs.jsonl", "me/pairs")
