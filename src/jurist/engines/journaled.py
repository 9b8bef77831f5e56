"""Every model call goes through here: the journal first, then the engine, then the journal again.

A `JournaledEngine` is an engine itself, so policies and judges do not know the difference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import blake2b
from itertools import groupby
from typing import Any

import msgspec
from msgspec.structs import replace

from ..errors import SettingError
from ..journal import Journal
from ..records import content_id
from .budget import Budget
from .engine import (
    Ask,
    Engine,
    EngineSpec,
    Reply,
    Token,
    engine_config,
    gather_replies,
    open_engine,
    sample_of,
)
from .prices import most_it_costs

Calls = dict[bytes, asyncio.Future[Reply]]
encode_reply = msgspec.msgpack.Encoder().encode
_decode_reply = msgspec.msgpack.Decoder(Reply).decode


def call_key(engine: Engine, ask: Ask) -> bytes:
    """What was really asked of which model, and which sample of it this is."""
    return hash_call(engine.identity(ask), ask)


def hash_call(identity: bytes, ask: Ask) -> bytes:
    return blake2b(identity, digest_size=16, salt=ask.sample.to_bytes(8, "big")).digest()


class JournaledEngine(Engine):
    """An engine whose every reply is kept."""

    meters_itself = True

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        budget: Budget,
        concurrency: int = 64,
        under_way: Calls | None = None,
    ) -> None:
        self.engine, self.name, self.price = engine, engine.name, engine.price
        self.gives_logprobs = engine.gives_logprobs
        self.concurrency = concurrency
        """The most calls it may have under way."""
        self._journal, self._budget = journal, budget
        self._under_way: Calls = {} if under_way is None else under_way
        """Equal calls under way are one call, also those of another judge that asks the same model."""
        self._tasks: set[asyncio.Task[None]] = set()
        engine.budget, engine.journal = budget, journal

    async def answer(self, ask: Ask) -> Reply:
        key = call_key(self.engine, ask)
        kept = self._cached(key)
        if kept is None and key not in self._under_way:
            self._start([key], [ask])
        return await self._wait(key, kept)

    async def samples(self, ask: Ask, n: int) -> list[Reply]:
        """Those the journal lacks are asked for together, where possible."""
        asks = [sample_of(ask, ask.sample + i) for i in range(n)]
        keys = [call_key(self.engine, one) for one in asks]
        kept = [self._cached(key) for key in keys]
        missing = [kept[i] is None and keys[i] not in self._under_way for i in range(n)]
        for asked, run in groupby(range(n), missing.__getitem__):
            if asked:  # those that stand side by side can be asked for together
                side_by_side = list(run)
                self._start([keys[i] for i in side_by_side], [asks[i] for i in side_by_side])
        return await gather_replies([self._wait(*one) for one in zip(keys, kept, strict=True)])

    def abandon(self) -> None:
        """Cancel the calls under way: they were sent, and may be billed."""
        for task in self._tasks:
            task.cancel()

    async def drain(self) -> None:
        """Wait for the calls under way, which are kept like all others."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        await self.drain()
        await self.engine.close()

    def _cached(self, key: bytes) -> Reply | None:
        stored = self._journal.get(key)
        if stored is None:
            return None
        self._budget.cached += 1
        return replace(_decode_reply(stored), call=key.hex())

    def _start(self, keys: Sequence[bytes], asks: Sequence[Ask]) -> None:
        """Ask in a task of its own, so that whoever stops waiting does not call the others off."""
        loop = asyncio.get_running_loop()
        for key in keys:
            self._under_way.setdefault(key, loop.create_future())
        task = loop.create_task(self._ask(keys, asks))
        self._tasks.add(task)
        task.add_done_callback(partial(self._end, keys))

    def _end(self, keys: Sequence[bytes], task: asyncio.Task[None]) -> None:
        """Fail all who wait for a sample that will not come, with the reason."""
        self._tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            for key in keys:
                self._tell(key, error)

    async def _ask(self, keys: Sequence[bytes], asks: Sequence[Ask]) -> None:
        """Samples of one question: together where the engine can, else, and what it left out, one by one."""
        together = len(asks) == 1 or self.engine.samples_together
        replies = (await self._metered(asks[0], len(asks)))[: len(asks)] if together else []
        # All at once and before anything is waited for, so that nothing answered can be lost.
        kept = [self._keep(*one) for one in zip(keys, asks, replies, strict=False)]
        for i in range(len(kept), len(asks)):
            self._start(keys[i : i + 1], asks[i : i + 1])
        await (kept[0][1] if len(kept) == 1 else asyncio.gather(*(committed for _, committed in kept)))
        for key, (reply, _) in zip(keys, kept, strict=False):
            self._tell(key, reply)

    def _keep(self, key: bytes, ask: Ask, reply: Reply) -> tuple[Reply, asyncio.Future[None]]:
        if reply.call:  # of a batch: kept when that was collected
            return reply, self._journal.committed()
        if reply.sent:  # without a parameter that the server refused meanwhile: the key is of what was sent
            key = hash_call(reply.sent, ask)
        reply = replace(reply, tokens=label_tokens(reply, ask.labels), sent=b"")
        committed = self._journal.put(key, encode_reply(reply), reply.cost)
        return replace(reply, call=key.hex()), committed

    def _wait(self, key: bytes, kept: Reply | None) -> asyncio.Future[Reply]:
        """Shielded: whoever stops waiting leaves the reply to the others."""
        if kept is None:
            return asyncio.shield(self._under_way[key])
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        reply.set_result(kept)
        return reply

    def _tell(self, key: bytes, outcome: Reply | BaseException) -> None:
        reply = self._under_way.pop(key, None)
        if reply is None:
            return
        if isinstance(outcome, Reply):
            reply.set_result(outcome)
        elif isinstance(outcome, Exception):
            reply.set_exception(outcome)
            reply.exception()  # nobody may be waiting any more
        else:
            reply.cancel()

    async def _metered(self, ask: Ask, n: int) -> list[Reply]:
        """Ask the engine; where it does not do so itself, reserve and settle the money."""
        engine = self.engine
        if engine.meters_itself:
            return await engine.samples(ask, n)
        read = sum(len(message.content.encode()) for message in ask.messages)
        most = most_it_costs(self.price, read, n * ask.max_tokens)
        reserved = await self._budget.reserve(self.name, most, n)
        try:
            replies = await engine.samples(ask, n) if n > 1 else [await engine.answer(ask)]
        except asyncio.CancelledError:
            self._budget.lose(reserved)
            raise
        except BaseException:
            self._budget.release(reserved)
            raise
        self._budget.pay(reserved, replies)
        return replies


