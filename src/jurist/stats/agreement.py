"""How far two raters agree, with and without chance, and how good a probability is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .fits import Array
from .intervals import EPSILON, NO_DATA, Estimate, clopper_pearson, student, weighted_mean, wilson

BLOCKS = 200  # a jackknife leaves out clusters in so many groups, whatever the number of rows


def correlation(xs: ArrayLike, ys: ArrayLike) -> float:
    """Pearson's r; nan where one of the two never varies."""
    x, y = (np.asarray(values, dtype=float) for values in (xs, ys))
    # Rounding leaves dust where a constant was meant.
    if len(x) < 2 or min(x.std(), y.std()) <= EPSILON:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])


def error_correlation(right: Array, clusters: Array) -> Estimate:
    """How the columns' errors correlate: the mean of Pearson's r over pairs of columns, each over the rows
    where both are known (not nan). nan where no pair varies.
    """
    known = ~np.isnan(right)
    said, block = np.where(known, right, 0.0), np.unique(clusters, return_inverse=True)[1] % BLOCKS
    parts = []
    for one in range(block.max(initial=-1) + 1):
        x, k = said[block == one], known[block == one] * 1.0
        parts.append(np.stack([k.T @ k, x.T @ k, (x * x).T @ k, x.T @ x]))
    n = len(np.unique(clusters[known.sum(axis=1) > 1]))
    return jackknifed(np.array(parts), np.arange(len(parts)), _mean_correlation, n) if n else NO_DATA


def _mean_correlation(sums: Array) -> Array:
    """From how many rows each pair has, and the sums of x, of x squared and of x times y."""
    n, x, xx, xy = (sums[..., i, :, :] for i in range(4))
    spread = n * xx - x**2
    varies = np.triu(np.minimum(spread, np.swapaxes(spread, -1, -2)) > EPSILON * n**2, 1)
    both = np.where(varies, spread * np.swapaxes(spread, -1, -2), 1.0)
    r = np.where(varies, n * xy - x * np.swapaxes(x, -1, -2), 0.0) / np.sqrt(both)
    pairs = varies.sum((-1, -2))
    return np.asarray(r.sum((-1, -2)) / np.where(pairs > 0, pairs, np.nan))


def independent_judges(k: int, rho: float) -> float:
    """How many judges without errors in common so many are worth whose errors correlate by rho."""
    return k / (1 + (k - 1) * max(rho, 0.0))


def kappa(table: Array) -> Array:
    """Cohen's kappa (1960) of a table of two raters, or of many tables stacked on each other."""
    n, same = _same(table)
    return _beyond(same, (table.sum(-1) * table.sum(-2)).sum(-1) / n**2)


def _same(table: Array) -> tuple[Array, Array]:
    """How many there are (nan where there is none), and the share on which both say the same."""
    n = np.asarray(table.sum((-1, -2)), dtype=float)
    n = np.where(n > 0, n, np.nan)
    return n, np.trace(table, axis1=-2, axis2=-1) / n


def _beyond(same: Array, chance: Array) -> Array:
    """nan where chance alone agrees always: then there is nothing to agree about."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(chance < 1, (same - chance) / (1 - chance), np.nan))


def alpha_parts(items: Array, values: Array, level: Literal["nominal", "interval"]) -> Array:
    """What each item adds to Krippendorff's alpha (2004): one row a rating, items rated once add nothing."""
    items, values = items[~np.isnan(values)], values[~np.isnan(values)]
    names, item = np.unique(items, return_inverse=True)
    m = np.bincount(item, minlength=len(names)).astype(float)
    paired = (m > 1).astype(float)
    if level == "interval":
        sums, squares = np.bincount(item, values), np.bincount(item, values**2)
        apart = 2 * (m * squares - sums**2) / np.maximum(m - 1, 1)
        return np.asarray(np.stack([apart, m, sums, squares], axis=1) * paired[:, None])
    labels, label = np.unique(values, return_inverse=True)
    counts = np.bincount(item * len(labels) + label, minlength=len(names) * len(labels))
    counts = counts.reshape(len(names), len(labels)).astype(float)
    apart = (m**2 - (counts**2).sum(axis=1)) / np.maximum(m - 1, 1)
    return np.asarray(np.concatenate([apart[:, None], counts], axis=1) * paired[:, None])


