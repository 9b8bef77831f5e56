"""A curve through what the checkpoints came to, and where it turns.

With d the square root of the KL to the start, Gao et al. 2022 find gold = d (a - b d) where the best of n is
taken, and d (a - b ln d) where a policy learns by reward; they peak at d = a / 2b and d = exp(a / b - 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from msgspec import Struct

from ...stats.intervals import student, z_of
from ..sheet import Array

Form = Literal["best_of_n", "rl"]
FEWEST: Final = 3
"""Checkpoints away from the start: a curve with two unknowns goes through any two."""
NOWHERE: Final = 1000.0
"""The square root of a million nats an answer."""


class Checkpoint(Struct, frozen=True, omit_defaults=True):
    """A policy on its way."""

    name: str
    kl: float
    """Nats an answer, to where it started."""
    gold: float
    """What somebody who is not trained on thinks of it, over what they think of the start: 0 is as good."""
    low: float
    high: float
    """Its 95% interval."""
    proxy: float | None = None
    """What the reward thinks of it."""
    by_prompt: Mapping[str, float] = {}
    """The same prompt by prompt, where that is known: checkpoints that answer the same prompts are compared
    more closely."""
    words: float | None = None
    """Mean length of its answers."""

    @property
    def d(self) -> float:
        return math.sqrt(max(0.0, self.kl))

    @property
    def error(self) -> float:
        return max(1e-9, (self.high - self.low) / 2 / z_of(0.95))

    def within(self, level: float) -> tuple[float, float]:
        reach = z_of(level) * self.error
        return self.gold - reach, self.gold + reach


@dataclass(frozen=True)
class Fit:
    form: Form
    a: float
    b: float
    peak: float
    """Where gold is forecast to turn, as d; inf where it only rises."""
    low: float
    high: float
    """Its interval; inf where nothing shows yet that there is an end."""

    def at(self, d: float) -> float:
        if d <= 0:
            return 0.0
        return d * (self.a - self.b * (d if self.form == "best_of_n" else math.log(d)))


def fitted(checkpoints: Sequence[Checkpoint], form: Form = "rl", level: float = 0.95) -> Fit | None:
    """By least squares, each checkpoint weighed by how sure it is; None where there are too few of them.

    a and b are sums of what the checkpoints came to, so the peak, which hangs on a / b, has Fieller's
    interval: right at any n, and open towards the far end where b may be nothing.
    """
    there = [one for one in checkpoints if one.d > 0]
    if len({round(one.d, 6) for one in there}) < FEWEST:
        return None
    d = np.array([one.d for one in there])
    shape = np.stack([d, -d * (d if form == "best_of_n" else np.log(d))], axis=1)
    weight = np.array([one.error for one in there]) ** -2.0
    maps = np.linalg.pinv(shape.T * weight @ shape) @ (shape.T * weight)
    spread, freedom = _spread(there)
    (a, b), errors = maps @ [one.gold for one in there], maps @ spread @ maps.T
    ratio, low, high = _fieller(float(a), float(b), errors, student(level, freedom))
    return Fit(form, float(a), float(b), *(_turn(one, form) for one in (ratio, low, high)))


def _turn(ratio: float, form: Form) -> float:
    """d where the curve turns; so far away that nobody goes there is nowhere."""
    d = ratio / 2 if form == "best_of_n" else math.exp(min(ratio - 1, 100.0))
    return max(0.0, d) if d < NOWHERE else math.inf


def _spread(there: Sequence[Checkpoint]) -> tuple[Array, int]:
    """How the checkpoints' figures vary together, and the degrees of freedom that is known with."""
    common = set(there[0].by_prompt).intersection(*(one.by_prompt for one in there))
    if len(common) < max(10, len(there) + 2):
        return np.diag([one.error**2 for one in there]), 10_000
    names = sorted(common)
    values = np.array([[one.by_prompt[name] for name in names] for one in there])
    return np.cov(values) / len(names), len(names) - 1


def _fieller(a: float, b: float, errors: Array, t: float) -> tuple[float, float, float]:
    """a / b, and all that it may be: those r for which a - r b may be nothing. inf where b may be nothing."""
    none = math.inf
    aa, ab, bb = (float(one) for one in (errors[0, 0], errors[0, 1], errors[1, 1]))
    square, middle, rest = b * b - t * t * bb, a * b - t * t * ab, a * a - t * t * aa
    inside = middle * middle - square * rest
    ratio = a / b if b > 0 else none
    if square > 0:
        if b < 0:
            return none, none, none
        root = math.sqrt(max(0.0, inside))
        return ratio, (middle - root) / square, (middle + root) / square
    if inside < 0 or square == 0:
        return ratio, -none, none
    # Open: r lies below the one root or above the other, and only what lies ahead is of interest.
    return ratio, min(ratio, (middle - math.sqrt(inside)) / square), none
