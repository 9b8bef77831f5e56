"""An engine behind HTTP: waits its turn, reserves the money, sends, tries again, counts the cost."""

from __future__ import annotations

import asyncio
import os
import random
import ssl
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec
from msgspec import Struct
from msgspec.structs import replace
from yarl import URL

from ..errors import CallFailed, CallRefused, EngineDown, SettingError
from ..records import Usage, content_id
from .budget import Budget, Reservation
from .dialects import ChatCompletions, Unreadable
from .engine import Ask, Engine, EngineConfig, Reply, sample_of
from .failures import Failure, Health, next_step, read_failure, redact
from .limits import Bucket, Gate
from .prices import SharedTime, cost_of, most_it_costs

FIRST_WAIT: Final = 0.5
"""Seconds before a second try: from 0 to this; then to twice as many, up to `LONGEST_WAIT` or a quarter of
`give_up_after`.
"""
LONGEST_WAIT: Final = 30.0
LONGEST_PAUSE: Final = 300.0
"""A server that asks for more than this is better left alone and asked again another time."""
REST_WHEN_DOWN: Final = 10.0
IDLE_CONNECTION: Final = 4.0
"""Seconds a connection is kept: less than servers do, so that none is closed under a request."""
MOST_BODIES: Final = 1024
MOST_LATENCIES: Final = 10_000
NO_USAGE: Final = Usage()
JSON: Final = "application/json"
NOT_SENT: Final = (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, aiohttp.ConnectionTimeoutError)


