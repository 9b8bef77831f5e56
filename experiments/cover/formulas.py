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
from sklearn.metrics import cohen_kappa_score, roc_auc_score

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


def _winner(judge: Simulated, at: Points) -> Array:
    """The chances that both orders together name the first, neither and the second: a row each."""
    p = at.given
    if judge.soft:
        return np.stack([p > 0.5, p == 0.5, p < 0.5]).astype(float)
    return np.stack([p**2, 2 * p * (1 - p), (1 - p) ** 2])


def agreement(judge: Simulated, world: World) -> Truth:
    """With an odd number of humans, each of whom labelled everything; the labels are the judge's."""
    at, n = points(judge, world), world.people
    winner, h = _winner(judge, at), at.human
    truth = np.stack([at.humans, 0 * h, 1 - at.humans])
    table = (winner[:, None] * truth[None]).mean(axis=2)
    accuracy = np.trace(table) + table[1].sum() / 2
    ours, theirs = np.divmod(np.arange(9), 3)
    # Gwet's chance agreement, of as many categories as are used.
    share = (table.sum(0) + table.sum(1)) / 2
    chance = (share * (1 - share)).sum() / ((share > 0).sum() - 1)
    # Two of the humans, and the judge with one of them: how often they differ, and how often they agree.
    differ = 2 * h * (1 - h)
    with_one = winner[0] * h + winner[2] * (1 - h)
    pairs = n * (n - 1) / 2
    observed = (pairs * differ + n * (1 - with_one)).mean() / (pairs + n)
    pooled = (n * np.array([h.mean(), 0, 1 - h.mean()]) + winner.mean(axis=1)) / (n + 1)
    return {
        "accuracy": accuracy,
        "label_error": 1 - accuracy,
        "over_longest": accuracy - 0.5,
        "over_first": accuracy - 0.5,
        "humans": 1 - differ.mean(),
        "humans_alpha": 1 - differ.mean() / 0.5,
        "with_a_human": (with_one + winner[1] / 2 - 1 + differ).mean(),
        "kappa": cohen_kappa_score(ours, theirs, sample_weight=table.ravel()),
        "ac1": (np.trace(table) - chance) / (1 - chance),
        "alpha": 1 - observed / (1 - (pooled**2).sum()),
        "advantage": _advantage(winner, h, n - 1),
    }


def _advantage(winner: Array, h: Array, others: int) -> float:
    """How often as many of the other humans go with the judge as with the human left out, or more."""
    found = np.zeros(len(h))
    for firsts in range(others + 1):
        with_first, with_second = firsts, others - firsts
        chance = binom.pmf(firsts, others, h)
        for p, own in ((h, with_first), (1 - h, with_second)):
            as_good = (
                (with_first >= own) * winner[0] + (own <= 0) * winner[1] + (with_second >= own) * winner[2]
            )
            found += chance * p * as_good
    return float(found.mean())


def among_judges(judges: tuple[Simulated, ...], world: World) -> float:
    """Krippendorff's alpha of winners (1, 0, -1) on an interval scale; no position is preferred."""
    winners = [_winner(one, points(one, world)) for one in judges]
    means, squares = [one[0] - one[2] for one in winners], [(one[0] + one[2]).mean() for one in winners]
    pairs = [(i, j) for i in range(len(judges)) for j in range(i)]
    apart = np.mean([squares[i] + squares[j] - 2 * (means[i] * means[j]).mean() for i, j in pairs])
    return float(1 - apart / (2 * np.mean(squares)))


def calibration(judge: Simulated, world: World) -> Truth:
    """Of probabilities, against one human."""
    at = points(judge, world)
    p, h = at.given, at.human
    sure, right = np.maximum(p, 1 - p), np.where(p > 0.5, h, 1 - h)
    labels, scores = np.repeat([1, 0], len(p)), np.concatenate([sure, sure])
    return {
        "over": (sure - right).mean(),
        "brier": (h * (1 - p) ** 2 + (1 - h) * p**2).mean(),
        "auroc": roc_auc_score(labels, scores, sample_weight=np.concatenate([right, 1 - right])),
    }
