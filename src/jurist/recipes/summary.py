"""What a run has come to: counted as it goes, for the progress line, and at the end for `summary.json`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from ..engines.budget import Budget
from ..engines.journaled import Engines
from ..errors import BudgetSpent, Interrupted
from ..preferences.card import Counts
from ..preferences.decide import JudgeInfo, Learnt, opinions_by_matchup
from ..records import Usage
from ..run import Run
from ..stats.intervals import wilson
from ..verdicts.cases import Case
from ..verdicts.jury import Agreement
from .stream import Stopped


class Share(Struct, frozen=True):
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%}, n = {self.n:,})"


def share(part: float, n: int) -> Share | None:
    """None where there is nothing to take a share of; a tie may count as half."""
    if not n:
        return None
    low, high = wilson(part, n)
    return Share(round(part / n, 6), round(low, 6), round(high, 6), n)


class EngineStats(Struct, frozen=True):
    """How one engine did, seen from here."""

    name: str
    retries: dict[str, int] = {}
    """Tries that gave nothing, by what went wrong."""
    seconds: tuple[float, float, float] | None = None
    """Latency of its answered calls: half, nine tenths and 99 in 100 were quicker than these."""


class Summary(Struct, frozen=True):
    """Every row that came in is in `labels` or in `dropped`."""

    run: str
    state: Literal["done", "stopped", "refused"] = "done"
    stopped: str = ""
    """Why it ended before its input did."""
    ended_by: Literal["", "budget", "interrupt", "failure"] = ""
    refused: str = ""
    """Why nothing was exported: the judge or the jury does not agree with humans."""
    why_none: str = ""
    """Where there is no label at all: the commonest reason."""
    agreement: dict[str, Agreement] = {}
    """With human labels, of each judge and of the jury."""
    file_agreement: dict[str, Agreement] = {}
    """The same with the labels that the rows came with."""
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
    forced: int = 0
    """Verdicts whose label a constraint forced out of the model."""
    flip_rate: Share | None = None
    """Of the matchups read in both orders, those where both verdicts favoured the same position."""
    first_share: Share | None = None
    """Of the decided verdicts, those for the first position."""
    calls: int = 0
    """Calls answered in this start."""
    calls_kept: int = 0
    """Calls answered from the journal."""
    retries: int = 0
    usd: float = 0.0
    """Spent in all, by every start of the run."""
    usd_now: float = 0.0
    """Spent by this start."""
    usd_per_label: float | None = None
    uncertain_calls: int = 0
    """Calls that were sent and never answered: they may be billed."""
    uncertain_usd: float = 0.0
    """The most they can cost."""
    usage: Usage = Usage()
    seconds: float = 0.0
    engines: tuple[EngineStats, ...] = ()
    warnings: tuple[str, ...] = ()
    learnt: Learnt | None = None
    exported: dict[str, dict[str, int]] = {}
    """Rows by file, for each format."""


class RunProgress:
    """What a run has done so far. Nothing in it grows with the number of rows."""

    def __init__(self, budget: Budget, total: int | None = None, judges: Iterable[JudgeInfo] = ()) -> None:
        self.budget, self.total = budget, total
        """Rows in all, where that can be known before they are read."""
        self.counts = Counts()
        self.rows = 0
        self.judges = {one.name: one for one in judges}
        self.engines: tuple[EngineStats, ...] = ()
        self.warnings: list[str] = []
        self._started = time.monotonic()
        self._nothing_learnt = Learnt()

    def add(self, case: Case) -> None:
        self.rows += 1
        self.counts.add(case, opinions_by_matchup(case, self.judges, self._nothing_learnt))

    def close(self, engines: Engines) -> None:
        """Keep what the engines can tell of themselves."""
        self.engines = tuple(
            EngineStats(one.name, dict(one.engine.retries), one.engine.latencies()) for one in engines
        )
        self.warnings += [*engines.warnings, *self.budget.warnings.values()]

    @property
    def retries(self) -> int:
        return sum(sum(one.retries.values()) for one in self.engines)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    @property
    def rate(self) -> float:
        return self.rows / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        return max(0.0, (self.total - self.rows) / self.rate) if self.total and self.rows else None

    @property
    def projected(self) -> float | None:
        """Dollars for the whole job, at what this start's rows have cost so far."""
        if not self.total or not self.rows:
            return None
        earlier = self.budget.spent - self.budget.spent_now
        return earlier + self.budget.spent_now * self.total / self.rows

    @property
    def flip_rate(self) -> float | None:
        total = self.counts.total()
        return total.flipped / total.read_both if total.read_both else None

    @property
    def unread_share(self) -> float | None:
        total = self.counts.total()
        return sum(total.unread.values()) / total.verdicts if total.verdicts else None


