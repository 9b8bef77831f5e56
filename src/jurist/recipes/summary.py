"""What a run has come to: counted as it goes, for the progress line, and at the end for `summary.json`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from shlex import quote
from types import NoneType
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from ..engines.budget import Budget
from ..engines.journaled import Engines
from ..errors import BudgetSpent, Interrupted
from ..preferences.decide import Counts, JudgeInfo, Learnt, opinions_by_matchup
from ..records import Usage
from ..run import Run
from ..verdicts.cases import Case
from ..verdicts.jury import Agreement
from .lines import Share, clock, counted, named, share

MANY = 0.2
"""Share of forced verdicts, or of completions cut off, above which there is a warning."""
ADVICE = {
    "low_mass": "This model does not answer the question asked with a label. Use an instruction-tuned model,"
    " let it reason first (--judge.reason true), or hold it to the labels (--judge.forced allow)",
    "cut_off": "Give it more room: --judge.max_tokens 4096",
    "": "See what it says: jurist show {run} --unread",
}
"""What to do when most verdicts are unread, by the reason."""
KEEP = {
    "tie": ". Keep ties with: --prefer.ties soft",
    "truncated": ". Allow longer ones (--sampling.max_tokens 1024), or keep these: --prefer.truncated flag",
}
FLIPS = 0.4
"""Where significantly more verdicts than this follow the position there is a warning: a coin's are a half."""


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

    def lines(self) -> Iterator[str]:
        return named(self.rows(), 13)

    def rows(self) -> Iterator[tuple[str, str]]:
        """First of all, whether humans agree. A run that was only sampled has no verdicts."""
        judged, learnt = bool(self.verdicts or self.exported), self.learnt or Learnt()
        for kind, labels in (("human", "human labels"), ("file", "the file's labels")):
            for judge, one in learnt.agreement.get(kind, {}).items():
                yield "agreement", f"{one} with {labels}: {judge}"
        if not self.agreement and self.labels:
            yield "agreement", f"unknown: no human labels. Get some: jurist spotcheck {quote(self.run)}"
        if learnt.weights and learnt.weights.effective_judges:
            worth = f"{learnt.weights.effective_judges:.1f} independent ones"
            yield "jury", f"{len(learnt.weights.jurors)} judges, worth {worth}"
        yield "run", self.run
        nouns = {"prompts": self.prompts, "completions": self.completions, "matchups": self.matchups}
        yield "rows", ", ".join(f"{n:,} {noun}" for noun, n in nouns.items() if n)
        if judged:
            unread = f"; unread: {counted(self.unread)}" if self.unread else ""
            forced = f"; {self.forced:,} forced" if self.forced else ""
            yield "verdicts", f"{self.verdicts:,}{unread}{forced}"
            yield "labels", f"{self.labels:,}" + (f" ({counted(self.flags)})" if self.flags else "")
        yield "dropped", counted(self.dropped)
        flips, first = self.flip_rate, self.first_share
        yield "flips", f"{flips} of matchups read in both orders" if flips else ""
        yield "position", f"{first} of decided verdicts are for the first" if first else ""
        for fit in learnt.calibrations.values():
            if fit.temperature != 1.0:
                fell = f"held-out loss {fit.loss_before:.3f} to {fit.loss_after:.3f}"
                yield "calibrated", f"{fit.judge}: temperature {fit.temperature:.2f}, {fell}"
        yield from self._cost_rows()
        yield from (("exported", f"{name}: {counted(n)}") for name, n in self.exported.items())
        yield from (("warning", warning) for warning in self.warnings)
        yield "refused", self.refused
        yield "state", f"stopped before the end of the input: {self.stopped}" if self.stopped else ""
        for asked, shows in (("--unread", self.unread), ("--flips", flips and flips.value)):
            yield "see", f"jurist show {quote(self.run)} {asked}" if shows else ""

    def _cost_rows(self) -> Iterator[tuple[str, str]]:
        retries = f", {self.retries:,} retries" if self.retries else ""
        lost = f", {self.uncertain_calls:,} without an answer" if self.uncertain_calls else ""
        yield "calls", f"{self.calls:,} answered, {self.calls_kept:,} from the journal{retries}{lost}"
        for one in self.engines:
            if one.seconds:
                latency = "{:.2f} s, p90 {:.2f} s, p99 {:.2f} s".format(*one.seconds)
                tries = f"; retried: {counted(one.retries)}" if one.retries else ""
                yield "latency", f"{one.name}: {latency}{tries}"
        each = f", ${self.usd_per_label:.5f} per label" if self.usd_per_label else ""
        more = f"; up to ${self.uncertain_usd:.4f} more for calls without an answer"
        yield "cost", f"${self.usd:.4f}{each}{more if self.uncertain_usd else ''}"
        yield "time", clock(self.seconds)


