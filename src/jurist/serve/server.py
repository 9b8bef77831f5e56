"""A judge, a reward model, any engine or a plain function behind an address.

    jurist serve vllm:Qwen/Qwen3-8B@http://gpu:8000/v1 --judge.kind pointwise --budget 5usd
    python -m jurist.serve --answer my_judges:first --port 8000

It does not stream. `concurrency` requests are worked on at once and `queue` more wait; others are refused
with 503 and Retry-After. GET /health and GET /metrics say how it is.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hmac
import logging
import os
import signal
import sys
import threading
import traceback
from asyncio import Semaphore
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from itertools import accumulate
from time import perf_counter, strftime
from typing import Annotated, Any, Final

import msgspec
import uvloop
from aiohttp import web
from msgspec import Meta, Struct

from ..engines.budget import Budget, parse_money
from ..engines.engine import Ask, open_engine, sample_of
from ..engines.scripted import Function, Scripted
from ..errors import BudgetSpent, CallRefused, EngineDown, Interrupted, JuristError, SettingError
from ..prompts.rows import SKIP
from ..recipes.scoring import Scoring
from ..run import Run
from ..verdicts.settings import JudgeConfig
from .protocols import PROTOCOLS, ChatCompletion, Fields, MessagesRequest

LARGEST_BODY: Final = 64 << 20
SLOWEST_BODY_S: Final = 10.0
ALL: Final = 1_000_000
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
STATUS: Final = ((CallRefused, 400), (BudgetSpent, 402), ((EngineDown, Interrupted), 503), (JuristError, 500))
"""A spent budget is no fault that goes away: clients that try 5xx again do not try 402."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """One function for every model name, or one for each name; and a judge, perhaps."""

    def __init__(
        self,
        answer: Function | Mapping[str, Function],
        scoring: Scoring | None = None,
        token: str = "",
        concurrency: int = ALL,
        queue: int = ALL,
    ) -> None:
        self.url = ""
        """Where to point a client, ending in /v1."""
        self.scoring, self.calls, self.in_flight, self.draining = scoring, 0, 0, False
        """The judge; chats answered; requests that wait or are worked on; whether only these are answered."""
        answers = answer if isinstance(answer, Mapping) else {"": answer}
        self._engines = {name: Scripted(one, name or "default") for name, one in answers.items()}
        self._token, self._most, self._slots = token.encode(), concurrency + queue, Semaphore(concurrency)
        self._seen: Counter[str] = Counter()
        self._buckets, self._seconds = [0] * (len(BUCKETS) + 1), 0.0

    async def start(self, host: str, port: int) -> None:
        app = web.Application(client_max_size=LARGEST_BODY, middlewares=[self._guard])
        posts: dict[str, Handler] = {"/v1/messages": partial(self._chat, MessagesRequest)}
        posts["/v1/chat/completions"] = partial(self._chat, ChatCompletion)
        if self.scoring is not None:
            await self.scoring.engines.prepare()
            posts |= {path: partial(self._score, *one) for path, one in PROTOCOLS.items()}
            posts["/seed_session"] = self._health  # how NeMo Gym begins a rollout; a judge remembers nothing
        gets = {"/v1/models": self._models, "/metrics": self._metrics, "/health": self._health}
        app.add_routes([web.post(path, handler) for path, handler in posts.items()])
        app.add_routes([web.get(path, handler) for path, handler in gets.items()])
        # aiohttp would log what it cannot read of a request: tokens, texts.
        quiet: dict[str, Any] = {"access_log": None, "logger": logging.Logger("aiohttp", logging.CRITICAL)}
        self._runner = web.AppRunner(app, **quiet, shutdown_timeout=1.0, lingering_time=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port, backlog=4096).start()
        except OSError as error:
            await self.stop()
            raise SettingError(
                f"cannot listen on {host}:{port}: {error.strerror or error}. Try: --host 127.0.0.1 --port 0"
            ) from None
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._runner.addresses[0][1]}/v1"

    async def stop(self) -> None:
        await self._runner.cleanup()
        if self.scoring is not None:
            await self.scoring.engines.close()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every request goes through here: counted, and what is refused logged, without what it said."""
        started, resource = perf_counter(), request.match_info.route.resource
        path = resource.canonical if resource is not None else "other"
        try:
            response = await self._admit(path, request, handler)
        except web.HTTPException as error:
            response = _error(error.status, error.reason)
        except JuristError as error:
            code = next(code for kinds, code in STATUS if isinstance(error, kinds))
            response = _error(code, str(error))
        except Exception as error:  # what it says may hold texts
            _log("".join(traceback.format_tb(error.__traceback__)) + type(error).__name__)
            response = _error(500, "this server has a fault, and its log says where")
        took, status = perf_counter() - started, response.status
        self._seen[f'{{path="{path}",status="{status}"}}'] += 1
        self._buckets[bisect_left(BUCKETS, took)] += 1
        self._seconds += took
        if status >= 400 and self.scoring is not None:
            _log(f"{request.method} {path} {status} {took * 1000:.1f} ms from {request.remote}")
        return response

    async def _admit(self, path: str, request: web.Request, handler: Handler) -> web.StreamResponse:
        known = not self._token or hmac.compare_digest(_token_of(request.headers), self._token)
        if not known and path != "/health":
            return _error(401, "this server wants its token: Authorization: Bearer TOKEN")
        if not self._token and "Origin" in request.headers:  # a page in a browser here would spend money
            return _error(403, "a web page may ask only a server with a token: --token_env JURIST_TOKEN")
        if path in ("/health", "/metrics"):
            return await handler(request)
        if self.draining or self.in_flight >= self._most:
            said = "is stopping" if self.draining else f"has {self.in_flight} requests already"
            return _error(503, f"this server {said}. Try again later")
        self.in_flight += 1
        try:
            try:
                async with asyncio.timeout(SLOWEST_BODY_S):
                    await request.read()
            except (TimeoutError, web.RequestPayloadError, ConnectionError) as error:
                status = 408 if isinstance(error, TimeoutError) else 400
                response = _error(status, f"the request was not whole and readable in {SLOWEST_BODY_S:g} s")
                response.force_close()
                return response
            async with self._slots:
                return await handler(request)
        finally:
            self.in_flight -= 1

    async def _score(self, read: Any, ask: Any, write: Any, request: web.Request) -> web.Response:
        fields, asked = await _read(request, read)
        found = await asyncio.gather(*(ask(self.scoring, one) for one in asked))
        status, body = write(fields, found)
        return _json(body, status)

    async def _chat(self, asked: Any, request: web.Request) -> web.Response:
        def read(fields: Fields) -> tuple[ChatCompletion | MessagesRequest, Ask]:
            got: Any = msgspec.convert({name: one for name, one in fields.items() if one is not None}, asked)
            return got, got.ask()

        _, (got, ask) = await _read(request, read)
        if got.stream:
            return _error(400, "this server does not stream: leave out stream, or set it to false")
        engine = self._engines.get(got.model, self._engines.get(""))
        if engine is None:
            there = ", ".join(self._engines) or "none: this judge asks no model"
            return _error(404, f"there is no model '{got.model}'; there is {there}")
        replies = await asyncio.gather(*(engine.answer(sample_of(ask, i)) for i in range(got.n)))
        self.calls += 1
        return _json(got.response(replies))

    async def _health(self, _: web.Request) -> web.Response:
        return _json({"status": "draining" if self.draining else "ok"}, 503 if self.draining else 200)

    async def _models(self, _: web.Request) -> web.Response:
        # What OpenAI's clients read of a model, and Anthropic's.
        about = {"object": "model", "created": 0, "owned_by": "jurist"}
        about |= {"type": "model", "created_at": "1970-01-01T00:00:00Z", "lifecycle": "active"}
        names = [one.name for one in self._engines.values()]
        models = [{"id": name, "display_name": name, **about} for name in names]
        return _json({"object": "list", "data": models, "has_more": False})

    async def _metrics(self, _: web.Request) -> web.Response:
        found: dict[str, float] = {f"requests_total{where}": n for where, n in self._seen.items()}
        counts, bounds = [*accumulate(self._buckets)], (*map("{:g}".format, BUCKETS), "+Inf")
        found |= {f'request_seconds_bucket{{le="{le}"}}': n for le, n in zip(bounds, counts, strict=True)}
        found |= {"request_seconds_sum": self._seconds, "request_seconds_count": counts[-1]}
        found["requests_in_flight"] = self.in_flight
        if self.scoring is not None:
            budget, failed = self.scoring.budget, self.scoring.failed
            found |= {"dollars_total": budget.spent, "dollars_uncertain": budget.uncertain}
            found |= {"calls_total": budget.calls, "calls_from_journal_total": budget.cached}
            for why, n in failed.items():  # any text, where it is a user's judge that says why
                found[f"failed_scores_total{{reason={msgspec.json.encode(why).decode()}}}"] = n
        return web.Response(text="".join(f"jurist_{name} {n}\n" for name, n in found.items()))


