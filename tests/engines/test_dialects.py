"""What each vendor is sent, and what is read of its replies."""

import json
import math

import pytest
from asking import ask
from hypothesis import given, settings
from hypothesis import strategies as st

from jurist.engines.dialects import ChatCompletions, Messages, Takes, Unreadable
from jurist.engines.engine import ENGINES, Ask, open_engine
from jurist.errors import SettingError
from jurist.records import Message, Usage

TEMPLATE = {"chat_template_kwargs": {"enable_thinking": False}}
NONE, DISABLED = {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}
MAX, LATER = "max_tokens", "max_completion_tokens"
SCHEMA = {"type": "object", "properties": {"verdict": {"type": "string", "enum": ["A", "B"]}}}
SCHEMA |= {"required": ["verdict"], "additionalProperties": False}
NAMED = {"name": "verdict", "strict": True, "schema": SCHEMA}
JSON = {"response_format": {"type": "json_schema", "json_schema": NAMED}}
OUTPUT = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
CHOICE = {"structured_outputs": {"choice": ["A", "B"]}}
# The engine: max_tokens, whether temperature, log-probs and seed; no thinking; a forced label.
SENT = {
    "openai:gpt-4o": (LATER, "tls", {}, JSON),
    "openai:gpt-5-mini": (LATER, "s", {}, JSON),
    "openai:o3": (LATER, "s", {}, JSON),
    "openai:gpt-5.1": (LATER, "ls", NONE, JSON),
    "openai:gpt-5-mini@https://h/v1": (MAX, "tls", TEMPLATE, JSON),
    "azure:gpt-4o@https://h/v1": (LATER, "tls", {}, JSON),
    "gemini:gemini-2.5-flash": (MAX, "t", NONE, JSON),
    "openrouter:a/b": (MAX, "tls", {}, JSON),
    "together:a/b": (MAX, "tls", {}, JSON),
    "fireworks:a/b": (MAX, "tls", NONE, JSON),
    "groq:a": (MAX, "ts", {}, JSON),
    "deepseek:deepseek-chat": (MAX, "tls", DISABLED, {}),
    "vllm:Qwen/Qwen3-8B": (MAX, "tls", TEMPLATE, CHOICE),
    "sglang:m@https://h/v1": (MAX, "tls", TEMPLATE, {"regex": "(A|B)"}),
    "llamacpp:m": (MAX, "tls", TEMPLATE, {"grammar": 'root ::= "A" | "B"'}),
    "ollama:m": (MAX, "tls", NONE, JSON),
    "anthropic:claude-sonnet-4-5": (MAX, "", DISABLED, OUTPUT),
}


assert {spec.partition(":")[0] for spec in SENT} == ENGINES.keys() - {"scripted", "hf", "tiny"}


def sent_by(engine, n=1, **fields):
    return json.loads(engine._dialect.write(ask("?", **fields), n))


@pytest.mark.parametrize("spec", SENT)
def test_each_vendor_is_sent_what_it_takes(spec):
    max_tokens, takes, no_thinking, forced = SENT[spec]
    engine = open_engine(spec)
    asked = {"temperature": 0.5, "top_p": 0.9, "top_logprobs": 5, "seed": 3, "max_tokens": 9}
    asked |= {"labels": ("A", "B")}
    usual = {"model": engine.model, "messages": [{"role": "user", "content": "?"}], max_tokens: 9}
    usual |= {"temperature": 0.5, "top_p": 0.9} if "t" in takes else {}
    usual |= {"logprobs": True, "top_logprobs": 5} if "l" in takes else {}
    usual |= {"seed": 3} if "s" in takes else {}
    usual |= {"provider": {"require_parameters": True}} if spec.startswith("openrouter") else {}

    assert sent_by(engine, **asked, wants="label") == usual
    assert sent_by(engine, **asked, thinking=False) == usual | no_thinking
    assert sent_by(engine, **asked, wants="forced_label") == usual | forced
    assert engine.gives_logprobs == ("l" in takes)
    assert engine.samples_together == (spec.partition(":")[0] not in ("anthropic", "groq", "deepseek"))


