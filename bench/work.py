"""What the labelling benchmark is made of: the rows, the server at the other end, processor cores to keep the
two apart, and our own clients: `work.py NAME URL PAIRS QUESTIONS CALLS CONCURRENCY` measures one of them.

A client prints one line of JSON. CPU is that of its process with all its threads, from after the imports and
a short job to warm up, until the last reply is dealt with.
"""

import asyncio
import json
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any, NamedTuple

import msgspec
import uvloop

from jurist import JudgeConfig
from jurist.completions import load_groups, matchups
from jurist.engines.scripted import Scripted
from jurist.verdicts.judge import Pairwise, open_judge, orders

LATENCY = 0.05
TOP_LOGPROBS = 20
BETTER = "Certainly: "
"""How the better of two answers begins, so that the server finds it with one search."""
SYLLABLES = ["ka", "lo", "mi", "ren", "tu", "sa", "vel", "dor", "in", "pha", "ost", "er", "gri", "bel", "no"]


def write_pairs(path: Path, count: int, prompt: int = 300, answer: int = 930, seed: int = 0) -> None:
    """Pairs of distinct texts of about so many characters: with our template, requests of 3.2 KB."""
    draw = random.Random(seed)
    words = ["".join(draw.choices(SYLLABLES, k=draw.randint(1, 4))) for _ in range(4000)]
    words += ["naïve", "“quoted”", "3.14", "C++", "\n\n-", "e.g.", "don't"] * 40
    encode = msgspec.json.Encoder().encode

    def text(characters: int) -> str:
        return " ".join(draw.choices(words, k=characters // 7)) + "."

    with path.open("wb") as file:
        for number in range(count):
            answers = [BETTER + text(answer), text(answer)]
            draw.shuffle(answers)
            row = {"prompt": f"{number}: {text(prompt)}", "first": answers[0], "second": answers[1]}
            file.write(encode(row) + b"\n")


def write_questions(pairs: Path, path: Path) -> int:
    """The messages that `label` will send for these pairs, for other clients. Returns their mean size."""
    judge = open_judge(JudgeConfig(engine="x"), lambda _: Scripted(lambda _: "A", "x"))
    assert isinstance(judge, Pairwise)
    met = (one for group in load_groups(pairs, kind="pairs") for one in matchups(group)[0])
    shown = (judge.prompt.show_pair(order) for one in met for order in orders("always", one))
    lines = [msgspec.json.encode(judge.prompt.turns("verdict", one)) for one in shown]
    path.write_bytes(b"\n".join([*lines, b""]))
    rest = len(b'{"model":"judge","messages":,"max_tokens":3,"top_logprobs":20}')
    return round(sum(map(len, lines)) / len(lines)) + rest


@contextmanager
def serving(core: int | None) -> Iterator[str]:
    """A judge in a process of its own that answers after 50 ms; its address."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, core), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Any, core: int | None) -> None:
    async def stay() -> None:
        server = await asyncio.get_running_loop().create_server(Judge, "127.0.0.1", 0, backlog=4096)
        pipe.send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        await asyncio.Event().wait()

    if core is not None:
        os.sched_setaffinity(0, {core})
    uvloop.run(stay())


class Judge(asyncio.Protocol):
    """One connection, one request at a time; it knows only as much of HTTP as these clients use."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.got, self.loop = b"", asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self.got += data
        head, end, body = self.got.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if not end or len(body) < length:
            return
        self.got = b""
        first = body.find(b"<response-A-")
        better, second = body.find(BETTER.encode(), first), body.find(b"<response-B-", first)
        if head.startswith(b"GET"):
            self.transport.write(http({"data": []}))
        else:
            reply = REPLIES["A" if 0 <= better < second else "B"]
            self.loop.call_later(LATENCY, self.transport.write, reply)


def http(reply: Any) -> bytes:
    body = msgspec.json.encode(reply)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def reply(label: str, other: str) -> dict[str, Any]:
    """A one-letter verdict with the log-probs of the twenty likeliest tokens."""
    tokens = [(label, -0.11), (other, -2.3), (f" {label}", -6.1), ("The", -7.4), (f" {other}", -8.2)]
    tokens += [(f"word {n}", -9.0 - n / 7) for n in range(TOP_LOGPROBS - len(tokens))]
    top = [{"token": token, "logprob": p, "bytes": list(token.encode())} for token, p in tokens]
    logprobs = {"content": [{**top[0], "top_logprobs": top}]}
    choice = {"index": 0, "message": {"role": "assistant", "content": label}, "logprobs": logprobs}
    usage = {"prompt_tokens": 800, "completion_tokens": 1, "total_tokens": 801}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "judge"}
    return {**head, "choices": [{**choice, "finish_reason": "stop"}], "usage": usage}


REPLIES = {"A": http(reply("A", "B")), "B": http(reply("B", "A"))}


def cores() -> tuple[int | None, int | None]:
    """One core for the server and one for the client, where the system lets us choose."""
    if not hasattr(os, "sched_setaffinity"):
        return None, None
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[1], allowed[0]) if len(allowed) > 1 else (None, None)