def alpha_of(sums: Array, level: Literal["nominal", "interval"] = "nominal") -> Array:
    """Alpha from the sum of such parts."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if level == "interval":
            apart, n, total, squares = (sums[..., i] for i in range(4))
            expected = 2 * (n * squares - total**2) / (n - 1)
            # Rounding leaves dust where every rating was the same.
            expected = np.where(expected > EPSILON * np.abs(squares), expected, np.nan)
        else:
            apart, counts = sums[..., 0], sums[..., 1:]
            n = counts.sum(axis=-1)
            expected = (n**2 - (counts**2).sum(axis=-1)) / (n - 1)
            expected = np.where(expected > 0, expected, np.nan)
        return np.asarray(1 - apart / expected)


def jackknifed(parts: Array, clusters: Array, statistic: Callable[[Array], Array], n: int) -> Estimate:
    """A statistic of sums, with the 95 % interval that leaving out blocks of clusters gives."""
    block = np.unique(clusters, return_inverse=True)[1] % BLOCKS
    sums = np.zeros((int(block.max(initial=-1)) + 1, *parts.shape[1:]))
    np.add.at(sums, block, parts)
    whole = sums.sum(axis=0)
    value = float(statistic(whole))
    left = statistic(whole - sums)
    left = left[~np.isnan(left)]
    g = len(left)
    if g < 2:
        return Estimate(value, math.nan, math.nan, n)
    if value > 1 - EPSILON:
        # Nothing varies, and few labels are only few: one disagreement costs about two where chance has half.
        return Estimate(value, 1 - 2 * clopper_pearson(0, n)[1], 1.0, n)
    # What is left to perfect agreement is a ratio, whose logarithm is more nearly normal.
    rest = np.log(np.maximum(1 - left, EPSILON))
    reach = student(0.95, g - 1) * math.sqrt((g - 1) / g * float(((rest - rest.mean()) ** 2).sum()))
    # Few labels can make it as wide as there are numbers; no coefficient is below -1.
    low = 1 - (1 - value) * math.exp(min(reach, 100.0))
    return Estimate(value, max(min(-1.0, value), low), 1 - (1 - value) * math.exp(-reach), n)


class Powered(NamedTuple):
    """A share, and what the judge did for it."""

    share: Estimate
    """`n` counts the clusters with a label."""
    judge_weight: float
    """lambda: 0 leaves the judge out, 1 trusts it as much as a human."""
    gain: float
    """How many human labels one is worth with the judge's help."""


def powered_share(
    y: Array, f: Array, rest: Array, clusters: Array, rest_clusters: Array, weights: Array | None = None
) -> Powered:
    """The mean of human labels y over everything, with a judge's help (PPI++, Angelopoulos et al. 2023).

    f is what the judge said where y is known, `rest` what it said elsewhere. `weights` are one over the
    chance of having been drawn; then `rest` is everything.
    """
    if not len(y):
        return Powered(NO_DATA, 0.0, math.nan)
    trust = _judge_weight(y, f, rest, weights)
    value, error, n = weighted_mean(y - trust * f, clusters, weights)
    alone = weighted_mean(y, clusters, weights)[1]
    if trust:
        judged, spread, _ = weighted_mean(trust * rest, rest_clusters)
        value, error = value + judged, math.hypot(error, spread)
    gain = (alone / error) ** 2 if error > 0 else 1.0
    value = min(1.0, max(0.0, value))
    if n < 2:
        return Powered(Estimate(value, 0.0, 1.0, n), trust, gain)
    # Near 0 or 1 nothing varies among few labels, and yet they are only few.
    varies = error > EPSILON and EPSILON < value < 1 - EPSILON
    size = value * (1 - value) / error**2 if varies else float(n)
    return Powered(Estimate(value, *wilson(value * size, size), n), trust, gain)


def _judge_weight(y: Array, f: Array, rest: Array, weights: Array | None) -> float:
    """lambda: Cov(y, f) / ((1 + n / N) Var(f)), held within 0 and 1."""
    if len(y) < 2 or not len(rest):
        return 0.0
    w = np.full(len(y), 1 / len(y)) if weights is None else weights / weights.sum()
    together = float(w @ ((y - w @ y) * (f - w @ f)))
    everything = rest if weights is not None else np.concatenate([f, rest])
    spread = float(everything.var(ddof=1)) if len(everything) > 1 else 0.0
    if spread <= EPSILON:
        return 0.0
    return min(1.0, max(0.0, together / (1 + len(y) / len(rest)) / spread))


def log_loss(p: ArrayLike, y: ArrayLike) -> float:
    """Mean cross-entropy in nats; labels may be soft."""
    held, y = np.clip(np.asarray(p, dtype=float), 1e-4, 1 - 1e-4), np.asarray(y, dtype=float)
    return float(np.mean(-y * np.log(held) - (1 - y) * np.log(1 - held))) if len(held) else math.nan


def ece(p: ArrayLike, y: ArrayLike) -> float:
    """Expected calibration error: confidence against accuracy in ten bins of confidence from 0.5 to 1."""
    p, y = np.asarray(p, dtype=float), np.asarray(y, dtype=float)
    confidence = np.maximum(p, 1 - p)
    correct = np.where(p > 0.5, y, np.where(p < 0.5, 1 - y, 0.5))  # a half names neither
    place = np.minimum(((confidence - 0.5) * 20).astype(int), 9)
    return float(np.abs(np.bincount(place, confidence - correct)).sum() / len(p)) if len(p) else math.nan
