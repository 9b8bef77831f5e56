import json

import msgspec
import pytest
from msgspec.structs import replace

from jurist.errors import DataError
from jurist.records import Completion, Matchup, Message, Prompt, Verdict
from jurist.verdicts.human import LabelIndex, id_without_policy, load_labels, text_key

PROMPT = Prompt.of("Name a prime.")
SEVEN = Completion.of(PROMPT.id, "7", policy="vllm:tall")
EIGHT = Completion.of(PROMPT.id, "8", policy="vllm:small")
MATCHUP = Matchup.of(PROMPT, SEVEN, EIGHT)
TEXTS = {"prompt": "Name a prime.", "first": "7", "second": "8"}
VERDICT = Verdict("v", "human:ann", MATCHUP.id, first_id=EIGHT.id, second_id=SEVEN.id, p_first=0.0)


def labels(tmp_path, *rows):
    file = tmp_path / "labels.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return load_labels(file)


def found(tmp_path, *rows, matchup=MATCHUP):
    return LabelIndex(labels(tmp_path, *rows)).of(matchup)


@pytest.mark.parametrize(
    "row",
    [
        {"matchup_id": MATCHUP.id, "label": "first"},
        {"matchup_id": MATCHUP.id, "first_id": EIGHT.id, "second_id": SEVEN.id, "winner": "second"},
        {**TEXTS, "winner": "first", "who": "ann"},
        {"prompt": "Name a prime.", "first": "8", "second": "7", "label": "B"},
        {"prompt": "Name a prime.", "chosen": "7", "rejected": "8"},
        {"prompt": "Name a prime.", "chosen": "8", "rejected": "7", "label": "rejected"},
        {**TEXTS, "prompt": [{"role": "user", "content": "Name a prime."}], "label": 1},
        {"prompt": "Name a prime.", "chosen": [{"role": "assistant", "content": "7"}], "rejected": "8"},
        msgspec.to_builtins(VERDICT),
    ],
)
def test_a_label_written_in_any_shape_finds_its_matchup_and_ends_with_its_ids(tmp_path, row):
    (label,) = found(tmp_path, row)
    assert (label.p_first, label.matchup_id) == (1.0, MATCHUP.id)
    assert (label.first_id, label.second_id) == (SEVEN.id, EIGHT.id)

    (swapped,) = found(tmp_path, row, matchup=MATCHUP.swapped())
    by_id_alone = "first_id" not in row and "prompt" not in row  # which means the matchup as it came
    assert (swapped.p_first, swapped.first_id) == (float(by_id_alone), EIGHT.id)


@pytest.mark.parametrize(
    "row", [{"chosen": "7", "rejected": "8"}, {"first": "7", "second": "8", "label": "first"}]
)
def test_texts_beside_a_matchup_id_say_which_is_meant(tmp_path, row):
    for matchup in (MATCHUP, MATCHUP.swapped()):
        full = {"matchup_id": matchup.id, "prompt": "Name a prime.", **row}
        (label,) = found(tmp_path, full, matchup=matchup)
        assert label.p_first == float(matchup.first == SEVEN)


def test_a_text_key_does_not_depend_on_the_order_or_on_who_wrote():
    bare = Matchup.of(PROMPT, Completion.of(PROMPT.id, "7"), Completion.of(PROMPT.id, "8"))
    one, other = (id_without_policy(PROMPT.id, text) for text in "78")

    assert text_key(PROMPT.id, one, other) == text_key(PROMPT.id, other, one) == bare.id != MATCHUP.id
    assert text_key(PROMPT.id, one, other) != text_key(Prompt.of("Name a number.").id, one, other)


BY_ID = {"matchup_id": MATCHUP.id, "label": "first", "who": "ann"}
BY_TEXT = {**TEXTS, "label": "second"}


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        # A label by matchup id alone and one told from the other side, in either order.
        ([BY_ID, msgspec.to_builtins(replace(VERDICT, judge="human:bob", p_first=1.0))], [0, 1]),
        ([msgspec.to_builtins(replace(VERDICT, judge="human:bob", p_first=1.0)), BY_ID], [0, 1]),
        # By id and by text: all of them count.
        ([BY_ID, {**BY_TEXT, "who": "bob"}, {**BY_TEXT, "annotator": "cem"}], [0, 0, 1]),
        # Who labels again corrects it, also where it was by id the first time.
        ([BY_ID, {**BY_TEXT, "who": "ann"}], [0]),
        ([{**BY_TEXT, "who": "ann"}, BY_ID], [1]),
        # An empty row takes nothing back.
        ([BY_ID, {**TEXTS, "label": "", "who": "ann"}], [1]),
        # Unnamed humans do not replace each other.
        ([BY_TEXT, {**TEXTS, "label": "tie"}, {**TEXTS, "label": None}], [0, 0.5]),
    ],
)
def test_all_labels_of_a_pair_are_found_once_for_each_human(tmp_path, rows, wanted):
    said = found(tmp_path, *rows)
    assert sorted(label.p_first for label in said) == wanted
    assert {(label.first_id, label.second_id) for label in said} == {(SEVEN.id, EIGHT.id)}


def test_a_row_nobody_has_filled_in_is_unread_and_no_tie(tmp_path):
    (verdict,) = labels(tmp_path, {**TEXTS, "label": None})
    assert (verdict.p_first, verdict.unread) == (None, "unlabelled")
    assert len(LabelIndex([verdict])) == 0


def test_a_label_of_another_completion_is_refused():
    strange = Verdict("v", "human:ann", MATCHUP.id, "elsewhere", EIGHT.id, p_first=1.0)
    with pytest.raises(DataError, match=r"about completion elsewhere, .* make the labels again"):
        LabelIndex([strange]).of(MATCHUP)


def test_a_conversation_is_a_prompt(tmp_path):
    turns = (Message("system", "Be brief."), Message("user", "Name a prime."))
    prompt = Prompt.of(turns)
    matchup = Matchup.of(prompt, Completion.of(prompt.id, "7", "x"), Completion.of(prompt.id, "8", "y"))
    row = {"prompt": msgspec.to_builtins(turns), "first": "8", "second": "7", "label": "second"}

    assert [label.p_first for label in found(tmp_path, row, matchup=matchup)] == [1.0]
    assert found(tmp_path, row) == []


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"prompt": "x", "fir', "labels.jsonl:2 is not JSON"),
        ("[1]", r"labels.jsonl:2 holds \[1\], not a row"),
        ({"prompt": "x", "first": "a"}, "a label needs prompt, first and second"),
        ({"label": "first"}, "a label needs prompt, first and second"),
        (
            {"matchup_id": "m", "chosen": "7", "rejected": "8"},
            "a label needs prompt, first and second, or prompt, chosen and rejected",
        ),
        ({"matchup_id": "m", "label": "frist"}, "it is one of 1, 2, first"),
        ({"prompt": 3, "first": "a", "second": "b"}, "not a conversation"),
        ({"prompt": "x", "first": [3], "second": "b"}, "not "),
        ({"id": "v", "judge": "openai:gpt-5-mini"}, "is not a human"),
        ({"id": 3, "judge": "human:ann"}, "mend or delete that row"),
    ],
)
def test_a_row_that_is_not_a_label_is_refused_by_line_with_the_way_out(tmp_path, row, says):
    with pytest.raises(DataError, match=says):
        list(labels(tmp_path, {**TEXTS, "label": "first"}, row))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="ls "):
        list(load_labels(tmp_path / "none.jsonl"))
