"""How sure a number is that is no mean: by how much two halves of the clusters differ, divided many times.

For what counts different things, or looks for neighbours. A bootstrap draws clusters twice, and twice the
same is what such numbers are about; and what jumps from one cluster to the next is too rough for a jackknife
that leaves out a few (Shao and Wu 1989). The number is the mean over all halves, so it is what the thing
comes to among half as many clusters: to be compared with others taken in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...stats.intervals import Estimate, student

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

SPLITS = 40


def halves(n: int, seed: int = 0) -> Array:
    """Which of n clusters are in a half, a row each; every other row is the half that the one above left."""
    import numpy as np

    dice = np.random.default_rng(seed)
    ones = np.stack([dice.permutation(n) < (n + at % 2) // 2 for at in range(SPLITS)])
    return np.stack([ones, ~ones], axis=1).reshape(2 * SPLITS, n)


def on_split_halves(statistic: Callable[[Array], float], rows: Array) -> Array:
    """The statistic of every half."""
    import numpy as np

    return np.array([statistic(half) for half in rows])


def split_half_estimate(values: Array, n: int, level: float = 0.95) -> Estimate:
    """The number and its interval, from what `on_split_halves` gave or from sums and ratios of such."""
    apart = values[::2] - values[1::2]
    # Two halves of n differ with four times the variance of the mean over all n.
    error = math.sqrt(float(apart @ apart) / len(apart)) / 2
    whole, reach = float(values.mean()), student(level, max(2, min(SPLITS, n - 1))) * error
    return Estimate(whole, whole - reach, whole + reach, n)
