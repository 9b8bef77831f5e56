"""Could this judge stand in for a human? The alternative annotator test (Calderon et al. 2025, 2501.10970).

Each human in turn is left out, and both that human and the judge are compared with those who remain. The
judge beats a human where it is significantly no more than epsilon behind; it passes when it beats half of
them. How much that says depends on the number of labels, so the power of the test stands beside its result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal, NamedTuple

import numpy as np

from ..stats import intervals
from ..stats.intervals import Estimate
from .finding import Measure
from .humans import AgainstHumans, HumanVotes, sides
from .sheet import Array

Annotators = Literal["experts", "skilled", "crowd"]
EPSILON: Final = {"experts": 0.2, "skilled": 0.15, "crowd": 0.1}
"""What the judge may be behind, since it costs less: the paper's three values."""
FEWEST_HUMANS: Final = 3
FEWEST_ITEMS: Final = 30  # for each human; below it the t-test does not hold
SIZES: Final = (30, 50, 100, 200, 400)
TRIALS: Final = 400
MOST: Final = 1000  # items in a simulation; with more the power is higher still


class AltTest(NamedTuple):
    winning_rate: float  # the share of humans that the judge beats; from a half on it passes
    advantage: Estimate
    """How often the judge is as close to the others as the human left out, or closer: a mean of means."""
    p_values: tuple[float, ...]
    items: int
    """Of a human, the median."""


def alternative_annotator_test(
    who: Array,
    item: Array,
    value: Array,
    judge: Array,
    epsilon: float,
    *,
    numbers: bool = False,
    prompt: Array | None = None,
) -> AltTest | None:
    """Human `who[i]` gave `value[i]` to `item[i]`; `judge` has a value for each item, nan where unread.

    Alignment with the others is the share of them with the same value, or for `numbers` the negative root
    mean squared error. Items of one `prompt` are one observation of the t-test. None where nobody has enough
    items.
    """
    shared = np.bincount(item, minlength=len(judge))[item] > 1
    rows = np.flatnonzero(shared & ~np.isnan(judge[item]))
    _, human, size = np.unique(who[rows], return_inverse=True, return_counts=True)
    enough = size[human] >= FEWEST_ITEMS
    if not enough.any():
        return None
    ahead, behind = (one[enough] * 1.0 for one in _compared(item[rows], value[rows], judge, numbers))
    human, cluster = human[enough], (item if prompt is None else prompt[item])[rows][enough]
    each = [human == code for code in np.unique(human).tolist()]
    leads = [intervals.weighted_mean((behind - ahead)[own], cluster[own]) for own in each]
    p_values = tuple(intervals.student_test(*lead, epsilon) for lead in leads)
    advantage = intervals.clustered_share(ahead, cluster, weights=1 / size[human])
    won = sum(intervals.benjamini_yekutieli(p_values)) / len(p_values)
    return AltTest(won, advantage, p_values, int(np.median(size[size >= FEWEST_ITEMS])))


def _compared(item: Array, value: Array, judge: Array, numbers: bool) -> tuple[Array, Array]:
    """Whether the judge is as well aligned with the others as each human, and the human as the judge."""
    given = judge[item]
    if numbers:
        # The root mean squared error to the others grows with the distance to their mean.
        others = np.bincount(item, minlength=len(judge))[item] - 1
        rest = np.bincount(item, value, minlength=len(judge))[item] - value
        ours, theirs = (np.round(np.abs(others * x - rest), 9) for x in (given, value))
        return ours <= theirs, theirs <= ours
    names, code = np.unique(np.concatenate([value, given]), return_inverse=True)
    mine, its = code[: len(value)], code[len(value) :]
    votes = np.bincount(item * len(names) + mine, minlength=len(judge) * len(names)).reshape(-1, len(names))
    ours, theirs = votes[item, its] - (its == mine), votes[item, mine] - 1
    return ours >= theirs, theirs >= ours


def alt_test(
    humans: HumanVotes, judges: Sequence[AgainstHumans], annotators: Annotators | float
) -> list[Measure]:
    """Of every judge; one measure without data where too few humans labelled the same."""
    epsilon = EPSILON[annotators] if isinstance(annotators, str) else float(annotators)
    found: list[Measure] = []
    h = round(intervals.human_accuracy(humans.agreement.value), 2) if humans.agreement.n else 0.5
    for judge in judges:
        given = np.full(len(humans), np.nan)
        given[judge.item] = sides(judge.p)
        side, prompt = humans.side.astype(float), humans.prompt
        test = alternative_annotator_test(humans.who, humans.item, side, given, epsilon, prompt=prompt)
        if test is None or len(test.p_values) < FEWEST_HUMANS:
            continue
        m = len(test.p_values)
        size = min(m, 5), min(test.items, MOST), epsilon
        figures = {
            "passed": test.winning_rate - 0.5,
            "beaten": round(test.winning_rate * m),
            "of": m,
            "epsilon": epsilon,
            "items": test.items,
            "power": power(h, h, *size),
            "power_if_worse": power(h, h - 0.1, *size),
        }
        rate = Estimate(test.winning_rate, math.nan, math.nan, test.items * m)
        found.append(Measure("agreement.alt_test", judge.name, rate, figures))
        found.append(Measure("agreement.advantage", judge.name, test.advantage))
    if judges and not found:
        figures = {"humans": FEWEST_HUMANS, "items": FEWEST_ITEMS}
        return [Measure("agreement.alt_test", figures=figures, missing="few")]
    return found


@lru_cache(maxsize=256)
def power(human: float, judge: float, m: int, n: int, epsilon: float) -> float:
    """How often a judge of this accuracy passes, by simulation: m humans, n matchups with two sides."""
    rng = np.random.default_rng(0)
    right = (rng.random((TRIALS, n, m), dtype=np.float32) < human).astype(np.int8)
    ours = (rng.random((TRIALS, n), dtype=np.float32) < judge).astype(np.int8)
    others = right.sum(axis=2, dtype=np.int8)[:, :, None] - right
    with_judge = np.where(ours[:, :, None] == 1, others, m - 1 - others)
    with_human = np.where(right == 1, others, m - 1 - others)
    behind = (with_human >= with_judge).astype(np.int8) - (with_judge >= with_human)
    mean, spread = behind.mean(axis=1), behind.std(axis=1, ddof=1)
    t = (mean - epsilon) / np.maximum(spread / math.sqrt(n), 1e-9)
    harmonic = math.fsum(1 / rank for rank in range(1, m + 1))
    limits = [-intervals.student(1 - 2 * 0.05 * rank / (m * harmonic), n - 1) for rank in range(1, m + 1)]
    reached = np.sort(t, axis=1) <= np.array(limits)
    beaten = np.where(reached.any(axis=1), m - np.argmax(reached[:, ::-1], axis=1), 0)
    return float((beaten >= m / 2).mean())
