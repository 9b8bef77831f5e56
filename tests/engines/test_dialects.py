"""Both dialects, from Ask to bytes and from bytes to Reply."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurist.engines.dialects import Quirks, Unreadable
from jurist.engines.dialects.anthropic import Messages
from jurist.engines.dialects.hosting import read_request, write_chat, write_messages
from jurist.engines.dialects.openai import ChatCompletions, shared
from jurist.engines.engine import Ask, Reply, Token
from jurist.records import Message, Usage

TURNS = (Message("system", "be fair"), Message("user", "which?"))
CHAT = ChatCompletions("m", Quirks())


def chat(message, finish="stop", **fields):
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}], **fields}).encode()


@pytest.mark.parametrize("dialect", [ChatCompletions("m", Quirks()), Messages("m", Quirks())])
def test_what_is_asked_arrives_at_the_other_end(dialect):
    asked = Ask(TURNS, temperature=0.25, top_p=0.5, max_tokens=9, stop=("END",), schema={"type": "object"})

    got = read_request(dialect.write(asked))

    assert got.model == "m"
    assert got.ask == asked


def test_chat_also_carries_seed_logprobs_and_n():
    asked = Ask(TURNS, seed=5, top_logprobs=3)

    got = read_request(CHAT.write(asked, n=4))

    assert (got.ask.seed, got.ask.top_logprobs, got.n) == (5, 3, 4)


def test_a_chat_reply_survives_the_way_there_and_back():
    reply = Reply(
        "A", "length", (Token("A", -0.1, (("A", -0.1), ("B", -2.5))),), "I thought", Usage(10, 4, 6, 5)
    )
    asked = Ask(TURNS, top_logprobs=2)

    assert CHAT.read(write_chat("m", asked, [reply])) == [reply]


def test_an_anthropic_reply_survives_the_way_there_and_back():
    reply = Reply("A", "refused", (), "I thought", Usage(10, 4, 6))

    assert Messages("m", Quirks()).read(write_messages("m", Ask(TURNS), reply)) == [reply]


def test_anthropic_sets_the_system_turn_apart_and_never_asks_for_logprobs():
    dialect = Messages("m", Quirks())
    sent = json.loads(dialect.write(Ask(TURNS, top_logprobs=5, seed=1), n=3))

    assert sent["system"] == "be fair"
    assert sent["messages"] == [{"role": "user", "content": "which?"}]
    assert not {"logprobs", "top_logprobs", "seed", "n"} & set(sent)
    assert not dialect.quirks.gives_logprobs
    assert not dialect.quirks.draws_many


def test_quirks_change_the_request_and_nothing_else():
    quirks = Quirks("max_completion_tokens", False, False, extra={"top_k": 5, "model": "mine"})
    sent = json.loads(ChatCompletions("m", quirks).write(Ask(TURNS, max_tokens=9, top_logprobs=5)))

    assert sent == {
        "model": "mine",
        "messages": [{"role": "system", "content": "be fair"}, {"role": "user", "content": "which?"}],
        "max_completion_tokens": 9,
        "top_k": 5,
    }


def test_temperature_zero_is_sent_and_not_left_to_the_server():
    assert json.loads(CHAT.write(Ask(TURNS)))["temperature"] == 0.0


@pytest.mark.parametrize(
    ("message", "finish", "text", "want"),
    [
        ({"content": None, "refusal": "I cannot"}, "stop", "I cannot", "refused"),
        ({"content": ""}, "content_filter", "", "refused"),
        ({"content": "A"}, "length", "A", "length"),
        ({"content": "A"}, None, "A", "stop"),
        ({"content": "A", "refusal": None, "audio": None}, "something new", "A", "stop"),
        ({"content": [{"type": "text", "text": "A"}, {"type": "thinking"}]}, "stop", "A", "stop"),
        ({}, "stop", "", "stop"),
    ],
)
def test_how_a_reply_ended_is_told_from_finish_and_refusal(message, finish, text, want):
    (reply,) = CHAT.read(chat(message, finish))

    assert (reply.text, reply.finish) == (text, want)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_reported_apart_is_kept_apart(field):
    assert CHAT.read(chat({"content": "A", field: "hm"}))[0].reasoning == "hm"


def test_usage_is_read_wherever_it_stands_and_may_be_missing():
    full = {
        "prompt_tokens": 10,
        "completion_tokens": 6,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    deepseek = {"prompt_tokens": 10, "completion_tokens": 6, "prompt_cache_hit_tokens": 4}
    nulls = {"prompt_tokens": 10, "completion_tokens": None, "prompt_tokens_details": None}

    assert CHAT.read(chat({"content": ""}, usage=full))[0].usage == Usage(10, 4, 6, 5)
    assert CHAT.read(chat({"content": ""}, usage=deepseek))[0].usage == Usage(10, 4, 6)
    assert CHAT.read(chat({"content": ""}, usage=nulls))[0].usage == Usage(10)
    assert CHAT.read(chat({"content": ""}, usage=None))[0].usage == Usage()


def test_choices_come_back_in_order_and_their_usage_adds_up():
    choices = [{"index": index, "message": {"content": str(index)}} for index in (2, 0, 1)]
    body = json.dumps({"choices": choices, "usage": {"prompt_tokens": 9, "completion_tokens": 8}})
    replies = CHAT.read(body.encode())

    assert [reply.text for reply in replies] == ["0", "1", "2"]
    assert sum((reply.usage for reply in replies), Usage()) == Usage(9, 0, 8)


@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 20))
def test_shared_usage_always_adds_up(out, thought, n):
    usage = Usage(7, 3, out, thought)

    assert sum(shared(usage, n), Usage()) == usage


def test_a_logprob_of_null_is_as_good_as_impossible():
    content = [{"token": "A", "logprob": 0, "top_logprobs": [{"token": "B", "logprob": None}]}]
    body = json.dumps({"choices": [{"message": {"content": "A"}, "logprobs": {"content": content}}]})

    assert CHAT.read(body.encode())[0].tokens == (Token("A", 0.0, (("B", -9999.0),)),)


@pytest.mark.parametrize("dialect", [CHAT, Messages("m", Quirks())])
@settings(max_examples=30)
@given(body=st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_a_body_that_is_no_reply_is_unreadable_and_nothing_else(dialect, body):
    with pytest.raises(Unreadable):
        dialect.read(body if isinstance(body, bytes) else body.encode())


def test_a_reply_without_choices_is_unreadable():
    with pytest.raises(Unreadable, match="no choices"):
        CHAT.read(b'{"choices": []}')
