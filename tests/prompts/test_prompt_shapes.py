import pytest

from jurist.errors import DataError, SettingError
from jurist.prompts import load_prompts
from jurist.records import Dropped, Message, Prompt

ASKED = [{"role": "user", "content": "Why?"}]
ANSWERED = [*ASKED, {"role": "assistant", "content": "Because."}]
SYSTEM = [{"role": "system", "content": "Be brief."}, *ASKED]
WHY = (Message("user", "Why?"),)
BRIEF = (Message("system", "Be brief."), *WHY)


def one(row, **settings):
    (prompt,) = load_prompts([row], **settings)
    return prompt


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        ({"prompt": "Why?"}, WHY),
        ({"prompt": ASKED}, WHY),
        ({"prompt": SYSTEM}, BRIEF),
        ({"prompt": "Why?", "system": "Be brief."}, BRIEF),
        ({"prompt": "\n\nHuman: Why?\n\nAssistant:"}, WHY),
        ({"messages": ANSWERED}, WHY),
        ({"messages": ASKED}, WHY),
        (
            {"messages": [*ANSWERED, *ASKED]},
            (Message("user", "Why?"), Message("assistant", "Because."), *WHY),
        ),
        ({"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]}, WHY),
        (
            {"conversations": [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "Why?"}]},
            BRIEF,
        ),
        ({"conversation": ANSWERED}, WHY),
        ({"instruction": "Why?"}, WHY),
        ({"instruction": "Why?", "input": ""}, WHY),
        ({"instruction": "Sort:", "input": "3 1 2"}, (Message("user", "Sort:\n\n3 1 2"),)),
        ({"instruction": "Why?", "completions": [{"model": "m", "response": "So."}]}, WHY),
        ({"question": "Why?"}, WHY),
        (
            {"chosen": "\n\nHuman: Why?\n\nAssistant: So.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."},
            WHY,
        ),
        ({"chosen": ANSWERED, "rejected": [*ASKED, {"role": "assistant", "content": "No."}]}, WHY),
        ({"prompt": [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}]}, WHY),
    ],
)
def test_a_known_shape_becomes_the_conversation_that_awaits_an_answer(row, messages):
    assert one(row).messages == messages


def test_equal_conversations_in_other_shapes_have_the_same_name():
    names = {one({"prompt": "Why?"}).id, one({"messages": ANSWERED}).id, one({"question": "Why?"}).id}

    assert names == {Prompt.of("Why?").id}


def test_what_a_row_says_about_its_prompt_is_kept():
    prompt = one(
        {"question": "2+2?", "answer": 4, "domain": "sums", "stakes": "high", "source": "own", "n": [1]}
    )

    assert (prompt.reference, prompt.domain, prompt.stakes) == ("4", "sums", "high")
    assert prompt.meta == {"source": "own", "n": [1]}


def test_a_prompt_written_out_and_read_again_is_the_same():
    import msgspec

    prompt = Prompt.of("Why?", domain="d", stakes="high", reference="r", meta={"a": 1})

    assert one(msgspec.to_builtins(prompt)) == prompt


def test_columns_say_which_of_theirs_is_which_of_ours():
    prompt = one(
        {"text": "Why?", "gold": "So.", "prompt": "no"}, columns={"prompt": "text", "reference": "gold"}
    )

    assert prompt.messages == WHY
    assert prompt.reference == "So."


def test_a_column_of_ours_that_does_not_exist_is_refused_with_its_nearest():
    with pytest.raises(SettingError, match="Did you mean 'prompt'"):
        one({"text": "Why?"}, columns={"promt": "text"})


@pytest.mark.parametrize(
    ("row", "reason", "ends"),
    [
        ({"promt": "Why?", "label": 1}, "no_prompt", "--columns.prompt promt"),
        ({"text": "Why?"}, "no_prompt", "--columns.prompt text"),
        ({}, "no_prompt", "--columns.prompt ..."),
        ({"prompt": 3}, "not_a_conversation", '[{"role": "user", "content": "..."}]'),
        ({"prompt": []}, "not_a_conversation", '[{"role": "user", "content": "..."}]'),
        ({"prompt": [1]}, "not_a_conversation", '[{"role": "user", "content": "..."}]'),
        ({"prompt": ANSWERED}, "not_a_conversation", "--columns.messages prompt"),
        ({"messages": [{"role": "tool", "content": "4"}]}, "not_a_conversation", "--on_error drop"),
        ({"messages": [{"role": "system", "content": "Be brief."}]}, "not_a_conversation", "--on_error drop"),
        ({"messages": [{"role": "assistant", "content": "So."}]}, "not_a_conversation", "--on_error drop"),
        ({"prompt": [{"role": "user", "content": None}]}, "not_a_conversation", '"content": "..."}]'),
        (
            {"prompt": [{"role": "user", "content": [{"image": "x"}]}]},
            "not_a_conversation",
            '"content": "..."}]',
        ),
        ({"prompt": "Why?", "stakes": "huge"}, "bad_stakes", "or: high"),
        ({"chosen": "So.", "rejected": "No."}, "no_prompt", "--columns.prompt ..."),
        ({"chosen": ASKED, "rejected": ASKED}, "not_a_conversation", "--on_error drop"),
        ({"prompt": "half \ud800"}, "not_utf8", "--on_error drop"),
        ([1, 2], "not_an_object", '{"prompt": "Why is the sky blue?"}'),
    ],
)
def test_a_row_that_is_no_prompt_stops_with_the_next_thing_to_type_or_leaves_by_name(row, reason, ends):
    with pytest.raises(DataError) as error:
        list(load_prompts([row]))
    left: list[Dropped] = []
    kept = list(load_prompts([row, {"prompt": "Why?"}], on_error="drop", dropped=left.append))

    assert str(error.value).startswith("row 1")
    assert str(error.value).endswith(ends)
    assert "\n" not in str(error.value)
    assert [p.messages for p in kept] == [WHY]
    assert [(row.subject_id, row.stage, row.reason) for row in left] == [("row 1", "prompts", reason)]


def test_a_missing_column_is_named_with_its_nearest():
    with pytest.raises(DataError, match=r"no column called 'txt'; there is text\. Did you mean 'text'"):
        one({"text": "Why?"}, columns={"prompt": "txt"})


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": " \n"}, "empty"),
        ({"instruction": "", "input": ""}, "empty"),
        (
            {"chosen": "\n\nHuman: A?\n\nAssistant: So.", "rejected": "\n\nHuman: B?\n\nAssistant: No."},
            "prompts_differ",
        ),
    ],
)
def test_rows_that_hold_nothing_to_ask_leave_by_name_without_stopping(row, reason):
    left: list[Dropped] = []

    assert list(load_prompts([row], dropped=left.append)) == []
    assert [row.reason for row in left] == [reason]
