"""What a server does with a request: count it, spoil it if planned, ask the function, write the reply."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b
from inspect import isawaitable
from typing import Any

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from ..errors import CallRefused, EngineError, SettingError, nearest
from .dialects.hosting import Hosted, read_request, write_chat, write_error, write_messages, write_models
from .engine import Ask, Reply
from .faults import Fate, Faults
from .listen import Connection, Slot, http

Said = str | Reply
Answer = Callable[[Ask], "Said | Awaitable[Said]"]
Latency = float | Callable[[int], float]
"""Seconds before each answer; or a function from the requests in flight to them: a server that saturates."""


class UnknownModel(SettingError):
    """The request names a model that nobody here answers for."""


class Stats(Struct):
    """What the server saw."""

    calls: int = 0
    """Questions that arrived, faulted or not."""
    faults: Counter[str] = field(default_factory=Counter)
    seen: Counter[bytes] = field(default_factory=Counter)
    """Arrivals by hash of the body."""
    answered: Counter[bytes] = field(default_factory=Counter)
    """Proper replies by hash of the body."""
    in_flight: int = 0
    most_in_flight: int = 0

    def summary(self) -> dict[str, Any]:
        """The counts alone, as `GET /stats` tells them."""
        return {
            "calls": self.calls,
            "faults": dict(self.faults),
            "distinct": len(self.seen),
            "repeats": self.calls - len(self.seen) if self.seen else 0,
            "answered": self.answered.total(),
            "answered_again": self.answered.total() - len(self.answered),
            "most_in_flight": self.most_in_flight,
        }


class Order(Struct):
    """One request on its way to a reply."""

    slot: Slot
    wait: float
    kind: str
    """The fault planned for it, if any."""
    key: bytes
    messages: bool
    """Asked in the Anthropic dialect."""
    hosted: Hosted


class Desk:
    """What the connections of one server share: the function, the faults and the counts."""

    def __init__(
        self,
        answer: Answer | Mapping[str, Answer],
        latency: Latency,
        faults: Faults | None,
        raw: bytes | None,
    ) -> None:
        self.answers = answer if isinstance(answer, Mapping) else None
        self.answer = None if isinstance(answer, Mapping) else answer
        self.latency = latency
        self.retry_after = faults.retry_after if faults else 0.0
        self.fate = Fate(faults) if faults else None
        self.raw = None if raw is None else http(200, raw)
        self.stats = Stats()
        self.open: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()

    def take(self, slot: Slot, method: bytes, path: bytes, body: bytes) -> None:
        """Answer one request into its slot, now or later."""
        messages = path.endswith(b"/messages")
        if method != b"POST" or not (messages or path.endswith(b"/chat/completions")):
            slot.give(self._get(path))
            return
        stats = self.stats
        stats.calls += 1
        stats.in_flight += 1
        if stats.in_flight > stats.most_in_flight:
            stats.most_in_flight = stats.in_flight
        wait = self.latency(stats.in_flight) if callable(self.latency) else self.latency
        if self.raw is not None:
            self._later(wait, slot, self.raw)
            return
        key = blake2b(body, digest_size=16).digest()
        stats.seen[key] += 1
        kind = self.fate.draw(body) if self.fate else ""
        if kind:
            stats.faults[kind] += 1
            if kind not in ("malformed", "truncated"):
                self._spoil(kind, wait, slot)
                return
        try:
            order = Order(slot, wait, kind, key, messages, read_request(body))
            said = self._ask(order)
        except Exception as why:
            self._later(wait, slot, http(*_mishap(why)))
            return
        if any(isawaitable(one) for one in said):
            task = asyncio.ensure_future(self._await(said, order))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            self._finish(said, order)

    def _ask(self, order: Order) -> list[Any]:
        function, ask = self._function(order.hosted.model), order.hosted.ask
        if order.hosted.n == 1 or order.messages:
            return [function(ask)]
        return [function(replace(ask, sample=index)) for index in range(order.hosted.n)]

    async def _await(self, said: list[Any], order: Order) -> None:
        try:
            ready = [await one if isawaitable(one) else one for one in said]
        except Exception as why:
            self._later(order.wait, order.slot, http(*_mishap(why)))
        else:
            self._finish(ready, order)

    def _finish(self, said: list[Any], order: Order) -> None:
        replies = [Reply(one) if isinstance(one, str) else one for one in said]
        hosted = order.hosted
        if order.messages:
            body = write_messages(hosted.model, hosted.ask, replies[0])
        else:
            body = write_chat(hosted.model, hosted.ask, replies)
        if order.kind == "malformed":
            data = http(200, body[: len(body) // 2] + b"<html>")
        elif order.kind == "truncated":
            order.slot.then_close = True
            data = http(200, body)[: -len(body) // 2]
        else:
            self.stats.answered[order.key] += 1
            data = http(200, body)
        self._later(order.wait, order.slot, data)

    def _spoil(self, kind: str, wait: float, slot: Slot) -> None:
        if kind == "stall":
            self.stats.in_flight -= 1
        elif kind == "drop":
            slot.then_close = True
            self._later(wait, slot, b"")
        else:
            status = int(kind)
            after = self.retry_after if status in (429, 503) else 0.0
            self._later(wait, slot, http(status, write_error("planned", f"planned fault {kind}"), after))

    def _later(self, wait: float, slot: Slot, data: bytes) -> None:
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self._now, slot, data)
        else:
            self._now(slot, data)

    def _now(self, slot: Slot, data: bytes) -> None:
        self.stats.in_flight -= 1
        slot.give(data)

    def _function(self, model: str) -> Answer:
        if self.answer is not None:
            return self.answer
        if self.answers is None or model not in self.answers:
            raise UnknownModel(nearest("model", model, self.answers or ()))
        return self.answers[model]

    def _get(self, path: bytes) -> bytes:
        if path.endswith(b"/models"):
            return http(200, write_models(sorted(self.answers) if self.answers else ["any"]))
        if path.endswith(b"/stats"):
            return http(200, msgspec.json.encode(self.stats.summary()))
        return http(404, write_error("not_found", "there is POST /v1/chat/completions and GET /v1/models"))


def _mishap(why: Exception) -> tuple[int, bytes]:
    """The status and body for a question that our side could not answer."""
    if isinstance(why, UnknownModel):
        return 404, write_error("model_not_found", str(why))
    if isinstance(why, CallRefused):
        return 400, write_error("invalid_request_error", str(why))
    if isinstance(why, EngineError):
        return 503, write_error("engine", str(why))
    return 500, write_error("server_error", f"{type(why).__name__}: {why}")
