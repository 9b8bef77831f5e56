"""One client, measured in a process of its own: `python bench/clients.py NAME URL PAIRS QUESTIONS --calls N`.

Prints one line of JSON. CPU is that of this process with all its threads, from after the imports and a short
job to warm up, until the last reply is dealt with.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from work import TOP_LOGPROBS, peak_mb, pin

WARM_UP = 512
"""Calls before the measurement begins."""
Call = Callable[[Any], Awaitable[object]]


class Watch:
    """CPU and wall seconds since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def read(self) -> dict[str, float]:
        return {"cpu_s": time.process_time() - self._cpu, "wall_s": time.perf_counter() - self._wall}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("url")
    parser.add_argument("pairs", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--core", type=int)
    args = parser.parse_args()
    pin(args.core)
    measured = CLIENTS[args.client](args)
    measured["calls"] = args.calls
    measured["peak_mb"] = peak_mb()
    print(json.dumps(measured))


def pipeline(args: argparse.Namespace) -> dict[str, Any]:
    """`jurist label` with so many requests under way from the start, which otherwise it works up to."""
    from jurist.engines import limits

    limits.START = args.concurrency
    return by_default(args)


def by_default(args: argparse.Namespace) -> dict[str, Any]:
    """`jurist label`, in the two halves it has: asking, and deciding from what was said."""
    folder = Path(tempfile.mkdtemp(prefix="jurist-bench-"))
    try:
        _label(args, folder / "warm-up", WARM_UP)
        return _label(args, folder / "run", args.calls)
    finally:
        shutil.rmtree(folder)


def _label(args: argparse.Namespace, out: Path, calls: int) -> dict[str, Any]:
    from jurist.recipes.label import label
    from jurist.recipes.settings import LabelConfig
    from jurist.recipes.summary import RunProgress
    from jurist.verdicts.settings import JudgeConfig

    rows = calls // 2
    engine = {"engine": f"vllm:judge@{args.url}", "concurrency": args.concurrency}
    cfg = LabelConfig(out=str(out), pairs=str(args.pairs), judge=JudgeConfig(engine=engine), limit=rows)
    measured: dict[str, Any] = {}
    watch = Watch()

    def look(tally: RunProgress) -> None:
        if tally.rows == rows:  # all is asked and written; what follows is deciding and exporting
            measured.update(watch.read())

    summary = label(cfg, look)
    if summary.calls != calls or summary.unread or summary.labels != rows:
        sys.exit(f"the run went wrong: {summary}")
    measured["decide_cpu_s"] = watch.read()["cpu_s"] - measured["cpu_s"]
    return measured


def bare_aiohttp(args: argparse.Namespace) -> dict[str, Any]:
    """What one would write by hand: aiohttp on uvloop, msgspec for the JSON, workers to bound it. It reads
    no verdict and keeps nothing.
    """
    import aiohttp

    encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode
    headers = {"Content-Type": "application/json"}

    async def work() -> dict[str, float]:
        connector = aiohttp.TCPConnector(limit=args.concurrency)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def call(messages: Any) -> object:
                request = {"model": "judge", "messages": messages, "temperature": 0.0, "max_tokens": 3}
                body = encode({**request, "logprobs": True, "top_logprobs": TOP_LOGPROBS})
                async with session.post(url, data=body, headers=headers) as got:
                    return decode(await got.read())["choices"][0]["message"]["content"]

            return await _spend(call, args)

    url = args.url + "/chat/completions"
    return _run(work)


async def _spend(call: Call, args: argparse.Namespace, kind: Any = Any) -> dict[str, float]:
    """As many workers as concurrency, sharing the calls out among them; the questions are read beforehand."""
    decode = msgspec.json.Decoder(kind).decode
    with args.questions.open("rb") as lines:
        questions = [decode(line) for line in islice(lines, args.calls)]

    async def share(todo: list[Any]) -> None:
        left = iter(todo)

        async def worker() -> None:
            for question in left:
                await call(question)

        await asyncio.gather(*(worker() for _ in range(args.concurrency)))

    await share(questions[:WARM_UP])
    watch = Watch()
    await share(questions)
    return watch.read()


def _run(work: Callable[[], Any]) -> dict[str, Any]:
    measured: dict[str, Any] = uvloop.run(work())
    return measured


CLIENTS = {"pipeline": pipeline, "by_default": by_default, "bare_aiohttp": bare_aiohttp}


if __name__ == "__main__":
    main()