def label_tokens(reply: Reply, labels: Sequence[str]) -> tuple[Token, ...]:
    """The tokens worth keeping: where a label may stand, the first with a letter, the last three."""
    if len(reply.tokens) <= 4:
        return reply.tokens
    first = next((i for i, one in enumerate(reply.tokens) if one.text.strip()), 0)
    last = len(reply.tokens) - 3
    return tuple(
        one
        for i, one in enumerate(reply.tokens)
        if i in (first, first + 1) or i >= last or one.text.strip(" \n*_\"'`([{<>}]).:,") in labels
    )


class Engines:
    """The engines of one piece of work: opened by name, prepared together, closed together."""

    def __init__(self, journal: Journal, budget: Budget, kept: list[Engine] | None = None) -> None:
        """`kept`: those of the same work that was done before here, in their order, which stay open."""
        self._journal, self._budget, self._kept = journal, budget, kept
        self._opened: list[JournaledEngine] = []
        self._under_way: Calls = {}
        self.warnings: list[str] = []

    def __call__(self, spec: EngineSpec) -> JournaledEngine:
        config = engine_config(spec)
        before, place = self._kept or [], len(self._opened)
        engine = before[place] if place < len(before) else open_engine(config)
        kept = self._journal, self._budget, getattr(engine, "size", config.concurrency), self._under_way
        if engine.in_process or engine.batched:  # a policy that is its own judge is loaded, or queues, once
            same = (one.engine for one in self._opened if one.name == engine.name)
            engine = next((one for one in same if type(one) is type(engine)), engine)
        self._opened.append(JournaledEngine(engine, *kept))
        if self._kept is not None:
            self._kept[place : place + 1] = [engine]
        return self._opened[-1]

    def __iter__(self) -> Iterator[JournaledEngine]:
        return iter(self._opened)

    async def prepare(self) -> None:
        """Before the first row is read: refuse what lacks a key or a price, recall what servers take."""
        self.check()
        engines = {id(one.engine): one.engine for one in self if hasattr(one.engine, "served")}
        await asyncio.gather(*map(self._recall, engines.values()))

    def check(self) -> None:
        """Refuse what lacks a key or a price."""
        for one in self:
            engine: Any = one.engine
            if getattr(engine, "needs_key", False):
                raise SettingError(
                    f"{one.name} needs a key, and {engine.key_env} holds none."
                    f" Set it with: export {engine.key_env}=..."
                )
            if self._budget.cap is not None and one.price is None:
                raise SettingError(
                    f"a budget needs a price, and none is known for {one.name}. Give it, in dollars per"
                    " million tokens, with: --judge.engine.price.input 0.2 --judge.engine.price.output 0.8"
                )

    async def _recall(self, endpoint: Any) -> None:
        """What this server refused before, and which weights it serves: both decide what a call is named."""
        place = content_id("server", endpoint.name, endpoint.url)
        known = self._journal.facts(place)
        endpoint.refused |= set(known.get("refused", ()))
        said = known.get("said", "")
        says = (await endpoint.find_served() if not endpoint.hosted else "") or said
        # A server that could not be asked at first has replies without a name, and goes on without one.
        changed = not known or (said and says != said)
        endpoint.served = says if changed else known["served"]
        if said and says != said:
            self.warnings.append(
                f"{endpoint.name} serves other weights than before: its earlier replies are not used again"
            )

        def remember() -> None:
            facts = {"refused": sorted(endpoint.refused), "served": endpoint.served, "said": says}
            self._journal.remember(place, facts)

        endpoint.on_learnt = remember
        if not known or says != said:
            remember()
        if endpoint.batched:
            await endpoint.recall()
        elif self._journal.facts(endpoint.batches_at) and not any(one.engine.batched for one in self):
            what = f"a batch for {endpoint.name} is still open, and its calls would be paid for twice"
            raise SettingError(f"{what}. Collect it first, with: --judge.engine.batch true")

    @property
    def busy(self) -> bool:
        """Whether calls are under way, also where nobody waits for them any more."""
        return any(one._tasks for one in self)

    def abandon(self) -> None:
        for one in self:
            one.abandon()

    async def close(self) -> None:
        for one in self:
            await (one.close() if self._kept is None else one.drain())
