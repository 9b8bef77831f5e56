"""What the labelling benchmark is made of: the rows, the server at the other end, and processor cores to keep
the two apart.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from jurist.completions import load_groups, matchups
from jurist.engines.scripted import Scripted
from jurist.verdicts.judge import JudgeConfig, Pairwise, open_judge, orders

LATENCY = 0.05
TOP_LOGPROBS = 20
BETTER = "Certainly: "
"""How the better of two answers begins, so that the server can tell it at the price of one search."""
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
    """The messages that `label` will send for these pairs, for other clients; the mean size of a request."""
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
    """A judge in a process of its own, that answers after 50 ms; yields its address."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, core), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Pipe, core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})

    async def stay() -> None:
        server = await asyncio.get_running_loop().create_server(Judge, "127.0.0.1", 0, backlog=4096)
        pipe.send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        await asyncio.Event().wait()

    uvloop.run(stay())


class Judge(asyncio.Protocol):
    """One connection, one request at a time, and no more of HTTP than our clients speak."""

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
    """One for the server and one for the client, where the system lets us choose."""
    if not hasattr(os, "sched_setaffinity"):
        return None, None
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[1], allowed[0]) if len(allowed) > 1 else (None, None)


def peak_mb() -> float:
    """The most memory this process ever held; what `getrusage` says starts from the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)
