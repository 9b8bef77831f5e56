"""The two dialects from the server's side: a request body becomes an Ask, a Reply becomes a response body.

Read as tolerantly as the big servers do: unknown fields are ignored, text may come as a list of parts.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct, ValidationError

from ...errors import CallRefused
from ...records import Message, Usage
from ..engine import Ask, Reply, Token
from ..scripted import guessed_usage

Role = Literal["system", "user", "assistant"]
ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


class Hosted(Struct):
    """What a client wants: which model, what it asks, how many samples."""

    model: str
    ask: Ask
    n: int = 1


class _Part(Struct):
    text: str = ""


class _Said(Struct):
    role: str
    content: str | list[_Part] | None = None


class _Format(Struct):
    """`{"type": "json_schema", "json_schema": {"schema": ...}}`; the other dialect has it one level up."""

    type: str = "text"
    json_schema: dict[str, Any] | None = None
    schema: dict[str, Any] | None = None


class _OutputConfig(Struct):
    format: _Format | None = None


class _Request(Struct):
    """The fields of both dialects together: each leaves the other's empty."""

    model: str
    messages: list[_Said]
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    stop_sequences: list[str] | None = None
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    n: int | None = None
    response_format: _Format | None = None
    output_config: _OutputConfig | None = None
    system: str | list[_Part] | None = None
    stream: bool | None = None


_decode = msgspec.json.Decoder(_Request).decode
_encode = msgspec.json.Encoder().encode


def read_request(body: bytes) -> Hosted:
    """Either dialect's request; `CallRefused` with what is wrong with it."""
    try:
        got = _decode(body)
    except (ValidationError, msgspec.DecodeError) as why:
        raise CallRefused(f"the request is not a chat request: {why}") from None
    if got.stream:
        raise CallRefused("this server does not stream; send the request with stream=false")
    messages = tuple(Message(_role(said.role), _text(said.content)) for said in got.messages)
    if got.system is not None:
        messages = (Message("system", _text(got.system)), *messages)
    stop = got.stop if got.stop is not None else got.stop_sequences
    ask = Ask(
        messages,
        temperature=1.0 if got.temperature is None else got.temperature,
        top_p=1.0 if got.top_p is None else got.top_p,
        max_tokens=got.max_completion_tokens or got.max_tokens or 1024,
        stop=() if stop is None else (stop,) if isinstance(stop, str) else tuple(stop),
        seed=got.seed,
        top_logprobs=(got.top_logprobs or 1) if got.logprobs else 0,
        schema=_schema(got),
    )
    return Hosted(got.model, ask, got.n or 1)


def write_chat(model: str, asked: Ask, replies: list[Reply]) -> bytes:
    """The chat-completions response."""
    usage = _usage_of(asked, replies)
    return _encode(
        {
            "id": f"chatcmpl-{id(replies):x}",
            "object": "chat.completion",
            "created": 0,
            "model": model,
            "choices": [_choice(index, reply, asked) for index, reply in enumerate(replies)],
            "usage": {
                "prompt_tokens": usage.tokens_in,
                "completion_tokens": usage.tokens_out,
                "total_tokens": usage.tokens_in + usage.tokens_out,
                "prompt_tokens_details": {"cached_tokens": usage.cached_in},
                "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
            },
        }
    )


def write_messages(model: str, asked: Ask, reply: Reply) -> bytes:
    """The Anthropic messages response: cached tokens are counted beside the input, not inside it."""
    usage = _usage_of(asked, [reply])
    thinking = [{"type": "thinking", "thinking": reply.reasoning, "signature": ""}] if reply.reasoning else []
    return _encode(
        {
            "id": f"msg_{id(reply):x}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [*thinking, {"type": "text", "text": reply.text}],
            "stop_reason": {"length": "max_tokens", "refused": "refusal"}.get(reply.finish, "end_turn"),
            "usage": {
                "input_tokens": usage.tokens_in - usage.cached_in,
                "cache_read_input_tokens": usage.cached_in,
                "cache_creation_input_tokens": 0,
                "output_tokens": usage.tokens_out,
            },
        }
    )


def write_models(names: list[str]) -> bytes:
    return _encode(
        {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "jurist"} for name in names]}
    )


def write_error(kind: str, message: str) -> bytes:
    return _encode({"type": "error", "error": {"type": kind, "code": kind, "message": message}})


def _usage_of(asked: Ask, replies: list[Reply]) -> Usage:
    """The prompt is read once for all samples; what is written adds up."""
    each = [guessed_usage(asked, reply) if reply.usage == Usage() else reply.usage for reply in replies]
    return Usage(
        each[0].tokens_in,
        each[0].cached_in,
        sum(usage.tokens_out for usage in each),
        sum(usage.reasoning for usage in each),
    )


def _choice(index: int, reply: Reply, asked: Ask) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    finish = "content_filter" if reply.finish == "refused" else reply.finish
    logprobs = None
    if asked.top_logprobs and reply.tokens:
        logprobs = {"content": [_token(token, asked.top_logprobs) for token in reply.tokens]}
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish}


def _token(token: Token, top: int) -> dict[str, Any]:
    return {
        "token": token.text,
        "logprob": token.logprob,
        "bytes": list(token.text.encode()),
        "top_logprobs": [
            {"token": text, "logprob": logprob, "bytes": list(text.encode())}
            for text, logprob in token.top[:top]
        ],
    }


def _role(role: str) -> Role:
    if role not in ROLES:
        raise CallRefused(f"no turns of role '{role}' here; there is {', '.join(ROLES)}")
    return ROLES[role]


def _text(content: str | list[_Part] | None) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.text for part in content or ())


def _schema(got: _Request) -> dict[str, Any] | None:
    if got.response_format is not None and got.response_format.json_schema is not None:
        schema = got.response_format.json_schema.get("schema")
        return schema if isinstance(schema, dict) else None
    if got.output_config is not None and got.output_config.format is not None:
        return got.output_config.format.schema
    return None
