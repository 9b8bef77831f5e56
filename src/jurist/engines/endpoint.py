"""An engine behind HTTP: waits its turn, reserves the money, sends, tries again, counts the cost.

What a failure means is decided in `failures`, how much may be under way in `limits`, how to say it in
`dialects`, and what may be spent in `journaled`.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import ssl
from collections import Counter
from collections.abc import Callable
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec
from msgspec.structs import replace
from yarl import URL

from ..errors import CallFailed, CallRefused, EngineDown
from ..records import Usage, content_id
from .budget import Budget, Reservation
from .dialects import ChatCompletions, Messages, Unreadable
from .engine import Ask, Engine, EngineConfig, Reply, key_from, sample_of
from .failures import Failure, Health, next_step, read_failure, redact
from .limits import Bucket, Gate
from .prices import Price, SharedTime, cost_of, most_it_costs

FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 30.0
LONGEST_PAUSE: Final = 300.0
"""A server that asks for more than this is better left alone and asked again another time."""
REST_WHEN_DOWN: Final = 10.0
IDLE_CONNECTION: Final = 4.0
"""Seconds a connection is kept: less than servers do, so that none is closed under a request."""

MOST_BODIES: Final = 1024
NO_USAGE: Final = Usage()
NOT_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientProxyConnectionError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
)


class Endpoint(Engine):
    """One model on one server."""

    meters_itself = True

    def __init__(
        self,
        name: str,
        url: str,
        dialect: ChatCompletions | Messages,
        config: EngineConfig,
        price: Price | None,
        key_env: str,
    ) -> None:
        self.name, self.url, self.price = name, url, price
        self.model = dialect.model
        self.gives_logprobs = dialect.takes.logprobs
        self.key_env = key_env
        self.hosted = False
        """A vendor's, which bills by a list and says nothing about its weights."""
        self.needs_key = False
        """It is known before anything is sent that a key is missing."""
        self.budget = Budget()
        self.served = ""
        """Which weights the server says it holds, where it says so: part of what a reply depends on."""
        self.refused: set[str] = set()
        """Parameters that this server has refused: never sent again."""
        self.on_learnt: Callable[[], None] = lambda: None
        self.retries: Counter[str] = Counter()
        """Tries that gave nothing, by what went wrong."""
        self._latencies = Latencies()
        self._bodies: dict[int, tuple[Ask, int, bytes]] = {}
        """What `identity` has written, until it is sent: writing it twice would cost a fortieth of a call."""
        self._dialect, self._config, self._key = dialect, config, key_from(key_env)
        self._numbers = itertools.count()
        self._random = random.Random()
        self._written = 1.0
        """How many tokens a reply has, on average."""
        self._shared = SharedTime() if price is not None and price.gpu_hour is not None else None
        self._requests = Bucket(config.rpm) if config.rpm else None
        self._tokens = Bucket(config.tpm) if config.tpm else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._http: Http
        self._gate: Gate
        self._health: Health
        self._stop: asyncio.Event
        self._down = ""
        """Why nothing is sent any more."""
        self._down_until = 0.0

    def __repr__(self) -> str:
        return f"Endpoint({self.name!r})"

    @property
    def limit(self) -> int:
        """How many requests may be under way at present."""
        return int(self._gate.adaptive.limit) if self._loop is not None else self._config.concurrency

    async def answer(self, ask: Ask) -> Reply:
        return (await self._call(ask, 1))[0]

    async def samples(self, ask: Ask, n: int) -> list[Reply]:
        """In one request; fewer where the server does not understand `n`."""
        return (await self._call(ask, n))[:n]

    @property
    def samples_together(self) -> bool:  # type: ignore[override]
        return self._dialect.takes.n and "n" not in self.refused

    def latencies(self) -> tuple[float, float, float] | None:
        return self._latencies.percentiles()

    def identity(self, ask: Ask) -> bytes:
        body = self._dialect.write(ask, 1, self.refused)
        if len(self._bodies) >= MOST_BODIES:  # of questions that were not sent: the journal knew them
            self._bodies.clear()
        self._bodies[id(ask)] = ask, len(self.refused), body
        return self._identity(body)

    def _identity(self, body: bytes) -> bytes:
        return b"\0".join((self.name.encode(), self.served.encode(), body))

    async def find_served(self) -> str:
        """A name for the weights, from `GET /models`; empty where the server does not say. Costs nothing."""
        self._open()
        status, body = await self._http.get("/models")
        try:
            listed = msgspec.json.decode(body) if status == 200 else {}
            rows = listed["data"]
            ours = next(
                (one for one in rows if one.get("id") == self.model), rows[0] if len(rows) == 1 else {}
            )
        except (msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError, AttributeError):
            return ""
        facts = {name: ours[name] for name in ("root", "parent", "meta") if ours.get(name)}
        if ours.get("id") not in (None, self.model):
            facts["id"] = ours["id"]
        return content_id(facts)[:12] if facts else ""

    async def close(self) -> None:
        if self._loop is not None and self._loop is asyncio.get_running_loop():
            self._loop = None
            await self._http.close()

    async def _call(self, ask: Ask, n: int) -> list[Reply]:
        self._open()
        call = _Call(ask, n, next(self._numbers), self._gate, len(self.refused))
        while True:
            await call.gate.enter(again=call.tries > 0)
            try:
                got = await self._once(call)
            finally:
                call.gate.leave()
            if isinstance(got, list):
                return got
            if self._request_changed(got, call):
                call.tries -= 1
            else:
                await self._after(got, call)

    async def _once(self, call: _Call) -> list[Reply] | Failure:
        """One try: wait for the caps and the budget, send, and settle the money."""
        ask, n, adaptive = call.ask, call.n, call.gate.adaptive
        expected = await self._wait_for_caps(ask, n)
        body = self._write(call)
        reserved = await self.budget.reserve(self.name, self._worst_case(body, ask, n), n)
        if self._down:
            self.budget.release(reserved)
            raise EngineDown(self._down)
        if len(call.refused) != len(self.refused):  # learnt while this call waited
            body = self._write(call)
        call.last_started, call.started, limit = call.started, perf_counter(), adaptive.limit
        entered = self._shared.enter(call.started) if self._shared else 0.0
        call.tries += 1
        try:
            got = await self._try(body)
        except BaseException:  # called off while under way: it may have been read, and be billed
            self.budget.lose(reserved)
            raise
        finally:
            ended = perf_counter()
            call.share += self._shared.leave(ended, entered) if self._shared else 0.0
        if isinstance(got, list):
            adaptive.answered(ended - call.started, call.started, ended, call.gate.busy, limit)
            self._health.answered(ended)
            self._latencies.add(ended - call.started)
            return self._pay(got, call, ended - call.started, reserved, expected)
        self.budget.lose(reserved) if got.lost else self.budget.release(reserved)
        if got.overloaded:
            adaptive.refused(call.started, ended)
        if 0 < got.retry_after <= LONGEST_PAUSE:
            call.gate.pause(got.retry_after)
        if self._tokens is not None:
            self._tokens.give_back(expected)
        return got

    def _write(self, call: _Call) -> bytes:
        call.refused = frozenset(self.refused)
        ask, refused, body = self._bodies.pop(id(call.ask), (None, 0, b""))
        if ask is not call.ask or refused != len(call.refused) or call.n > 1:
            body = self._dialect.write(call.ask, call.n, call.refused)
        call.body = body
        return body

    async def _try(self, body: bytes) -> list[Reply] | Failure:
        try:
            status, headers, raw = await self._http.post(body)
        except NOT_SENT as error:
            return Failure("retry", redact(str(error), self._key), connect_failed=True)
        except TimeoutError:
            told = f"no reply within {self._config.timeout:g} s"
            return Failure("retry", told, overloaded=True, lost=True)
        except (aiohttp.ClientError, OSError) as error:
            told = redact(str(error) or type(error).__name__, self._key)
            return Failure("retry", f"the connection was lost: {told}", lost=True)
        if status != 200:
            sent = msgspec.json.decode(body).keys() if status in (400, 422) else ()
            worked = self._health.worked
            return read_failure(status, headers, raw, key=self._key, worked_before=worked, sent=sent)
        try:
            return self._dialect.read(raw)
        except Unreadable as why:
            told = redact(f"HTTP 200 with {why}", self._key)
            return Failure("retry", told, 200, server_replied=True, lost=why.lost)

    def _request_changed(self, failure: Failure, call: _Call) -> bool:
        """Leave out a parameter that the server refused, from now on; whether that changes the request."""
        name = failure.parameter
        if not name:
            return False

        def written() -> bytes:
            return self._dialect.write(call.ask, call.n, self.refused)

        if written() == call.body:  # nobody has learnt it meanwhile
            self.refused.add(name)
            if name == "top_logprobs" and written() == call.body:  # nor does it take fewer
                self.refused.add("logprobs")
            self.on_learnt()
        return written() != call.body

    async def _after(self, failure: Failure, call: _Call) -> None:
        """Raise if this was the last try, of the call or of the run; else wait until the next."""
        if self._down:
            raise EngineDown(self._down)
        useless = failure.action == "refuse" or failure.server_replied
        if useless and self._health.useless():
            self._shut_down(failure, f"none of the first {Health.SAME_FAULT} calls was answered")
        if failure.action == "refuse":
            raise CallRefused(f"{self.name} refused the question ({failure.message})")
        if failure.action == "stop":
            self._shut_down(failure, "cannot reach the model")
        if failure.retry_after > LONGEST_PAUSE:
            self._shut_down(failure, f"it asks to wait {failure.retry_after:.0f} s")
        if failure.server_replied:
            if call.tries >= self._config.max_tries:
                self._give_up(failure, call)
        else:
            self._health.failed(call.number, failure, call.started)
            if self._health.down(perf_counter()):
                self._shut_down(failure, "no answer any more" if self._health.worked else "no answer")
            if call.tries >= self._config.max_tries and self._health.others_get_through(call.last_started):
                self._give_up(failure, call)
        self.retries[_kind(failure)] += 1
        # Waiting longer each time is for a server under load, not for one that answers nonsense.
        grown = 1.0 if failure.server_replied else 2.0 ** (call.tries - 1)
        longest = min(LONGEST_WAIT, self._config.give_up_after / 4, FIRST_WAIT * grown)
        if failure.retry_after:
            longest = FIRST_WAIT
        await self._sleep(self._random.uniform(0.0, longest))

    def _give_up(self, failure: Failure, call: _Call) -> None:
        raise CallFailed(
            f"{self.name} gave nothing in {call.tries} tries (the last: {failure.message})."
            " Run the same command again to ask once more"
        )

    def _shut_down(self, failure: Failure, what: str) -> None:
        """Stop everything that waits or is under way, and say why."""
        advice = next_step(failure, self.model, self.url, self.key_env, bool(self._key))
        self._down = f"{self.name}: {what}: {failure.message} from {self.url}. {advice}"
        self._down_until = perf_counter() + REST_WHEN_DOWN
        self._gate.fail(EngineDown(self._down))
        self._stop.set()
        raise EngineDown(self._down)

    def _open(self) -> None:
        """Start, or start again: in another event loop, or some time after having been down."""
        if self._down and perf_counter() < self._down_until:
            raise EngineDown(self._down)
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            headers = self._dialect.headers(self._key)
            self._http = Http(self.url, self._dialect.path, headers, self._config.timeout)
        if self._loop is not loop or self._down:
            self._gate = Gate(self._config.concurrency)
            self._health = Health(self._config.give_up_after)
            self._stop = asyncio.Event()
            self._loop, self._down = loop, ""

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return
        raise EngineDown(self._down)

    async def _wait_for_caps(self, ask: Ask, n: int) -> float:
        """Wait for the caps per minute; the tokens expected are settled against those used."""
        if self._requests is None and self._tokens is None:
            return 0.0
        now = perf_counter()
        wait = self._requests.take(1.0, now) if self._requests else 0.0
        expected = 0.0
        if self._tokens:
            read = sum(len(message.content) for message in ask.messages) / 4
            expected = read + n * min(self._written, ask.max_tokens)
            wait = max(wait, self._tokens.take(expected, now))
        if wait > 0:
            await self._sleep(wait)
        return expected

    def _worst_case(self, body: bytes, ask: Ask, n: int) -> float:
        """No token is shorter than a byte, and no reply longer than `max_tokens`."""
        return most_it_costs(self.price, len(body), n * ask.max_tokens)

    def _pay(
        self, replies: list[Reply], call: _Call, seconds: float, reserved: Reservation, expected: float
    ) -> list[Reply]:
        """Put time, cost and what was sent on the replies; the cost takes the place of what was reserved."""
        counted = replies[0].usage != NO_USAGE
        paid = []
        for i, reply in enumerate(replies):
            cost = cost_of(reply.usage, self.price, call.share / len(replies))
            # A server that counts no tokens is believed to have used all that were reserved.
            cost = cost if counted or self._shared else reserved.usd / len(replies)
            sent = b""
            if call.known != len(self.refused):  # something was learnt meanwhile: what was sent is the key
                alone = sample_of(call.ask, call.ask.sample + i)
                sent = self._identity(self._dialect.write(alone, 1, call.refused))
            paid.append(replace(reply, seconds=seconds, cost=cost, sent=sent))
        self.budget.pay(reserved, paid)
        if self._tokens is not None:
            used = sum((reply.usage for reply in paid), NO_USAGE)
            self._written += 0.05 * (used.tokens_out / len(paid) - self._written)
            self._tokens.give_back(expected - used.tokens_in - used.tokens_out)
        return paid


