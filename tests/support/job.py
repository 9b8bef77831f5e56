"""One labelling job in the current folder: rows in, `jurist label`, files out."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from support.cli import Result, run
from support.replies import Answer, preferring
from support.server import Server, serving

Row = dict[str, Any]


def write(path: str | Path, rows: Iterable[Row]) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(path: str | Path) -> list[Row]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def pairs(n: int, **columns: Any) -> list[Row]:
    """Sums with a right and a wrong answer, the right one first in every second row."""
    rows = []
    for number in range(n):
        answers = [f"It makes {number + 100}.", f"That would be {number} or so."]
        first, second = answers if number % 2 else answers[::-1]
        rows.append({"prompt": f"What is {number} plus 100?", "first": first, "second": second, **columns})
    return rows


def right(text: str) -> float:
    """1 for the right answer of a pair."""
    return float(text.startswith("It makes"))


sound = preferring(right)
"""A judge that gives .9 to the right answer, whichever it is shown first."""


def right_label(row: Row) -> str:
    return "first" if right(row["first"]) else "second"


def at(server: Server, kind: str = "vllm") -> str:
    return f"{kind}:judge@{server.url}"


def label(
    judge: Server | str,
    *words: object,
    pairs: str | list[Row] = "pairs.jsonl",
    completions: list[Row] | None = None,
    out: str = "run",
) -> Result:
    """`jurist label` on a file of pairs, or on these rows, which become the file."""
    source = "--pairs" if completions is None else "--completions"
    rows = pairs if completions is None else completions
    if not isinstance(rows, str):
        write(f"{source[2:]}.jsonl", rows)
        rows = f"{source[2:]}.jsonl"
    named = judge if isinstance(judge, str) else at(judge)
    return run("label", source, rows, "--judge", named, "--out", out, *words)


def label_by(judge: Answer | str, *words: object, **how: Any) -> tuple[Result, Server]:
    """A job whose judge is a server of its own, with options of `label` and of `Server`; and that server."""
    job = {name: how.pop(name) for name in ("pairs", "completions", "out") if name in how}
    with serving(judge, **how) as server:
        return label(server, *words, **job), server


def summary(out: str = "run") -> Row:
    found: Row = json.loads((Path(out) / "summary.json").read_text())
    return found


def records(noun: str, out: str = "run") -> list[Row]:
    return read(Path(out) / f"{noun}.jsonl")


def chosen(out: str = "run") -> list[str]:
    """The texts that would be trained on."""
    return [row["chosen"]["text"] for row in records("preferences", out)]


def all_p(out: str = "run") -> set[float]:
    """Each p among the labels."""
    return {round(row["p"], 6) for row in records("preferences", out)}
