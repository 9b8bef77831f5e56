"""Over-confidence: is a judge as often right as it is sure, and is it surer where it is right?

What is graded is mean confidence minus agreement with humans. The usual calibration error (ECE) is never
zero, not even for a perfectly calibrated judge.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from ..stats.intervals import NO_DATA, Estimate, clustered_mean, clustered_share, student
from .finding import Measure, Point, Series
from .humans import AgainstHumans, human_votes, judge_against_humans, labels_against_humans
from .sheet import Array, Sheet

FEWEST: Final = 30
"""Human labels from which a temperature is learnt when labelling, too."""
BARE: Final = 0.999
"""A judge that says nothing between 0 and 1 gives winners and no probabilities."""
BINS: Final = 10


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
    yield _over(one, sure, right)
    sided = right != 0.5
    if sided.any() and np.ptp(sure[sided]):
        found = auroc(sure[sided], right[sided] == 1, one.prompt[sided])
        yield from [Measure("calibration.auroc", one.name, found)] if found.n else []
    yield Measure(
        "calibration.brier", one.name, clustered_mean((one.p - one.mean) ** 2, one.prompt, one.weight)
    )


def _over(one: AgainstHumans, sure: Array, right: Array) -> Measure:
    """By how much confidence exceeds agreement, and both by bin."""
    over = clustered_mean(sure - right, one.prompt, one.weight, most=1.0)
    confidence, agreed = (float(np.average(x, weights=one.weight)) for x in (sure, right))
    bare = bool((np.abs(sure - 0.5) > BARE / 2).mean() > BARE)
    figures = {"confidence": confidence, "right": agreed, "matchups": len(one), "bare": bare}
    bins, points = np.minimum(((sure - 0.5) * 2 * BINS).astype(int), BINS - 1), []
    for code in np.unique(bins).tolist():
        rows = bins == code
        share = clustered_share(right[rows], one.prompt[rows], weights=one.weight[rows])
        points.append(Point(float(sure[rows].mean()), share.value, share.low, share.high, int(rows.sum())))
    return Measure("calibration.over", one.name, over, figures, series=(Series(one.name, tuple(points)),))


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
        return Estimate(value, math.nan, math.nan, n)
    reach = student(0.95, n - 1) * math.sqrt(n / (n - 1) * float(off @ off))
    return Estimate(value, max(0.0, value - reach), min(1.0, value + reach), n)


def _midranks(values: Array) -> Array:
    """Ranks from 1; equal values share the middle of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    upto = np.cumsum(count)
    return np.asarray((upto - (count - 1) / 2)[place])