def _token_of(headers: Mapping[str, str]) -> bytes:
    """As a bearer, as Anthropic's SDK sends it, or as the password in http://any:TOKEN@host."""
    kind, _, said = headers.get("Authorization", "").partition(" ")
    with contextlib.suppress(ValueError):
        if kind == "Basic":
            return base64.b64decode(said).partition(b":")[2]
    return (headers.get("x-api-key") or said).encode(errors="surrogateescape")


async def _read(request: web.Request, read: Callable[[Fields], Any]) -> tuple[Fields, Any]:
    """What cannot be read of a request is its sender's fault."""
    try:
        fields = msgspec.json.decode(await request.read(), type=Fields)
        return fields, read(fields)
    except (JuristError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        said = f"there is no {error}" if isinstance(error, KeyError) else str(error).partition(f" {SKIP}")[0]
        raise CallRefused(f"the request cannot be read: {said or type(error).__name__}") from None


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


def _error(status: int, message: str) -> web.Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    response = _json({"type": "error", "error": {"message": message, "type": kind}}, status)
    if status == 503:
        response.headers["Retry-After"] = "1"
    return response


def _log(what: str) -> None:
    print(f"{strftime('%Y-%m-%d %H:%M:%S')} {what}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def serving(
    answer: Function | Mapping[str, Function], host: str = "127.0.0.1", port: int = 0, **how: Any
) -> Iterator[Server]:
    """A server in a thread with a loop of its own, until the block ends."""
    server, loop = Server(answer, **how), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="jurist-serve", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(host, port), loop).result()
        try:
            yield server
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class ServeConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    judge: Annotated[str | JudgeConfig, Meta(description="As for label, or a reward model's folder.")]
    host: Annotated[str, Meta(description="Where to listen.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="0: any free one.")] = 8000
    token_env: Annotated[str, Meta(description="Environment variable with the token clients send.")] = ""
    out: Annotated[str, Meta(description="The run folder: every answered call is kept there.")] = "serve"
    budget: Annotated[str | float | None, Meta(description="The most it may cost, e.g. 1usd.")] = None
    concurrency: Annotated[int, Meta(ge=1, description="Requests worked on at once.")] = 256
    queue: Annotated[int, Meta(ge=0, description="Requests that may wait; others get a 503.")] = 1024


def serve_judge(cfg: ServeConfig) -> int:
    """Until SIGTERM or Ctrl-C: then what is in flight is answered. After a second one it is given up."""
    token = os.environ.get(cfg.token_env, "")
    if cfg.token_env and not token:
        raise SettingError(f"{cfg.token_env} holds no token. Set one: export {cfg.token_env}=...")
    if not token and cfg.host not in ("localhost", "127.0.0.1", "::1"):
        raise SettingError(
            f"{cfg.host} can be reached from outside, and there is no token. Name the variable that holds"
            " one: --token_env JURIST_TOKEN, or stay on this machine: --host 127.0.0.1"
        )
    with Run(cfg.out) as run:
        scoring = Scoring(cfg.judge, run.journal, Budget(parse_money(cfg.budget), run.journal))
        engine = next(iter(scoring.engines), None)
        server = Server(engine.answer if engine else {}, scoring, token, cfg.concurrency, cfg.queue)
        _run_until_stopped(server, cfg.host, cfg.port)
    return 0


def _run_until_stopped(server: Server, host: str, port: int) -> None:
    async def main() -> None:
        loop, signals = asyncio.get_running_loop(), Semaphore(0)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signals.release)
        await server.start(host, port)
        print(server.url, flush=True)
        await signals.acquire()
        server.draining, scoring = True, server.scoring
        _log(f"stopping: {server.in_flight} requests are still answered. Press Ctrl-C again to give them up")
        while (busy := server.in_flight or (scoring and scoring.engines.busy)) and signals.locked():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        left = server.in_flight
        if busy and scoring is not None:
            scoring.budget.stop(Interrupted("this server is stopping"))
            scoring.engines.abandon()
        await server.stop()
        if busy and scoring is not None:
            raise Interrupted(
                f"stopped. {left} requests are not answered; {scoring.budget.lost} calls that were sent are"
                f" lost and may cost up to ${scoring.budget.lost_usd:.4f}. Answered calls are kept"
            )

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def run_server(argv: list[str] | None = None) -> int:
    """The chat server as its own process; it prints its address once it listens and stops on SIGTERM."""
    parser = argparse.ArgumentParser("python -m jurist.serve", description="Serve a function or an engine.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--answer", help="module:function from an Ask to a text or a Reply")
    what.add_argument("--engine", help="an engine, e.g. hf:./checkpoint")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    args = parser.parse_args(argv)
    try:
        answer = open_engine(args.engine or f"scripted:{args.answer}").answer
        _run_until_stopped(Server(answer), args.host, args.port)
    except JuristError as error:
        print(error, file=sys.stderr)
        return 2
    return 0
