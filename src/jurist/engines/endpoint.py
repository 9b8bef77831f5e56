"""An engine at the other end of HTTP: sends, waits its turn, tries again, counts what it costs.

What a failure means is decided in `trouble`, how much may be under way in `limits`, how to say it in
`dialects`.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from time import perf_counter

from msgspec import Struct
from msgspec.structs import replace

from ..errors import CallFailed, CallRefused, EngineDown
from ..records import Usage
from .connect import connect
from .dialects import Dialect, Unreadable
from .engine import Ask, Reply
from .limits import Bucket, Gate
from .prices import Price, SharedTime, cost_of
from .settings import EngineConfig
from .transport import Late, Transport, TransportError, Unreached
from .trouble import Breaker, Trouble, advice, read_trouble, scrubbed

FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
LONGEST_PAUSE = 300.0
"""A server that asks for more than this is better left alone and asked again another time."""
REST_WHEN_DOWN = 10.0


class Meter(Struct):
    """What an endpoint did so far."""

    calls: int = 0
    """Calls answered."""
    retries: int = 0
    failed: int = 0
    refused: int = 0
    usage: Usage = Usage()
    cost: float = 0.0
    """US dollars; see `priced`."""
    priced: bool = False
    """False: nobody said what a token costs, so that cost stays 0."""
    in_flight: int = 0
    limit: int = 0
    """How many may be under way at present."""


class Endpoint:
    """One model on one server."""

    def __init__(
        self, name: str, url: str, dialect: Dialect, config: EngineConfig, price: Price | None, key: str
    ) -> None:
        self.name = name
        self.lacks_key = ""
        """The variable that has to hold a key and does not, where that is known before anything is sent."""
        self.gives_logprobs = dialect.quirks.gives_logprobs
        self.draws_many = dialect.quirks.draws_many
        self.on_send: Callable[[], None] = _nothing
        self.on_back: Callable[[], None] = _nothing
        self.price = price
        self._base = url.rstrip("/")
        self._dialect, self._config, self._key = dialect, config, key
        self._key_env = config.key_env or dialect.key_env
        self._numbers = itertools.count()
        self._random = random.Random()
        self._meter = Meter(priced=price is not None)
        self._read = self._cached = self._written = self._thought = 0
        self._shared = SharedTime() if price is not None and price.gpu_hour is not None else None
        self._requests = Bucket(config.rpm) if config.rpm else None
        self._tokens = Bucket(config.tpm) if config.tpm else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._transport: Transport
        self._gate: Gate
        self._breaker: Breaker
        self._stop: asyncio.Event
        self._down = ""
        """Why nothing is sent any more."""
        self._down_until = 0.0
        self._closing: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"Endpoint({self.name!r})"

    @property
    def meter(self) -> Meter:
        usage = Usage(self._read, self._cached, self._written, self._thought)
        gate = self._gate if self._loop is not None else Gate(self._config.concurrency)
        return replace(self._meter, usage=usage, in_flight=gate.in_flight, limit=int(gate.adaptive.limit))

    async def answer(self, ask: Ask) -> Reply:
        return (await self._call(ask, 1))[0]

    async def answer_many(self, ask: Ask, n: int) -> list[Reply]:
        """n samples of one question in one request; fewer where the server does not know how."""
        return (await self._call(ask, n if self.draws_many else 1))[:n]

    async def close(self) -> None:
        if self._loop is not None and self._loop is asyncio.get_running_loop():
            self._loop = None
            await self._transport.close()

    async def _call(self, ask: Ask, n: int) -> list[Reply]:
        self._ready()
        body, gate = self._dialect.write(ask, n), self._gate
        number, first_sent, tries, share = next(self._numbers), 0.0, 0, 0.0
        while True:
            await gate.enter(again=tries > 0)
            try:
                reserved = await self._wait_for_caps(ask, n)
                if self._down:
                    raise EngineDown(self._down)
                self.on_send()
                started = perf_counter()
                entered = self._shared.enter(started) if self._shared else 0.0
                first_sent = first_sent or started
                tries += 1
                try:
                    got, seconds = await self._try(body)
                finally:
                    ended = perf_counter()
                    if self._shared:
                        share += self._shared.leave(ended, entered)
                    self.on_back()
                if isinstance(got, list):
                    gate.adaptive.answered(seconds, gate.busy)
                    self._breaker.answered(ended)
                    return self._settle(got, ended - started, share, reserved)
                if got.loaded:
                    gate.adaptive.refused()
            finally:
                gate.leave()
            self._give_back(reserved)
            await self._after(got, number, tries, started, first_sent)

    async def _try(self, body: bytes) -> tuple[list[Reply] | Trouble, float]:
        """One request, and how long the server took."""
        try:
            got = await self._transport.post(body, self._config.timeout)
        except TransportError as why:
            late, unreached = isinstance(why, Late), isinstance(why, Unreached)
            return Trouble("again", scrubbed(str(why), self._key), loaded=late, unreached=unreached), 0.0
        if got.status != 200:
            return read_trouble(got, self._key, self._breaker.began), got.seconds
        try:
            return self._dialect.read(got.body), got.seconds
        except Unreadable as why:
            return Trouble("again", f"a reply that cannot be read: {why}", answers=True), got.seconds

    async def _after(
        self, trouble: Trouble, number: int, tries: int, started: float, first_sent: float
    ) -> None:
        """Raise if this was the last try, of the call or of the run; else wait until the next."""
        if self._down:
            raise EngineDown(self._down)
        if trouble.then == "refused":
            self._meter.refused += 1
            if self._breaker.refused():
                self._trip(trouble, f"the first {Breaker.ALL_REFUSED} questions were all refused")
            raise CallRefused(f"{self.name} refused the question ({trouble.message})")
        if trouble.then == "down":
            self._trip(trouble, "there is no getting through")
        if trouble.after > LONGEST_PAUSE:
            self._trip(trouble, f"it asks us to wait {trouble.after:.0f} s")
        if trouble.answers:
            if tries >= self._config.max_tries:
                self._fail(trouble, tries)
        else:
            self._breaker.failed(number, trouble, started)
            now = perf_counter()
            if self._breaker.down(now):
                self._trip(trouble, "nothing gets through any more" if self._breaker.began else "no answer")
            if tries >= self._config.max_tries and self._breaker.alone(first_sent):
                self._fail(trouble, tries)
        self._meter.retries += 1
        # Waiting longer each time is for a server under load, not for one that answers nonsense.
        grown = 1.0 if trouble.answers else 2.0 ** (tries - 1)
        longest = min(LONGEST_WAIT, self._config.give_up_after / 4, FIRST_WAIT * grown)
        if trouble.after:
            self._gate.pause(trouble.after)
            longest = FIRST_WAIT
        await self._sleep(self._random.uniform(0.0, longest))

    def _fail(self, trouble: Trouble, tries: int) -> None:
        self._meter.failed += 1
        raise CallFailed(
            f"{self.name} gave nothing in {tries} tries (the last: {trouble.message})."
            " Run the same command again to ask once more"
        )

    def _trip(self, trouble: Trouble, what: str) -> None:
        """Stop everything that waits or is under way, and say so."""
        next_step = advice(trouble, self.name, self._base, self._key_env, bool(self._key))
        self._down = f"{self.name} at {self._base}: {what} ({trouble.message}). {next_step}"
        self._down_until = perf_counter() + REST_WHEN_DOWN
        self._gate.fail(EngineDown(self._down))
        self._stop.set()
        self._closing = asyncio.ensure_future(self._transport.close())
        raise EngineDown(self._down)

    def _ready(self) -> None:
        """Start, or start again: in another event loop, or some time after having been down."""
        if self._down:
            if perf_counter() < self._down_until:
                raise EngineDown(self._down)
            self._down, self._loop = "", None
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._transport = connect(self._base + self._dialect.path, self._dialect.headers(self._key))
            self._gate = Gate(self._config.concurrency)
            self._breaker = Breaker(self._config.give_up_after)
            self._stop = asyncio.Event()
            self._loop = loop

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return
        raise EngineDown(self._down)

    async def _wait_for_caps(self, ask: Ask, n: int) -> float:
        """Wait for the minute's caps; the tokens reserved come back to be settled with what was used."""
        if self._requests is None and self._tokens is None:
            return 0.0
        now = perf_counter()
        wait = self._requests.take(1.0, now) if self._requests else 0.0
        expected = 0.0
        if self._tokens:
            written = min(self._written / self._meter.calls, ask.max_tokens) if self._meter.calls else 0.0
            written = written or float(ask.max_tokens)
            expected = sum(len(message.content) for message in ask.messages) / 4 + n * written
            wait = max(wait, self._tokens.take(expected, now))
        if wait > 0:
            await self._sleep(wait)
        return expected

    def _give_back(self, reserved: float) -> None:
        if self._tokens is not None:
            self._tokens.give_back(reserved)

    def _settle(self, replies: list[Reply], seconds: float, share: float, reserved: float) -> list[Reply]:
        """Count the replies and put time and price on them."""
        meter = self._meter
        for index, reply in enumerate(replies):
            usage = reply.usage
            cost = cost_of(usage, self.price, share / len(replies)) if self.price is not None else 0.0
            meter.calls += 1
            meter.cost += cost
            self._read += usage.tokens_in
            self._cached += usage.cached_in
            self._written += usage.tokens_out
            self._thought += usage.reasoning
            replies[index] = replace(reply, seconds=seconds, cost=cost)
        if self._tokens is not None:
            used = sum(reply.usage.tokens_in + reply.usage.tokens_out for reply in replies)
            self._tokens.give_back(reserved - used)
        return replies


def _nothing() -> None:
    """Nobody asked to be told."""
