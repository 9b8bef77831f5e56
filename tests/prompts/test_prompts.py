"""The shapes of prompts, and which prompts are left out."""

import msgspec
import pytest

from jurist.errors import DataError, SettingError
from jurist.prompts import load_prompts
from jurist.prompts.load import split_of
from jurist.records import Message, Prompt, content_id

ASKED = [{"role": "user", "content": "Why?"}]
ANSWERED = [*ASKED, {"role": "assistant", "content": "Because."}]
SYSTEM = [{"role": "system", "content": "Be brief."}, *ASKED]
WHY = (Message("user", "Why?"),)
BRIEF = (Message("system", "Be brief."), *WHY)
HH = [f"\n\nHuman: Why?\n\nAssistant: {answer}." for answer in ("So", "No")]


def one(row, **settings):
    (prompt,) = load_prompts([row], **settings)
    return prompt


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        ({"prompt": "Why?"}, WHY),
        ({"prompt": SYSTEM}, BRIEF),
        ({"prompt": "Why?", "system": "Be brief."}, BRIEF),
        ({"prompt": "\n\nHuman: Why?\n\nAssistant:"}, WHY),
        ({"messages": ANSWERED}, WHY),
        ({"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]}, WHY),
        ({"instruction": "Why?", "input": ""}, WHY),
        ({"instruction": "Sort:", "input": "3 1 2"}, (Message("user", "Sort:\n\n3 1 2"),)),
        ({"question": "Why?"}, WHY),
        ({"chosen": HH[0], "rejected": HH[1]}, WHY),
        ({"chosen": ANSWERED, "rejected": [*ASKED, {"role": "assistant", "content": "No."}]}, WHY),
        ({"prompt": [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}]}, WHY),
    ],
)
def test_a_known_shape_becomes_the_conversation_that_awaits_an_answer(row, messages):
    assert one(row).messages == messages
    assert one(row).id == Prompt.of(messages).id


def test_what_a_row_says_about_its_prompt_is_kept():
    row = {"question": "2+2?", "answer": 4, "domain": "sums", "stakes": "high", "source": "own", "n": [1]}
    prompt = one(row)

    assert (prompt.reference, prompt.domain, prompt.stakes) == ("4", "sums", "high")
    assert prompt.meta == {"source": "own", "n": [1]}
    assert one(msgspec.to_builtins(prompt)) == prompt  # written out and read again


def test_columns_say_which_of_theirs_is_which_of_ours():
    row = {"text": "Why?", "gold": "So.", "prompt": "no"}
    prompt = one(row, columns={"prompt": "text", "reference": "gold"})

    assert (prompt.messages, prompt.reference) == (WHY, "So.")
    with pytest.raises(DataError, match=r"no column called 'txt'; .*Did you mean 'text'"):
        one({"text": "Why?"}, columns={"prompt": "txt"})
    with pytest.raises(SettingError, match="Did you mean 'prompt'"):
        one({"text": "Why?"}, columns={"promt": "text"})


@pytest.mark.parametrize(
    ("row", "reason", "ends"),
    [
        ({"dataset": "a", "input": "Why?", "output_1": "It is so."}, "no_prompt", "--columns.prompt input"),
        ({"my question?": "Why?", "id": "7"}, "no_prompt", "--columns.prompt 'my question?'"),
        ({}, "no_prompt", "--columns.prompt ..."),
        ({"prompt": 3}, "not_a_conversation", "--on_error drop"),
        (
            {"prompt": [{"role": "user", "content": [{"image": "x"}]}]},
            "not_a_conversation",
            "--on_error drop",
        ),
        ({"prompt": ANSWERED}, "not_a_conversation", "--columns.messages prompt"),
        ({"messages": [{"role": "tool", "content": "4"}]}, "not_a_conversation", "--on_error drop"),
        ({"messages": [{"role": "assistant", "content": "So."}]}, "not_a_conversation", "--on_error drop"),
        ({"chosen": [*ASKED, *ASKED], "rejected": ANSWERED}, "not_a_conversation", "--on_error drop"),
        ({"prompt": "Why?", "stakes": "huge"}, "bad_stakes", "or: high"),
        ({"prompt": "half \ud800"}, "not_utf8", "--on_error drop"),
        ([1, 2], "not_an_object", '{"prompt": "Why is the sky blue?"}'),
    ],
)
def test_a_row_that_is_no_prompt_stops_with_what_to_type_or_is_dropped(row, reason, ends):
    with pytest.raises(DataError) as error:
        list(load_prompts([row]))
    left = []
    kept = list(load_prompts([row, {"prompt": "Why?"}], on_error="drop", dropped=left.append))

    assert str(error.value).startswith("row 1")
    assert str(error.value).endswith(ends)
    assert "\n" not in str(error.value)
    assert [p.messages for p in kept] == [WHY]
    assert [(row.subject_id, row.kind) for row in left] == [("row 1", f"prompts: {reason}")]


def test_rows_that_hold_nothing_to_ask_are_dropped_without_stopping():
    left = []
    rows = [{"prompt": " \n"}, {"chosen": HH[0], "rejected": HH[1].replace("Why", "How")}]

    assert list(load_prompts(rows, dropped=left.append)) == []
    assert [row.reason for row in left] == ["empty", "prompts_differ"]


def test_a_prompt_that_shares_thirteen_words_with_a_test_item_is_dropped():
    text = "the quick brown fox jumps over the lazy dog and runs far away from the very old barn"
    words = text.split()
    held = [f"Tell me: {' '.join(words[1:14]).upper()}", "What is 2+2?"]
    free = [f"Tell me: {' '.join(words[1:13])} or not?", "What is 2+2, and why is it not 5?"]
    left = []
    items = [[" ".join(words[:15])], [{"question": "What is 2+2?"}]]
    kept = list(load_prompts([*held, *free], benchmarks=items, dropped=left.append))

    assert [prompt.messages[-1].content for prompt in kept] == free
    assert [(row.subject_id, row.reason) for row in left] == [
        (Prompt.of(text).id, "contaminated") for text in held
    ]
    assert left[0].detail == " ".join(words[1:14])


def test_a_prompt_never_changes_sides():
    ids = [content_id("prompt", i) for i in range(2_000)]
    share = sum(split_of(id, 0.05) == "test" for id in ids) / len(ids)

    assert abs(share - 0.05) < 0.02
    assert all(split_of(id, 0.1) == "test" for id in ids if split_of(id, 0.05) == "test")
    assert {split_of(id, 0.0) for id in ids} == {"train"}
