"""Chat completions as OpenAI, vLLM, SGLang, llama.cpp, Ollama and most gateways speak it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ...records import Message, Usage
from ..engine import Ask, Reply, Token
from . import Quirks, Unreadable

FINISH = {"length": "length", "content_filter": "refused"}


class ChatCompletions:
    """`POST /chat/completions`."""

    path = "/chat/completions"
    key_env = "OPENAI_API_KEY"

    def __init__(self, model: str, quirks: Quirks) -> None:
        self.quirks = quirks
        self._model = model

    def headers(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"} if key else {}

    def write(self, ask: Ask, n: int = 1) -> bytes:
        quirks = self.quirks
        request = _Request(self._model, ask.messages, n=None if n == 1 else n, seed=ask.seed)
        if quirks.sends_temperature:
            request.temperature = ask.temperature
            request.top_p = None if ask.top_p == 1.0 else ask.top_p
        if quirks.max_tokens_name == "max_tokens":
            request.max_tokens = ask.max_tokens
        else:
            request.max_completion_tokens = ask.max_tokens
        if ask.stop:
            request.stop = ask.stop
        if ask.top_logprobs and quirks.gives_logprobs:
            request.logprobs, request.top_logprobs = True, ask.top_logprobs
        if ask.schema is not None:
            schema = {"name": "reply", "strict": True, "schema": ask.schema}
            request.response_format = {"type": "json_schema", "json_schema": schema}
        if quirks.extra:
            return _encode({**msgspec.to_builtins(request), **quirks.extra})
        return _encode(request)

    def read(self, body: bytes) -> list[Reply]:
        try:
            got = _decode(body)
        except (msgspec.ValidationError, msgspec.DecodeError) as why:
            raise Unreadable(str(why)) from None
        if not got.choices:
            raise Unreadable("the reply has no choices")
        usage = _usage(got.usage)
        if len(got.choices) == 1:
            return [_reply(got.choices[0], usage)]
        choices = sorted(got.choices, key=lambda choice: choice.index)
        return [
            _reply(choice, part) for choice, part in zip(choices, shared(usage, len(choices)), strict=True)
        ]


class _Request(Struct, omit_defaults=True):
    model: str
    messages: tuple[Message, ...]
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: dict[str, Any] | None = None


class _Top(Struct):
    token: str
    logprob: float | None = None


class _Token(Struct):
    token: str
    logprob: float | None = None
    top_logprobs: list[_Top] | None = None


class _Logprobs(Struct):
    content: list[_Token] | None = None


class _Part(Struct):
    text: str | None = None


class _Message(Struct):
    content: str | list[_Part] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    """The newer name of the same field, on OpenRouter and in vLLM."""


class _Choice(Struct):
    message: _Message
    index: int = 0
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _ReadDetails(Struct):
    cached_tokens: int | None = None


class _WrittenDetails(Struct):
    reasoning_tokens: int | None = None


class _Usage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _ReadDetails | None = None
    completion_tokens_details: _WrittenDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    """DeepSeek's place for the cached tokens."""


class _Response(Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Response).decode


def shared(usage: Usage, n: int) -> list[Usage]:
    """One usage over n samples, adding up to it: the prompt was read once, the writing is split evenly."""
    out, out_left = divmod(usage.tokens_out, n)
    thought, thought_left = divmod(usage.reasoning, n)
    each = Usage(0, 0, out, thought)
    first = replace(usage, tokens_out=out + out_left, reasoning=thought + thought_left)
    return [first, *[each] * (n - 1)]


def _usage(got: _Usage | None) -> Usage:
    if got is None:
        return Usage()
    read, written = got.prompt_tokens_details, got.completion_tokens_details
    cached = read.cached_tokens if read is not None else got.prompt_cache_hit_tokens
    return Usage(
        got.prompt_tokens or 0,
        cached or 0,
        got.completion_tokens or 0,
        (written.reasoning_tokens or 0) if written is not None else 0,
    )


def _reply(choice: _Choice, usage: Usage) -> Reply:
    message = choice.message
    text = message.content
    if not isinstance(text, str):
        text = "".join(part.text or "" for part in text or ())
    finish = FINISH.get(choice.finish_reason or "stop", "stop")
    if message.refusal:
        text, finish = text or message.refusal, "refused"
    tokens: tuple[Token, ...] = ()
    if choice.logprobs is not None and choice.logprobs.content:
        tokens = tuple([_token(token) for token in choice.logprobs.content])
    return Reply(text, finish, tokens, message.reasoning_content or message.reasoning or "", usage)


def _token(got: _Token) -> Token:
    top = got.top_logprobs or ()
    return Token(got.token, _number(got.logprob), tuple([(one.token, _number(one.logprob)) for one in top]))


def _number(logprob: float | None) -> float:
    """Null is how some servers write minus infinity, which JSON lacks; OpenAI writes -9999."""
    return -9999.0 if logprob is None else logprob