class RunProgress:
    """What a run has done so far. Nothing in it grows with the number of rows."""

    def __init__(self, budget: Budget, total: int | None = None) -> None:
        self.budget, self.total = budget, total
        """Rows in all, where that can be known before they are read."""
        self.counts = Counts()
        self.rows = self.ended = 0
        """Rows that are written, in order; and those that are through, of which some wait for others."""
        self.judges: dict[str, JudgeInfo] = {}
        self.engines: Engines | None = None
        self.stopped: Exception | None = None
        """Why it ended before its input did, if it did."""
        self._started = time.monotonic()
        self._nothing_learnt = Learnt()

    def add(self, case: Case) -> None:
        self.rows += 1
        self.counts.add(case, opinions_by_matchup(case, self.judges, self._nothing_learnt))

    @property
    def retries(self) -> int:
        return sum(sum(one.engine.retries.values()) for one in self.engines or ())

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def facts(self) -> dict[str, Any]:
        """The numbers worth telling while it goes on."""
        total, money = self.counts.total(), self.budget
        rows = max(self.rows, self.ended)
        done = rows / self.total if self.total else 0.0
        return {
            "done": rows,
            "total": self.total,
            "calls_kept": money.cached,
            "retries": self.retries,
            "usd": money.spent,
            "rate": rows / max(self.seconds, 1e-9),
            # The whole job, at what this start's rows have cost so far.
            "projected": money.spent - money.spent_now + money.spent_now / done if done else None,
            "flip_rate": total.flipped / total.read_both if total.read_both else None,
            "doing": next(filter(None, (one.engine.doing for one in self.engines or ())), ""),
            "unread_share": sum(total.unread.values()) / total.verdicts if total.verdicts else None,
        }


Watch = Callable[[RunProgress], None]
"""Called several times a second; whoever shows it decides how often to look."""


def nobody(_: RunProgress) -> None:
    """Watches nothing."""


def collected(run: Run, out: str, progress: RunProgress) -> Summary:
    """What asking came to; `decided` adds the rest."""
    budget, engines = progress.budget, progress.engines or ()
    ended_by: Any = {NoneType: "", BudgetSpent: "budget", Interrupted: "interrupt"}
    return Summary(
        run=out,
        stopped=str(progress.stopped or ""),
        ended_by=ended_by.get(type(progress.stopped), "failure"),
        calls=budget.calls,
        calls_kept=budget.cached,
        retries=progress.retries,
        usd=round(budget.spent, 8),
        uncertain_calls=run.journal.uncertain_calls,
        uncertain_usd=round(budget.uncertain, 8),
        usage=budget.usage,
        seconds=round(progress.seconds, 2),
        engines=tuple(
            EngineStats(one.name, dict(one.engine.retries), one.engine.latencies()) for one in engines
        ),
        warnings=(*getattr(engines, "warnings", ()), *budget.warnings.values()),
    )


def decided(
    before: Summary,
    counts: Counts,
    learnt: Learnt | None = None,
    exported: dict[str, dict[str, int]] | None = None,
    refused: str = "",
) -> Summary:
    """The summary with what its verdicts came to."""
    total, labels = counts.total(), counts.preferences
    return replace(
        before,
        state="stopped" if before.stopped else "refused" if refused else "done",
        refused=refused,
        prompts=counts.prompts,
        completions=counts.completions,
        matchups=counts.matchups,
        verdicts=total.verdicts,
        unread=dict(total.unread.most_common()),
        forced=total.forced,
        flip_rate=share(total.flipped, total.read_both),
        first_share=share(total.first_position, total.decided),
        labels=labels,
        dropped=counts.dropped,
        flags=counts.flags,
        agreement=learnt.agreement.get("human", {}) if learnt else {},
        warnings=(*before.warnings, *(learnt.warnings if learnt else ()), *_warnings(counts)),
        learnt=learnt,
        exported=exported or {},
        why_none=_why_none(counts, before.run) if learnt and not labels else "",
        usd_per_label=before.usd / labels if labels else None,
    )


def _warnings(counts: Counts) -> Iterator[str]:
    cut_off = counts.dropped.get("preferences: truncated", 0)
    if cut_off > MANY * counts.matchups:
        yield (
            f"{cut_off} of {counts.matchups} matchups came to no label because the better completion was cut"
            " off: allow longer ones (--sampling.max_tokens 1024), or keep them (--prefer.truncated flag)"
        )
    total = counts.total()
    flips = share(total.flipped, total.read_both)
    if flips is not None and flips.low > FLIPS:
        yield (
            f"{flips.value:.0%} of the verdicts followed the position and not the answers (a coin's: 50%)."
            " Use a stronger judge, or let it reason first (--judge.reason true)"
        )
    yield from (
        f"{one.forced / one.verdicts:.0%} of the verdicts of {name} were forced by a constraint: the model"
        " did not answer the question asked"
        for name, one in counts.judges.items()
        if one.forced > MANY * one.verdicts
    )


def _why_none(counts: Counts, run: str) -> str:
    """The commonest reason why there is no label, and what to do about it."""
    total = counts.total()
    if total.unread.total() > total.verdicts / 2:
        reason, n = total.unread.most_common(1)[0]
        advice = ADVICE.get(reason, ADVICE[""]).format(run=quote(run))
        few = "" if n == total.unread.total() else f", {n} of them"
        return f"{total.unread.total()} of {total.verdicts} verdicts are unread{few}: {reason}. {advice}"
    if 2 * total.flipped > total.read_both:
        return (
            f"{total.flipped} of {total.read_both} verdicts followed the position and not the answers. See"
            f" them with: jurist show {quote(run)} --flips"
        )
    if not counts.dropped:
        return "there was nothing to judge"
    reason, n = counts.dropped.most_common(1)[0]
    keep = KEEP.get(reason.removeprefix("preferences: "), "")
    return f"{n} rows were dropped as {reason}{keep}"
