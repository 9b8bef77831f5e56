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

from ..errors import CallFailed, CallRefused, EngineDown
from ..records import Usage, content_id
from .budget import Budget
from .dialects import ChatCompletions, Messages, Unreadable
from .engine import Ask, Engine, EngineConfig, Reply, key_from
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

NOT_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientProxyConnectionError,
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
        self._latencies = Latencies()
        self._dialect, self._config, self._key = dialect, config, key_from(key_env)
        self._numbers = itertools.count()
        self._random = random.Random()
        self._written = 1.0
        """How many tokens a reply has, on average."""
        self._overbilled = 1.0
        """How far a reply went over what its request could cost: later ones reserve so much more."""
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
        return b"\0".join((self.name.encode(), self.served.encode(), body))

    async def find_served(self) -> str:
        """A name for the weights, from `GET /models`; empty where the server does not say. Costs nothing."""
        self._open()
        status, body = await self._http.get("/models", self._dialect.headers(self._key))
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
        gate, number = self._gate, next(self._numbers)
        first_sent, tries, share = 0.0, 0, 0.0
        while True:
            await gate.enter(again=tries > 0)
            try:
                expected = await self._wait_for_caps(ask, n)
                body = self._dialect.write(ask, n, self.refused)
                if self._down:
                    raise EngineDown(self._down)
                reserved = await self.budget.reserve(self._worst_case(body, ask, n))
                started, limit = perf_counter(), gate.adaptive.limit
                entered = self._shared.enter(started) if self._shared else 0.0
                first_sent, tries = first_sent or started, tries + 1
                try:
                    got = await self._try(body)
                except BaseException:  # called off while under way: it may have been read, and be billed
                    self.budget.lose(reserved)
                    raise
                ended = perf_counter()
                share += self._shared.leave(ended, entered) if self._shared else 0.0
                if isinstance(got, list):
                    gate.adaptive.answered(ended - started, started, ended, gate.busy, limit)
                    self._health.answered(ended)
                    self._latencies.add(ended - started)
                    return self._pay(got, ended - started, share, reserved, expected)
                self.budget.lose(reserved) if got.lost else self.budget.release(reserved)
                if got.overloaded:
                    gate.adaptive.refused(started, ended)
            finally:
                gate.leave()
            if self._tokens is not None:
                self._tokens.give_back(expected)
            if self._request_changed(got, ask, n, body):
                tries -= 1
                continue
            await self._after(got, number, tries, started, first_sent)

    async def _try(self, body: bytes) -> list[Reply] | Failure:
        try:
            status, headers, raw = await self._http.post(body, self._dialect.headers(self._key))
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

    def _request_changed(self, failure: Failure, ask: Ask, n: int, body: bytes) -> bool:
        """Leave out a parameter that the server refused, from now on; whether that changes the request."""
        if failure.parameter and self._dialect.write(ask, n, self.refused) == body:
            tried_fewer = failure.parameter == "top_logprobs" and "top_logprobs" in self.refused
            self.refused.add("logprobs" if tried_fewer else failure.parameter)
            self.on_learnt()
        return bool(failure.parameter) and self._dialect.write(ask, n, self.refused) != body

    async def _after(
        self, failure: Failure, call: int, tries: int, started: float, first_sent: float
    ) -> None:
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
            if tries >= self._config.max_tries:
                self._give_up(failure, tries)
        else:
            self._health.failed(call, failure, started)
            if self._health.down(perf_counter()):
                self._shut_down(failure, "no answer any more" if self._health.worked else "no answer")
            if tries >= self._config.max_tries and self._health.others_get_through(first_sent):
                self._give_up(failure, tries)
        self.retries[_kind(failure)] += 1
        # Waiting longer each time is for a server under load, not for one that answers nonsense.
        grown = 1.0 if failure.server_replied else 2.0 ** (tries - 1)
        longest = min(LONGEST_WAIT, self._config.give_up_after / 4, FIRST_WAIT * grown)
        if failure.retry_after:
            self._gate.pause(failure.retry_after)
            longest = FIRST_WAIT
        await self._sleep(self._random.uniform(0.0, longest))

    def _give_up(self, failure: Failure, tries: int) -> None:
        raise CallFailed(
            f"{self.name} gave nothing in {tries} tries (the last: {failure.message})."
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
        if self._down:
            if perf_counter() < self._down_until:
                raise EngineDown(self._down)
            self._down, self._loop = "", None
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._http = Http(self.url, self._dialect.path, self._config.timeout)
            self._gate = Gate(self._config.concurrency)
            self._health = Health(self._config.give_up_after)
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
        return most_it_costs(self.price, len(body), n * ask.max_tokens) * self._overbilled

    def _pay(
        self, replies: list[Reply], seconds: float, share: float, reserved: float, expected: float
    ) -> list[Reply]:
        """Put time and price on the replies, in the place of what was reserved."""
        counted = any(reply.usage != Usage() for reply in replies)
        paid = []
        for reply in replies:
            cost = cost_of(reply.usage, self.price, share / len(replies))
            # A server that counts no tokens is believed to have used all that were reserved.
            cost = cost if counted or self._shared else reserved / len(replies)
            paid.append(msgspec.structs.replace(reply, seconds=seconds, cost=cost))
        total = sum(reply.cost for reply in paid)
        if total > reserved * 1.000001 and not self._shared:
            self._overbilled *= total / reserved if reserved else 1.0
            self.budget.warn_overbilled(self.name, total, reserved)
        self.budget.pay(reserved, paid)
        used = sum(reply.usage.tokens_in + reply.usage.tokens_out for reply in paid)
        written = sum(reply.usage.tokens_out for reply in paid) / len(paid)
        self._written += 0.05 * (written - self._written)
        if self._tokens is not None:
            self._tokens.give_back(expected - used)
        return paid


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

    def __init__(self, url: str, path: str, timeout: float) -> None:
        parts = urlsplit(url)
        self._post = urlunsplit(parts._replace(path=parts.path.rstrip("/") + path))
        self._parts = parts
        # A context of our own, so that SSL_CERT_FILE counts as it stands when the engine is opened.
        context: Any = ssl.create_default_context() if parts.scheme == "https" else False
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=IDLE_CONNECTION),
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=min(30.0, timeout)),
        )
        host = parts.hostname or ""
        local = host in ("localhost", "::1") or host.startswith("127.")
        self._proxy = None if local or proxy_bypass(host) else getproxies().get(parts.scheme)

    async def post(self, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        sent = {"Content-Type": "application/json", **headers}
        async with self._session.post(
            self._post, data=body, headers=sent, proxy=self._proxy, allow_redirects=False
        ) as got:
            raw = await got.read()
            told = {name.lower(): value for name, value in got.headers.items()} if got.status != 200 else {}
            return got.status, told, raw

    async def get(self, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        """Nothing at all where there is no answer soon."""
        url = urlunsplit(self._parts._replace(path=self._parts.path.rstrip("/") + path))
        soon = aiohttp.ClientTimeout(total=5.0)
        try:
            async with self._session.get(url, headers=headers, proxy=self._proxy, timeout=soon) as got:
                return got.status, await got.read()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0, b""

    async def close(self) -> None:
        await self._session.close()