class _Call:
    """One call and its tries so far."""

    def __init__(self, ask: Ask, n: int, number: int, gate: Gate, known: int) -> None:
        self.ask, self.n, self.number, self.gate, self.known = ask, n, number, gate, known
        self.tries = 0
        self.started = self.last_started = 0.0
        """When the last try left, and the one before it."""
        self.share = 0.0
        """Its seconds of a machine that is paid by the hour."""
        self.body = b""
        self.refused: frozenset[str] = frozenset()
        """What the body leaves out."""


def _kind(failure: Failure) -> str:
    if failure.status not in (0, 200):
        return f"HTTP {failure.status}"
    return "unreadable" if failure.server_replied else "timeout" if failure.overloaded else "connection"


class Latencies:
    """Percentiles of any number of latencies in a few hundred counters, each a tenth wide."""

    STEP = 1.1

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        self._counts[round(math.log(max(seconds, 1e-4), self.STEP))] += 1

    def percentiles(self) -> tuple[float, float, float] | None:
        """Half, nine tenths and 99 in 100 of them were quicker than these."""
        if not self._counts:
            return None
        found: list[float] = []
        seen, total = 0, self._counts.total()
        for bucket, count in sorted(self._counts.items()):
            seen += count
            while len(found) < 3 and seen >= (0.5, 0.9, 0.99)[len(found)] * total:
                found.append(round(self.STEP**bucket, 4))
        return found[0], found[1], found[2]


