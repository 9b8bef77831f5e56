"""What a run came to, in numbers: printed at the end, and kept as `summary.json`."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from ..errors import BudgetSpent
from ..preferences.card import Counts
from ..preferences.decide import Learnt
from ..records import Usage
from ..run import Run
from ..stats.intervals import wilson
from .settings import LabelConfig
from .stream import Stopped
from .tally import Tally


class Share(Struct, frozen=True):
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int


class Summary(Struct, frozen=True):
    """Every row that came in is in `labels` or in `dropped`."""

    run: str
    state: Literal["done", "stopped"] = "done"
    stopped: str = ""
    """Why it ended before its input did."""
    spent: bool = False
    """It was the budget that stopped it, as agreed; otherwise something went wrong."""
    prompts: int = 0
    completions: int = 0
    matchups: int = 0
    labels: int = 0
    """Preferences to train on."""
    dropped: dict[str, int] = {}
    """Rows that left, by reason."""
    flags: dict[str, int] = {}
    verdicts: int = 0
    unread: dict[str, int] = {}
    flip_rate: Share | None = None
    """Of the matchups read in both orders, those where the verdict followed the seat."""
    first_share: Share | None = None
    """Of the decided verdicts, those for the first seat."""
    calls: int = 0
    """Calls answered in this start."""
    calls_kept: int = 0
    """Calls answered from the journal."""
    usd: float = 0.0
    """Spent in all, by every start of the run."""
    usd_now: float = 0.0
    """Spent by this start."""
    usd_per_label: float | None = None
    usage: Usage = Usage()
    seconds: float = 0.0
    learnt: Learnt | None = None
    exported: dict[str, dict[str, int]] = {}
    """Rows by file, for each format."""


def share(part: float, n: int) -> Share | None:
    """None where there is nothing to take a share of; a tie may count as half."""
    if not n:
        return None
    low, high = wilson(part, n)
    return Share(round(part / n, 6), round(low, 6), round(high, 6), n)


def summarise(
    cfg: LabelConfig,
    run: Run,
    tally: Tally,
    counts: Counts,
    learnt: Learnt,
    exported: dict[str, dict[str, int]],
    stopped: Stopped,
) -> Summary:
    """Put together, and kept in the run folder."""
    summary = Summary(
        run=cfg.out,
        prompts=tally.rows,
        completions=tally.completions,
        matchups=tally.matchups,
        labels=counts.preferences,
        dropped=counts.dropped,
        flags=counts.flags,
        learnt=learnt,
        exported=exported,
        usd_per_label=tally.purse.spent / counts.preferences if counts.preferences else None,
        **calls_of(tally),
        **end_of(stopped),
    )
    run.write_json("summary.json", summary)
    return summary


def calls_of(tally: Tally) -> dict[str, Any]:
    """The part of a summary that any step has."""
    purse = tally.purse
    return {
        "verdicts": tally.verdicts,
        "unread": dict(tally.unread.most_common()),
        "flip_rate": share(tally.flipped, tally.asked_twice),
        "first_share": share(tally.first_seat, tally.decided),
        "calls": purse.calls,
        "calls_kept": purse.kept,
        "usd": round(purse.spent, 8),
        "usd_now": round(purse.paid, 8),
        "usage": purse.usage,
        "seconds": round(tally.seconds, 2),
    }


def end_of(stopped: Stopped) -> dict[str, Any]:
    reason = stopped.reason
    if reason is None:
        return {"state": "done"}
    return {"state": "stopped", "stopped": str(reason), "spent": isinstance(reason, BudgetSpent)}
