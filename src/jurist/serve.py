"""Any engine, or a plain function, behind an address: a judge that other stacks can call.

    python -m jurist.serve --answer my_judges:first --port 8000
    python -m jurist.serve --engine hf:./checkpoint --port 8000

It answers POST /v1/chat/completions as OpenAI does (with `n` and log-probs), POST /v1/messages as Anthropic
does, GET /v1/models and GET /health. It does not stream.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web

from .engines.engine import Ask, Reply, open_engine, sample_of
from .engines.scripted import Function, Scripted
from .errors import CallRefused, JuristError, SettingError
from .records import Message

LARGEST_BODY = 64 << 20


class Part(msgspec.Struct):
    text: str


class Turn(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]


class ChatCompletion(msgspec.Struct):
    """What is understood of OpenAI's request; the rest is ignored, and null is as good as absent."""

    messages: list[Turn]
    model: str = ""
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 0
    max_completion_tokens: int = 1024
    stop: str | tuple[str, ...] = ()
    seed: int | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 1
    logprobs: bool = False
    top_logprobs: int = 0
    stream: bool = False

    def ask(self) -> Ask:
        return Ask(
            tuple(_message(turn) for turn in self.messages),
            self.temperature,
            self.top_p,
            self.max_tokens or self.max_completion_tokens,
            (self.stop,) if isinstance(self.stop, str) else self.stop,
            self.seed,
            max(self.top_logprobs, 1) if self.logprobs else 0,
        )

    def response(self, replies: list[Reply]) -> dict[str, Any]:
        read, written = replies[0].usage.tokens_in, sum(one.usage.tokens_out for one in replies)
        return {
            "id": "chatcmpl-jurist",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.model,
            "choices": [_choice(i, one) for i, one in enumerate(replies)],
            "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
        }


class MessagesRequest(msgspec.Struct):
    """The same of Anthropic's."""

    messages: list[Turn]
    max_tokens: int
    model: str = ""
    system: str | list[Part] = ""
    temperature: float = 1.0
    top_p: float = 1.0
    stop_sequences: tuple[str, ...] = ()
    stream: bool = False
    n = 1

    def ask(self) -> Ask:
        system = [Turn("system", self.system)] if self.system else []
        messages = tuple(_message(turn) for turn in (*system, *self.messages))
        return Ask(messages, self.temperature, self.top_p, self.max_tokens, self.stop_sequences)

    def response(self, replies: list[Reply]) -> dict[str, Any]:
        (reply,) = replies
        thought = {"type": "thinking", "thinking": reply.reasoning, "signature": ""}
        return {
            "id": "msg_jurist",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [*([thought] if reply.reasoning else []), {"type": "text", "text": reply.text}],
            "stop_reason": {"length": "max_tokens", "refused": "refusal"}.get(reply.finish, "end_turn"),
            "stop_sequence": None,
            "usage": {"input_tokens": reply.usage.tokens_in, "output_tokens": reply.usage.tokens_out},
        }


def _message(turn: Turn) -> Message:
    text = turn.content if isinstance(turn.content, str) else "".join(part.text for part in turn.content)
    return Message("system" if turn.role == "developer" else turn.role, text)


class Server:
    """One function for every model name, or one for each name."""

    def __init__(self, answer: Function | Mapping[str, Function]) -> None:
        self.url = ""
        """Where to point a client, ending in /v1."""
        self.calls = 0
        """Requests answered."""
        answers = answer if isinstance(answer, Mapping) else {"": answer}
        self._engines = {name: Scripted(one, name or "default") for name, one in answers.items()}

    async def start(self, host: str, port: int) -> web.AppRunner:
        app = web.Application(client_max_size=LARGEST_BODY)
        app.router.add_post("/v1/chat/completions", partial(self._answer, ChatCompletion))
        app.router.add_post("/v1/messages", partial(self._answer, MessagesRequest))
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._models)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, backlog=4096).start()
        except OSError as error:
            raise SettingError(
                f"cannot listen on {host}:{port}: {error.strerror or error}. Take a free port: --port 0"
            ) from None
        self.url = f"http://{host}:{runner.addresses[0][1]}/v1"
        return runner

    async def _models(self, request: web.Request) -> web.Response:
        # What OpenAI's clients read of a model, and Anthropic's.
        about = {"object": "model", "created": 0, "owned_by": "jurist"}
        about |= {"type": "model", "created_at": "1970-01-01T00:00:00Z", "lifecycle": "active"}
        models = [{"id": name, "display_name": name, **about} for name in self._names()]
        return web.json_response({"object": "list", "data": models, "has_more": False})

    def _names(self) -> list[str]:
        return [one.name for one in self._engines.values()]

    async def _answer(
        self, asked: type[ChatCompletion | MessagesRequest], request: web.Request
    ) -> web.Response:
        try:
            fields = msgspec.json.decode(await request.read(), type=dict[str, Any])
            got = msgspec.convert({name: one for name, one in fields.items() if one is not None}, asked)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _error(400, str(error))
        if got.stream:
            return _error(400, "this server does not stream: leave out stream, or set it to false")
        engine = self._engines.get(got.model, self._engines.get(""))
        if engine is None:
            return _error(404, f"there is no model '{got.model}'; there is {', '.join(self._names())}")
        ask = got.ask()
        try:
            replies = await asyncio.gather(*(engine.answer(sample_of(ask, i)) for i in range(got.n)))
        except JuristError as error:
            return _error(400 if isinstance(error, CallRefused) else 500, str(error))
        self.calls += 1
        body = msgspec.json.encode(got.response(replies))
        return web.Response(body=body, content_type="application/json")


def _error(status: int, message: str) -> web.Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return web.json_response({"type": "error", "error": {"message": message, "type": kind}}, status=status)


def _choice(index: int, reply: Reply) -> dict[str, Any]:
    message = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    finish = "content_filter" if reply.finish == "refused" else reply.finish
    tokens = [
        _token(one.text, one.logprob, top_logprobs=[_token(*other) for other in one.top])
        for one in reply.tokens
    ]
    logprobs = {"content": tokens, "refusal": None} if tokens else None
    return {"index": index, "message": message, "finish_reason": finish, "logprobs": logprobs}


def _token(text: str, logprob: float, **more: Any) -> dict[str, Any]:
    # -9999 is OpenAI's for what has no log-prob; JSON has no minus infinity.
    return {"token": text, "logprob": max(logprob, -9999.0), "bytes": list(text.encode()), **more}


@contextlib.contextmanager
def serving(
    answer: Function | Mapping[str, Function], host: str = "127.0.0.1", port: int = 0
) -> Iterator[Server]:
    """A server in a thread with a loop of its own, until the block ends."""
    server, loop = Server(answer), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="jurist-serve", daemon=True)
    thread.start()
    try:
        runner = asyncio.run_coroutine_threadsafe(server.start(host, port), loop).result()
        try:
            yield server
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def run_server(argv: list[str] | None = None) -> int:
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
        answer = open_engine(args.engine or f"scripted:{args.answer}").answer
        with serving(answer, args.host, args.port) as server:
            print(server.url, flush=True)
            stop.wait()
    except JuristError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(run_server())
