"""Whether a difference may be chance."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .special import beta_cdf, student_cdf


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