def run_measured(*command: object) -> tuple[dict[str, float], int, str]:
    """A process's CPU (with its children's), seconds and most memory; its exit code; what it printed."""
    began = time.perf_counter()
    with TemporaryDirectory() as folder, TemporaryFile() as out, TemporaryFile() as err:
        process = subprocess.Popen([*map(str, command)], stdout=out, stderr=err, cwd=folder)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said = err if process.returncode else out
        said.seek(0)
        text = said.read().decode(errors="replace").strip()
    row = {"cpu_s": used.ru_utime + used.ru_stime, "wall_s": time.perf_counter() - began}
    return {**row, "peak_mb": used.ru_maxrss / 1024}, process.returncode, text


def peak_mb() -> float:
    """The most memory this process ever held (`getrusage` may start from that of the parent)."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)


WARM_UP = 512
"""Calls before the measurement begins."""


class Watch:
    """CPU and wall seconds since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def read(self) -> dict[str, float]:
        return {"cpu_s": time.process_time() - self._cpu, "wall_s": time.perf_counter() - self._wall}


class Job(NamedTuple):
    url: str
    pairs: str
    questions: str
    calls: int
    concurrency: int


def pipeline(job: Job) -> dict[str, Any]:
    """`jurist label` with all its concurrent requests from the start, which it otherwise works up to."""
    from jurist.engines import limits

    limits.START = job.concurrency
    return by_default(job)


def by_default(job: Job) -> dict[str, Any]:
    """`jurist label`, in its two halves: asking, and deciding from the verdicts."""
    from jurist import LabelConfig, label  # here, since the other clients' memory is measured without it

    engine = {"engine": f"vllm:judge@{job.url}", "concurrency": job.concurrency}
    measured: dict[str, Any] = {}
    with TemporaryDirectory(prefix="jurist-bench-") as folder:
        for out, calls in (("warm-up", WARM_UP), ("run", job.calls)):
            rows, watch = calls // 2, Watch()

            def look(tally: Any, rows: int = rows, watch: Watch = watch) -> None:
                if tally.rows == rows:  # all is asked and written; what follows is deciding and exporting
                    measured.update(watch.read())

            how: dict[str, Any] = {"judge": JudgeConfig(engine=engine), "limit": rows}
            summary = label(LabelConfig(out=f"{folder}/{out}", pairs=job.pairs, **how), look)
            if summary.calls != calls or summary.unread or summary.labels != rows:
                sys.exit(f"the run went wrong: {summary}")
            measured["decide_cpu_s"] = watch.read()["cpu_s"] - measured["cpu_s"]
    return measured


def bare_aiohttp(job: Job) -> dict[str, Any]:
    """Written by hand: aiohttp on uvloop, msgspec for JSON, a fixed number of workers; no verdict is read."""
    import aiohttp

    encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode
    url, headers = f"{job.url}/chat/completions", {"Content-Type": "application/json"}
    with open(job.questions, "rb") as lines:
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

            for todo in (questions[:WARM_UP], questions):
                watch, left = Watch(), iter(todo)
                await asyncio.gather(*(worker(left) for _ in range(job.concurrency)))
            return watch.read()

    return uvloop.run(work())


CLIENTS = {one.__name__: one for one in (pipeline, bare_aiohttp, by_default)}


if __name__ == "__main__":
    client, *places, calls, concurrency = sys.argv[1:]
    measured = CLIENTS[client](Job(*places, int(calls), int(concurrency)))
    print(json.dumps({**measured, "peak_mb": peak_mb()}))
