"""How servers want to be asked and how they answer: OpenAI's chat completions, and Anthropic's messages.

A dialect turns an `Ask` into the body of a request and the body of a response into replies.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ..records import Usage
from .engine import Ask, Reply, Token

FEWER_LOGPROBS: Final = 5
"""What some servers take at most; `top_logprobs` refused for its size is asked for once more with this."""
Constraint = Literal["choice", "regex", "grammar", "json", ""]
"""How a server is told to write nothing but a label."""


class Unreadable(Exception):
    """A 200 whose body is not a reply; `lost`: it was one and came damaged, so it may be billed."""

    def __init__(self, message: str, lost: bool) -> None:
        super().__init__(message)
        self.lost = lost


class Takes(Struct, frozen=True, kw_only=True):
    """What a server takes, as far as it is known beforehand."""

    constraint: Constraint = "json"
    no_thinking: dict[str, Any] = {}
    """Merged into a request whose model is told not to think."""
    n: bool = True
    """Several samples in one request."""
    seed: bool = True
    temperature: bool = True
    logprobs: bool = True
    max_tokens: str = "max_tokens"
    key_header: str = "Authorization"


class ChatCompletions:
    """`POST /chat/completions`, as OpenAI, vLLM, SGLang, llama.cpp, Ollama and most gateways speak it."""

    path = "/chat/completions"

    def __init__(self, model: str, takes: Takes, extra: Mapping[str, Any]) -> None:
        self.model, self.takes, self._extra = model, takes, dict(extra)

    def headers(self, key: str) -> dict[str, str]:
        header = self.takes.key_header
        return {header: f"Bearer {key}" if header == "Authorization" else key} if key else {}

    def write(self, ask: Ask, n: int = 1, refused: Collection[str] = ()) -> bytes:
        """The request, without the parameters that this server has refused."""
        takes = self.takes
        request: dict[str, Any] = {"model": self.model, "messages": ask.messages}
        max_tokens = takes.max_tokens
        if max_tokens in refused:
            max_tokens = {"max_tokens": "max_completion_tokens"}.get(max_tokens, "max_tokens")
        request[max_tokens] = ask.max_tokens
        if takes.temperature:
            request["temperature"] = ask.temperature
            if ask.top_p != 1.0:
                request["top_p"] = ask.top_p
        if ask.stop:
            request["stop"] = ask.stop
        if ask.seed is not None and takes.seed:
            request["seed"] = ask.seed
        if n > 1:
            request["n"] = n
        if ask.top_logprobs and takes.logprobs and "logprobs" not in refused:
            most = min(ask.top_logprobs, FEWER_LOGPROBS if "top_logprobs" in refused else 99)
            request |= {"logprobs": True, "top_logprobs": most}
        if not ask.thinking:
            request |= takes.no_thinking
        if ask.wants == "forced_label":
            request |= _constraint(takes.constraint, ask.labels)
        request |= self._extra
        if refused:
            kept = self._extra.keys() | {"model", "messages", max_tokens, "top_logprobs"}
            request = {name: value for name, value in request.items() if name in kept or name not in refused}
        return _encode(request)

    def read(self, body: bytes) -> list[Reply]:
        """One reply per choice, in their order."""
        got: _Chat = _decoded(body, _chat)
        if not got.choices:
            raise Unreadable("the response has no choices", lost=got.usage is not None)
        choices = sorted(got.choices, key=lambda choice: choice.index)
        usages = split_usage(_chat_usage(got.usage or _ChatUsage()), len(choices))
        return [_chat_reply(*one) for one in zip(choices, usages, strict=True)]


def _constraint(kind: Constraint, labels: tuple[str, ...]) -> dict[str, Any]:
    schema = {"name": "verdict", "strict": True, "schema": verdict_schema(labels)}
    ways: dict[Constraint, dict[str, Any]] = {
        "choice": {"structured_outputs": {"choice": labels}},
        "regex": {"regex": f"({'|'.join(map(re.escape, labels))})"},
        "grammar": {"grammar": "root ::= " + " | ".join(_encode(label).decode() for label in labels)},
        "json": {"response_format": {"type": "json_schema", "json_schema": schema}},
        "": {},
    }
    return ways[kind]


def verdict_schema(labels: tuple[str, ...]) -> dict[str, Any]:
    """`{"verdict": "A"}`: a bare enum would let some servers write white space without end."""
    return {
        "type": "object",
        "properties": {"verdict": {"type": "string", "enum": labels}},
        "required": ["verdict"],
        "additionalProperties": False,
    }


class _Top(Struct):
    token: str
    logprob: float | None = None


class _Token(_Top):
    top_logprobs: list[_Top] | None = None


class _Logprobs(Struct):
    content: list[_Token] | None = None


class _Message(Struct):
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # the same field, on OpenRouter and in newer vLLM


class _Choice(Struct):
    message: _Message
    index: int = 0
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Details(Struct):
    cached_tokens: float | None = None
    reasoning_tokens: float | None = None


class _ChatUsage(Struct):
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    total_tokens: float | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: float | None = None  # DeepSeek's place for the cached tokens


class _Chat(Struct):
    choices: list[_Choice]
    usage: _ChatUsage | None = None


_encode = msgspec.json.Encoder().encode
_chat = msgspec.json.Decoder(_Chat).decode


def _decoded(body: bytes, decode: Any) -> Any:
    try:
        return decode(body)
    except msgspec.ValidationError:
        lost = (
            b'"usage"' in body
        )  # an error object was no reply; one with a part that we cannot read is billed
    except (msgspec.DecodeError, UnicodeDecodeError):
        lost = body.lstrip()[:1] == b"{"  # JSON that stops in the middle was a reply; a web page never was
    lines = body[:1000].decode("utf-8", "replace").strip().splitlines()
    raise Unreadable(f"{lines[0][:200]!r}" if lines else "an empty body", lost)


def split_usage(usage: Usage, n: int) -> list[Usage]:
    """One usage over n samples, adding up to it: the prompt was read once, the writing is split evenly."""
    if n == 1:
        return [usage]
    out, out_left = divmod(usage.tokens_out, n)
    thought, thought_left = divmod(usage.reasoning, n)
    first = replace(usage, tokens_out=out + out_left, reasoning=thought + thought_left)
    return [first, *[Usage(0, 0, out, thought)] * (n - 1)]


def _chat_usage(got: _ChatUsage) -> Usage:
    read, written = got.prompt_tokens_details, got.completion_tokens_details or _Details()
    cached = read.cached_tokens if read is not None else got.prompt_cache_hit_tokens
    prompt = int(got.prompt_tokens or 0)
    # Some vendors bill thinking that they leave out of `completion_tokens`; the total has it.
    out = max(int(got.completion_tokens or 0), int(got.total_tokens or 0) - prompt)
    return Usage(prompt, int(cached or 0), out, int(written.reasoning_tokens or 0))


def _chat_reply(choice: _Choice, usage: Usage) -> Reply:
    message = choice.message
    text = message.content
    if not isinstance(text, str):
        text = "".join(str(part.get("text") or "") for part in text or ())
    finish = {"length": "length", "content_filter": "refused"}.get(choice.finish_reason or "", "stop")
    if message.refusal:
        text, finish = text or message.refusal, "refused"
    content = choice.logprobs.content if choice.logprobs is not None else None
    reasoning = message.reasoning_content or message.reasoning or ""
    return Reply(text, finish, _tokens(text, content or ()), reasoning, usage)


def _tokens(text: str, content: Collection[_Token]) -> tuple[Token, ...]:
    """Tokens with their places in the text; those of hidden thinking, which the text lacks, are left out."""
    if not content:
        return ()
    pieces = [one.token for one in content]
    joined = "".join(pieces)
    # Servers may strip the text of its ends, or show a tokenizer's own signs for white space.
    at = -joined.rfind(text) if text and text in joined else None
    if at is None:
        pieces = [piece.translate(SPACES) for piece in pieces]
        body = text.strip()
        found = "".join(pieces).rfind(body)
        # Where signs of several tokens come in pieces that do not join, the end of the text is what fits.
        at = text.find(body) - found if body and found >= 0 else len(text) - len("".join(pieces))
    tokens = []
    for one, piece in zip(content, pieces, strict=True):
        if at + len(piece) > 0 or not text:
            top = tuple([(other.token, _logprob(other.logprob)) for other in one.top_logprobs or ()])
            tokens.append(Token(one.token, _logprob(one.logprob), top, max(at, 0)))
        at += len(piece)
    return tuple(tokens)


SPACES: Final = str.maketrans({"Ġ": " ", "▁": " ", "Ċ": "\n"})
"""How tokenizers write white space where a server passes their tokens on as they are."""


def _logprob(value: float | None) -> float:
    """Null is how some servers write minus infinity; OpenAI's -9999 means that it was not reported."""
    return float("-inf") if value is None or value <= -9999 else value


