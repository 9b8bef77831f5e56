"""Anthropic's messages: the system turn stands apart, no log-probs, no `n`, no seed."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ...records import Message, Usage
from ..engine import Ask, Reply
from . import Quirks, Unreadable

VERSION = "2023-06-01"
FINISH = {"max_tokens": "length", "model_context_window_exceeded": "length", "refusal": "refused"}


class Messages:
    """`POST /messages`."""

    path = "/messages"
    key_env = "ANTHROPIC_API_KEY"

    def __init__(self, model: str, quirks: Quirks) -> None:
        self.quirks = replace(quirks, gives_logprobs=False, draws_many=False)
        self._model = model

    def headers(self, key: str) -> dict[str, str]:
        version = {"anthropic-version": VERSION}
        return {**version, "x-api-key": key} if key else version

    def write(self, ask: Ask, n: int = 1) -> bytes:
        quirks = self.quirks
        system = "\n\n".join(message.content for message in ask.messages if message.role == "system")
        turns = [message for message in ask.messages if message.role != "system"]
        request = _Request(self._model, turns, ask.max_tokens, system=system or None)
        if quirks.sends_temperature:
            request.temperature = ask.temperature
            request.top_p = None if ask.top_p == 1.0 else ask.top_p
        if ask.stop:
            request.stop_sequences = ask.stop
        if ask.schema is not None:
            request.output_config = {"format": {"type": "json_schema", "schema": ask.schema}}
        if quirks.extra:
            return _encode({**msgspec.to_builtins(request), **quirks.extra})
        return _encode(request)

    def read(self, body: bytes) -> list[Reply]:
        try:
            got = _decode(body)
        except (msgspec.ValidationError, msgspec.DecodeError) as why:
            raise Unreadable(str(why)) from None
        text = "".join(block.text or "" for block in got.content if block.type == "text")
        thought = "".join(block.thinking or "" for block in got.content if block.type == "thinking")
        finish = FINISH.get(got.stop_reason or "", "stop")
        return [Reply(text, finish, (), thought, _usage(got.usage))]


class _Request(Struct, omit_defaults=True):
    model: str
    messages: list[Message]
    max_tokens: int
    system: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: tuple[str, ...] | None = None
    output_config: dict[str, Any] | None = None


class _Block(Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None


class _Usage(Struct):
    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens: int | None = None


class _Response(Struct):
    content: list[_Block]
    stop_reason: str | None = None
    usage: _Usage | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Response).decode


def _usage(got: _Usage | None) -> Usage:
    """`input_tokens` leaves out what came from or went into the cache; ours counts all that was read.

    Thinking is billed inside `output_tokens` and not reported apart, so `reasoning` stays 0.
    """
    if got is None:
        return Usage()
    cached = got.cache_read_input_tokens or 0
    read = (got.input_tokens or 0) + (got.cache_creation_input_tokens or 0) + cached
    return Usage(read, cached, got.output_tokens or 0)
