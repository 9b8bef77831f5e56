"""Any engine, or a plain function, behind an OpenAI-compatible address: a judge that other stacks can call.

    python -m jurist.serve --answer my_judges:first --port 8000
    python -m jurist.serve --engine hf:./checkpoint --port 8000

It answers POST /v1/chat/completions (with `n` and log-probs; no streaming), GET /v1/models and GET /health.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from inspect import isawaitable
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web

from .engines.engine import Ask, Reply, open_engine, sample_of
from .engines.scripted import describe_fault, guessed_usage, load_function
from .errors import CallRefused, JuristError, SettingError
from .records import Message, Usage

Answer = Callable[[Ask], "str | Reply | Awaitable[str | Reply]"]
"""From a question to a text or a whole reply."""
LARGEST_BODY = 64 << 20


class Request(msgspec.Struct):
    """What is understood of a chat completion; the rest is ignored. Clients may send null for a default."""

    messages: tuple[Message, ...]
    model: str = ""
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | tuple[str, ...] | None = None
    seed: int | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=1024)] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    stream: Literal[False] | None = None

    def ask(self) -> Ask:
        return Ask(
            self.messages,
            1.0 if self.temperature is None else self.temperature,
            1.0 if self.top_p is None else self.top_p,
            self.max_tokens or self.max_completion_tokens or 1024,
            (self.stop,) if isinstance(self.stop, str) else self.stop or (),
            self.seed,
            max(self.top_logprobs or 0, 1) if self.logprobs else 0,
        )


class Server:
    """One function for every model name, or one for each name."""

    def __init__(self, answer: Answer | Mapping[str, Answer]) -> None:
        self.url = ""
        """Where to point a client, ending in /v1."""
        self.calls = 0
        """Requests answered."""
        self._answers = answer if isinstance(answer, Mapping) else {"": answer}
        self._runner: web.AppRunner

    async def start(self, host: str, port: int) -> None:
        app = web.Application(client_max_size=LARGEST_BODY)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._models)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, backlog=4096)
        try:
            await site.start()
        except OSError as error:
            raise SettingError(
                f"cannot listen on {host}:{port}: {error.strerror or error}. Take a free port: --port 0"
            ) from None
        self.url = f"http://{host}:{self._runner.addresses[0][1]}/v1"

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:
        names = [name or "default" for name in self._answers]
        return web.json_response({"object": "list", "data": [{"id": n, "object": "model"} for n in names]})

    async def _chat(self, request: web.Request) -> web.Response:
        try:
            got = msgspec.json.decode(await request.read(), type=Request)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _error(400, str(error))
        answer = self._answers.get(got.model, self._answers.get(""))
        if answer is None:
            return _error(404, f"there is no model '{got.model}'; there is {', '.join(self._answers)}")
        ask = got.ask()
        try:
            replies = await asyncio.gather(*(_said(answer, sample_of(ask, i)) for i in range(got.n or 1)))
        except CallRefused as error:
            return _error(400, str(error))
        except JuristError as error:
            return _error(500, str(error))
        except Exception as error:  # whatever the user's function does
            return _error(500, describe_fault(error))
        self.calls += 1
        return web.Response(
            body=msgspec.json.encode(_completion(got, ask, replies)), content_type="application/json"
        )


async def _said(answer: Answer, ask: Ask) -> Reply:
    said: Any = answer(ask)
    said = await said if isawaitable(said) else said
    return said if isinstance(said, Reply) else Reply(str(said))


def _error(status: int, message: str) -> web.Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return web.json_response({"error": {"message": message, "type": kind}}, status=status)


def _completion(got: Request, ask: Ask, replies: list[Reply]) -> dict[str, Any]:
    counted = [
        one if one.usage != Usage() else msgspec.structs.replace(one, usage=guessed_usage(ask, one))
        for one in replies
    ]
    read, written = counted[0].usage.tokens_in, sum(one.usage.tokens_out for one in counted)
    return {
        "id": "chatcmpl-jurist",
        "object": "chat.completion",
        "model": got.model,
        "choices": [_choice(i, one) for i, one in enumerate(replies)],
        "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
    }


def _choice(index: int, reply: Reply) -> dict[str, Any]:
    message = {"role": "assistant", "content": reply.text}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    finish = {"refused": "content_filter"}.get(reply.finish, reply.finish)
    choice: dict[str, Any] = {"index": index, "message": message, "finish_reason": finish}
    if reply.tokens:
        content = [
            {
                "token": t.text,
                "logprob": t.logprob,
                "top_logprobs": [{"token": w, "logprob": p} for w, p in t.top],
            }
            for t in reply.tokens
        ]
        choice["logprobs"] = {"content": content}
    return choice


@contextlib.contextmanager
def serving(
    answer: Answer | Mapping[str, Answer], host: str = "127.0.0.1", port: int = 0
) -> Iterator[Server]:
    """A server in a thread with a loop of its own, until the block ends."""
    ready: Future[Callable[[], object]] = Future()
    server = Server(answer)

    async def stay() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        try:
            await server.start(host, port)
        except BaseException as error:
            ready.set_exception(error)
            return
        ready.set_result(lambda: loop.call_soon_threadsafe(stop.set))
        await stop.wait()
        await server.close()

    thread = threading.Thread(target=lambda: asyncio.run(stay()), name="jurist-serve", daemon=True)
    thread.start()
    stop = ready.result()
    try:
        yield server
    finally:
        stop()
        thread.join()


def main(argv: list[str] | None = None) -> int:
    """The server as its own process; it prints its address once it listens and stops on SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m jurist.serve", description="Serve a function or an engine."
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--answer", help="module:function from an Ask to a text or a Reply")
    what.add_argument("--engine", help="an engine, e.g. hf:./checkpoint")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    args = parser.parse_args(argv)

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        answer = open_engine(args.engine).answer if args.engine else load_function(args.answer)
        with serving(answer, args.host, args.port) as server:
            print(server.url, flush=True)
            stop.wait()
    except JuristError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