def test_settings_of_the_user_come_last_and_are_part_of_the_name():
    extra = {"reasoning_effort": "low", "model": "mine"}
    engine = open_engine({"engine": "vllm:m", "extra": extra})

    assert sent_by(engine, 4, stop=("END",)).items() >= {**extra, "stop": ["END"], "n": 4}.items()
    assert engine.name.startswith("vllm:m+")


VERSION = {"anthropic-version": "2023-06-01"}


@pytest.mark.parametrize(
    ("spec", "name", "url", "headers"),
    [
        ("openai:m", "openai:m", "https://api.openai.com/v1", {"Authorization": "Bearer k"}),
        ("anthropic:m", "anthropic:m", "https://api.anthropic.com/v1", {"x-api-key": "k", **VERSION}),
        ("azure:a/b:c@https://h/v1/", "azure:a/b:c", "https://h/v1", {"api-key": "k"}),
        ("vllm:m@2024@http://h:8/v1?a=2", "vllm:m@2024", "http://h:8/v1?a=2", {"Authorization": "Bearer k"}),
    ],
)
def test_a_name_says_kind_model_and_address_and_the_engine_keeps_the_first_two(spec, name, url, headers):
    engine = open_engine(spec)

    assert (engine.name, engine.url, engine._dialect.headers("k")) == (name, url, headers)
    assert engine.hosted == ("@" not in spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("opnai:gpt-4o", "Did you mean 'openai'"),
        ("gpt-4o", "Write it like openai:gpt-5-mini"),
        ("azure:gpt-4o", "Write azure:gpt-4o@https://RESOURCE.openai.azure.com/openai/v1"),
        ("openai:m@http://me:hunter2@h/v1", "key_env"),
        ("vllm:m@http://h/v1?api_key=hunter2", "key_env"),
        ({"model": "x"}, "There is --engine: VENDOR:MODEL"),
        ({"engine": "openai:m", "timeot": 5}, "Did you mean 'timeout'"),
        ("vllm:m@http://h:99999/v1", "http://localhost:8000/v1"),
        ("vllm:m@127.0.0.1:8000", "Write vllm:m@http://127.0.0.1:8000"),
    ],
)
def test_what_cannot_be_opened_is_refused_with_the_way_out(spec, message):
    with pytest.raises(SettingError) as why:
        open_engine(spec)

    assert message in str(why.value)
    assert "hunter2" not in str(why.value)


def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(monkeypatch):
    for key in ("sk-1\nHost: elsewhere", "sk 1", "\u201csk-1\u201d"):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        with pytest.raises(SettingError, match="Set it again with: export OPENAI_API_KEY=") as why:
            open_engine("openai:gpt-4o")
        assert "sk" not in str(why.value)


CHAT, MESSAGES = ChatCompletions("m", Takes(), {}), Messages("m", Takes(), {})


def chat(message=None, finish="stop", logprobs=None, **fields):
    choice = {"message": {"content": "A"} if message is None else message, "finish_reason": finish}
    body = {"choices": [{**choice, "logprobs": logprobs and {"content": logprobs}}], **fields}
    return CHAT.read(json.dumps(body).encode())[0]


@pytest.mark.parametrize(
    ("message", "finish", "want"),
    [
        ({"content": None, "refusal": "I cannot"}, "stop", ("I cannot", "refused", "")),
        ({"content": ""}, "content_filter", ("", "refused", "")),
        ({"content": "A", "reasoning_content": "hm"}, "length", ("A", "length", "hm")),
        ({"content": "A", "refusal": None, "audio": None}, None, ("A", "stop", "")),
        ({"content": [{"text": "A"}, {"type": "thinking"}], "reasoning": "hm"}, "new", ("A", "stop", "hm")),
        ({}, "stop", ("", "stop", "")),
    ],
)
def test_text_end_and_thinking_of_a_chat_reply(message, finish, want):
    reply = chat(message, finish)

    assert (reply.text, reply.finish, reply.reasoning) == want


