"""What one judge call costs this process: our wire, our aiohttp transport and bare aiohttp, in one run.

    python bench/transport.py [--calls 5000] [--concurrency 64 256 1024] [--rounds 3]

The server is a process of its own that answers after 50 ms with the top-5 log-probs of a short verdict; a
request's body is 3.2 KB. CPU is this process's alone, from building the body to the parsed reply. The best of
the rounds is reported, because other work on the machine only ever adds.
Written to bench/results/transport.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import platform
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from itertools import repeat
from multiprocessing.connection import Connection
from pathlib import Path

from jurist.engines.dialects import Quirks
from jurist.engines.dialects.hosting import write_chat
from jurist.engines.dialects.openai import ChatCompletions
from jurist.engines.engine import Ask, Reply, Token
from jurist.engines.open import open_engine
from jurist.engines.serve import fast_loop, serve
from jurist.records import Message

RESULTS = Path(__file__).parent / "results" / "transport.json"
ASK = Ask((Message("system", "Judge. " * 40), Message("user", "words " * 450)), max_tokens=16, top_logprobs=5)
TOP = tuple((f"{letter}", -0.1 - rank) for rank, letter in enumerate("ABCDE"))
REPLY = Reply("The answer is [[A]]", tokens=tuple(Token(word, -0.1, TOP) for word in ("[[", "A", "]]")))

Call = Callable[[], Awaitable[object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=run_server, args=(theirs,), daemon=True)
    server.start()
    url = ours.recv()
    rows = []
    try:
        for concurrency in args.concurrency:
            for name in CLIENTS:
                rounds = [measure(name, url, args.calls, concurrency) for _ in range(args.rounds)]
                row = {"client": name, "concurrency": concurrency, "calls": args.calls}
                row["cpu_ms"] = round(min(cpu for cpu, _ in rounds), 4)
                row["rows_per_s"] = round(max(rate for _, rate in rounds))
                rows.append(row)
                print(
                    f"{concurrency:5d} {name:28s} {row['cpu_ms']:.4f} ms {row['rows_per_s']:6d} rows/s",
                    flush=True,
                )
    finally:
        server.terminate()
        server.join()
    versions = {name: version(name) for name in ("aiohttp", "httptools", "uvloop", "msgspec")}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        json.dumps({"rows": rows, "versions": {"python": platform.python_version(), **versions}}, indent=1)
        + "\n"
    )


def run_server(pipe: Connection) -> None:
    async def stay() -> None:
        raw = write_chat("m", ASK, [REPLY])
        served = await serve(lambda ask: "", latency=0.05, raw=raw)
        pipe.send(served.url)
        await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=fast_loop()) as runner:
        runner.run(stay())


def measure(name: str, url: str, calls: int, concurrency: int) -> tuple[float, float]:
    """CPU-ms a call and rows a second, connections already made."""

    async def work() -> tuple[float, float]:
        call, close = await CLIENTS[name](url, concurrency)
        await spend(call, 2 * concurrency, concurrency)
        cpu, wall = time.process_time(), time.perf_counter()
        await spend(call, calls, concurrency)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        await close()
        return cpu / calls * 1000, calls / wall

    with asyncio.Runner(loop_factory=fast_loop()) as runner:
        return runner.run(work())


async def spend(call: Call, calls: int, concurrency: int) -> None:
    """As many workers as concurrency, sharing the calls out among them."""
    todo = repeat(None, calls)

    async def worker() -> None:
        for _ in todo:
            await call()

    await asyncio.gather(*(worker() for _ in range(concurrency)))


async def wire(url: str, concurrency: int) -> tuple[Call, Call]:
    from jurist.engines.wire import Wire

    dialect = ChatCompletions("m", Quirks())
    transport = Wire(url + dialect.path, {})

    async def call() -> list[Reply]:
        return dialect.read((await transport.post(dialect.write(ASK), 60.0)).body)

    return call, transport.close


async def aiohttp_transport(url: str, concurrency: int) -> tuple[Call, Call]:
    from jurist.engines.tls import Tls

    dialect = ChatCompletions("m", Quirks())
    transport = Tls(url + dialect.path, {})

    async def call() -> list[Reply]:
        return dialect.read((await transport.post(dialect.write(ASK), 60.0)).body)

    return call, transport.close


async def bare_aiohttp(url: str, concurrency: int) -> tuple[Call, Call]:
    """What one would write by hand: aiohttp, and msgspec for the JSON."""
    import aiohttp
    import msgspec

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency))
    encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode
    messages = [{"role": message.role, "content": message.content} for message in ASK.messages]

    async def call() -> object:
        body = encode(
            {"model": "m", "messages": messages, "temperature": 0.0, "max_tokens": 16}
            | {"logprobs": True, "top_logprobs": 5}
        )
        headers = {"Content-Type": "application/json"}
        async with session.post(url + "/chat/completions", data=body, headers=headers) as got:
            return decode(await got.read())["choices"][0]["message"]["content"]

    return call, session.close


async def endpoint(url: str, concurrency: int) -> tuple[Call, Call]:
    """Everything: limits, breaker, meter, tries."""
    engine = open_engine({"engine": f"vllm:m@{url}", "concurrency": concurrency})

    async def call() -> Reply:
        return await engine.answer(ASK)

    return call, engine.close


CLIENTS = {
    "bare aiohttp": bare_aiohttp,
    "wire + parse": wire,
    "aiohttp transport + parse": aiohttp_transport,
    "endpoint (wire)": endpoint,
}


if __name__ == "__main__":
    main()
