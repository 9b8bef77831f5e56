"""Over-confidence: is a judge as often right as it is sure, and is it surer where it is right?

What is graded is mean confidence minus agreement with humans. The usual calibration error (ECE) is never
zero, not even for a perfectly calibrated judge, so what chance alone would make of it stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from ..stats.intervals import NO_DATA, Estimate, clustered_mean, clustered_share, student
from ..verdicts.calibrate import fit_temperature
from .finding import Measure, Point, Series
from .humans import AgainstHumans, human_votes, judge_against_humans, labels_against_humans
from .sheet import Array, Sheet

FEWEST: Final = 30
"""Human labels from which a temperature is learnt when labelling, too."""
BARE: Final = 0.999
"""A judge that says nothing between 0 and 1 gives winners and no probabilities."""
BINS: Final = 10
TRIALS: Final = 200
"""Sets of labels sampled to see what chance makes of the calibration error."""
MOST: Final = 5_000
"""Labels in such a set."""
POINTS: Final = 40
"""Of a curve."""


def calibration(sheet: Sheet) -> list[Measure]:
    """Of the labels that are trained on, and of each judge."""
    humans = human_votes(sheet)
    asked = [judge_against_humans(sheet, humans, one) for one in np.unique(sheet.opinions.judge).tolist()]
    found = [
        measure
        for one in (labels_against_humans(sheet, humans), *asked)
        if len(one.decided) >= FEWEST
        for measure in _of(one.decided)
    ]
    return found or [Measure("calibration.over", figures={"fewest": FEWEST}, missing="few")]


def _of(one: AgainstHumans) -> Iterator[Measure]:
    """Seen from the side it prefers; a tie prefers none, and counts half."""
    sure = np.maximum(one.p, 1 - one.p)
    right = np.where(one.p == 0.5, 0.5, one.right)
    n = len(np.unique(one.prompt))
    yield _over(one, sure, right)
    seen, usual = _ece(one, sure, right)
    yield Measure("calibration.ece", one.name, _bare(seen, n), {"fair": usual, "by_chance": usual})
    yield from _ranking(one, sure, right, n)
    yield Measure(
        "calibration.brier", one.name, clustered_mean((one.p - one.mean) ** 2, one.prompt, one.weight)
    )
    if one.name != "labels":
        yield Measure("calibration.temperature", one.name, _bare(fit_temperature(one.p, one.mean), n))


def _bare(value: float, n: int) -> Estimate:
    """A number whose interval is not known."""
    return Estimate(value, math.nan, math.nan, n)


def _over(one: AgainstHumans, sure: Array, right: Array) -> Measure:
    """By how much confidence exceeds agreement, and both by bin."""
    over = clustered_mean(sure - right, one.prompt, one.weight, most=1.0)
    confidence, agreed = (float(np.average(x, weights=one.weight)) for x in (sure, right))
    bare = bool((np.abs(sure - 0.5) > BARE / 2).mean() > BARE)
    figures = {"confidence": confidence, "right": agreed, "matchups": len(one), "bare": bare}
    bins, points = _bins(sure), []
    for code in np.unique(bins).tolist():
        rows = bins == code
        share = clustered_share(right[rows], one.prompt[rows], weights=one.weight[rows])
        points.append(Point(float(sure[rows].mean()), share.value, share.low, share.high, int(rows.sum())))
    return Measure("calibration.over", one.name, over, figures, series=(Series(one.name, tuple(points)),))


def _bins(sure: Array) -> Array:
    return np.asarray(np.minimum(((sure - 0.5) * 2 * BINS).astype(int), BINS - 1))


def _ece(one: AgainstHumans, sure: Array, right: Array) -> tuple[float, float]:
    """The calibration error, and that of a perfectly calibrated judge with as many labels."""
    weight, bins = one.weight / one.weight.sum(), _bins(sure)
    seen = float(np.abs(np.bincount(bins, weight * (sure - right))).sum())
    rng = np.random.default_rng(0)
    some = rng.permutation(len(sure))[:MOST]
    p, code, part = sure[some], bins[some], weight[some] / weight[some].sum()
    off = (np.where(p == 0.5, 0.5, rng.random((TRIALS, len(some))) < p) - p) * part
    chance = sum(np.abs(off[:, code == kind].sum(axis=1)) for kind in np.unique(code).tolist())
    return seen, float(np.mean(chance)) * math.sqrt(len(some) / len(sure))


def _ranking(one: AgainstHumans, sure: Array, right: Array, n: int) -> Iterator[Measure]:
    """Whether it is surer where it is right, and what keeping only the surest labels would do."""
    sided = right != 0.5
    if not sided.any() or not np.ptp(sure[sided]):
        return
    found = auroc(sure[sided], right[sided] == 1, one.prompt[sided])
    if not found.n:
        return
    yield Measure("calibration.auroc", one.name, found)
    kept, risk = risk_coverage(sure, 1 - right, one.weight)
    half, everything = float(risk[np.searchsorted(kept, 0.5)]), float(risk[-1])
    shown = np.unique(np.linspace(0, len(kept) - 1, POINTS).round().astype(int))
    line = tuple(Point(float(kept[at]), float(risk[at]), n=int(at) + 1) for at in shown if at >= FEWEST // 3)
    yield Measure(
        "calibration.aurc",
        one.name,
        _bare(aurc(sure, 1 - right, one.weight), n),
        {"half": half, "everything": everything},
        series=(Series(one.name, line),) if line else (),
    )


def auroc(scores: Array, right: Array, clusters: Array | None = None) -> Estimate:
    """How often something right has a higher score than something wrong; a tie is half.

    The 95% interval is DeLong's (1988), with what each row adds summed over its cluster.
    """
    right = right.astype(bool)
    ones, zeros = int(right.sum()), int((~right).sum())
    if not ones or not zeros:
        return NO_DATA
    ranks = _midranks(scores)
    # How many of the other kind each row beats.
    beats = np.empty(len(scores))
    beats[right] = (ranks[right] - _midranks(scores[right])) / zeros
    beats[~right] = 1 - (ranks[~right] - _midranks(scores[~right])) / ones
    value = float(beats[right].mean())
    part = np.where(right, (beats - value) / ones, (beats - value) / zeros)
    _, row = np.unique(np.arange(len(part)) if clusters is None else clusters, return_inverse=True)
    off = np.bincount(row, part)
    n = len(off)
    if n < 2:
        return _bare(value, n)
    reach = student(0.95, n - 1) * math.sqrt(n / (n - 1) * float(off @ off))
    return Estimate(value, max(0.0, value - reach), min(1.0, value + reach), n)


def _midranks(values: Array) -> Array:
    """Ranks from 1; equal values share the middle of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    upto = np.cumsum(count)
    return np.asarray((upto - (count - 1) / 2)[place])


def risk_coverage(confidence: Array, wrong: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """Keeping only the surest: for every share kept, the share of those that are wrong.

    What is equally sure is kept or left together, each with the mean of its kind.
    """
    if not len(confidence):
        return np.empty(0), np.empty(0)
    w = np.ones(len(wrong)) if weights is None else weights
    _, kind = np.unique(-confidence, return_inverse=True)
    mean = np.bincount(kind, w * wrong) / np.bincount(kind, w)
    order = np.argsort(kind, kind="stable")
    kept = np.cumsum(w[order])
    return kept / kept[-1], np.cumsum(w[order] * mean[kind[order]]) / kept


def aurc(confidence: Array, wrong: Array, weights: Array | None = None) -> float:
    """The area under that curve (Geifman & El-Yaniv 2017): the mean risk over all shares kept."""
    kept, risk = risk_coverage(confidence, wrong, weights)
    return float(np.diff(kept, prepend=0.0) @ risk) if len(risk) else math.nan
