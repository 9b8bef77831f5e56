"""How sure a number is: shares, means and differences, in clusters and out of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from .fits import Array


class Estimate(NamedTuple):
    """A number, its interval, and how many clusters it rests on."""

    value: float
    low: float
    high: float
    n: int


DUST = 1e-12
NOTHING = Estimate(math.nan, math.nan, math.nan, 0)
_TINY = 1e-300


def mean(values: Iterable[float]) -> float:
    """The average; `nan` of nothing."""
    values = list(values)
    return math.fsum(values) / len(values) if values else math.nan


def wilson(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for a share: short, and honest near 0 and 1. Ties may count as half a success."""
    if n <= 0:
        return 0.0, 1.0
    z, p = z_of(level), successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At the ends the exact bound is 0 or 1; rounding must not push it past.
    return (0.0 if successes == 0 else max(0.0, middle - half)), (
        1.0 if successes == n else min(1.0, middle + half)
    )


def clopper_pearson(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """The exact interval for a share: never too short, whatever the share is (Clopper & Pearson 1934)."""
    if n <= 0:
        return 0.0, 1.0
    off = (1 - level) / 2
    low = beta_quantile(off, successes, n - successes + 1) if successes > 0 else 0.0
    high = beta_quantile(1 - off, successes + 1, n - successes) if successes < n else 1.0
    return low, high


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
    if not len(values):
        return math.nan, math.nan, 0
    _, row = np.unique(clusters, return_inverse=True)
    n = int(row.max()) + 1
    w = np.ones(len(values)) if weights is None else weights
    mean = float(w @ values / w.sum())
    off = np.bincount(row, w * (values - mean))
    error = math.sqrt(n / (n - 1) * float(off @ off)) / float(w.sum()) if n > 1 else 0.0
    return mean, error, n


def sign_test(better: int, worse: int) -> float:
    """How often chance alone would put at least `better` of the differences on one side (exact)."""
    n = better + worse
    return _tail(better, n)


def mcnemar(one: int, other: int, mid: bool = True) -> float:
    """Two judges on the same items: `one` only the first was right, `other` only the second; two-sided p.

    The exact test, or with `mid` the one that counts what was seen half, which is right more nearly as often
    as it says (Fagerland et al. 2013).
    """
    n, most = one + other, max(one, other)
    p = 2 * _tail(most, n)
    if mid:
        p -= math.exp(
            math.lgamma(n + 1) - math.lgamma(most + 1) - math.lgamma(n - most + 1) - n * math.log(2)
        )
    return min(1.0, p)


def _tail(least: int, n: int) -> float:
    """At least so many heads in n throws of a coin."""
    return beta_cdf(0.5, least, n - least + 1) if least > 0 else 1.0


def student_test(mean: float, error: float, n: int, bound: float) -> float:
    """One-sided p of a mean that should be below the bound."""
    if error == 0 or n < 2:
        return float(mean >= bound) if n > 1 else 1.0
    return student_cdf((mean - bound) / error, n - 1)


def benjamini_yekutieli(ps: Sequence[float], level: float = 0.05) -> list[bool]:
    """Which may be rejected so that at most this share is wrong, however they hang together (2001)."""
    m = len(ps)
    harmonic = math.fsum(1 / i for i in range(1, m + 1))
    order = sorted(range(m), key=ps.__getitem__)
    passed = [rank for rank, i in enumerate(order, 1) if ps[i] <= rank * level / (m * harmonic)]
    chosen = set(order[: passed[-1]] if passed else ())
    return [i in chosen for i in range(m)]


def z_of(level: float) -> float:
    """How many standard deviations hold `level` of a normal distribution around its middle."""

    return NormalDist().inv_cdf(0.5 + level / 2)


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function: the share of Beta(a, b) below x."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    # The fraction converges fast only on the near side of the mean.
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(1 - x, b, a)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(front) * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of the incomplete beta, from the top down (Lentz's method)."""
    d = 1 / _held(1 - (a + b) * x / (a + 1))
    c, whole = 1.0, d
    for m in range(1, 100_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _held(1 + term * d)
            c = _held(1 + term / c)
            whole *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return whole


def _held(x: float) -> float:
    return x if abs(x) > _TINY else _TINY


def beta_quantile(share: float, a: float, b: float) -> float:
    """Where `share` of Beta(a, b) lies below."""
    low, high = 0.0, 1.0
    while high - low > 1e-16 + 1e-13 * low:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if beta_cdf(middle, a, b) < share else (low, middle)
    return (low + high) / 2


def student_cdf(t: float, freedom: float) -> float:
    """The share of Student's t below t."""
    if math.isinf(t):
        return float(t > 0)
    tail = beta_cdf(freedom / (freedom + t * t), freedom / 2, 0.5) / 2
    return 1 - tail if t > 0 else tail


@lru_cache(maxsize=1024)
def student(level: float, freedom: int) -> float:
    """How many standard errors hold `level` of Student's t around its middle."""
    x = beta_quantile(1 - level, freedom / 2, 0.5)
    return math.sqrt(freedom * (1 - x) / x)
