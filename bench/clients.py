"""One client, measured in a process of its own: `clients.py NAME URL PAIRS QUESTIONS CALLS CONCURRENCY`.

Prints one line of JSON. CPU is that of this process with all its threads, from after the imports and a short
job to warm up, until the last reply is dealt with.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from work import TOP_LOGPROBS, peak_mb

WARM_UP = 512
"""Calls before the measurement begins."""


class Watch:
    """CPU and wall seconds since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def read(self) -> dict[str, float]:
        return {"cpu_s": time.process_time() - self._cpu, "wall_s": time.perf_counter() - self._wall}


@dataclass(frozen=True)
class Job:
    url: str
    pairs: Path
    questions: Path
    calls: int
    concurrency: int


def main() -> None:
    client, url, pairs, questions, calls, concurrency = sys.argv[1:]
    measured = CLIENTS[client](Job(url, Path(pairs), Path(questions), int(calls), int(concurrency)))
    print(json.dumps({**measured, "peak_mb": peak_mb()}))


def pipeline(job: Job) -> dict[str, Any]:
    """`jurist label` with so many requests under way from the start, which otherwise it works up to."""
    from jurist.engines import limits

    limits.START = job.concurrency
    return by_default(job)


def by_default(job: Job) -> dict[str, Any]:
    """`jurist label`, in the two halves it has: asking, and deciding from what was said."""
    with tempfile.TemporaryDirectory(prefix="jurist-bench-") as folder:
        _label(job, Path(folder) / "warm-up", WARM_UP)
        return _label(job, Path(folder) / "run", job.calls)


def _label(job: Job, out: Path, calls: int) -> dict[str, Any]:
    from jurist.recipes.label import label
    from jurist.recipes.settings import LabelConfig
    from jurist.recipes.summary import RunProgress
    from jurist.verdicts.settings import JudgeConfig

    rows = calls // 2
    engine = {"engine": f"vllm:judge@{job.url}", "concurrency": job.concurrency}
    cfg = LabelConfig(out=str(out), pairs=str(job.pairs), judge=JudgeConfig(engine=engine), limit=rows)
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


def bare_aiohttp(job: Job) -> dict[str, Any]:
    """What one would write by hand: aiohttp on uvloop, msgspec for the JSON, workers to bound it. It reads
    no verdict and keeps nothing.
    """
    import aiohttp

    encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode
    url, headers = f"{job.url}/chat/completions", {"Content-Type": "application/json"}
    with job.questions.open("rb") as lines:
        questions = [decode(line) for line in islice(lines, job.calls)]

    async def work() -> dict[str, float]:
        connector = aiohttp.TCPConnector(limit=job.concurrency)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def worker(left: Iterator[Any]) -> None:
                for messages in left:
                    request = {"model": "judge", "messages": messages, "temperature": 0.0, "max_tokens": 3}
                    body = encode({**request, "logprobs": True, "top_logprobs": TOP_LOGPROBS})
                    async with session.post(url, data=body, headers=headers) as got:
                        decode(await got.read())["choices"][0]["message"]["content"]

            async def share(todo: list[Any]) -> None:
                left = iter(todo)
                await asyncio.gather(*(worker(left) for _ in range(job.concurrency)))

            await share(questions[:WARM_UP])
            watch = Watch()
            await share(questions)
            return watch.read()

    return uvloop.run(work())


CLIENTS = {"pipeline": pipeline, "by_default": by_default, "bare_aiohttp": bare_aiohttp}


if __name__ == "__main__":
    main()
