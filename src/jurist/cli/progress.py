"""Work as it goes: a live line in a terminal, a plain line now and then elsewhere, JSON for machines.

Whoever works tells what is under way: a labelling tally, a trainer's step, a loop's moment with one of those
inside. Each becomes a line and a few facts here, and nowhere else.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from ..recipes.summary import RunProgress

_LIVE_EVERY, _PLAIN_EVERY = 0.1, 10.0

Style = Literal["live", "plain", "json", "none"]
Watch = Callable[[Any], None]


def facts(now: Any) -> dict[str, Any]:
    """What a machine is told of the progress."""
    if isinstance(now, RunProgress):
        return _counted(now)
    if hasattr(now, "round"):
        inner = facts(now.inner) if now.inner is not None else {}
        return {"round": now.round, "rounds": now.rounds, "step": now.step, **inner}
    if hasattr(now, "metrics"):
        said = {name: float(f"{value:.6g}") for name, value in now.metrics.items()}
        return {"done": now.step, "total": now.steps, "seconds_left": round(now.seconds_left), **said}
    return {"done": now.done, "total": now.total}


def _counted(tally: RunProgress) -> dict[str, Any]:
    return {
        "rows": tally.rows,
        "total": tally.total,
        "rows_per_second": round(tally.rate, 1),
        "seconds_left": None if tally.seconds_left is None else round(tally.seconds_left),
        "calls": tally.budget.calls,
        "calls_kept": tally.budget.cached,
        "usd": round(tally.budget.spent, 6),
        "usd_projected": None if tally.projected is None else round(tally.projected, 4),
        "flip_rate": None if tally.flip_rate is None else round(tally.flip_rate, 4),
        "unread_share": None if tally.unread_share is None else round(tally.unread_share, 4),
    }


def line(now: Any, spent: float = 0.0) -> str:
    """One line for a person; `spent` are the seconds since its stage began."""
    if isinstance(now, RunProgress):
        return _tallied(now)
    if hasattr(now, "round"):
        parts = [f"round {now.round} of {now.rounds}"] if now.rounds > 1 else []
        return " · ".join([*parts, now.step, *([] if now.inner is None else [line(now.inner, spent)])])
    if hasattr(now, "metrics"):
        left = f"{clock(now.seconds_left)} left"
        return " · ".join((f"step {now.step:,} of {now.steps:,}", left, numbers(now.metrics)))
    if not now.total:
        return f"{now.done:,} rows"
    left = f" · {clock(spent / now.done * (now.total - now.done))} left" if now.done and spent else ""
    return f"{now.done:,} of {now.total:,}{left}"


TOLD = ("loss", "right", "reward", "kl_sequence", "tokens", "failed")
"""What a person watches, of the metrics that a method has."""


def numbers(metrics: dict[str, float]) -> str:
    return " · ".join(f"{name} {_told(name, metrics[name])}" for name in TOLD if name in metrics)


def _told(name: str, value: float) -> str:
    """A KL is never below 0, though its estimate may be where the two hardly differ."""
    return "about 0" if name.startswith("kl") and value < 0 else f"{value:.4g}"


def extent(now: Any) -> tuple[int, int | None]:
    """How much is done, of how much."""
    if isinstance(now, RunProgress):
        return now.rows, now.total
    if hasattr(now, "round"):
        return extent(now.inner) if now.inner is not None else (0, None)
    return (now.step, now.steps) if hasattr(now, "metrics") else (now.done, now.total or None)


def stage(now: Any) -> tuple[Any, ...]:
    """Which part of the work it belongs to: where that changes, it is said at once."""
    return (now.round, now.step) if hasattr(now, "round") else ()


def _tallied(tally: RunProgress) -> str:
    parts = [f"{tally.rows:,} of {tally.total:,} rows" if tally.total else f"{tally.rows:,} rows"]
    parts.append(f"{tally.rate:,.0f}/s")
    if tally.seconds_left is not None:
        parts.append(f"{clock(tally.seconds_left)} left")
    if tally.budget.cached:
        parts.append(f"{tally.budget.cached:,} calls kept from before")
    money = f"${tally.budget.spent:.2f}"
    if tally.projected is not None and tally.projected > 0:
        money += f" of about ${tally.projected:.2f}"
    parts.append(money)
    if tally.flip_rate is not None:
        parts.append(f"flips {tally.flip_rate:.1%}")
    if tally.unread_share is not None:
        parts.append(f"unread {tally.unread_share:.1%}")
    return " · ".join(parts)


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def progress(style: Style | None = None) -> Iterator[Watch]:
    """Something to call whenever there is news. It shows on stderr, so that stdout stays the result's."""
    if style is None:
        style = "live" if sys.stderr.isatty() else "plain"
    if style == "none":
        yield lambda now: None
    elif style == "live":
        with _live() as watch:
            yield watch
    else:
        with _plain(style == "json") as watch:
            yield watch


@contextmanager
def _plain(as_json: bool) -> Iterator[Watch]:
    """A line now and then, one where a stage of the work begins, and one where it ends."""
    last: list[Any] = []
    began = time.monotonic()

    def show(now: Any) -> None:
        said = json.dumps({"progress": facts(now)}) if as_json else line(now, time.monotonic() - began)
        print(said, file=sys.stderr, flush=True)

    throttled = _every(_PLAIN_EVERY, show)

    def watch(now: Any) -> None:
        nonlocal began
        if last and stage(now) != stage(last[0]):
            if not as_json:
                print(_ended(last[0], began), file=sys.stderr, flush=True)
            began = time.monotonic()
        last[:] = [now]
        throttled(now)

    yield watch
    if last and stage(last[0]) and not as_json:
        print(_ended(last[0], began), file=sys.stderr, flush=True)


def _ended(now: Any, began: float) -> str:
    return f"{line(now).replace(' · 0:00 left', '')} · {time.monotonic() - began:.1f} s"


def _every(seconds: float, show: Watch) -> Watch:
    """Not more often than that, but always where a stage begins and where a training ends."""
    shown, at = time.monotonic(), ()

    def watch(now: Any) -> None:
        nonlocal shown, at
        clock_says, where = time.monotonic(), stage(now)
        ends = hasattr(now, "metrics") and now.step == now.steps
        if clock_says - shown >= seconds or where != at or ends:
            shown, at = clock_says, where
            show(now)

    return watch


@contextmanager
def _live() -> Iterator[Watch]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    bar = Progress(
        SpinnerColumn(),
        BarColumn(bar_width=24),
        TextColumn("{task.description}"),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task("starting", total=None)
        last: list[Any] = []
        began = time.monotonic()

        def show(now: Any) -> None:
            done, total = extent(now)
            bar.update(task, completed=done, total=total, description=line(now, time.monotonic() - began))

        throttled = _every(_LIVE_EVERY, show)

        def watch(now: Any) -> None:
            nonlocal began
            if last and stage(now) != stage(last[0]):
                # What is done stays on the screen; only what is under way moves.
                bar.console.print(f"  {_ended(last[0], began)}", highlight=False)
                began = time.monotonic()
            last[:] = [now]
            throttled(now)

        try:
            yield watch
        finally:
            if last:
                show(last[0])
