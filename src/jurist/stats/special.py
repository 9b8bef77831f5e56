"""The few distribution functions that the standard library lacks, to ten digits."""

from __future__ import annotations

import math
from functools import lru_cache

_TINY = 1e-300


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
