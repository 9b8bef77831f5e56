"""Work as it goes: in a terminal a line that is written over, elsewhere a line now and then."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from ..recipes.lines import clock

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
    "accuracy": "accuracy {:.4g}",
    "reward": "reward {:.4g}",
    "kl_sequence": "KL {:.4g}",
}
"""The numbers worth a look, in this order; counts only where they are not 0."""


def facts_of(now: Any) -> dict[str, Any]:
    """Numbers of a `RunProgress`, a trainer's `Progress`, a count, or a `LoopProgress` with one inside."""
    if hasattr(now, "facts"):
        return dict(now.facts())
    if hasattr(now, "round"):
        inner = {"done": now.done, "total": now.total} if now.inner is None else facts_of(now.inner)
        return {"round": now.round, "rounds": now.rounds, "step": now.step, **inner}
    if hasattr(now, "metrics"):
        return {
            "done": now.step,
            "total": now.steps,
            "seconds_left": now.seconds_left,
            **now.metrics,
            "doing": now.doing,
        }
    return {"done": now.done, "total": now.total}


def line(facts: dict[str, Any], spent: float = 0.0) -> str:
    """One line for a human; `spent` are the seconds since its stage began."""
    done, total, left = facts.get("done"), facts.get("total"), facts.get("seconds_left")
    if left is None and total and done and spent:
        left = spent / done * (total - done)
    parts = [f"round {facts['round']} of {facts['rounds']}" if facts.get("rounds", 1) > 1 else ""]
    parts.append(facts.get("step", ""))
    if done is not None and (done or total or not facts.get("doing")):
        parts.append(f"{done:,}" + (f" of {total:,}" if total else ""))
    parts.append(f"{clock(left)} left" if left else "")
    for name, form in SHOWN.items():
        value = facts.get(name)
        if name == "rate" and value and value < 10:
            form = "{:.1f}/s" if value >= 0.05 else ""
        if value or (isinstance(value, float) and name not in ("rate", "usd", "projected")):
            # No KL is below 0, whatever its estimate is.
            parts.append(form.format(max(0.0, value) if name == "kl_sequence" else value))
    return " · ".join(filter(None, (*parts, facts.get("doing", ""))))


@contextmanager
def progress() -> Iterator[Callable[[Any], None]]:
    """Something to call whenever there is news. It shows on stderr, so that stdout stays the result's."""
    live = sys.stderr.isatty()
    last, began, shown = None, time.monotonic(), time.monotonic()

    def stage_of(now: Any) -> Any:
        return (now.round, now.step) if hasattr(now, "round") else None

    def say(text: str, end: str = "\n") -> None:
        if live:  # over the line before; what does not fit would go on below, and stay there
            text = f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}"
        print(text, end=end, file=sys.stderr, flush=True)

    def end_stage() -> None:
        took = f" · {time.monotonic() - began:.1f} s" if stage_of(last) else ""
        if last is not None and (live or took):
            say(line(facts_of(last)) + took)

    def watch(now: Any) -> None:
        nonlocal last, began, shown
        seconds, begins = time.monotonic(), stage_of(now) != stage_of(last)
        if begins:
            end_stage()
            began = seconds
        last, ends = now, hasattr(now, "metrics") and now.step == now.steps
        if begins or ends or seconds - shown >= (LIVE_EVERY if live else PLAIN_EVERY):
            shown = seconds
            say(line(facts_of(now), seconds - began), "" if live else "\n")

    try:
        yield watch
    except BaseException:
        if live:
            say("", "")  # an error begins a line of its own
        raise
    end_stage()
