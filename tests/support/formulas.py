"""What the judges of `simulated.py` should come to: every figure from the formula by which they judge.

Chance is replaced by points of scipy's Sobol sequence, so a mean over them is an integral. Nothing here is an
audit, and nothing is taken from `jurist`: what has no formula of its own is scikit-learn's.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit
from scipy.stats import binom, norm, qmc
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from support.simulated import Simulated, World

Array = np.ndarray[Any, Any]
Truth = dict[str, float]


class Points(NamedTuple):
    """All matchups of a world, and what one judge says of them."""

    longer: Array
    """By how much the first is longer."""
    kin: Array
    """1 where only the first is of the policy that the judge favours, -1 where only the second."""
    given: Array
    """Probability with which the judge prefers the matchup's first, in each order."""
    swapped: Array
    human: Array
    """That one human prefers the first; of all who label it, that most do."""
    humans: Array


@cache
def points(judge: Simulated, world: World) -> Points:
    u = qmc.Sobol(7, seed=0).random_base2(18)
    normal, policies = norm.ppf(np.clip(u[:, :5], 1e-12, 1 - 1e-12)), len(world.policies)
    ahead = np.sqrt(2) * normal[:, 0]
    longer = world.long * ahead + np.sqrt(2 * (1 - world.long**2)) * normal[:, 1]
    ahead = ahead * np.where(u[:, 5] < world.hard, 0.1, 1.0)
    kin = np.where(u[:, 6] < 1 / policies, 1, np.where(u[:, 6] < 2 / policies, -1, 0))
    odds = judge.sharpness * ahead + judge.length * longer + judge.own * kin
    odds = odds + np.hypot(judge.noise, judge.shared) * normal[:, 2]
    slot = judge.slot + judge.slot_spread * normal[:, 3]
    human = expit(world.person * ahead)
    most = majority(human, max(world.people, 1))
    return Points(longer, kin, expit(odds + slot), expit(odds - slot), human, most)


def majority(p: Array, n: int) -> Array:
    """That more than half of n say so."""
    return np.asarray(binom.sf(n // 2, n, p))


def position(judge: Simulated, world: World) -> Truth:
    _, _, p, q, _, humans = points(judge, world)
    if judge.soft:
        first = ((p > 0.5).mean() + (q < 0.5).mean()) / 2
        return {"first_position": first, "flip_rate": ((p - 0.5) * (q - 0.5) < 0).mean()}
    # The winner in one order is that of most samples; where they are halved there is none, and no flip.
    first, second, lost, lost_swapped = (majority(one, world.samples) for one in (p, q, 1 - p, 1 - q))
    # One order's winner is right as often as p says; of both orders, those that agree are kept.
    wrong, agree = 1 - humans, p * q + (1 - p) * (1 - q)
    once = wrong * (p + q) / 2 + (1 - wrong) * (1 - (p + q) / 2)
    both = (wrong * p * q + (1 - wrong) * (1 - p) * (1 - q)).mean() / agree.mean()
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
    longer, _, p, _, human, _ = points(judge, world)
    decided = (p**2 + (1 - p) ** 2).mean()
    toward, humans = (np.where(longer > 0, one, 1 - one) for one in (p, human))
    return {
        "prefers_longer": (toward**2).mean() / decided,
        "human_prefers_longer": humans.mean(),
        "excess": (toward - humans).mean(),
    }


def self_preference(judge: Simulated, world: World) -> Truth:
    """Of matchups whose first is of its own family. A tie of the two orders is half a win, as p says."""
    at = points(judge, world)
    p, humans = at.given[at.kin == 1], at.humans[at.kin == 1]
    right_own = (p * humans).mean() / humans.mean()
    right_other = 1 - (p * (1 - humans)).mean() / (1 - humans).mean()
    return {"gap": right_own - right_other, "excess": p.mean() - 0.5}


def winner(judge: Simulated, world: World) -> Array:
    """The chances that both orders together name the first, neither and the second: a row each."""
    p = points(judge, world).given
    rows = (p > 0.5, p == 0.5, p < 0.5) if judge.soft else (p**2, 2 * p * (1 - p), (1 - p) ** 2)
    return np.stack(rows).astype(float)


def agreement(judge: Simulated, world: World) -> Truth:
    """With an odd number of humans, each of whom labelled everything; the labels are the judge's."""
    at, won, n = points(judge, world), winner(judge, world), world.people
    h, most = at.human, np.stack([at.humans, 0 * at.humans, 1 - at.humans])
    table = (won[:, None] * most[None]).mean(axis=2)
    accuracy = np.trace(table) + table[1].sum() / 2
    # Two of the humans, and the judge with one of them: how often they differ, and how often they agree.
    differ, with_one = 2 * h * (1 - h), won[0] * h + won[2] * (1 - h)
    pairs, pooled = n * (n - 1) / 2, (n * np.array([h.mean(), 0, 1 - h.mean()]) + won.mean(axis=1)) / (n + 1)
    observed = (pairs * differ + n * (1 - with_one)).mean() / (pairs + n)
    ours, theirs = np.divmod(np.arange(9), 3)
    return {
        "accuracy": accuracy,
        "label_error": 1 - accuracy,
        "over_longest": accuracy - 0.5,
        "over_first": accuracy - 0.5,
        "humans": 1 - differ.mean(),
        "humans_alpha": 1 - differ.mean() / 0.5,
        "with_a_human": (with_one + won[1] / 2 - 1 + differ).mean(),
        "kappa": cohen_kappa_score(ours, theirs, sample_weight=table.ravel()),
        "alpha": 1 - observed / (1 - (pooled**2).sum()),
    }


def among_judges(judges: tuple[Simulated, ...], world: World) -> float:
    """Krippendorff's alpha of winners (1, 0, -1) on an interval scale; no position is preferred."""
    won = [winner(one, world) for one in judges]
    means, squares = [one[0] - one[2] for one in won], [(one[0] + one[2]).mean() for one in won]
    pairs = [(i, j) for i in range(len(judges)) for j in range(i)]
    apart = np.mean([squares[i] + squares[j] - 2 * (means[i] * means[j]).mean() for i, j in pairs])
    return float(1 - apart / (2 * np.mean(squares)))


def calibration(judge: Simulated, world: World) -> Truth:
    """Of probabilities, against one human."""
    _, _, p, _, h, _ = points(judge, world)
    sure, right = np.maximum(p, 1 - p), np.where(p > 0.5, h, 1 - h)
    rows = np.repeat([1, 0], len(p)), np.tile(sure, 2)
    return {
        "over": (sure - right).mean(),
        "brier": (h * (1 - p) ** 2 + (1 - h) * p**2).mean(),
        "auroc": roc_auc_score(*rows, sample_weight=np.concatenate([right, 1 - right])),
    }
