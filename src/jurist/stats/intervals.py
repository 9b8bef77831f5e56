"""How sure a number is: shares, means and differences with their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from .special import beta_quantile

T = TypeVar("T")


def z_of(level: float) -> float:
    """How many standard deviations hold `level` of a normal distribution around its middle."""
    from statistics import NormalDist

    return NormalDist().inv_cdf(0.5 + level / 2)


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


def bootstrap(
    values: Sequence[T],
    statistic: Callable[[Sequence[T]], float] | None = None,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """An interval by drawing the values again with replacement; the mean of numbers unless told otherwise.

    For answers that come in clusters (several matchups of one prompt), give one value per cluster.
    """
    if not values:
        return math.nan, math.nan
    import numpy as np

    dice = np.random.default_rng(seed)
    n = len(values)
    if statistic is None:
        flat = np.asarray(values, dtype=float)
        drawn = [float(flat[dice.integers(0, n, n)].mean()) for _ in range(draws)]
    else:
        drawn = [statistic([values[i] for i in dice.integers(0, n, n).tolist()]) for _ in range(draws)]
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return low, high
