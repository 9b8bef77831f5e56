"""A real OpenAI-compatible server on a loopback port, with planted faults and its own books.

    with serving(lambda request: "A", price=(1, 2)) as server:
        run("label", "--pairs", "pairs.jsonl", "--judge", f"vllm:judge@{server.url}")
    print(len(server.log), server.answered, server.dollars)

It speaks `POST /v1/chat/completions` (with `n`), `POST /v1/messages` and `GET /v1/models`. Four characters
count as a token, and every text is cut at the request's `max_tokens`.
"""

import asyncio
import json
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from inspect import isawaitable
from typing import Any

from aiohttp import web

from support.replies import Answer, Json, chat_body, message_body, text_of

PAGES = {"html": "<!DOCTYPE html>\n<h1>Welcome!</h1>", "error": '{"error": {"message": "overloaded"}}'}
CHAT = (
    "model messages stream metadata temperature top_p max_tokens max_completion_tokens stop seed n logprobs"
    " top_logprobs response_format reasoning_effort frequency_penalty presence_penalty logit_bias user store"
)
MESSAGES = "model messages stream metadata system max_tokens stop_sequences thinking output_config tools"
"""The fields of the two APIs, for servers that are strict."""


@dataclass
class Record:
    """One request in the server's books."""

    arrived: float
    body: Json
    model: str
    attempt: int
    """How often the same request had come before."""
    fault: str | None = None
    status: int = 0
    answered: bool = False
    """A good reply was written in full to a client that was still there."""
    tokens_in: int = 0
    tokens_out: int = 0
    dollars: float = 0.0
    seconds: float = 0.0


