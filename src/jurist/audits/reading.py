"""Whether verdicts were read, unforced and decided; which calls went wrong; what a label cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from math import nan
from typing import Any, Final

import numpy as np

from ..stats.intervals import Estimate, clustered_share, wilson
from ..verdicts.read import UNREAD
from .finding import Measure
from .humans import human_votes, run_against_humans
from .sheet import Array, Sheet

ADVICE: Final = {"cut_off": 1, "low_mass": 2}
"""Which advice of `reading.unread` fits when most are unread for this reason."""


def reading(sheet: Sheet, summary: Mapping[str, Any] | None = None) -> list[Measure]:
    """`summary` is that of the run: what the sheet does not hold about its calls."""
    summary = summary or {}
    found = [one for judge in range(len(sheet.judges)) for one in _of_judge(sheet, judge)]
    if not found:
        missing = "no_judge" if len(sheet.matchups) else "no_matchup"
        found = [Measure("reading.unread", missing=missing)]
    return [*found, *_calls(summary), *_cost(sheet, summary.get("usd") or 0.0)]


def human_file(path: str, labelled: int, found: int) -> list[Measure]:
    """Whether the labels of a file are about these matchups at all."""
    if not path or (labelled and labelled == found):
        return []
    if not labelled:
        return [Measure("reading.human_file", figures={"file": path}, missing="empty")]
    share = found / labelled
    figures = {"file": path, "lost": labelled - found, "labelled": labelled, "found": found}
    figures["most_lost"] = share < 0.5
    return [Measure("reading.human_file", "", Estimate(share, nan, nan, labelled), figures)]


def _of_judge(sheet: Sheet, judge: int) -> Iterator[Measure]:
    verdicts, scores, name = sheet.verdicts, sheet.scores, sheet.judges[judge]
    own, scored = verdicts.judge == judge, scores.judge == judge
    reason = np.concatenate([verdicts.unread[own], scores.unread[scored]])
    prompt = np.concatenate(
        [sheet.matchups.prompt[verdicts.matchup[own]], sheet.answers.prompt[scores.answer[scored]]]
    )
    if not len(reason):
        return
    unread = clustered_share((reason > 0).astype(float), prompt)
    yield Measure("reading.unread", name, unread, _why(sheet, reason))
    yield from _forced(sheet, judge)
    yield from _ties(sheet, judge)


def _why(sheet: Sheet, reason: Array) -> dict[str, Any]:
    """The commonest reasons, and how many replies there were."""
    times = np.bincount(reason).tolist()
    counts = Counter({sheet.reasons[row]: n for row, n in enumerate(times) if row and n})
    n, unread = len(reason), counts.total()
    figures: dict[str, Any] = {"replies": n, "none": n == unread, "some": n > unread}
    if counts:
        most = counts.most_common(1)[0][0]
        named = [f"{n:,} {name}" for name, n in counts.most_common(3)]
        named[0] += f" ({UNREAD[most]})" if most in UNREAD else ""
        figures |= {"why": ", ".join(named), "advice_for": ADVICE.get(most, 0)}
    return figures


def _forced(sheet: Sheet, judge: int) -> Iterator[Measure]:
    verdicts = sheet.verdicts
    own = (verdicts.judge == judge) & ~np.isnan(verdicts.p)
    forced = verdicts.forced[own]
    if not forced.any():
        return
    mass = verdicts.label_mass[own][forced]
    known = mass[~np.isnan(mass)]
    share = clustered_share(forced.astype(float), sheet.matchups.prompt[verdicts.matchup[own]])
    figures = {"mass": float(known.mean()) if len(known) else None}
    yield Measure("reading.forced", sheet.judges[judge], share, figures)


def _ties(sheet: Sheet, judge: int) -> Iterator[Measure]:
    """The share of its matchups that a judge decides nothing about."""
    opinions, verdicts = sheet.opinions, sheet.verdicts
    rows = np.flatnonzero((opinions.judge == judge) & ~np.isnan(opinions.p))
    if not len(rows):
        return
    tie = (opinions.p[rows] == 0.5).astype(float)
    share = clustered_share(tie, sheet.matchups.prompt[opinions.matchup[rows]])
    each = verdicts.p[(verdicts.judge == judge) & ~np.isnan(verdicts.p)]
    # A side in each order, and not the same one, comes to no more than a tie; but it is none.
    figures = {"matchups": len(rows), "contradicts": bool(share.value and (each != 0.5).any())}
    figures |= {"all": share.value == 1, "some": 0 < share.value < 1, "none": share.value == 0}
    yield Measure("reading.ties", sheet.judges[judge], share, figures)


def _calls(summary: Mapping[str, Any]) -> Iterator[Measure]:
    """Tries that gave nothing, in the last start; and calls of all starts that nobody knows the end of."""
    calls, retries, lost = (summary.get(name, 0) for name in ("calls", "retries", "uncertain_calls"))
    if retries:
        why = Counter[str]()
        for engine in summary.get("engines", ()):
            why.update(engine.get("retries", {}))
        named = ", ".join(f"{kind} {n:,}" for kind, n in why.most_common(3)) or None
        yield _counted("reading.retries", retries, calls + retries, {"calls": calls, "why": named})
    if lost:
        figures = {"lost": lost, "usd": summary.get("uncertain_usd") or None}
        yield _counted("reading.uncertain", lost, calls + summary.get("calls_kept", 0) + lost, figures)


def _counted(name: str, part: int, n: int, figures: dict[str, Any]) -> Measure:
    return Measure(name, "", Estimate(part / n, *wilson(part, n), n), {"times": part, **figures})


def _cost(sheet: Sheet, spent: float) -> Iterator[Measure]:
    """Of a label; `spent` is what the whole run cost, without it the verdicts count alone."""
    usd = max(float(sheet.verdicts.usd.sum() + sheet.scores.usd.sum()), spent)
    if not usd or not len(sheet.labels):
        return
    each = usd / len(sheet.labels)
    judged = run_against_humans(sheet, human_votes(sheet)).decided
    right = float(np.average(judged.right, weights=judged.weight)) if len(judged) else 0.0
    figures = {"usd": usd, "labels": len(sheet.labels), "correct": each / right if right else None}
    yield Measure("cost.label", "", Estimate(each, nan, nan, len(sheet.labels)), figures)
