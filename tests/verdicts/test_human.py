import json

import msgspec
import pytest

from jurist.errors import DataError
from jurist.records import Completion, Matchup, Message, Prompt, Verdict
from jurist.verdicts.human import gather, load_labels, text_key

PROMPT = Prompt.of("Name a prime.")
SEVEN = Completion.of(PROMPT.id, "7", policy="vllm:tall")
EIGHT = Completion.of(PROMPT.id, "8", policy="vllm:small")
MATCHUP = Matchup.of(PROMPT, SEVEN, EIGHT)


def labels(tmp_path, *rows):
    file = tmp_path / "labels.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return file


def p_of(tmp_path, row):
    return gather(load_labels(labels(tmp_path, row))).find(MATCHUP)


@pytest.mark.parametrize(
    "row",
    [
        {"matchup_id": MATCHUP.id, "label": "first"},
        {"matchup_id": MATCHUP.id, "first_id": EIGHT.id, "second_id": SEVEN.id, "winner": "second"},
        {"prompt": "Name a prime.", "first": "7", "second": "8", "winner": "first", "who": "ann"},
        {"prompt": "Name a prime.", "first": "8", "second": "7", "label": "B"},
        {"prompt": "Name a prime.", "chosen": "7", "rejected": "8"},
        {"prompt": "Name a prime.", "chosen": "8", "rejected": "7", "label": "rejected"},
        {"prompt": [{"role": "user", "content": "Name a prime."}], "first": "7", "second": "8", "label": 1},
        {"prompt": "Name a prime.", "chosen": [{"role": "assistant", "content": "7"}], "rejected": "8"},
        msgspec.to_builtins(
            Verdict("v", "human:ann", MATCHUP.id, first_id=EIGHT.id, second_id=SEVEN.id, p_first=0.0)
        ),
    ],
)
def test_a_label_written_in_any_shape_finds_its_matchup_and_its_seats(tmp_path, row):
    said = p_of(tmp_path, row)

    assert (said.p_first, said.matchup_id, said.first_id) == (1.0, MATCHUP.id, SEVEN.id)
    turned = gather(load_labels(labels(tmp_path, row))).find(MATCHUP.swapped())
    if row.get("first_id") or "prompt" in row:
        assert (turned.p_first, turned.first_id) == (0.0, EIGHT.id)


@pytest.mark.parametrize(
    "row", [{"chosen": "7", "rejected": "8"}, {"first": "7", "second": "8", "label": "first"}]
)
def test_a_matchup_id_beside_the_texts_does_not_seat_them(tmp_path, row):
    for matchup in (MATCHUP, MATCHUP.swapped()):
        full = {"matchup_id": matchup.id, "prompt": "Name a prime.", **row}
        said = gather(load_labels(labels(tmp_path, full))).find(matchup)
        assert said.p_first == float(matchup.first == SEVEN)


def test_a_chosen_text_without_its_prompt_is_refused_and_not_guessed(tmp_path):
    row = {"matchup_id": MATCHUP.id, "chosen": "7", "rejected": "8"}
    with pytest.raises(DataError, match="no 'prompt'; a label needs prompt, chosen and rejected"):
        p_of(tmp_path, row)


def test_a_text_key_does_not_depend_on_seats_or_on_who_wrote():
    unsigned = Matchup.of(PROMPT, Completion.of(PROMPT.id, "7"), Completion.of(PROMPT.id, "8"))

    assert text_key(PROMPT.id, "7", "8") == text_key(PROMPT.id, "8", "7") == unsigned.id != MATCHUP.id
    assert text_key(PROMPT.id, "7", "8") != text_key(Prompt.of("Name a number.").id, "7", "8")


def test_a_tie_is_a_half_and_an_empty_label_is_unread_and_not_a_tie(tmp_path):
    texts = {"prompt": "Name a prime.", "first": "7", "second": "8"}
    assert p_of(tmp_path, texts | {"label": "tie"}).p_first == 0.5
    said = p_of(tmp_path, texts | {"label": ""})
    assert (said.p_first, said.unread) == (None, "unlabelled")
    (verdict,) = load_labels(labels(tmp_path, texts | {"label": None}))
    assert (verdict.p_first, verdict.unread) == (None, "unlabelled")


def test_several_people_are_averaged_and_their_agreement_reported(tmp_path):
    texts = {"prompt": "Name a prime.", "first": "7", "second": "8"}
    found = gather(
        load_labels(
            labels(
                tmp_path,
                texts | {"who": "ann", "label": "first"},
                texts | {"who": "bob", "label": "second"},
                {"prompt": "Name a prime.", "first": "8", "second": "7", "who": "eve", "label": "second"},
            )
        )
    )

    assert found.find(MATCHUP).p_first == pytest.approx(2 / 3)
    assert (found.agreement, found.n_pairs) == (pytest.approx(1 / 3), 3)
    assert found.people == ("human:ann", "human:bob", "human:eve")
    assert len(found.find(MATCHUP).verdict_ids) == 3


def test_who_labels_again_corrects_and_unnamed_people_do_not_replace_each_other(tmp_path):
    texts = {"prompt": "Name a prime.", "first": "7", "second": "8"}
    again = [texts | {"who": "ann", "label": "second"}, texts | {"who": "ann", "label": "first"}]
    unnamed = [texts | {"label": "second"}, texts | {"label": "first"}]

    assert gather(load_labels(labels(tmp_path, *again))).find(MATCHUP).p_first == 1.0
    assert gather(load_labels(labels(tmp_path, *unnamed))).find(MATCHUP).p_first == 0.5


def test_a_conversation_is_a_prompt(tmp_path):
    turns = (Message("system", "Be brief."), Message("user", "Name a prime."))
    prompt = Prompt.of(turns)
    matchup = Matchup.of(prompt, Completion.of(prompt.id, "7", "x"), Completion.of(prompt.id, "8", "y"))
    row = {"prompt": msgspec.to_builtins(turns), "first": "8", "second": "7", "label": "second"}

    assert gather(load_labels(labels(tmp_path, row))).find(matchup).p_first == 1.0
    assert p_of(tmp_path, row) is None


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"prompt": "x", "fir', "labels.jsonl:2: .*mend or delete that line"),
        ("[1]", "a label is an object"),
        ({"prompt": "x", "first": "a"}, "no 'second'"),
        ({"label": "first"}, "no 'prompt'"),
        ({"matchup_id": "m", "label": "frist"}, "Did you mean 'first'"),
        ({"prompt": 3, "first": "a", "second": "b"}, "the prompt is not a text"),
        ({"prompt": "x", "first": 3, "second": "b"}, "an answer is a text, not int"),
        ({"id": "v", "judge": "openai:gpt-5-mini"}, "is not a person"),
        ({"id": 3, "judge": "human:ann"}, "mend or delete that line"),
    ],
)
def test_a_row_that_is_not_a_label_is_refused_by_line_with_the_way_out(tmp_path, row, says):
    good = {"prompt": "Name a prime.", "first": "7", "second": "8", "label": "first"}
    with pytest.raises(DataError, match=says):
        list(load_labels(labels(tmp_path, good, row)))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="ls "):
        list(load_labels(tmp_path / "none.jsonl"))
