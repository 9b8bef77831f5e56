"""A run as it goes: a live line in a terminal, a plain line now and then elsewhere, JSON for machines."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from ..recipes.tally import Tally, Watch, nobody

_LIVE_EVERY, _PLAIN_EVERY = 0.1, 10.0

Style = Literal["live", "plain", "json", "none"]


def facts(tally: Tally) -> dict[str, Any]:
    """What a machine is told of the progress."""
    return {
        "rows": tally.rows,
        "total": tally.total,
        "rows_per_second": round(tally.rate, 1),
        "seconds_left": None if tally.seconds_left is None else round(tally.seconds_left),
        "calls": tally.purse.calls,
        "calls_kept": tally.purse.kept,
        "usd": round(tally.purse.spent, 6),
        "usd_projected": None if tally.projected is None else round(tally.projected, 4),
        "flip_rate": None if tally.flip_rate is None else round(tally.flip_rate, 4),
        "unread_share": None if tally.unread_share is None else round(tally.unread_share, 4),
    }


def line(tally: Tally) -> str:
    """One line for a person."""
    parts = [f"{tally.rows:,} of {tally.total:,} rows" if tally.total else f"{tally.rows:,} rows"]
    parts.append(f"{tally.rate:,.0f}/s")
    if tally.seconds_left is not None:
        parts.append(f"{clock(tally.seconds_left)} left")
    if tally.purse.kept:
        parts.append(f"{tally.purse.kept:,} calls kept from before")
    money = f"${tally.purse.spent:.2f}"
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
    """Something to call after every row. It shows on stderr, so that stdout stays the result's."""
    if style is None:
        style = "live" if sys.stderr.isatty() else "plain"
    if style == "none":
        yield nobody
    elif style == "live":
        with _live() as watch:
            yield watch
    else:
        yield _every(_PLAIN_EVERY, lambda tally: _print(tally, style == "json"))


def _print(tally: Tally, as_json: bool) -> None:
    import json

    print(json.dumps({"progress": facts(tally)}) if as_json else line(tally), file=sys.stderr, flush=True)


def _every(seconds: float, show: Watch) -> Watch:
    shown = time.monotonic()

    def watch(tally: Tally) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= seconds:
            shown = now
            show(tally)

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
        last: list[Tally] = []

        def show(tally: Tally) -> None:
            last[:] = [tally]
            bar.update(task, completed=tally.rows, total=tally.total, description=line(tally))

        throttled = _every(_LIVE_EVERY, show)

        def watch(tally: Tally) -> None:
            last[:] = [tally]
            throttled(tally)

        try:
            yield watch
        finally:
            if last:
                show(last[0])