@dataclass
class Server:
    """The options of a server, and what a test sees of it while it runs and afterwards."""

    answer: Answer | str
    latency: float | Callable[[Json], float] = 0.0
    faults: Mapping[str, float] | Callable[[Json, int], str | None] = field(default_factory=dict)
    """Shares of 429, 500, drop, stall, truncate, html and error, drawn by seed, request and attempt; or
    a function that names the fault of a request at an attempt."""
    seed: int = 0
    retry_after: float = 0.0
    price: tuple[float, float] = (0.0, 0.0)
    """Dollars a million tokens, read and written."""
    overbill: float = 1.0
    """Written tokens are reported and billed this many times over."""
    strict: bool = False
    """Fields that the API does not have are refused, and always those in `refuses`."""
    refuses: Collection[str] = ()
    max_concurrent: int = 1_000_000
    """Slots; further requests wait their turn."""
    key: str = ""
    """The only key let in, if any."""
    served: str = "judge"
    """The model it says it is, in replies and at /v1/models."""
    port: int = 0
    log: list[Record] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    def __post_init__(self) -> None:
        self._attempts: Counter[bytes] = Counter()
        self._slots = asyncio.Semaphore(self.max_concurrent)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def dollars(self) -> float:
        return sum(one.dollars for one in self.log)

    @property
    def answered(self) -> int:
        return sum(one.answered for one in self.log)

    async def start(self) -> web.AppRunner:
        app = web.Application(client_max_size=2**28)
        app.router.add_post("/v1/chat/completions", partial(self._handle, CHAT, chat_body))
        app.router.add_post("/v1/messages", partial(self._handle, MESSAGES, message_body))
        app.router.add_get("/v1/models", self._models)
        self.add_routes(app)
        # A client that hangs up frees its slot, as with vLLM and llama.cpp.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, backlog=4096, reuse_address=True).start()
        self.port = runner.addresses[0][1]
        return runner

    def add_routes(self, app: web.Application) -> None:
        """None more."""

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": self.served, "object": "model"}]})

    async def _handle(self, known: str, write: Any, request: web.Request) -> web.StreamResponse:
        arrived, raw = time.perf_counter(), await request.read()
        asked = json.loads(raw)
        record = Record(arrived, asked, asked.get("model", ""), self._attempts[raw])
        self._attempts[raw] += 1
        self.log.append(record)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            response: web.StreamResponse | None = self._refusal(request, asked, known)
            if response is None:
                async with self._slots:
                    record.fault = self._fault(asked, raw, record.attempt)
                    response = await self._answer(request, record, write)
            record.status = response.status
            there = request.transport is not None and not request.transport.is_closing()
            record.answered = response.status < 300 and record.fault is None and there
            if not response.prepared and record.fault != "drop":
                await response.prepare(request)
                await response.write_eof()
            return response
        except BaseException:
            record.answered = False
            raise
        finally:
            self.in_flight -= 1
            record.seconds = time.perf_counter() - arrived

    def _refusal(self, request: web.Request, asked: Json, known: str) -> web.Response | None:
        sent = request.headers.get("x-api-key") or request.headers.get("Authorization", "")
        if self.key and sent.removeprefix("Bearer ") != self.key:
            return _error(401, f"Incorrect API key provided: {sent}")
        for name in asked:
            if name in self.refuses:
                return _error(400, f"Unsupported parameter: '{name}' is not supported with this model.", name)
            if self.strict and name not in known.split():
                return _error(400, f"Unrecognized request argument supplied: {name}", name)
        return None

    async def _answer(self, request: web.Request, record: Record, write: Any) -> web.StreamResponse:
        asked, fault = record.body, record.fault
        await asyncio.sleep(self.latency(asked) if callable(self.latency) else self.latency)
        if fault in ("429", "500"):
            return _error(int(fault), "a planted fault", headers={"Retry-After": f"{self.retry_after:g}"})
        replies = await self._replies(asked)
        first = replies[0]
        status, headers = first.get("status", 200), first.get("headers", {})
        written = sum(_tokens(one.get("text"), one.get("reasoning")) for one in replies)
        usage = {"prompt_tokens": _tokens(text_of(asked)), "completion_tokens": written}
        usage |= first.get("usage", {})
        usage["completion_tokens"] = math.ceil(usage["completion_tokens"] * self.overbill)
        usage.setdefault("total_tokens", usage["prompt_tokens"] + usage["completion_tokens"])
        if fault not in PAGES and status < 300:
            # What the model worked on is billed, seen or not; thoughts may be reported in the total alone.
            record.tokens_in = usage["prompt_tokens"]
            record.tokens_out = max(usage["completion_tokens"], usage["total_tokens"] - record.tokens_in)
            record.dollars = (record.tokens_in * self.price[0] + record.tokens_out * self.price[1]) / 1e6
        if status >= 300 and "body" not in first:
            return _error(status, first.get("text", ""), headers=headers)
        whole = json.dumps({"model": self.served, **write(asked, replies, usage)}).encode()
        body = PAGES[fault].encode() if fault in PAGES else first.get("body") or whole
        headers = {"Content-Type": "text/html" if fault == "html" else "application/json", **headers}
        if fault == "stall":
            await asyncio.sleep(math.inf)
        if fault not in ("drop", "truncate"):
            return web.Response(status=status, body=body, headers=headers)
        response = web.StreamResponse(headers={**headers, "Content-Length": str(len(body))})
        if fault == "truncate":
            await response.prepare(request)
            await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return response

    def _fault(self, asked: Json, raw: bytes, attempt: int) -> str | None:
        if callable(self.faults):
            return self.faults(asked, attempt)
        left = random.Random(f"{self.seed} {attempt} {raw!r}").random()
        for fault, share in self.faults.items():
            left -= share
            if left < 0:
                return fault
        return None

    async def _replies(self, asked: Json) -> list[Json]:
        most = asked.get("max_completion_tokens") or asked.get("max_tokens") or 1_000_000
        replies: list[Json] = []
        while len(replies) < (asked.get("n") or 1):
            said = self.answer(asked) if callable(self.answer) else self.answer
            said = await said if isawaitable(said) else said
            for one in said if isinstance(said, list) else [said]:
                reply = {"text": one} if isinstance(one, str) else dict(one)
                whole = "finish_reason" in reply or "status" in reply
                if not whole and len(reply.get("text") or "") > 4 * most:
                    reply |= {"text": reply["text"][: 4 * most], "finish_reason": "length"}
                replies.append(reply)
        return replies


@contextmanager
def serving(answer: Answer | str = "A", **options: Any) -> Iterator[Server]:
    """A `Server` with these options in a thread of its own; its connections end with the block."""
    with running(Server(answer, **options)) as server:
        yield server


@contextmanager
def running(server: Any) -> Iterator[Any]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        runner = asyncio.run_coroutine_threadsafe(server.start(), loop).result()
        try:
            yield server
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _tokens(*texts: str | None) -> int:
    return sum(math.ceil(len(text or "") / 4) for text in texts)


def _error(status: int, message: str, param: str | None = None, headers: Any = None) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": None}
    return web.json_response({"error": error}, status=status, headers=headers)