class Messages(ChatCompletions):
    """Anthropic's `POST /messages`: no log-probs, no `n`, no seed, no temperature."""

    path = "/messages"

    def headers(self, key: str) -> dict[str, str]:
        version = {"anthropic-version": "2023-06-01"}
        return {**version, "x-api-key": key} if key else version

    def write(self, ask: Ask, n: int = 1, refused: Collection[str] = ()) -> bytes:
        system = "\n\n".join(message.content for message in ask.messages if message.role == "system")
        turns = [message for message in ask.messages if message.role != "system"]
        request: dict[str, Any] = {"model": self.model, "messages": turns, "max_tokens": ask.max_tokens}
        if system:
            request["system"] = system
        if ask.stop:
            request["stop_sequences"] = ask.stop
        if not ask.thinking:
            request["thinking"] = {"type": "disabled"}
        if ask.wants == "forced_label":
            schema = {"type": "json_schema", "schema": verdict_schema(ask.labels)}
            request["output_config"] = {"format": schema}
        request |= self._extra
        return _encode({name: value for name, value in request.items() if name not in refused})

    def read(self, body: bytes) -> list[Reply]:
        got: _MessagesResponse = _decoded(body, _messages)
        text, thought = (
            "".join(str(block.get(kind) or "") for block in got.content if block.get("type") == kind)
            for kind in ("text", "thinking")
        )
        cut_off = got.stop_reason in ("max_tokens", "model_context_window_exceeded")
        finish = "length" if cut_off else "refused" if got.stop_reason == "refusal" else "stop"
        used = got.usage or _MessagesUsage()
        # `input_tokens` leaves out what came from or went into the cache; ours counts all that was read.
        cached = int(used.cache_read_input_tokens or 0)
        read = int(used.input_tokens or 0) + int(used.cache_creation_input_tokens or 0) + cached
        return [Reply(text, finish, (), thought, Usage(read, cached, int(used.output_tokens or 0)))]


class _MessagesUsage(Struct):
    input_tokens: float | None = None
    cache_read_input_tokens: float | None = None
    cache_creation_input_tokens: float | None = None
    output_tokens: float | None = None


class _MessagesResponse(Struct):
    content: list[dict[str, Any]]
    stop_reason: str | None = None
    usage: _MessagesUsage | None = None


_messages = msgspec.json.Decoder(_MessagesResponse).decode
