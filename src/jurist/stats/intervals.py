"""Shares, means and tests with how sure they are. Without data: nan, or the whole interval; never zero.

The unit is the cluster: several matchups of one prompt are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from .fits import Array, bisect


class Estimate(NamedTuple):
    """A number, its interval, and how many clusters it rests on."""

    value: float
    low: float
    high: float
    n: int


EPSILON = 1e-12
"""What rounding leaves where nothing varies."""
NO_DATA = Estimate(math.nan, math.nan, math.nan, 0)


def mean(values: Iterable[float]) -> float:
    """The average; nan of nothing."""
    values = list(values)
    return math.fsum(values) / len(values) if values else math.nan


def wilson(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for a share. Ties may count as half a success."""
    if n <= 0:
        return 0.0, 1.0
    z, p = z_of(level), successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At the ends the exact bound is 0 or 1; rounding must not push it past.
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    return low, 1.0 if successes == n else min(1.0, middle + half)


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
    """The mean of values between 0 and 1, with Wilson's interval at their effective number.

    `weights` say how many each value stands for.
    """
    share, error, n = weighted_mean(values, clusters, weights)
    if not n:
        return NO_DATA
    share = min(1.0, max(0.0, share))
    size = effective_n(share, error, values, n, weights)
    return Estimate(share, *wilson(share * size, size, level), n)


def effective_n(share: float, error: float, values: Array, n: int, weights: Array | None = None) -> float:
    """How many independent values give a share this standard error; ones and zeros count once."""
    if error <= EPSILON or not EPSILON < share < 1 - EPSILON:
        return float(n)
    w = np.ones(len(values)) if weights is None else weights
    alone = math.sqrt(float(w**2 @ (values - share) ** 2)) / float(w.sum())
    # Clusters that happen to repel each other promise more than independent values would be worth.
    size = share * (1 - share) / max(error, alone) ** 2
    if not ((values == 0) | (values == 1)).all():
        size *= (z_of(0.95) / student(0.95, n - 1)) ** 2
    return float(size)


def clustered_mean(
    values: Array, clusters: Array, weights: Array | None = None, most: float = math.inf
) -> Estimate:
    """The mean of any values, none of them further than `most` from 0, with Student's 95 % interval over
    clusters; one cluster gives none.
    """
    value, error, n = weighted_mean(values, clusters, weights)
    if n < 2:
        return Estimate(value, math.nan, math.nan, n)
    reach = student(0.95, n - 1) * error
    return Estimate(value, max(-most, value - reach), min(most, value + reach), n)


def weighted_mean(values: Array, clusters: Array, weights: Array | None = None) -> tuple[float, float, int]:
    """The mean, its standard error, and the number of clusters."""
    if not len(values):
        return math.nan, math.nan, 0
    w = np.ones(len(values)) if weights is None else weights
    value = float(w @ values / w.sum())
    off = np.bincount(np.unique(clusters, return_inverse=True)[1], w * (values - value))
    n = len(off)
    return value, math.sqrt(n / max(n - 1, 1) * float(off @ off)) / float(w.sum()) if n > 1 else 0.0, n


def sign_test(better: int, worse: int) -> float:
    """How often chance alone would put at least `better` of the differences on one side (exact)."""
    n = better + worse
    return beta_cdf(0.5, better, worse + 1) if n and better else 1.0


def mcnemar(one: int, other: int) -> float:
    """Two-sided p that two judges are equally good: only the first was right on `one`, the second on `other`.

    What was seen counts half, which is nearer to the level than the exact test (Fagerland et al. 2013).
    """
    most, least = max(one, other), min(one, other)
    return min(1.0, sign_test(most, least) + (sign_test(most + 1, least - 1) if least else 0.0))


def student_test(value: float, error: float, n: int, bound: float) -> float:
    """One-sided p of a mean that should be below the bound."""
    if error == 0 or n < 2:
        return float(value >= bound) if n > 1 else 1.0
    t, freedom = (value - bound) / error, n - 1
    tail = beta_cdf(freedom / (freedom + t * t), freedom / 2, 0.5) / 2
    return 1 - tail if t > 0 else tail


