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

import msgspec
from jurist.engines.dialects.hosting import write_chat
from jurist.engines.listen import Connection, Slot, http

from jurist.completions import load_groups, matchups
from jurist.engines.engine import Ask, Reply, Token
from jurist.engines.scripted import Scripted
from jurist.serve import fast_loop
from jurist.verdicts.judge import JudgeConfig, Pairwise, open_judge, orders

LATENCY = 0.05
TOP_LOGPROBS = 5
BETTER = "Certainly: "
"""How the better of two answers begins, so that the server can tell it at the price of one search."""
SYLLABLES = (
    "ka",
    "lo",
    "mi",
    "ren",
    "tu",
    "sa",
    "vel",
    "dor",
    "in",
    "pha",
    "ost",
    "er",
    "gri",
    "bel",
    "no",
    "ta",
    "mar",
)


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
    """The messages that `label` will send for these pairs, for clients that have no pipeline of their own.

    Returns the mean size of a request.
    """
    judge = open_judge(JudgeConfig(engine="x"), lambda _: Scripted(lambda _: "A", "x"))
    assert isinstance(judge, Pairwise)
    encode = msgspec.json.Encoder().encode
    total = count = 0
    with path.open("wb") as file:
        for group in load_groups(pairs, kind="pairs"):
            for matchup in matchups(group)[0]:
                for seated in orders("always", matchup):
                    line = encode(judge.question.pair(seated).messages)
                    file.write(line + b"\n")
                    total, count = total + len(line), count + 1
    return round(total / count) + len(b'{"model":"judge","messages":,"max_tokens":1024,"top_logprobs":20}')


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
    pin(core)

    async def stay() -> None:
        loop = asyncio.get_running_loop()
        replies = {label: http(200, _reply(label)) for label in "AB"}

        def take(slot: Slot, method: bytes, path: bytes, body: bytes) -> None:
            seat = body.find(b"Response B:", body.find(b"Response A:"))
            better = body.find(BETTER.encode(), body.find(b"Response A:"))
            loop.call_later(LATENCY, slot.give, replies["A" if 0 <= better < seat else "B"])

        open_: set[Connection] = set()
        server = await loop.create_server(lambda: Connection(take, open_), "127.0.0.1", 0, backlog=4096)
        port = server.sockets[0].getsockname()[1]
        pipe.send(f"http://127.0.0.1:{port}/v1")
        await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=fast_loop()) as runner:
        runner.run(stay())


def _reply(label: str) -> bytes:
    """The body of a one-letter verdict with the log-probs of the five likeliest tokens."""
    other = "B" if label == "A" else "A"
    top = ((label, -0.11), (other, -2.3), (f" {label}", -6.1), ("The", -7.4), (f" {other}", -8.2))
    ask = Ask((), top_logprobs=TOP_LOGPROBS)
    return write_chat("judge", ask, [Reply(label, tokens=(Token(label, -0.11, top),))])


def cores() -> tuple[int | None, int | None]:
    """One for the server and one for the client, where the system lets us choose."""
    if not hasattr(os, "sched_setaffinity"):
        return None, None
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[1], allowed[0]) if len(allowed) > 1 else (None, None)


def pin(core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})


def peak_mb() -> float:
    """The most memory this process ever held; what `getrusage` says starts from the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)
