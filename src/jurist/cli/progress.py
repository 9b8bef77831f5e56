"""Work as it goes: a live line in a terminal, a plain line now and then elsewhere, JSON for machines.

What is under way is a `RunProgress`, a trainer's `Progress`, a count, or a loop's `Moment` with one of these
inside. `facts_of` makes numbers of it, and `line` a line of the numbers.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

from ..recipes.summary import RunProgress

LIVE_EVERY, PLAIN_EVERY = 0.1, 10.0
SHOWN: Final = {
    "rate": "{:,.0f}/s",
    "usd": "${:.2f}",
    "projected": "~${:.2f} in all",
    "flip_rate": "flips {:.1%}",
    "unread_share": "unread {:.1%}",
    "retries": "retries {:,}",
    "calls_kept": "from journal {:,}",
    "loss": "loss {:.4g}",
    "right": "accuracy {:.4g}",
    "reward": "reward {:.4g}",
    "kl_sequence": "KL {:.4g}",
}
"""What a human is shown, in this order; counts only where they are not 0."""


def facts_of(now: Any) -> dict[str, Any]:
    if isinstance(now, RunProgress):
        counts = {"rows": now.rows, "total": now.total, "calls": now.budget.calls}
        counts |= {"calls_kept": now.budget.cached, "retries": now.retries}
        measures = {"usd": now.budget.spent, "rate": now.rate, "seconds_left": now.seconds_left}
        measures |= {name: getattr(now, name) for name in ("projected", "flip_rate", "unread_share")}
        return counts | {name: None if value is None else round(value, 4) for name, value in measures.items()}
    if hasattr(now, "round"):
        inner = {} if now.inner is None else facts_of(now.inner)
        return {"round": now.round, "rounds": now.rounds, "step": now.step, **inner}
    if hasattr(now, "metrics"):
        metrics = {name: float(f"{value:.6g}") for name, value in now.metrics.items()}
        return {"done": now.step, "total": now.steps, "seconds_left": round(now.seconds_left), **metrics}
    return {"done": now.done, "total": now.total}


def text_of(facts: dict[str, Any]) -> str:
    """The numbers worth a look. No KL is below 0, whatever its estimate is."""
    shown = {**facts, "kl_sequence": max(0.0, facts["kl_sequence"])} if "kl_sequence" in facts else facts
    known = {name: shown[name] for name in SHOWN if shown.get(name) is not None}
    return " · ".join(SHOWN[name].format(n) for name, n in known.items() if n or isinstance(n, float))


def line(facts: dict[str, Any], spent: float = 0.0) -> str:
    """One line for a human; `spent` are the seconds since its stage began."""
    done, total, left = facts.get("rows", facts.get("done")), facts.get("total"), facts.get("seconds_left")
    if left is None and total and done and spent:
        left = spent / done * (total - done)
    count = "" if done is None else f"{done:,}" + (f" of {total:,}" if total else "")
    parts = (_stage(facts), count + " rows" * ("rows" in facts), f"{clock(left)} left" if left else "")
    return " · ".join(filter(None, (*parts, text_of(facts))))


def _stage(facts: dict[str, Any]) -> str:
    several = facts.get("rounds", 1) > 1
    return (
        f"round {facts['round']} of {facts['rounds']} · {facts['step']}" if several else facts.get("step", "")
    )


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def progress(as_json: bool = False) -> Iterator[Callable[[Any], None]]:
    """Something to call whenever there is news. It shows on stderr, so that stdout stays the result's."""
    live = sys.stderr.isatty() and not as_json
    last, began, shown = None, time.monotonic(), time.monotonic()

    def stage_of(now: Any) -> Any:
        return (now.round, now.step) if hasattr(now, "round") else None

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    with _bar() if live else nullcontext() as bar:

        def show(now: Any) -> None:
            facts = facts_of(now)
            if bar is not None:
                bar(facts)
            else:
                say(json.dumps({"progress": facts}) if as_json else line(facts, time.monotonic() - began))

        def end(now: Any) -> None:
            if stage_of(now) and not as_json:
                say(f"{line({**facts_of(now), 'seconds_left': 0})} · {time.monotonic() - began:.1f} s")

        def watch(now: Any) -> None:
            nonlocal last, began, shown
            seconds, begins = time.monotonic(), stage_of(now) != stage_of(last)
            if begins and last is not None:
                end(last)
                began = seconds
            last, ends = now, hasattr(now, "metrics") and now.step == now.steps
            if begins or ends or seconds - shown >= (LIVE_EVERY if live else PLAIN_EVERY):
                shown = seconds
                show(now)

        yield watch
        if last is not None:
            if live:
                show(last)
            end(last)


@contextmanager
def _bar() -> Iterator[Callable[[dict[str, Any]], None]]:
    """A line that moves. In a narrow terminal it has no bar, and its text goes on below."""
    from rich import progress as rich
    from rich.console import Console
    from rich.table import Column

    console = Console(stderr=True)
    bars = [rich.BarColumn(bar_width=24)] if console.width > 110 else []
    text = rich.TextColumn("{task.description}", table_column=Column(overflow="fold"))
    left = rich.TimeRemainingColumn(compact=True)
    columns = (*bars, rich.MofNCompleteColumn(), left, rich.TextColumn("left"), text)
    with rich.Progress(*columns, console=console) as lines:
        task = lines.add_task("starting", total=None)

        def show(facts: dict[str, Any]) -> None:
            words = " · ".join(filter(None, (_stage(facts), text_of(facts))))
            done = facts.get("rows", facts.get("done", 0))
            lines.update(task, completed=done, total=facts.get("total") or None, description=words)

        yield show