Watch = Callable[[RunProgress], None]
"""Called after every row; whoever shows it decides how often to look."""


def nobody(_: RunProgress) -> None:
    """Watches nothing."""


def summarise(
    run: Run,
    out: str,
    progress: RunProgress,
    stopped: Stopped,
    counts: Counts,
    learnt: Learnt | None = None,
    exported: dict[str, dict[str, int]] | None = None,
    *,
    refused: str = "",
) -> Summary:
    """Put together, and kept in the run folder."""
    budget = progress.budget
    summary = Summary(
        run=out,
        calls=budget.calls,
        calls_kept=budget.cached,
        retries=progress.retries,
        usd=round(budget.spent, 8),
        usd_now=round(budget.spent_now, 8),
        uncertain_calls=run.journal.uncertain_calls + budget.lost,
        uncertain_usd=round(budget.uncertain, 8),
        usage=budget.usage,
        seconds=round(progress.seconds, 2),
        engines=progress.engines,
        **end_of(stopped, refused),
        **decided(counts, learnt, exported or {}, budget.spent),
    )
    warnings = (*progress.warnings, *summary.warnings)
    summary = replace(summary, warnings=warnings)
    run.write_json("summary.json", summary)
    return summary


def decided(
    counts: Counts, learnt: Learnt | None, exported: dict[str, dict[str, int]], usd: float
) -> dict[str, Any]:
    """The part of a summary that deciding again makes anew."""
    total = counts.total()
    agreement = learnt.agreement if learnt else {}
    return {
        "prompts": counts.prompts,
        "completions": counts.completions,
        "matchups": counts.matchups,
        "verdicts": total.verdicts,
        "unread": dict(Counter(total.unread).most_common()),
        "forced": total.forced,
        "flip_rate": share(total.flipped, total.read_both),
        "first_share": share(total.first_position, total.decided),
        "labels": counts.preferences,
        "dropped": counts.dropped,
        "flags": counts.flags,
        "agreement": agreement.get("human", {}),
        "file_agreement": agreement.get("file", {}),
        "warnings": (*(learnt.warnings if learnt else ()), *_warn_of_forced(counts)),
        "learnt": learnt,
        "exported": exported,
        "why_none": _why_none(counts) if learnt and not counts.preferences else "",
        "usd_per_label": usd / counts.preferences if counts.preferences else None,
    }


MANY_FORCED = 0.2


def _warn_of_forced(counts: Counts) -> list[str]:
    return [
        f"{one.forced / one.verdicts:.0%} of the verdicts of {name} were forced by a constraint: the model"
        " did not answer the question asked"
        for name, one in counts.judges.items()
        if one.forced > MANY_FORCED * one.verdicts
    ]


def _why_none(counts: Counts) -> str:
    """The commonest reason why there is no label, and what to do about it."""
    unread, verdicts = Counter(counts.total().unread), counts.total().verdicts
    if unread.total() > verdicts / 2:
        reason, n = unread.most_common(1)[0]
        return f"{n} of {verdicts} verdicts are unread: {reason}. {ADVICE.get(reason, ADVICE[''])}"
    if counts.dropped:
        reason, n = Counter(counts.dropped).most_common(1)[0]
        return f"{n} rows left as {reason}"
    return "there was nothing to judge"


ADVICE = {
    "low_mass": "This model does not answer the question asked with a label. Use an instruction-tuned model,"
    " let it reason first (--judge.reason true), or hold it to the labels (--judge.forced allow)",
    "call_failed": "See what the server says: jurist show RUN --unread",
    "call_refused": "See what the server says: jurist show RUN --unread",
    "cut_off": "Give it more room: --judge.max_tokens 4096",
    "": "See what it says: jurist show RUN --unread",
}
"""What to do when most verdicts are unread, by the reason."""


def end_of(stopped: Stopped, refused: str = "") -> dict[str, Any]:
    reason = stopped.reason
    if reason is None:
        return {"state": "refused", "refused": refused} if refused else {"state": "done"}
    by = "budget" if isinstance(reason, BudgetSpent) else "failure"
    by = "interrupt" if isinstance(reason, Interrupted) else by
    return {"state": "stopped", "stopped": str(reason), "ended_by": by}
