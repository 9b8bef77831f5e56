"""A mean from a few labels of people and many of a judge (Angelopoulos et al. 2023, PPI++).

The judge's mean is taken, and what it is off by on the labelled rows is added back. So the answer is about
people whatever the judge is worth; a judge that goes with people only makes the interval shorter.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .clusters import DUST, weighted_mean
from .intervals import wilson
from .special import student

Array = np.ndarray[Any, Any]


class Powered(NamedTuple):
    """A mean, its interval, and what the judge did for it."""

    value: float
    low: float
    high: float
    n: int
    """Clusters with a label."""
    trust: float
    """lambda*: 0 leaves the judge out, 1 trusts it as much as a person."""
    saves: float
    """How many labels from people one label is worth with the judge's help."""


def powered_mean(
    y: Array,
    f: Array,
    rest: Array,
    clusters: Array | None = None,
    rest_clusters: Array | None = None,
    weights: Array | None = None,
    level: float = 0.95,
    share: bool = False,
) -> Powered:
    """The mean of y over everything, from y and the judge's f where people labelled, and f in the `rest`.

    `weights` are one over the chance of having been drawn; then `rest` is everything, labelled or not. A
    `share` lies within 0 and 1, and so does its interval (Wilson's, at as many labels as it is worth).
    """
    if not len(y):
        return Powered(math.nan, math.nan, math.nan, 0, 0.0, math.nan)
    groups = np.arange(len(y)) if clusters is None else clusters
    trust = best_trust(y, f, rest, weights)
    mean, error, n = weighted_mean(y - trust * f, groups, weights)
    alone = weighted_mean(y, groups, weights)[1]
    if trust:
        others = np.arange(len(rest)) if rest_clusters is None else rest_clusters
        judged, spread, _ = weighted_mean(trust * rest, others)
        mean, error = mean + judged, math.hypot(error, spread)
    saves = (alone / error) ** 2 if error > 0 else 1.0
    if n < 2:
        return Powered(mean, *((0.0, 1.0) if share else (-math.inf, math.inf)), n, trust, saves)
    if share:
        mean = min(1.0, max(0.0, mean))
        # Near 0 or 1 nothing varies among few labels, and yet they are only few.
        varies = error > DUST and DUST < mean < 1 - DUST
        worth = mean * (1 - mean) / error**2 if varies else float(n)
        low, high = wilson(mean * worth, worth, level)
        return Powered(mean, low, high, n, trust, saves)
    reach = student(level, n - 1) * error
    return Powered(mean, mean - reach, mean + reach, n, trust, saves)


def best_trust(y: Array, f: Array, rest: Array, weights: Array | None = None) -> float:
    """lambda*: Cov(y, f) / ((1 + n / N) Var(f)), held within 0 and 1."""
    if len(y) < 2 or not len(rest):
        return 0.0
    w = np.ones(len(y)) if weights is None else weights
    w = w / w.sum()
    together = float(w @ ((y - w @ y) * (f - w @ f)))
    all_f = rest if weights is not None else np.concatenate([f, rest])
    spread = float(all_f.var(ddof=1)) if len(all_f) > 1 else 0.0
    if spread <= 1e-12:
        return 0.0
    return min(1.0, max(0.0, together / (1 + len(y) / len(rest)) / spread))