def benjamini_yekutieli(ps: Sequence[float], level: float = 0.05) -> list[bool]:
    """Which may be rejected so that at most this share is wrong, under any dependence (2001)."""
    m = len(ps)
    harmonic = math.fsum(1 / i for i in range(1, m + 1))
    order = sorted(range(m), key=ps.__getitem__)
    passed = [rank for rank, i in enumerate(order, 1) if ps[i] <= rank * level / (m * harmonic)]
    chosen = set(order[: passed[-1]] if passed else ())
    return [i in chosen for i in range(m)]


def z_of(level: float) -> float:
    """How many standard deviations hold `level` of a normal distribution around its middle."""
    return NormalDist().inv_cdf(0.5 + level / 2)


@lru_cache(maxsize=1024)
def student(level: float, freedom: int) -> float:
    """How many standard errors hold `level` of Student's t around its middle."""
    x = beta_quantile(1 - level, freedom / 2, 0.5)
    return math.sqrt(freedom * (1 - x) / x)


def beta_quantile(share: float, a: float, b: float) -> float:
    """Where `share` of Beta(a, b) lies below."""
    return bisect(lambda x: beta_cdf(x, a, b) - share, 0.0, 1.0)


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, to ten digits: its continued fraction by Lentz's method."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    # The fraction converges fast only on the near side of the mean.
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(1 - x, b, a)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    d = 1 / _off_zero(1 - (a + b) * x / (a + 1))
    c, fraction = 1.0, d
    for m in range(1, 100_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d, c = 1 / _off_zero(1 + term * d), _off_zero(1 + term / c)
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return math.exp(front) * fraction / a


def _off_zero(x: float) -> float:
    return x if abs(x) > 1e-300 else 1e-300


def labels_for_interval(share: float, half: float) -> int:
    """How many labels it takes to know a share to within so much on either side."""
    return _up(z_of(0.95) ** 2 * share * (1 - share) / half**2)


def labels_for_two_judges(difference: float, discordance: float, power: float = 0.8) -> int:
    """To tell that one judge is right this much oftener than another on the same pairs (McNemar).

    `discordance` is the share of the pairs on which just one of them is right; at least the difference.
    """
    sure = NormalDist().inv_cdf(power)
    spread = z_of(0.95) * math.sqrt(discordance) + sure * math.sqrt(discordance - difference**2)
    return _up(spread**2 / difference**2)


def labels_for_position_bias(first_share: float, power: float = 0.8) -> int:
    """Flipped pairs, to tell from a half the share that went with the first position."""
    sure = NormalDist().inv_cdf(power)
    spread = z_of(0.95) / 2 + sure * math.sqrt(first_share * (1 - first_share))
    return _up(spread**2 / (first_share - 0.5) ** 2)


def labels_for_no_error(alpha: float) -> int:
    """To certify that at most `alpha` of a batch is wrong, when none of those read is."""
    return _up(math.log(0.05) / math.log(1 - alpha))


def smallest_certified(n: int) -> float:
    """The smallest error rate that n labels can certify: with none wrong among them."""
    return float(-math.expm1(math.log(0.05) / n)) if n else 1.0


def labels_with_judges(labels: float, rho: float, judged: float) -> float:
    """How many n do as much as so many labels where judges that correlate with humans by rho read `judged`
    others: n = labels (1 - rho^2 judged / (judged + n)).
    """
    more = judged - labels
    return (math.sqrt(more**2 + 4 * labels * judged * (1 - rho**2)) - more) / 2


def human_accuracy(agreement: float) -> float:
    """How often each of two humans is right who agree so often: h in h^2 + (1 - h)^2."""
    return (1 + math.sqrt(max(0.0, 2 * agreement - 1))) / 2


def _up(n: float) -> int:
    return math.ceil(n - 1e-9)  # a whole number that rounding left a hair above itself is that number
