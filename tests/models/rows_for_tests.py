"""Preferences a small model can learn, or fail to: the better answer begins with `yes`."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import making

from jurist.records import Completion, Preference, Prompt

_WORDS = making.WORDS.split()[:9]


def preferences(n: int, seed: int = 0, p: float = 0.9) -> list[Preference]:
    draw = random.Random(seed)
    return [_one(number, draw, p) for number in range(n)]


def _one(number: int, draw: random.Random, p: float) -> Preference:
    prompt = Prompt.of(f"tell me {' '.join(draw.choices(_WORDS, k=draw.randint(2, 12)))} {number}")
    good, bad = (f"{word} {' '.join(draw.choices(_WORDS, k=draw.randint(1, 5)))}" for word in ("yes", "no"))
    chosen, rejected = Completion.of(prompt.id, good), Completion.of(prompt.id, bad)
    return Preference(f"pair-{number}", prompt, chosen, rejected, p, margin=0.5)


def pairs_file(path: Path, n: int) -> Path:
    """The same as TRL has them."""
    lines = []
    for one in preferences(n):
        row = {"prompt": [{"role": "user", "content": one.prompt.messages[0].content}], "p": one.p}
        for seat in ("chosen", "rejected"):
            row[seat] = [{"role": "assistant", "content": getattr(one, seat).text}]
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines) + "\n")
    return path


def kill_9(pid: int) -> None:
    """A process and those it started, which torchrun puts into sessions of their own."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for one in (pid, *map(int, children)):
        os.kill(one, signal.SIGKILL)


def metrics(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def vowels(prompt, completions) -> list[float]:
    """A reward that any random model can learn to earn."""
    return [sum(letter in "aeiou" for letter in one.text) / 10 for one in completions]
