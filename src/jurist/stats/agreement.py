"""How often two raters say the same, with and without what chance alone would give."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from .fits import Array
from .intervals import DUST, Estimate, clopper_pearson, mean, student, weighted_mean, wilson

Statistic = Callable[[Array], Array]
BLOCKS = 200
"""Clusters are left out in so many groups: enough for an interval, whatever the number of rows."""


def correlation(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Pearson's r; `nan` where one of the two never varies."""
    if len(xs) < 2:
        return math.nan
    mx, my = mean(xs), mean(ys)
    xx = math.fsum((x - mx) ** 2 for x in xs)
    yy = math.fsum((y - my) ** 2 for y in ys)
    xy = math.fsum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True))
    # Rounding leaves dust where a constant was meant.
    if xx <= 1e-24 * len(xs) or yy <= 1e-24 * len(ys):
        return math.nan
    return max(-1.0, min(1.0, xy / math.sqrt(xx * yy)))


def effective_jurors(k: int, rho: float) -> float:
    """k judges whose errors correlate by rho are worth this many independent ones: k / (1 + (k - 1) rho)."""
    # Errors that repel each other would promise more jurors than there are; we do not count on that.
    return k / (1 + (k - 1) * max(rho, 0.0))


def log_loss(ps: Sequence[float], labels: Sequence[float], edge: float = 1e-4) -> float:
    """Mean cross-entropy in nats; labels may be soft."""
    held = [min(max(p, edge), 1 - edge) for p in ps]
    return mean(-y * math.log(p) - (1 - y) * math.log(1 - p) for p, y in zip(held, labels, strict=True))


def ece(ps: Sequence[float], labels: Sequence[float], bins: int = 10) -> float:
    """Expected calibration error: confidence against accuracy in equal bins of confidence from 0.5 to 1."""
    counts, sure, right = [0] * bins, [0.0] * bins, [0.0] * bins
    for p, y in zip(ps, labels, strict=True):
        confidence, correct = (p, y) if p >= 0.5 else (1 - p, 1 - y)
        if p == 0.5:
            correct = 0.5  # it named neither, whichever the label is
        i = min(int((confidence - 0.5) * 2 * bins), bins - 1)
        counts[i] += 1
        sure[i] += confidence
        right[i] += correct
    n = sum(counts)
    return math.fsum(abs(s - r) for s, r in zip(sure, right, strict=True)) / n if n else math.nan


def kappa(table: Array) -> Array:
    """Of one table, or of many stacked on each other."""
    n, seen = _seen(table)
    return _beyond(seen, (table.sum(-1) * table.sum(-2)).sum(-1) / n**2)


def ac1(table: Array) -> Array:
    """Gwet's coefficient: unlike kappa it stays where it was when nearly all labels are the same."""
    n, seen = _seen(table)
    share = (table.sum(-1) + table.sum(-2)) / (2 * n[..., None])
    return _beyond(seen, (share * (1 - share)).sum(-1) / (table.shape[-1] - 1))


def _seen(table: Array) -> tuple[Array, Array]:
    """How many there are (nan where there is none), and the share on which both say the same."""
    n = np.asarray(table.sum((-1, -2)), dtype=float)
    n = np.where(n > 0, n, np.nan)
    return n, np.trace(table, axis1=-2, axis2=-1) / n


def _beyond(seen: Array, chance: Array) -> Array:
    """nan where chance alone agrees always: then there is nothing to agree about."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(chance < 1, (seen - chance) / (1 - chance), np.nan))


def alpha_parts(items: Array, values: Array, level: Literal["nominal", "interval"]) -> Array:
    """What each item adds to alpha, in the order of its number; items rated once add nothing."""
    items, values = items[~np.isnan(values)], values[~np.isnan(values)]
    names, item = np.unique(items, return_inverse=True)
    m = np.bincount(item, minlength=len(names)).astype(float)
    paired = (m > 1).astype(float)
    if level == "interval":
        sums, squares = np.bincount(item, values), np.bincount(item, values**2)
        apart = 2 * (m * squares - sums**2) / np.maximum(m - 1, 1)
        return np.asarray(np.stack([apart, m, sums, squares], axis=1) * paired[:, None])
    labels, label = np.unique(values, return_inverse=True)
    said = np.bincount(item * len(labels) + label, minlength=len(names) * len(labels))
    said = said.reshape(len(names), len(labels)).astype(float)
    apart = (m**2 - (said**2).sum(axis=1)) / np.maximum(m - 1, 1)
    return np.asarray(np.concatenate([apart[:, None], said], axis=1) * paired[:, None])


def alpha_of(sums: Array, level: Literal["nominal", "interval"] = "nominal") -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        if level == "interval":
            apart, n, total, squares = (sums[..., i] for i in range(4))
            expected = 2 * (n * squares - total**2) / (n - 1)
            # Rounding leaves dust where every rating was the same.
            expected = np.where(expected > 1e-12 * np.abs(squares), expected, np.nan)
        else:
            apart, said = sums[..., 0], sums[..., 1:]
            n = said.sum(axis=-1)
            expected = (n**2 - (said**2).sum(axis=-1)) / (n - 1)
            expected = np.where(expected > 0, expected, np.nan)
        return np.asarray(1 - apart / expected)


def in_blocks(parts: Array, clusters: Array) -> Array:
    """The parts of the same cluster together, and clusters in at most so many blocks."""
    _, row = np.unique(clusters, return_inverse=True)
    block = row % BLOCKS
    flat = parts.reshape(len(parts), -1)
    size = int(block.max(initial=-1)) + 1
    sums = [np.bincount(block, flat[:, i], minlength=size) for i in range(flat.shape[1])]
    return np.stack(sums, axis=1).reshape(size, *parts.shape[1:])


def jackknifed(blocks: Array, statistic: Statistic, n: int, level: float = 0.95) -> Estimate:
    """A statistic of sums, with the interval that leaving out one block after another gives."""
    whole = blocks.sum(axis=0)
    value = float(statistic(whole))
    left = statistic(whole - blocks)
    left = left[~np.isnan(left)]
    g = len(left)
    if g < 2:
        return Estimate(value, float("-inf"), float("inf"), n)
    if value > 1 - 1e-12:
        # Nothing varies, and few labels are only few: one disagreement costs about two where chance has half.
        return Estimate(value, 1 - 2 * clopper_pearson(0, n, level)[1], 1.0, n)
    # What is left to perfect agreement is a ratio, whose logarithm is more nearly normal.
    rest = np.log(np.maximum(1 - left, 1e-12))
    reach = student(level, g - 1) * float(np.sqrt((g - 1) / g * ((rest - rest.mean()) ** 2).sum()))
    return Estimate(value, 1 - (1 - value) * float(np.exp(reach)), 1 - (1 - value) * float(np.exp(-reach)), n)


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
