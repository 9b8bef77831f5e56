"""Every model call goes through here: the journal first, then the engine, then the journal again.

A `JournaledEngine` is an engine itself, so policies and judges do not know the difference. Equal calls under
way are one call, samples included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec.structs import replace

from ..errors import CallFailed, CallRefused, SettingError
from ..journal import Journal, disk_full
from ..records import content_id
from .budget import Budget
from .engine import Ask, Engine, EngineSpec, Reply, Token, engine_config, open_engine, sample_of
from .prices import most_it_costs

_encode_reply = msgspec.msgpack.Encoder().encode
_decode_reply = msgspec.msgpack.Decoder(Reply).decode


def call_key(engine: Engine, ask: Ask) -> bytes:
    """What was really asked of which model, and which sample of it this is."""
    return _key(engine.identity(ask), ask)


def _key(identity: bytes, ask: Ask) -> bytes:
    return blake2b(identity, digest_size=16, salt=ask.sample.to_bytes(8, "big")).digest()


Waiters = dict[bytes, list[asyncio.Future[Reply]]]
"""Calls under way by key, and a future for each who waits for one."""


class JournaledEngine(Engine):
    """An engine whose every reply is kept."""

    meters_itself = True

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        budget: Budget,
        concurrency: int = 64,
        under_way: Waiters | None = None,
    ) -> None:
        self.engine, self.name, self.price = engine, engine.name, engine.price
        self.gives_logprobs = engine.gives_logprobs
        self.concurrency = concurrency
        """The most calls it may have under way."""
        self._journal, self._budget = journal, budget
        self._under_way: Waiters = {} if under_way is None else under_way
        """Two judges that ask the same model the same question share one call."""
        self._tasks: set[asyncio.Task[None]] = set()
        if engine.meters_itself:
            engine.budget = budget  # type: ignore[attr-defined]

    async def answer(self, ask: Ask) -> Reply:
        key = call_key(self.engine, ask)
        kept = self._cached(key)
        if kept is not None:
            return kept
        if key not in self._under_way:
            self._start([key], [ask])
        return await self._wait(key)

    async def samples(self, ask: Ask, n: int) -> list[Reply]:
        """Samples 0 to n-1 of one question; those the journal lacks are asked for together, where possible.

        A sample that gave nothing is left out; only when none gave anything is the reason raised.
        """
        asks = [sample_of(ask, ask.sample + i) for i in range(n)]
        keys = [call_key(self.engine, one) for one in asks]
        replies = {key: kept for key in keys if (kept := self._cached(key)) is not None}
        for start, end in _runs([key not in replies and key not in self._under_way for key in keys]):
            self._start(keys[start:end], asks[start:end])
        missing = [key for key in keys if key not in replies]
        got = await asyncio.gather(*map(self._wait, missing), return_exceptions=True)
        failed: BaseException | None = None
        for key, one in zip(missing, got, strict=True):
            if isinstance(one, Reply):
                replies[key] = one
            elif isinstance(one, CallFailed | CallRefused):
                failed = failed or one
            else:
                raise one
        if failed is not None and not replies:
            raise failed
        return [replies[key] for key in keys if key in replies]

    def abandon(self) -> None:
        """Give up the calls under way: they were sent, and may be billed."""
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """After the calls under way, which are kept like all others."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.engine.close()

    def _cached(self, key: bytes) -> Reply | None:
        stored = self._journal.get(key)
        if stored is None:
            return None
        self._budget.cached += 1
        return replace(_decode_reply(stored), call=key.hex())

    def _start(self, keys: Sequence[bytes], asks: Sequence[Ask]) -> None:
        """Ask in a task of its own, so that whoever stops waiting does not call the others off."""
        for key in keys:
            self._under_way[key] = []
        task = asyncio.get_running_loop().create_task(self._ask(keys, asks, len(self.engine.refused)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, keys: Sequence[bytes], asks: Sequence[Ask], refused: int) -> None:
        """Answers to these samples of one question: together where the engine can, else one by one.

        `refused`: how many parameters the server had refused when these keys were made.
        """
        done = 0
        try:
            if len(asks) > 1 and self.engine.samples_together:
                done = await self._ask_once(keys, asks, refused)
            if len(asks) - done == 1:
                await self._ask_once(keys[done:], asks[done:], refused)
            elif done < len(asks):
                alone = zip(keys[done:], asks[done:], strict=True)
                await asyncio.gather(*(self._ask_once([key], [ask], refused) for key, ask in alone))
        except asyncio.CancelledError as error:
            for key in keys:
                self._tell(key, error)
            raise

    async def _ask_once(self, keys: Sequence[bytes], asks: Sequence[Ask], refused: int) -> int:
        """One request: what it gives is kept, then told to whoever waits. How many samples are done."""
        try:
            replies = (await self._metered(asks[0], len(asks)))[: len(asks)]
            # All at once and before anything is waited for, so that nothing answered can be lost.
            learnt = len(self.engine.refused) != refused
            kept = [self._keep(*one, learnt) for one in zip(keys, asks, replies, strict=False)]
            await (kept[0][1] if len(kept) == 1 else asyncio.gather(*(committed for _, committed in kept)))
            for key, (reply, _) in zip(keys, kept, strict=False):
                self._tell(key, reply)
            return len(replies)
        except BaseException as error:
            for key in keys:
                self._tell(key, error)
            if not isinstance(error, Exception):
                raise
            return len(keys)

    def _keep(self, key: bytes, ask: Ask, reply: Reply, learnt: bool) -> tuple[Reply, asyncio.Future[None]]:
        if learnt:  # a parameter that the server refused meanwhile was not sent: the key is of what was
            key = _key(reply.sent or self.engine.identity(ask), ask)
        reply = replace(reply, tokens=label_tokens(reply, ask.labels), sent=b"")
        committed = self._journal.put(key, _encode_reply(reply), reply.cost)
        return replace(reply, call=key.hex()), committed

    def _wait(self, key: bytes) -> asyncio.Future[Reply]:
        waiter: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._under_way[key].append(waiter)
        return waiter

    def _tell(self, key: bytes, outcome: Reply | BaseException) -> None:
        for waiter in self._under_way.pop(key, ()):
            if waiter.done():  # whoever waited was called off
                continue
            if isinstance(outcome, Reply):
                waiter.set_result(outcome)
            elif isinstance(outcome, Exception):
                waiter.set_exception(outcome)
            else:
                waiter.cancel()

    async def _metered(self, ask: Ask, n: int) -> list[Reply]:
        """Ask the engine; where it does not do so itself, reserve and settle the money."""
        engine = self.engine
        if engine.meters_itself:
            return await engine.samples(ask, n) if n > 1 else [await engine.answer(ask)]
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


def _runs(missing: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Where the samples that are missing stand side by side: those can be asked for together."""
    start = None
    for i, one in enumerate([*missing, False]):
        if one and start is None:
            start = i
        elif not one and start is not None:
            yield start, i
            start = None


def label_tokens(reply: Reply, labels: Sequence[str]) -> tuple[Token, ...]:
    """The tokens worth keeping: where a label may stand, the first with a letter, the last three."""
    if len(reply.tokens) <= 4:
        return reply.tokens
    first = next((i for i, one in enumerate(reply.tokens) if one.text.strip()), 0)
    last = len(reply.tokens) - 3
    words = {one.text: one.text.strip(" \n*_\"'`([{<>}]).:,") for one in reply.tokens}
    return tuple(
        one
        for i, one in enumerate(reply.tokens)
        if i in (first, first + 1) or i >= last or (words[one.text] and words[one.text] in labels)
    )


def open_budget(cap: float | None, journal: Journal) -> Budget:
    """The money of a run, on the books of its journal; it also minds the room on the journal's disk."""
    budget = Budget(cap, journal.spent, journal.uncertain)
    budget.on_change, budget.on_lost = journal.set_open, journal.add_uncertain
    budget.committed = journal.committed
    budget.has_room, budget.no_room = journal.has_room, lambda: disk_full(journal.path)
    journal.on_full = lambda: budget.stop(disk_full(journal.path))
    return budget


class Engines:
    """The engines of one piece of work: opened by name, prepared together, closed together."""

    def __init__(self, journal: Journal, budget: Budget) -> None:
        self._journal, self._budget = journal, budget
        self._opened: list[JournaledEngine] = []
        self._under_way: Waiters = {}
        self.warnings: list[str] = []

    def __call__(self, spec: EngineSpec) -> JournaledEngine:
        config = engine_config(spec)
        self._opened.append(
            JournaledEngine(
                open_engine(config), self._journal, self._budget, config.concurrency, self._under_way
            )
        )
        return self._opened[-1]

    def __iter__(self) -> Iterator[JournaledEngine]:
        return iter(self._opened)

    async def prepare(self) -> None:
        """Before the first row is read: refuse what lacks a key or a price, recall what servers take."""
        for one in self:
            self._refuse(one)
        await asyncio.gather(*(self._recall(one.engine) for one in self if hasattr(one.engine, "served")))

    def _refuse(self, one: JournaledEngine) -> None:
        if getattr(one.engine, "needs_key", False):
            raise SettingError(
                f"{one.name} needs a key, and {one.engine.key_env} holds none."  # type: ignore[attr-defined]
                f" Set it with: export {one.engine.key_env}=..."  # type: ignore[attr-defined]
            )
        if self._budget.cap is not None and one.price is None:
            raise SettingError(
                f"a budget needs a price, and none is known for {one.name}. Give it, in dollars per million"
                " tokens, with: --judge.engine.price.input 0.2 --judge.engine.price.output 0.8"
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

    def abandon(self) -> None:
        for one in self:
            one.abandon()

    async def close(self) -> None:
        for one in self:
            await one.close()
