"""Rows as they really come: equal answers, empty ones, the same pair twice."""

import json

import pytest
from jobs import accounted, lines, run

from jurist.errors import DataError


def write(folder, *rows):
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_pair_of_equal_answers_leaves_by_name_and_the_others_are_labelled(tmp_path):
    write(
        tmp_path,
        {"prompt": "What is 1 plus 1?", "chosen": "2", "rejected": "It is 3."},
        {"prompt": "What is 2 plus 2?", "chosen": "4", "rejected": "4"},
        {"prompt": "What is 3 plus 3?", "chosen": "", "rejected": ""},
    )
    summary = run(tmp_path, "shorter")
    assert (summary.prompts, summary.labels) == (2, 1)
    assert summary.dropped == {"completions: identical": 1, "completions: empty": 1}
    assert accounted(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "Hi", "chosen": None, "rejected": "No"}, "nothing stands under chosen. Leave"),
        ({"prompt": "Hi", "chosen": "Yes"}, "no column called 'rejected'; there is chosen, prompt."),
        (
            {"prompt": "Hi", "chosen": None, "rejected": None},
            "nothing stands under chosen and rejected. Leave",
        ),
        ({"prompt": "Hi", "completions": ["Yes", "No"]}, "--completions FILE"),
        ({"prompt": "Hi", "response": "Yes"}, "--completions FILE"),
        ({"prompt": "Hi", "better": "Yes", "worse": "No"}, "--columns.first ..."),
    ],
)
def test_a_row_that_holds_no_pair_is_told_what_it_lacks(tmp_path, row, message):
    write(tmp_path, row)
    with pytest.raises(DataError) as why:
        run(tmp_path, "shorter")
    assert "pairs.jsonl:1: " in str(why.value)
    assert message in str(why.value)
    assert "Did you mean" not in str(why.value)


def test_an_answer_may_be_one_message_however_its_parts_are_called(tmp_path):
    write(
        tmp_path,
        {
            "conversations": [{"from": "human", "value": "Hi"}],
            "chosen": {"from": "gpt", "value": "Hello."},
            "rejected": {"from": "gpt", "value": "What do you want?"},
        },
        {
            "prompt": "Hi there",
            "chosen": {"role": "assistant", "content": "Hello."},
            "rejected": {"role": "assistant", "content": "What do you want?"},
        },
    )
    assert run(tmp_path, "shorter").labels == 2
    assert [one["text"] for one in lines(tmp_path, "completions")] == ["Hello.", "What do you want?"] * 2


def test_a_pair_that_two_people_judged_is_trained_on_once(tmp_path):
    pair = {"prompt": "What is 1 plus 1?", "first": "2", "second": "It is 3."}
    write(tmp_path, {**pair, "winner": "first"}, {**pair, "winner": "second"}, {**pair, "winner": "tie"})
    summary = run(tmp_path, "shorter", labels="given")
    assert (summary.prompts, summary.labels, summary.dropped) == (3, 1, {"preferences: duplicate": 2})
    assert summary.learnt.labels == 1
    (row,) = lines(tmp_path, "preferences")
    assert row["chosen"]["text"] == "2"