class Http:
    """One pooled aiohttp session to one address; the proxy is looked up once."""

    def __init__(self, url: str, path: str, headers: dict[str, str], timeout: float) -> None:
        parts = urlsplit(url)
        self._post = URL(urlunsplit(parts._replace(path=parts.path.rstrip("/") + path)))
        self._parts = parts
        # A context of our own, so that SSL_CERT_FILE counts as it stands when the engine is opened.
        context: Any = ssl.create_default_context() if parts.scheme == "https" else False
        self._session = aiohttp.ClientSession(
            headers={"Content-Type": "application/json", **headers},
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=IDLE_CONNECTION),
            # Connecting has less time than the whole, so that what was not sent is told from what was.
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=min(30.0, timeout / 2)),
        )
        host = parts.hostname or ""
        local = host in ("localhost", "::1") or host.startswith("127.")
        self._proxy = None if local or proxy_bypass(host) else getproxies().get(parts.scheme)

    async def post(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        async with self._session.post(self._post, data=body, proxy=self._proxy, allow_redirects=False) as got:
            raw = await got.read()
            told = {name.lower(): value for name, value in got.headers.items()} if got.status != 200 else {}
            return got.status, told, raw

    async def get(self, path: str) -> tuple[int, bytes]:
        """Nothing at all where there is no answer soon."""
        url = urlunsplit(self._parts._replace(path=self._parts.path.rstrip("/") + path))
        soon = aiohttp.ClientTimeout(total=5.0)
        try:
            async with self._session.get(url, proxy=self._proxy, timeout=soon) as got:
                return got.status, await got.read()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0, b""

    async def close(self) -> None:
        await self._session.close()
