"""What simulated judges should come to: every figure from the formula of `tests/support/simulated.py`.

Chance is replaced by a million points of scipy's Sobol sequence, so a mean over them is an integral. Nothing
here is an audit, and nothing is taken from `jurist`: what has no formula of its own is scikit-learn's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import expit
from scipy.stats import binom, norm, qmc

from support.simulated import Simulated, World

Array = np.ndarray


@cache
def _sobol(n: int) -> Array:
    return qmc.Sobol(7, seed=0).random_base2(n)


@dataclass(frozen=True)
class Points:
    """All matchups of a world, and what one judge says of them."""

    ahead: Array
    """By how much the first is truly better, and by how much it is longer."""
    longer: Array
    kin: Array
    """1 where only the first is of the policy that the judge favours, -1 where only the second."""
    given: Array
    """Probability with which the judge prefers the matchup's first, in each order."""
    swapped: Array
    human: Array
    """That one human prefers the first."""


def points(judge: Simulated, world: World, n: int = 18) -> Points:
    u = _sobol(n)
    normal = norm.ppf(np.clip(u[:, :5], 1e-12, 1 - 1e-12))
    ahead, noise = np.sqrt(2) * normal[:, 0], normal[:, 2]
    longer = world.long * ahead + np.sqrt(2 * (1 - world.long**2)) * normal[:, 1]
    ahead = ahead * np.where(u[:, 5] < world.hard, 0.1, 1.0)
    policies = len(world.policies)
    kin = np.where(u[:, 6] < 1 / policies, 1, np.where(u[:, 6] < 2 / policies, -1, 0))
    kin = kin * (judge.kin in world.policies)
    odds = judge.sharpness * ahead + judge.length * longer + judge.own * kin
    odds = odds + np.hypot(judge.noise, judge.shared) * noise
    slot = judge.slot + judge.slot_spread * normal[:, 3]
    return Points(ahead, longer, kin, expit(odds + slot), expit(odds - slot), expit(world.person * ahead))


def position(judge: Simulated, world: World) -> dict[str, float]:
    """Of a judge that gives bare winners, asked `samples` times in each order."""
    at = points(judge, world)
    p, q = at.given, at.swapped
    if judge.soft:
        first = ((p > 0.5).mean() + (q < 0.5).mean()) / 2
        return {"first_position": first, "flip_rate": ((p - 0.5) * (q - 0.5) < 0).mean()}
    # The winner in one order is that of most samples; where they are halved there is none, and no flip.
    first, second = (majority(one, world.samples) for one in (p, q))
    lost, lost_swapped = (majority(1 - one, world.samples) for one in (p, q))
    found = {
        "first_position": ((p + 1 - q) / 2).mean(),
        "flip_rate": (first * lost_swapped + lost * second).mean(),
    }
    if world.samples > 1:
        found["repeats"] = ((p**2 + (1 - p) ** 2 + q**2 + (1 - q) ** 2) / 2).mean()
        found["flips_beyond_repeats"] = ((p - q) ** 2).mean()
    else:
        wrong = 1 - majority(at.human, world.people)
        once = wrong * (p + q) / 2 + (1 - wrong) * (1 - (p + q) / 2)
        both = (wrong * p * q + (1 - wrong) * (1 - p) * (1 - q)).mean() / (p * q + (1 - p) * (1 - q)).mean()
        found["cost"] = once.mean() - both
    return found


def majority(p: Array, n: int) -> Array:
    """That more than half of n say so."""
    return binom.sf(n // 2, n, p)
