"""Shares and means of values that come in clusters: several matchups of one prompt are not independent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from .intervals import wilson, z_of
from .special import student

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


class Estimate(NamedTuple):
    """A number, its interval, and how many clusters it rests on."""

    value: float
    low: float
    high: float
    n: int


DUST = 1e-12
NOTHING = Estimate(math.nan, math.nan, math.nan, 0)


def clustered_share(
    values: Array, clusters: Array, level: float = 0.95, weights: Array | None = None
) -> Estimate:
    """The mean of values between 0 and 1, with Wilson's interval at the number of independent values that
    their spread over clusters is worth. `weights` say how many each stands for, where they were drawn so.

    Ones and zeros are worth no more than they are many. Fractions may be: where the two orders of a matchup
    cancel by design, give their mean.
    """
    mean, error, n = weighted_mean(values, clusters, weights)
    if not n:
        return NOTHING
    mean = min(1.0, max(0.0, mean))
    worth = worth_of(mean, error, values, n, weights)
    low, high = wilson(mean * worth, worth, level)
    return Estimate(mean, low, high, n)


def worth_of(mean: float, error: float, values: Array, n: int, weights: Array | None = None) -> float:
    """How many independent values a share with this standard error is worth."""
    import numpy as np

    # Weights that are no whole numbers leave dust where nothing varies.
    if error <= DUST or not DUST < mean < 1 - DUST:
        return float(n)
    w = np.ones(len(values)) if weights is None else weights
    alone = math.sqrt(float(w**2 @ (values - mean) ** 2)) / float(w.sum())
    # Clusters that happen to repel each other promise more than independent values would be worth.
    worth = float(mean * (1 - mean) / max(error, alone) ** 2)
    if not ((values == 0) | (values == 1)).all():
        worth *= (z_of(0.95) / student(0.95, n - 1)) ** 2
    return worth


def clustered_mean(
    values: Array, clusters: Array, level: float = 0.95, weights: Array | None = None
) -> Estimate:
    """The mean of any values, with Student's interval over clusters."""
    mean, error, n = weighted_mean(values, clusters, weights)
    if n < 2:
        return NOTHING if not n else Estimate(mean, -math.inf, math.inf, n)
    reach = student(level, n - 1) * error
    return Estimate(mean, mean - reach, mean + reach, n)


def correlation_through_zero(xs: Array, ys: Array, clusters: Array, level: float = 0.95) -> Estimate:
    """Pearson's r of two values whose middle is known to be 0, as it is of differences that could as well
    be told from the other side; the interval is Fisher's, with the spread over clusters.
    """
    import numpy as np

    if not len(xs) or not xs.any() or not ys.any():
        return NOTHING
    xx, yy = float(xs @ xs), float(ys @ ys)
    r = max(-1.0, min(1.0, float(xs @ ys) / math.sqrt(xx * yy)))
    _, row = np.unique(clusters, return_inverse=True)
    # What each cluster does to r, to first order.
    each = xs * ys / math.sqrt(xx * yy) - r / 2 * (xs * xs / xx + ys * ys / yy)
    moved = np.bincount(row, each)
    n = len(moved)
    if n < 3 or 1 - r * r < 1e-12:
        return Estimate(r, -1.0 if n < 3 else r, 1.0 if n < 3 else r, n)
    error = math.sqrt(n / (n - 1) * float(moved @ moved)) / (1 - r * r)
    reach = student(level, n - 1) * error
    return Estimate(r, math.tanh(math.atanh(r) - reach), math.tanh(math.atanh(r) + reach), n)


def weighted_mean(values: Array, clusters: Array, weights: Array | None = None) -> tuple[float, float, int]:
    """The mean, its standard error, and the number of clusters."""
    import numpy as np

    if not len(values):
        return math.nan, math.nan, 0
    _, row = np.unique(clusters, return_inverse=True)
    n = int(row.max()) + 1
    w = np.ones(len(values)) if weights is None else weights
    mean = float(w @ values / w.sum())
    off = np.bincount(row, w * (values - mean))
    error = math.sqrt(n / (n - 1) * float(off @ off)) / float(w.sum()) if n > 1 else 0.0
    return mean, error, n