class Endpoint(Engine):
    """One model on one server."""

    meters_itself = True

    def __init__(
        self, name: str, url: str, dialect: ChatCompletions, config: EngineConfig, hosted: bool
    ) -> None:
        """`hosted`: a vendor's, which bills by a list and says nothing about its weights."""
        self.name, self.url, self.price, self.key_env = name, url, config.price, config.key_env
        self.hosted, self.model = hosted, dialect.model
        self.batches_at = f"batches {name} {url}"  # in the journal
        self.gives_logprobs = dialect.takes.logprobs
        self.budget = Budget()
        self.served = ""
        """Which weights the server says it holds, where it says so: part of what a reply depends on."""
        self.refused: frozenset[str] = frozenset()
        """Parameters that this server has refused: never sent again."""
        self.on_learnt: Callable[[], None] = lambda: None
        self.retries: Counter[str] = Counter()
        self._latencies: deque[float] = deque(maxlen=MOST_LATENCIES)
        self._bodies: dict[int, tuple[Ask, frozenset[str], bytes]] = {}
        """What `identity` wrote, by the id of its ask: writing it twice would cost a fortieth of a call."""
        self._dialect, self._config, self._key = dialect, config, key_from(config.key_env)
        self._written = 1.0
        """How many tokens a reply has, on average."""
        self._shared = SharedTime() if config.price and config.price.gpu_hour is not None else None
        self._requests = Bucket(config.rpm) if config.rpm else None
        self._tokens = Bucket(config.tpm) if config.tpm else None
        self._processes = 1
        """How many use this server at once, and divide its caps."""
        self._loop: asyncio.AbstractEventLoop | None = None  # `_open` makes what belongs to it
        self._down, self._down_until = "", 0.0
        """Why nothing is sent any more, and for how long."""

    @property
    def needs_key(self) -> bool:
        return self.hosted and not self._key

    async def answer(self, ask: Ask) -> Reply:
        return (await self.samples(ask, 1))[0]

    async def samples(self, ask: Ask, n: int) -> list[Reply]:
        """In one request; fewer where the server does not understand `n`."""
        self._open()
        _, known, body = self._bodies.pop(id(ask), (ask, None, b""))
        call = _Call(ask, n, self._gate, known, known, body if n == 1 else b"")
        while True:
            await call.gate.enter(again=call.tries > 0)
            try:
                got = await self._once(call)
            finally:
                call.gate.leave()
            if isinstance(got, list):
                return got[:n]
            if got.parameter and self._request_changed(got.parameter, call):
                call.tries -= 1
            else:
                await self._after(got, call)

    @property
    def samples_together(self) -> bool:  # type: ignore[override]
        return self._dialect.takes.n and "n" not in self.refused

    def latencies(self) -> tuple[float, float, float] | None:
        took = sorted(self._latencies)
        found = [round(took[int(share * len(took))], 4) for share in (0.5, 0.9, 0.99) if took]
        return (found[0], found[1], found[2]) if found else None

    def share(self, processes: int) -> None:
        config, self._processes = self._config, processes
        for bucket, cap in ((self._requests, config.rpm), (self._tokens, config.tpm)):
            if bucket and cap:
                bucket.change(cap / processes)
        if self._loop is not None:
            adaptive, most = self._gate.adaptive, max(1, config.concurrency // processes)
            adaptive.ceiling, adaptive.limit = most, min(adaptive.limit, float(most))

    def hand_over(self) -> tuple[dict[str, int], list[float]]:
        seen = dict(self.retries), [*self._latencies][:: max(1, len(self._latencies) // 100)]
        self.retries.clear()
        self._latencies.clear()
        return seen

    def add_seen(self, retries: Mapping[str, int], latencies: Sequence[float]) -> None:
        self.retries.update(retries)
        self._latencies.extend(latencies)

    def identity(self, ask: Ask) -> bytes:
        body = self._dialect.write(ask, 1, self.refused)
        if len(self._bodies) >= MOST_BODIES:  # of questions that were not sent: the journal knew them
            self._bodies.clear()
        self._bodies[id(ask)] = ask, self.refused, body
        return self._identity(body)

    def _identity(self, body: bytes) -> bytes:
        return b"\0".join((self.name.encode(), self.served.encode(), body))

    async def find_served(self) -> str:
        """A name for the weights, from `GET /models`; empty where the server does not say. Costs nothing."""
        self._open()
        try:
            async with asyncio.timeout(5.0):
                _, _, body = await self._http.send(self._http.models, None)
            rows = msgspec.json.decode(body, type=_Models).data
        except (aiohttp.ClientError, OSError, msgspec.DecodeError, UnicodeDecodeError):
            return ""
        only = rows[0] if len(rows) == 1 else {}
        ours = next((one for one in rows if one.get("id") == self.model), only)
        facts = {name: ours[name] for name in ("root", "parent", "meta") if ours.get(name)}
        if ours.get("id") not in (None, self.model):
            facts["id"] = ours["id"]
        return content_id(facts)[:12] if facts else ""

    async def close(self) -> None:
        if self._loop is not None and self._loop is asyncio.get_running_loop():
            self._loop = None
            await self._http.session.close()

    async def _once(self, call: _Call) -> list[Reply] | Failure:
        """One try: wait for the caps and the budget, send, and settle the money."""
        ask, n, adaptive = call.ask, call.n, call.gate.adaptive
        expected = await self._wait_for_caps(ask, n)
        self._write(call)
        # No token is shorter than a byte, and no reply longer than `max_tokens`.
        most = most_it_costs(self._config.price, len(call.body), n * ask.max_tokens)
        reserved = await self.budget.reserve(self.name, most, n)
        if self._down:  # while this call waited
            self.budget.release(reserved)
            raise EngineDown(self._down)
        self._write(call)  # without what was learnt while this call waited
        call.last_started, call.started, limit = call.started, perf_counter(), adaptive.limit
        entered = self._shared.change(call.started, 1) if self._shared else 0.0
        call.tries += 1
        try:
            got = await self._try(call.body)
        except BaseException:  # called off while under way: it may have been read, and be billed
            self.budget.lose(reserved)
            raise
        finally:
            ended = perf_counter()
            call.share += self._shared.change(ended, -1) - entered if self._shared else 0.0
        if isinstance(got, list):
            adaptive.answered(ended - call.started, call.started, ended, call.gate.busy, limit)
            self._health.answered(ended)
            self._latencies.append(ended - call.started)
            return self._pay(got, call, ended - call.started, reserved, expected)
        self.budget.lose(reserved) if got.lost else self.budget.release(reserved)
        if got.overloaded:
            adaptive.refused(call.started, ended)
        if 0 < got.retry_after <= LONGEST_PAUSE:
            call.gate.pause(got.retry_after)
        if self._tokens is not None:
            self._tokens.give_back(expected)
        return got

    def _write(self, call: _Call) -> None:
        """The request, without what the server is known to refuse."""
        if not call.body or call.refused != self.refused:
            call.refused = self.refused
            call.body = self._dialect.write(call.ask, call.n, call.refused)

    async def _try(self, body: bytes) -> list[Reply] | Failure:
        raw = await self._fetch(self._http.ask, body)
        if isinstance(raw, Failure):
            return raw
        try:
            return self._dialect.read(raw)
        except Unreadable as why:
            fault = redact(f"HTTP 200 with {why}", self._key)
            return Failure("retry", fault, 200, server_replied=True, lost=why.lost)

    async def _fetch(self, url: URL, body: bytes | None = None, form: str = JSON) -> bytes | Failure:
        try:
            status, headers, raw = await self._http.send(url, body, form)
        except NOT_SENT as error:
            return Failure("retry", redact(str(error), self._key), connect_failed=True)
        except TimeoutError:
            fault = f"no reply within {self._config.timeout:g} s"
            return Failure("retry", fault, overloaded=True, lost=True)
        except (aiohttp.ClientError, OSError) as error:
            fault = redact(str(error) or type(error).__name__, self._key)
            return Failure("retry", f"the connection was lost: {fault}", lost=True)
        if status == 200:
            return raw
        sent = msgspec.json.decode(body).keys() if body and form is JSON and status in (400, 422) else ()
        worked = self._health.worked
        return read_failure(status, headers, raw, key=self._key, worked_before=worked, sent=sent)

    def _request_changed(self, name: str, call: _Call) -> bool:
        """Leave out a parameter that the server refused, from now on; whether that changes the request."""
        sent = call.body
        self._write(call)
        # Fewer of the `top_logprobs` are tried before none at all.
        for refused in (name, "logprobs") if name == "top_logprobs" else (name,):
            if call.body == sent:  # nobody has learnt it meanwhile
                self.refused |= {refused}
                self.on_learnt()
                self._write(call)
        return call.body != sent

    async def _after(self, failure: Failure, call: _Call) -> None:
        """Raise if this was the last try, of the call or of the run; else wait until the next."""
        if self._down:
            raise EngineDown(self._down)
        if (failure.action == "refuse" or failure.server_replied) and self._health.useless():
            self._shut_down(failure, f"none of the first {Health.SAME_FAULT} calls was answered")
        if failure.action == "refuse":
            raise CallRefused(f"{self.name} refused the question ({failure.message})")
        if failure.action == "stop":
            self._shut_down(failure, "cannot reach the model")
        if failure.retry_after > LONGEST_PAUSE:
            self._shut_down(failure, f"it asks to wait {failure.retry_after:.0f} s")
        if not failure.server_replied:
            self._health.failed(call, failure, call.started)
            if self._health.down(perf_counter()):
                self._shut_down(failure, "no answer any more" if self._health.worked else "no answer")
        get_through = failure.server_replied or self._health.others_get_through(call.last_started)
        if call.tries >= self._config.max_tries and get_through:
            raise CallFailed(
                f"{self.name} gave nothing in {call.tries} tries (the last: {failure.message})."
                " Run the same command again to ask once more"
            )
        self.retries[failure.kind] += 1
        # Waiting longer each time is for a server under load, not for one that answers nonsense.
        grown = 1.0 if failure.server_replied or failure.retry_after else 2.0 ** (call.tries - 1)
        longest = min(LONGEST_WAIT, self._config.give_up_after / 4, FIRST_WAIT * grown)
        await self._sleep(random.uniform(0.0, longest))

    def _shut_down(self, failure: Failure, what: str, error: type[EngineDown] = EngineDown) -> None:
        """Stop everything that waits or is under way, and say why."""
        advice = next_step(failure, self.model, self.url, self.key_env, bool(self._key))
        self._down = f"{self.name}: {what}: {failure.message} from {self.url}. {advice}"
        self._down_until = perf_counter() + REST_WHEN_DOWN
        self._gate.fail(EngineDown(self._down))
        self._stop.set()
        raise error(self._down)

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
            self.share(self._processes)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return
        raise EngineDown(self._down)

    async def _wait_for_caps(self, ask: Ask, n: int) -> float:
        """Wait for the caps per minute; the tokens expected are settled against those used."""
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

    def _pay(
        self, replies: list[Reply], call: _Call, seconds: float, reserved: Reservation, expected: float
    ) -> list[Reply]:
        """Put time, cost and what was sent on the replies; the cost takes the place of what was reserved."""
        counted = replies[0].usage != NO_USAGE
        paid = []
        for i, reply in enumerate(replies):
            share = call.share / len(replies) / self._processes
            cost = cost_of(reply.usage, self._config.price, share)
            # A server that counts no tokens is believed to have used all that were reserved.
            cost = cost if counted or self._shared else reserved.usd / len(replies)
            sent = b""
            if call.known != call.refused:  # something was learnt meanwhile: what was sent is the key
                alone = sample_of(call.ask, call.ask.sample + i)
                sent = self._identity(self._dialect.write(alone, 1, call.refused or ()))
            paid.append(replace(reply, seconds=seconds, cost=cost, sent=sent))
        self.budget.pay(reserved, paid)
        if self._tokens is not None:
            used = sum((reply.usage for reply in paid), NO_USAGE)
            self._written += 0.05 * (used.tokens_out / len(paid) - self._written)
            self._tokens.give_back(expected - used.tokens_in - used.tokens_out)
        return paid


class _Models(Struct):
    """The reply to `GET /models`."""

    data: list[dict[str, Any]] = []


class _Call(Struct, eq=False):
    """One call and its tries so far."""

    ask: Ask
    n: int
    gate: Gate
    known: frozenset[str] | None
    """What the request left out when its key was made, where it has one."""
    refused: frozenset[str] | None
    """What the body leaves out."""
    body: bytes
    tries: int = 0
    started: float = 0.0
    """When the last try left; `last_started`: the one before it."""
    last_started: float = 0.0
    share: float = 0.0
    """Its seconds of a machine that is paid by the hour."""


class Http:
    """One pooled aiohttp session to one address; the proxy is looked up once."""

    def __init__(self, url: str, path: str, headers: dict[str, str], timeout: float) -> None:
        self._parts = parts = urlsplit(url)
        self.ask, self.models = self.at(path), self.at("/models")
        # A context of our own, so that SSL_CERT_FILE counts as it stands when the engine is opened.
        context: Any = ssl.create_default_context() if parts.scheme == "https" else False
        self.session = aiohttp.ClientSession(
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=IDLE_CONNECTION),
            # Connecting has less time than the whole, so that what was not sent is known from what was.
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=min(30.0, timeout / 2)),
        )
        host = parts.hostname or ""
        local = host in ("localhost", "::1") or host.startswith("127.")
        self._proxy = None if local or proxy_bypass(host) else getproxies().get(parts.scheme)

    def at(self, path: str) -> URL:
        return URL(urlunsplit(self._parts._replace(path=self._parts.path.rstrip("/") + path)))

    async def send(self, url: URL, body: bytes | None, form: str = JSON) -> tuple[int, dict[str, str], bytes]:
        method, headers = "GET" if body is None else "POST", {"Content-Type": form}
        async with self.session.request(
            method, url, data=body, headers=headers, proxy=self._proxy, allow_redirects=False
        ) as got:
            raw = await got.read()
            failed = got.status != 200
            return got.status, {k.lower(): v for k, v in got.headers.items()} if failed else {}, raw


def key_from(env: str) -> str:
    """Keys come from the environment only, so that no recipe, log or run folder can hold one."""
    key = os.environ.get(env, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise SettingError(
            f"the value of {env} is not a key: it holds a space, a line break or a curly quote."
            f" Set it again with: export {env}=..."
        )
    return key
