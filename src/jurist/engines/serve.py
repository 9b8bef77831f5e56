"""Any engine, or a plain function, behind an OpenAI-compatible address: a judge that other stacks can call.

The same server is the other end of our tests and benchmarks, so it can be slow, and go wrong, to order:

    python -m jurist.engines.serve --answer my_judges:first --port 8000 --latency 0.05 --faults 429=0.05

It answers POST /v1/chat/completions and /v1/messages, GET /v1/models and /stats; it does not stream.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from ..errors import JuristError, SettingError
from .desk import Answer, Desk, Latency, Stats
from .faults import Faults
from .listen import Connection
from .scripted import load_function


class Served:
    """A running server."""

    def __init__(self, url: str, stats: Stats, server: asyncio.Server, open_: set[Connection]) -> None:
        self.url = url
        """Where to point a client, ending in /v1."""
        self.stats = stats
        self._server = server
        self._open = open_

    async def close(self) -> None:
        self._server.close()
        for connection in list(self._open):
            connection.abort()
        await asyncio.sleep(0)


async def serve(
    answer: Answer | Mapping[str, Answer],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    latency: Latency = 0.0,
    faults: Faults | None = None,
    raw: bytes | None = None,
) -> Served:
    """Serve one function for every model name, or one a name; `raw` is a body to answer everything with."""
    desk = Desk(answer, latency, faults, raw)
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(lambda: Connection(desk.take, desk.open), host, port, backlog=4096)
    except OSError as why:
        raise SettingError(
            f"cannot listen on {host}:{port}: {why.strerror or why}. Take any free port with: --port 0"
        ) from None
    address = server.sockets[0].getsockname()
    return Served(f"http://{address[0]}:{address[1]}/v1", desk.stats, server, desk.open)


@contextlib.contextmanager
def serving(answer: Answer | Mapping[str, Answer], **options: Any) -> Iterator[Served]:
    """The same in a thread with a loop of its own, until the block ends."""
    ready: Future[tuple[Served, Callable[[], object]]] = Future()

    async def stay() -> None:
        try:
            served = await serve(answer, **options)
        except BaseException as why:
            ready.set_exception(why)
            return
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        ready.set_result((served, partial(loop.call_soon_threadsafe, stop.set)))
        await stop.wait()
        await served.close()

    def work() -> None:
        with asyncio.Runner(loop_factory=fast_loop()) as runner:
            runner.run(stay())

    thread = threading.Thread(target=work, name="jurist-serve", daemon=True)
    thread.start()
    served, stop = ready.result()
    try:
        yield served
    finally:
        stop()
        thread.join()


def fast_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop where it exists (not on Windows)."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def main(argv: list[str] | None = None) -> int:
    """The server as its own process; it prints its address once it listens and stops on SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m jurist.engines.serve", description="Serve a function or an engine over HTTP."
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--answer", help="module:function from an Ask to text or a Reply")
    what.add_argument("--engine", help="an engine, e.g. hf:./checkpoint")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--faults", default="", help="shares, e.g. 429=0.05,500=0.05,drop=.02,stall=.02")
    args = parser.parse_args(argv)
    try:
        with asyncio.Runner(loop_factory=fast_loop()) as runner:
            runner.run(_stay(args))
    except JuristError as why:
        print(why, file=sys.stderr)
        return 2
    return 0


async def _stay(args: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows has no handlers in its loops
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    served = await serve(
        _answer_of(args),
        host=args.host,
        port=args.port,
        latency=args.latency,
        faults=Faults.parse(args.faults) if args.faults else None,
    )
    print(served.url, flush=True)
    await stop.wait()
    await served.close()


def _answer_of(args: argparse.Namespace) -> Answer:
    if args.engine:
        from .open import open_engine

        return open_engine(args.engine).answer
    function: Answer = load_function(args.answer)
    return function


if __name__ == "__main__":
    raise SystemExit(main())
