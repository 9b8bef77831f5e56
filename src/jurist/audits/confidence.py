"""How much a judge's confidence is worth: whether it is surer where it is right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..stats.intervals import NO_DATA, Estimate, clustered_mean, student

Array = np.ndarray[Any, Any]


def auroc(scores: Array, right: Array, clusters: Array | None = None, level: float = 0.95) -> Estimate:
    """How often something right has a higher score than something wrong; a tie is half.

    The interval is DeLong's (1988), with what each row adds summed over its cluster.
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
        return Estimate(value, 0.0, 1.0, n)
    reach = student(level, n - 1) * math.sqrt(n / (n - 1) * float(off @ off))
    return Estimate(value, max(0.0, value - reach), min(1.0, value + reach), n)


def _midranks(values: Array) -> Array:
    """Ranks from 1; equal values share the middle of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    upto = np.cumsum(count)
    return np.asarray((upto - (count - 1) / 2)[place])


def brier(p: Array, y: Array, clusters: Array, weights: Array | None = None) -> Estimate:
    """Mean squared distance of a probability from what came: 0 at best, 0.25 for always saying one half."""
    return clustered_mean((p - y) ** 2, clusters, weights=weights)


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
