"""Every model call goes through here: the journal first, then the budget, then the engine, then the journal.

A `Caller` keeps the contract of the engine it wraps, so policies and judges do not know the difference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec.structs import replace

from ..errors import BudgetSpent, CallFailed, CallRefused, SettingError
from ..journal import Journal
from ..records import Usage
from .engine import Ask, DrawsMany, Engine, Queues, Reply, StandIn
from .open import engine_config, open_engine
from .prices import cost_of
from .scripted import guessed_usage
from .settings import EngineConfig

_encode_ask = msgspec.msgpack.Encoder(order="deterministic").encode
_encode_reply = msgspec.msgpack.Encoder().encode
_decode_reply = msgspec.msgpack.Decoder(Reply).decode


def call_key(engine_name: str, ask: Ask) -> bytes:
    """The name of a call: what was asked of which model, and which draw of it this is."""
    return blake2b(_encode_ask(ask), digest_size=16, key=_short(engine_name)).digest()


def _short(name: str) -> bytes:
    encoded = name.encode()
    return encoded if len(encoded) <= 64 else blake2b(encoded, digest_size=32).digest()


class Purse:
    """What the run has spent, counted from its first start, and the most it may spend."""

    def __init__(self, cap: float | None = None, already: float = 0.0) -> None:
        self.cap = cap
        self.spent = already
        self.calls = 0
        self.kept = 0
        """Calls answered from the journal."""
        self.paid = 0.0
        """Dollars spent since this start."""
        self.usage = Usage()
        self.least = 0.0
        """What a call costs at the least, before the first has come back."""
        self._in_flight = 0

    @property
    def knows_no_price(self) -> bool:
        """There is a cap, and no call has come back yet that would say what one costs."""
        return self.cap is not None and not self.calls

    def check(self) -> None:
        """Called just before a request leaves. With those under way it counts at the mean price so far."""
        if self.cap is None:
            return
        each = self.paid / self.calls if self.calls else self.least
        if self.spent >= self.cap or self.spent + (self._in_flight + 1) * each > self.cap:
            raise BudgetSpent(
                f"the budget of ${self.cap:g} is reached: ${self.spent:.4f} spent, {self._in_flight} calls"
                f" under way, and the next call costs about ${each:.4f}."
                " Everything paid for is kept. To go on, run again with a higher --budget"
            )

    def leave(self) -> None:
        self.check()
        self._in_flight += 1

    def back(self) -> None:
        self._in_flight -= 1

    def pay(self, reply: Reply) -> None:
        self.calls += 1
        self.spent += reply.cost
        self.paid += reply.cost
        self.usage = self.usage + reply.usage


class Caller(StandIn):
    """An engine whose every reply is kept."""

    def __init__(self, engine: Engine, journal: Journal, purse: Purse, concurrency: int = 64) -> None:
        super().__init__(engine)
        self.engine = engine
        self.concurrency = concurrency
        """The most calls it may have under way."""
        self.lacks_key: str = getattr(engine, "lacks_key", "")
        self._journal = journal
        self._purse = purse
        self._under_way: dict[bytes, asyncio.Future[Reply]] = {}
        # An engine that queues requests asks for leave when one is really sent, not when it joins the queue.
        self._leave: Callable[[], None] = purse.leave
        self._back: Callable[[], None] = purse.back
        if isinstance(engine, Queues):
            engine.on_send, engine.on_back = purse.leave, purse.back
            self._leave = self._back = _nothing

    async def answer(self, ask: Ask) -> Reply:
        key = call_key(self.name, ask)
        kept = self.kept(key)
        if kept is not None:
            return kept
        twin = self._under_way.get(key)
        if twin is not None:
            return await asyncio.shield(twin)
        waiting = self._under_way[key] = asyncio.get_running_loop().create_future()
        self._foresee(ask)
        try:
            self._leave()
            try:
                reply = await self.engine.answer(_seeded(ask))
            finally:
                self._back()
            reply = await self._keep(key, reply)
        except BaseException as error:
            _fail(waiting, error)
            raise
        finally:
            del self._under_way[key]
        waiting.set_result(reply)
        return reply

    async def answer_many(self, ask: Ask, n: int) -> list[Reply]:
        """Draws 0 to n-1 of one question; those the journal lacks are asked for together, if possible.

        A draw that gave nothing is left out; only when none gave anything is the reason raised.
        """
        asks = [replace(ask, sample=draw) for draw in range(n)]
        replies = [self.kept(call_key(self.name, one)) for one in asks]
        lacking = [draw for draw, reply in enumerate(replies) if reply is None]
        if len(lacking) > 1 and self.draws_many and isinstance(self.engine, DrawsMany):
            self._foresee(ask)
            self._leave()
            try:
                drawn = await self.engine.answer_many(_seeded(asks[lacking[0]]), len(lacking))
            finally:
                self._back()
            together, lacking = lacking[: len(drawn)], lacking[len(drawn) :]
            keys = [call_key(self.name, asks[draw]) for draw in together]
            new = await asyncio.gather(*map(self._keep, keys, drawn))
            for draw, reply in zip(together, new, strict=True):
                replies[draw] = reply
        alone = await asyncio.gather(*(self.answer(asks[draw]) for draw in lacking), return_exceptions=True)
        for draw, got in zip(lacking, alone, strict=True):
            if isinstance(got, Reply):
                replies[draw] = got
            elif not isinstance(got, CallFailed | CallRefused):
                raise got
        whole = [reply for reply in replies if reply is not None]
        for got in alone:
            if isinstance(got, BaseException) and not whole:
                raise got
        return whole

    def kept(self, key: bytes) -> Reply | None:
        stored = self._journal.get(key)
        if stored is None:
            return None
        self._purse.kept += 1
        return replace(_decode_reply(stored), call=key.hex())

    async def _keep(self, key: bytes, reply: Reply) -> Reply:
        self._purse.pay(reply)
        await self._journal.put(key, _encode_reply(reply), reply.cost)
        return replace(reply, call=key.hex())

    def _foresee(self, ask: Ask) -> None:
        """What the question costs to read, all of it cached: a guess too high would stop a run early."""
        if self._purse.knows_no_price:
            read = guessed_usage(ask, Reply("")).tokens_in
            self._purse.least = cost_of(Usage(read, read), self.price)

    async def close(self) -> None:
        await self.engine.close()


def open_caller(spec: str | Mapping[str, Any] | EngineConfig, journal: Journal, purse: Purse) -> Caller:
    """The engine of this name or with these settings, its every reply kept."""
    config = engine_config(spec)
    return Caller(open_engine(config), journal, purse, config.concurrency)


class Callers:
    """The engines of one piece of work: opened by name, asked after together, closed together."""

    def __init__(self, journal: Journal, purse: Purse) -> None:
        self._journal, self._purse = journal, purse
        self._opened: list[Caller] = []

    def __call__(self, spec: str | Mapping[str, Any]) -> Caller:
        self._opened.append(open_caller(spec, self._journal, self._purse))
        return self._opened[-1]

    def __iter__(self) -> Iterator[Caller]:
        return iter(self._opened)

    def check(self) -> None:
        """Said before the first row is read: what lacks a key, and what a cap could never stop."""
        for engine in self:
            if engine.lacks_key:
                raise SettingError(
                    f"{engine.name} needs a key, and {engine.lacks_key} holds none."
                    f" Set it with: export {engine.lacks_key}=..."
                )
            # A cap in dollars on calls whose price nobody knows would never be reached.
            if self._purse.cap is not None and not engine.priced:
                raise SettingError(
                    f"a budget needs a price, and none is known for {engine.name}. Give it one in the recipe:"
                    f" engine: {{engine: {engine.name}, price: {{input: 0.25, output: 2.0}}}}"
                )

    async def close(self) -> None:
        for engine in self:
            await engine.close()


def _seeded(ask: Ask) -> Ask:
    """A seed makes one draw repeatable; further draws need their own, or they would repeat it."""
    return ask if ask.seed is None or not ask.sample else replace(ask, seed=ask.seed + ask.sample)


def _fail(waiting: asyncio.Future[Reply], error: BaseException) -> None:
    if isinstance(error, Exception):
        waiting.set_exception(error)
        waiting.exception()  # nobody may be waiting: that is no reason to warn
    else:
        waiting.cancel()


def _nothing() -> None:
    """The engine itself asks for leave."""
