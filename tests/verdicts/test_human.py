"""Human labels, written in any shape, find their matchup."""

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
ASKED = {"prompt": "Name a prime."}
TEXTS = {**ASKED, "first": "7", "second": "8"}
VERDICT = Verdict("v", "human:ann", MATCHUP.id, first_id=EIGHT.id, second_id=SEVEN.id, p_first=0.0)
BOBS = msgspec.to_builtins(replace(VERDICT, judge="human:bob", p_first=1.0))
ANNS = {"matchup_id": MATCHUP.id, "label": "first", "who": "ann"}
BY_TEXT = {**TEXTS, "label": "second"}


def labels(tmp_path, *rows):
    file = tmp_path / "labels.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return load_labels(file)


def found(tmp_path, *rows, matchup=MATCHUP):
    return LabelIndex(labels(tmp_path, *rows)).of(matchup)


SHAPES = [
    {"matchup_id": MATCHUP.id, "label": "first"},
    {"matchup_id": MATCHUP.id, "first_id": EIGHT.id, "second_id": SEVEN.id, "winner": "second"},
    {**TEXTS, "winner": "first", "who": "ann"},
    {**ASKED, "first": "8", "second": "7", "label": "B"},
    {**ASKED, "chosen": "7", "rejected": "8"},
    {**ASKED, "chosen": "8", "rejected": "7", "label": "rejected"},
    {**TEXTS, "prompt": [{"role": "user", "content": "Name a prime."}], "label": 1},
    {**ASKED, "chosen": [{"role": "assistant", "content": "7"}], "rejected": "8"},
    msgspec.to_builtins(VERDICT),
]


def test_a_label_written_in_any_shape_finds_its_matchup_and_ends_with_its_ids(tmp_path):
    for row in SHAPES:
        (label,) = found(tmp_path, row)
        assert (label.p_first, label.matchup_id) == (1.0, MATCHUP.id), row
        assert (label.first_id, label.second_id) == (SEVEN.id, EIGHT.id), row
        (swapped,) = found(tmp_path, row, matchup=MATCHUP.swapped())
        by_id_alone = "first_id" not in row and "prompt" not in row  # which means the matchup as it came
        assert (swapped.p_first, swapped.first_id) == (float(by_id_alone), EIGHT.id), row


def test_texts_beside_a_matchup_id_say_which_is_meant(tmp_path):
    for row in ({**ASKED, "chosen": "7", "rejected": "8"}, {**TEXTS, "label": "first"}):
        for matchup in (MATCHUP, MATCHUP.swapped()):
            (label,) = found(tmp_path, {"matchup_id": matchup.id, **row}, matchup=matchup)
            assert label.p_first == float(matchup.first == SEVEN)


def test_a_text_key_does_not_depend_on_the_order_or_on_who_wrote():
    bare = Matchup.of(PROMPT, Completion.of(PROMPT.id, "7"), Completion.of(PROMPT.id, "8"))
    one, other = (id_without_policy(PROMPT.id, text) for text in "78")
    assert text_key(PROMPT.id, one, other) == text_key(PROMPT.id, other, one) == bare.id != MATCHUP.id
    assert text_key(PROMPT.id, one, other) != text_key(Prompt.of("Name a number.").id, one, other)


POOLED = [
    # A label by matchup id alone and one told from the other side, in either order.
    ([ANNS, BOBS], [0, 1]), ([BOBS, ANNS], [0, 1]),
    # By id and by text: all of them count.
    ([ANNS, {**BY_TEXT, "who": "bob"}, {**BY_TEXT, "annotator": "cem"}], [0, 0, 1]),
    # Who labels again corrects it, also where it was by id the first time.
    ([ANNS, {**BY_TEXT, "who": "ann"}], [0]), ([{**BY_TEXT, "who": "ann"}, ANNS], [1]),
    # An empty row takes nothing back.
    ([ANNS, {**TEXTS, "label": "", "who": "ann"}], [1]),
    # Unnamed humans do not replace each other.
    ([BY_TEXT, {**TEXTS, "label": "tie"}, {**TEXTS, "label": None}], [0, 0.5]),
]  # fmt: skip


def test_all_labels_of_a_pair_are_found_once_for_each_human(tmp_path):
    for rows, wanted in POOLED:
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


NEEDS = "labels.jsonl:2: a label needs prompt, first and second, or prompt, chosen and rejected"
REFUSED = [
    ('{"prompt": "x", "fir', "labels.jsonl:2: the line is not JSON"),
    ("[1]", r"labels.jsonl:2: \[1\] is not a row"),
    ({"prompt": "x", "first": "a"}, NEEDS), ({"label": "first"}, NEEDS),
    ({"matchup_id": "m", "chosen": "7", "rejected": "8"}, NEEDS),
    ({"matchup_id": "m", "label": "frist"}, "labels.jsonl:2: label is 'frist'; it is one of 1, 2, first"),
    ({"matchup_id": "m", "label": 0}, "label is 0; it is one of"),
    ({"prompt": 3, "first": "a", "second": "b"}, "holds 3. Write a text"),
    ({"prompt": "x", "first": [3], "second": "b"}, "holds 3. Write a text"),
    ({"id": "v", "judge": "openai:gpt-5-mini"}, "is not a human"),
    ({"id": 3, "judge": "human:ann"}, "mend or delete that row"),
    ({**TEXTS, "label": "first", "weight": -1}, "the weight is -1"),
]  # fmt: skip


def test_a_row_that_is_not_a_label_is_refused_by_line_with_the_way_out(tmp_path):
    for row, says in REFUSED:
        with pytest.raises(DataError, match=says) as error:
            list(labels(tmp_path, {**TEXTS, "label": "first"}, row))
        assert "on_error" not in str(error.value)
    with pytest.raises(DataError, match="See what is there with: ls "):
        list(load_labels(tmp_path / "none.jsonl"))
