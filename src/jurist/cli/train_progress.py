"""What a training says while it runs, and when it is done."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

EVERY_SECONDS: Final = 10.0
"""Between two plain lines."""

SHOWN: Final = ("loss", "right", "reward", "kl_sequence", "tokens", "failed")
"""What a person watches, of the metrics that a method has."""


def is_first() -> bool:
    """Of several processes, the one that speaks."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def progress(as_json: bool = False) -> Iterator[Callable[[Any], None]]:
    """A live line in a terminal, a plain one now and then elsewhere, JSON for machines; on stderr."""
    if as_json or not sys.stderr.isatty() or not is_first():
        yield _now_and_then(json_line if as_json else line)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), BarColumn(bar_width=24), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("loading", total=None)
        yield lambda one: bar.update(task, completed=one.step, total=one.steps, description=line(one))


def line(now: Any) -> str:
    """One line for a person."""
    return f"step {now.step:,} of {now.steps:,} · {clock(now.seconds_left)} left · {numbers(now.metrics)}"


def json_line(now: Any) -> str:
    left = {"step": now.step, "steps": now.steps, "seconds_left": round(now.seconds_left)}
    return json.dumps({**left, **{name: float(f"{value:.7g}") for name, value in now.metrics.items()}})


def clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def numbers(metrics: dict[str, float]) -> str:
    return " · ".join(f"{name} {metrics[name]:.4g}" for name in SHOWN if name in metrics)


def _now_and_then(said: Callable[[Any], str]) -> Callable[[Any], None]:
    shown = time.monotonic()

    def watch(now: Any) -> None:
        nonlocal shown
        if time.monotonic() - shown >= EVERY_SECONDS or now.step == now.steps:
            shown = time.monotonic()
            print(said(now), file=sys.stderr, flush=True)

    return watch


def report(verb: str, folder: Path, then: str, as_json: bool) -> None:
    """What it came to, from `training.json`."""
    if not is_first():
        return
    facts = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    if as_json:
        print(json.dumps({"model": str(folder), **facts}))
        return
    lost = ", ".join(f"{reason} {n:,}" for reason, n in facts["dropped"].items())
    lines = {
        "learnt": f"{facts['rows']:,} rows in {facts['steps']:,} step{'s'[: facts['steps'] > 1]}",
        "dropped": lost,
        "last step": numbers(facts["metrics"]),
        "held out": numbers(facts["held_out"]) + f" ({facts['held_out'].get('rows', 0):,} rows)",
        "model": str(folder),
    }
    for name, said in lines.items():
        if said and (name != "held out" or facts["held_out"]):
            print(f"{name:<12} {said}")
    print(then)
