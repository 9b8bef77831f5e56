"""What simulated judges should come to: every figure from the formula of `tests/support/simulated.py`.

Chance is replaced by points of scipy's Sobol sequence, so a mean over them is an integral. Nothing here is an
audit, and nothing is taken from `jurist`: what has no formula of its own is scikit-learn's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import binom, norm, qmc

from support.simulated import Simulated, World

Array = np.ndarray[Any, Any]
Truth = dict[str, float]


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
    """That one human prefers the first; of all who label it, that most do."""
    humans: Array


@cache
def points(judge: Simulated, world: World, n: int = 18) -> Points:
    u = qmc.Sobol(7, seed=0).random_base2(n)
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
    human = expit(world.person * ahead)
    most = majority(human, max(world.people, 1))
    return Points(ahead, longer, kin, expit(odds + slot), expit(odds - slot), human, most)


def majority(p: Array, n: int) -> Array:
    """That more than half of n say so."""
    return np.asarray(binom.sf(n // 2, n, p))


def position(judge: Simulated, world: World) -> Truth:
    at = points(judge, world)
    p, q = at.given, at.swapped
    if judge.soft:
        first = ((p > 0.5).mean() + (q < 0.5).mean()) / 2
        return {"first_position": first, "flip_rate": ((p - 0.5) * (q - 0.5) < 0).mean()}
    # The winner in one order is that of most samples; where they are halved there is none, and no flip.
    first, second, lost, lost_swapped = (majority(one, world.samples) for one in (p, q, 1 - p, 1 - q))
    # One order's winner is right as often as p says; of both orders, those that agree are kept.
    wrong = 1 - at.humans
    once = wrong * (p + q) / 2 + (1 - wrong) * (1 - (p + q) / 2)
    both = (wrong * p * q + (1 - wrong) * (1 - p) * (1 - q)).mean() / (p * q + (1 - p) * (1 - q)).mean()
    return {
        "first_position": ((p + 1 - q) / 2).mean(),
        "flip_rate": (first * lost_swapped + lost * second).mean(),
        "repeats": ((p**2 + (1 - p) ** 2 + q**2 + (1 - q) ** 2) / 2).mean(),
        "flips_beyond_repeats": ((p - q) ** 2).mean(),
        "cost": once.mean() - both,
        "between_equals": judge.slot,
    }


def length(judge: Simulated, world: World) -> Truth:
    """Of bare winners in both orders: a half where they differ, which is no decision."""
    at = points(judge, world)
    p, side, by = at.given, np.sign(at.longer), np.tanh(at.longer / np.sqrt(2))
    decided = p**2 + (1 - p) ** 2
    toward = np.where(side > 0, p, 1 - p) ** 2
    human = np.where(side > 0, at.human, 1 - at.human).mean()
    return {
        "prefers_longer": toward.mean() / decided.mean(),
        "human_prefers_longer": human,
        "excess": np.where(side > 0, p, 1 - p).mean() - human,
        "correlation": (by * (p - 0.5)).mean() / np.sqrt((by**2).mean() * decided.mean() / 4),
    }


def self_preference(judge: Simulated, world: World) -> Truth:
    """Of matchups whose first is of its own family. A tie of the two orders is half a win, as p says."""
    at = points(judge, world)
    own, p, humans = at.kin == 1, at.given, at.humans
    right_own = (p * humans)[own].mean() / humans[own].mean()
    right_other = 1 - (p * (1 - humans))[own].mean() / (1 - humans)[own].mean()
    return {"gap": right_own - right_other, "excess": p[own].mean() - 0.5}
