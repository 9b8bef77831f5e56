"""May the probabilities be believed? How sure a judge says it is, beside how often people agree with it.

What is graded is confidence minus agreement, whose interval is honest. The usual calibration error (ECE) is
never zero, not even for a perfect judge, so it is given together with what chance alone would make of it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ..stats.intervals import clustered_mean, clustered_share
from ..verdicts.calibrate import fit_temperature
from .confidence import aurc, auroc, brier, risk_coverage
from .finding import Chart, Finding, Grade, Point, Series
from .humans import AgainstHumans, human_votes, judge_against_humans, labels_against_humans
from .sheet import Array, Sheet
from .words import count, measured, percent, points, silent, span

FEWEST: Final = 30
"""Labels from people from which the temperature is learnt when labelling, too."""
OVER: Final = 0.1
"""Jung et al. (2024) found calibration errors of 20 points for GPT-4 and of 10 after mending."""
BARE: Final = 0.999
"""A judge that says nothing between 0 and 1 gives winners and no probabilities."""
BINS: Final = 10
CHANCES: Final = 200
"""Sets of labels drawn to see what chance makes of the calibration error."""
MOST: Final = 5_000
"""Labels in such a draw."""
POINTS: Final = 40
"""Of a curve."""
MORE: Final = (
    "Too few labels of people to tell. Label more: jurist spotcheck RUN -n 200 --out spot.jsonl, "
    "then: jurist audit RUN --human spot.jsonl"
)
FIT: Final = "Fit a temperature for each judge from people's labels: jurist export RUN --labels FILE"


def calibration(sheet: Sheet) -> list[Finding]:
    """Of each judge, and of the labels that are trained on."""
    people = human_votes(sheet)
    told = [judge_against_humans(sheet, people, one) for one in np.unique(sheet.opinions.judge).tolist()]
    labels = labels_against_humans(sheet, people)
    told += [AgainstHumans("labels", labels.item, labels.p, people)] if len(labels) else []
    found = [finding for one in told for finding in _of(one.decided)]
    if found:
        return found
    says = (
        "Whether the probabilities may be believed is not known: no person labelled what a judge was sure of."
    )
    return [
        silent("calibration.over", says, "Draw some to label: jurist spotcheck RUN -n 200 --out spot.jsonl")
    ]


def _of(one: AgainstHumans) -> list[Finding]:
    if len(one) < FEWEST:
        return []
    # Told from the side the judge prefers; a tie prefers none, and the label counts half.
    sure = np.maximum(one.p, 1 - one.p)
    right = np.where(one.p == 0.5, 0.5, one.right)
    return [
        _over(one, sure, right),
        _ece(one, sure, right),
        *_discerning(one, sure, right),
        _brier(one),
        *_temperature(one),
    ]


def _over(one: AgainstHumans, sure: Array, right: Array) -> Finding:
    """By how much it says more than it holds."""
    over = clustered_mean(sure - right, one.prompt, weights=one.weight)
    bare = bool((np.abs(sure - 0.5) > BARE / 2).mean() > BARE)
    said, held = (float(np.average(x, weights=one.weight)) for x in (sure, right))
    says = (
        f"{_who(one)} {percent(said)} sure on average, and right in {percent(held)} of "
        f"{count(len(one), 'matchup')}: {points(abs(over.value))} too "
        f"{'sure' if over.value > 0 else 'modest'} (95% interval {points(over.low)} to {points(over.high)})."
    )
    near, far = max(over.low, -over.high, 0.0), max(abs(over.low), abs(over.high))
    grade: Grade = "fine" if near == 0 else "warning" if near > OVER else "note"
    if bare:
        says += " It gave winners and no probabilities."
    advice = "" if grade == "fine" or far <= OVER / 2 else FIT
    chart = _reliability(one, sure, right)
    return measured("calibration.over", one.name, says, grade, over, 0.0, advice=advice, chart=chart)


def _ece(one: AgainstHumans, sure: Array, right: Array) -> Finding:
    """Beside the error a perfectly calibrated judge would show at this n."""
    weight = one.weight / one.weight.sum()
    bins = np.minimum(((sure - 0.5) * 2 * BINS).astype(int), BINS - 1)
    seen = float(np.abs(np.bincount(bins, weight * (sure - right))).sum())
    dice = np.random.default_rng(0)
    some = dice.permutation(len(sure))[:MOST]
    p, kind, part = sure[some], bins[some], weight[some] / weight[some].sum()
    off = (np.where(p == 0.5, 0.5, dice.random((CHANCES, len(some))) < p) - p) * part
    chance = sum(np.abs(off[:, kind == one_bin].sum(axis=1)) for one_bin in np.unique(kind).tolist())
    usual = float(np.mean(chance)) * float(np.sqrt(len(some) / len(sure)))
    says = (
        f"The calibration error (ECE, {BINS} bins) of {_named(one)} is {percent(seen)}; with this number of "
        f"labels chance alone gives a perfectly calibrated judge {percent(usual)}."
    )
    n = len(np.unique(one.prompt))
    return Finding("calibration.ece", one.name, says, "note", n, seen, fair=usual)


def _discerning(one: AgainstHumans, sure: Array, right: Array) -> list[Finding]:
    """Whether it is surer where it is right, and what keeping only the surest labels would do."""
    sided = right != 0.5
    if not sided.any() or not np.ptp(sure[sided]):
        return []
    found = auroc(sure[sided], right[sided] == 1, one.prompt[sided])
    if not found.n:
        return []
    says = (
        f"A right answer of {_named(one)} is surer than a wrong one in {percent(found.value)} of the cases "
        f"({span(found)}; AUROC). 50% would mean that its confidence tells nothing."
    )
    grade: Grade = "note" if found.low <= 0.5 else "fine"
    advice = "" if grade == "fine" else MORE
    if found.high < 0.5:
        advice = "Do not choose labels by their margin: --prefer.min_margin 0"
    kept, risk = risk_coverage(sure, 1 - right, one.weight)
    area = aurc(sure, 1 - right, one.weight)
    half = float(risk[np.searchsorted(kept, 0.5)])
    curve = (
        f"Keeping only the surest half of what {_named(one)} said, {percent(half)} are wrong; keeping all, "
        f"{percent(float(risk[-1]))}. Over all shares kept it is {percent(area)} (AURC)."
    )
    shown = np.unique(np.linspace(0, len(kept) - 1, POINTS).round().astype(int))
    line = tuple(Point(float(kept[at]), float(risk[at]), n=int(at) + 1) for at in shown if at >= FEWEST // 3)
    chart = Chart(
        "lines",
        f"Wrong when only the surest of {_named(one)} are kept",
        (Series("wrong", line),),
        x="share kept",
        y="share wrong",
        mark=float(risk[-1]),
        marked="all kept",
    )
    n = len(np.unique(one.prompt))
    return [
        measured("calibration.auroc", one.name, says, grade, found, advice=advice),
        Finding(
            "calibration.aurc",
            one.name,
            curve,
            "note",
            n,
            aurc(sure, 1 - right),
            chart=chart if line else None,
        ),
    ]


def _brier(one: AgainstHumans) -> Finding:
    found = brier(one.p, one.mean, one.prompt, one.weight)
    says = (
        f"The Brier score of {_named(one)} is {found.value:.3f} (95% interval {found.low:.3f} to "
        f"{found.high:.3f}): 0 is perfect, and always saying one half gives 0.25 where people agree."
    )
    return measured("calibration.brier", one.name, says, "note", found, unit="number")


def _temperature(one: AgainstHumans) -> list[Finding]:
    if one.name == "labels":
        return []
    hot = fit_temperature(one.p, one.mean)
    says = (
        f"Dividing the log-odds of {one.name} by {hot:.2f} would make its probabilities fit people best; 1 "
        "would mean that they fit as they are. That changes no winner."
    )
    return [
        Finding("calibration.temperature", one.name, says, "note", len(one), hot, unit="number", fair=1.0)
    ]


def _reliability(one: AgainstHumans, sure: Array, right: Array) -> Chart:
    bins = np.minimum(((sure - 0.5) * 2 * BINS).astype(int), BINS - 1)
    dots = []
    for kind in np.unique(bins).tolist():
        rows = bins == kind
        share = clustered_share(right[rows], one.prompt[rows], weights=one.weight[rows])
        dots.append(Point(float(sure[rows].mean()), share.value, share.low, share.high, int(rows.sum())))
    ideal = Series("as sure as right", (Point(0.5, 0.5), Point(1.0, 1.0)))
    return Chart(
        "lines",
        f"How sure, and how often right: {_named(one)}",
        (Series(_named(one), tuple(dots)), ideal),
        x="confidence",
        y="share right",
    )


def _who(one: AgainstHumans) -> str:
    return "The labels are" if one.name == "labels" else f"{one.name} is"


def _named(one: AgainstHumans) -> str:
    return "the labels" if one.name == "labels" else one.name
