"""How sure a number is that is no mean: what it becomes when a twentieth of the clusters is left out.

For what counts different things. A bootstrap draws clusters twice, and twice the same is what such numbers
are about; leaving out never does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .clusters import Estimate
from .special import student

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

GROUPS = 20
"""Groups of clusters, each left out once; Student's t then has 19 degrees of freedom."""


def kept_in_turn(n: int, seed: int = 0) -> Array:
    """First all of n clusters, then in each row all but one group: true where a cluster is kept."""
    import numpy as np

    groups = max(2, min(GROUPS, n // 2))
    group = np.random.default_rng(seed).permutation(n) % groups
    return np.concatenate([np.ones((1, n), dtype=bool), group != np.arange(groups)[:, None]])


def jackknife(statistic: Callable[[Array], float], kept: Array) -> Array:
    """The statistic of all clusters, then of all but each group."""
    import numpy as np

    return np.array([statistic(rows) for rows in kept])


def jackknifed(values: Array, n: int, level: float = 0.95) -> Estimate:
    """The number and its interval, from what `jackknife` gave or from sums and ratios of such."""
    import numpy as np

    whole, without = float(values[0]), values[1:]
    groups = len(without)
    error = math.sqrt((groups - 1) / groups * float(np.square(without - without.mean()).sum()))
    reach = student(level, groups - 1) * error
    return Estimate(whole, whole - reach, whole + reach, n)
