"""Shares and means of values that come in clusters: several matchups of one prompt are not independent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from .intervals import wilson, z_of

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


class Estimate(NamedTuple):
    """A number, its interval, and how many clusters it rests on."""

    value: float
    low: float
    high: float
    n: int


NOTHING = Estimate(math.nan, math.nan, math.nan, 0)


def clustered_share(values: Array, clusters: Array, level: float = 0.95) -> Estimate:
    """The mean of values between 0 and 1, with Wilson's interval at the number of independent values that
    their spread over clusters is worth.

    Ones and zeros are worth no more than they are many. Fractions may be: where the two orders of a matchup
    cancel by design, give their mean.
    """
    mean, error, n = _mean(values, clusters)
    if not n:
        return NOTHING
    worth = float(n)
    if error > 0:
        worth = mean * (1 - mean) / error**2
        if ((values == 0) | (values == 1)).all():
            worth = min(worth, len(values))
        else:
            worth *= (z_of(level) / student(level, n - 1)) ** 2
    low, high = wilson(mean * worth, worth, level)
    return Estimate(mean, low, high, n)


def clustered_mean(values: Array, clusters: Array, level: float = 0.95) -> Estimate:
    """The mean of any values, with Student's interval over clusters."""
    mean, error, n = _mean(values, clusters)
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


def student(level: float, freedom: int) -> float:
    """The two-sided quantile of Student's t, within a thousandth from 4 degrees on (Hill 1970)."""
    if freedom == 1:
        return 1 / math.tan(math.pi * (1 - level) / 2)
    if freedom == 2:
        return level * math.sqrt(2 / (1 - level**2))
    z = z_of(level)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / float(freedom) ** (k + 1) for k, term in enumerate(terms))


def _mean(values: Array, clusters: Array) -> tuple[float, float, int]:
    """The mean, its standard error, and the number of clusters."""
    import numpy as np

    if not len(values):
        return math.nan, math.nan, 0
    _, row = np.unique(clusters, return_inverse=True)
    n = int(row.max()) + 1
    mean = float(values.mean())
    off = np.bincount(row, values - mean)
    error = math.sqrt(n / (n - 1) * float(off @ off)) / len(values) if n > 1 else math.nan
    return mean, 0.0 if math.isnan(error) else error, n