DETAILS = {"prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0}}
DETAILS |= {"completion_tokens_details": {"reasoning_tokens": 5}}


@pytest.mark.parametrize(
    ("usage", "want"),
    [
        (None, Usage()),
        ({"prompt_tokens": 10, "completion_tokens": 6, "prompt_cache_hit_tokens": 4}, Usage(10, 4, 6)),
        ({"prompt_tokens": 10, "completion_tokens": None, "prompt_tokens_details": None}, Usage(10)),
        ({"prompt_tokens": 100, "completion_tokens": 9, "total_tokens": 100}, Usage(100, 0, 9)),
        ({"prompt_tokens": 10, "completion_tokens": 6, "total_tokens": 16, **DETAILS}, Usage(10, 4, 6, 5)),
    ],
)
def test_usage_is_read_wherever_it_stands(usage, want):
    assert chat(usage=usage).usage == want


def test_choices_come_back_in_order_and_their_usage_adds_up():
    choices = [{"index": index, "message": {"content": str(index)}} for index in (2, 0, 1)]
    body = {"choices": choices, "usage": {"prompt_tokens": 9, "completion_tokens": 8, **DETAILS}}
    replies = CHAT.read(json.dumps(body).encode())

    assert [reply.text for reply in replies] == ["0", "1", "2"]
    assert sum((reply.usage for reply in replies), Usage()) == Usage(9, 4, 8, 5)


def test_log_probs_that_were_not_reported_are_minus_infinity():
    top = [{"token": "B", "logprob": -9999.0}, {"token": "C", "logprob": None}, {"token": "A", "logprob": 0}]
    (token,) = chat(logprobs=[{"token": "A", "logprob": 0, "top_logprobs": top}]).tokens

    assert dict(token.top) == {"A": 0.0, "B": -math.inf, "C": -math.inf}


@pytest.mark.parametrize(
    ("text", "tokens", "at"),
    [
        ("So: B", ["So", ":", " B"], [0, 2, 3]),
        ("B", ["<think>", "A", " or B", "</think>", "B"], [0]),
        ("Verdict: B", ["B", "?", "\n", "Verdict", ":", " B"], [0, 7, 8]),
        ("B", ["\n", "\n", "B"], [0]),
        ("B is", [" B", " is"], [0, 1]),
        ("So: B", ["So", ":", "ĠB"], [0, 2, 3]),
        ("So: B", ["▁So", ":", "▁B", "</s>"], [0, 2, 3, 5]),
        ("B", ["Ġ", "ĊB"], [0]),
        ("", ["<think>", "A"], [0, 0]),
    ],
)
def test_tokens_have_their_places_in_the_text(text, tokens, at):
    content = [{"token": token, "logprob": -0.1} for token in tokens]
    kept = chat({"content": text}, logprobs=content).tokens

    assert [token.at for token in kept] == at
    assert [token.text for token in kept] == tokens[len(tokens) - len(at) :]


def test_the_anthropic_dialect_both_ways():
    turns = (Message("system", "be fair"), Message("user", "which?"))
    sent = json.loads(MESSAGES.write(Ask(turns, stop=("END",), max_tokens=9, seed=1, top_logprobs=5)))
    content = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "A"}, {"type": "new"}]
    usage = {"input_tokens": 3, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 5}
    said = {"content": content, "stop_reason": "max_tokens", "usage": {**usage, "output_tokens": 6}}
    (reply,) = MESSAGES.read(json.dumps(said).encode())

    assert sent.pop("messages") == [{"role": "user", "content": "which?"}]
    assert sent == {"model": "m", "system": "be fair", "max_tokens": 9, "stop_sequences": ["END"]}
    assert (reply.text, reply.reasoning, reply.finish) == ("A", "hm", "length")
    assert reply.usage == Usage(12, 4, 6)


@pytest.mark.parametrize("dialect", [CHAT, MESSAGES])
@settings(max_examples=20)
@given(body=st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_a_body_that_is_no_reply_is_unreadable_and_nothing_else(dialect, body):
    with pytest.raises(Unreadable):
        dialect.read(body if isinstance(body, bytes) else body.encode())


@pytest.mark.parametrize(
    ("body", "lost"),
    [
        (b"<html>", False),
        (b'{"error": {"message": "overloaded"}}', False),
        (b'{"choices": []}', False),
        (b'{"choices": [], "usage": {"prompt_tokens": 9}}', True),
        (b'{"choices": [{"message": null}], "usage": {"prompt_tokens": 9}}', True),
        (b'{"choices": [{"mess', True),
    ],
)
def test_whether_an_unreadable_reply_may_be_billed(body, lost):
    with pytest.raises(Unreadable) as why:
        CHAT.read(body)
    assert why.value.lost == lost
