"""Could this judge stand in for one of the people? (Calderon et al. 2025, the alternative annotator test.)

Each person in turn is left out, and person and judge are both held against those that remain. The judge
wins over a person where it is surely no more than epsilon behind; it passes when it wins over half of them.
How much that says hangs on the number of matchups, so the power of the test stands beside its answer.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, Literal

import numpy as np

from ...stats.intervals import (
    benjamini_yekutieli,
    clustered_share,
    human_accuracy,
    student,
    student_test,
    weighted_mean,
)
from ..finding import Chart, Finding, Grade, Point, Series
from ..humans import AgainstHumans, HumanVotes, agreeing_votes, sides
from ..sheet import Array
from ..words import count, measured, percent, silent, span

Kind = Literal["experts", "skilled", "crowd"]
EPSILON: Final = {"experts": 0.2, "skilled": 0.15, "crowd": 0.1}
"""What the judge may be behind, for what it saves: more where people cost more. The paper's three values."""
FEWEST_PEOPLE: Final = 3
FEWEST_ITEMS: Final = 30
SIZES: Final = (30, 50, 100, 200, 400)
DRAWS: Final = 400
SURE: Final = 0.95
"""Power from which not passing says something about the judge."""
MOST: Final = 1000
"""Matchups in a simulation: with more the power is higher still."""


def alternative(people: HumanVotes, one: AgainstHumans, kind: Kind) -> list[Finding]:
    tested = _tested(people, one)
    if len(tested) < FEWEST_PEOPLE:
        says = (
            f"Whether {one.name} could stand in for a person is not tested: that takes {FEWEST_PEOPLE} people"
            f" who each labelled {FEWEST_ITEMS} matchups that others labelled too, and there "
            f"{'is' if len(tested) == 1 else 'are'} {len(tested)}."
        )
        advice = f"Let {FEWEST_PEOPLE} people label the same {FEWEST_ITEMS} matchups, or better 100"
        return [silent("agreement.alt_test", says, advice, one.name)]
    epsilon = EPSILON[kind]
    ps, wins, ahead, prompts = [], [], [], []
    for behind, won, prompt in tested:
        mean, error, n = weighted_mean(behind, prompt)
        ps.append(student_test(mean, error, n, epsilon))
        wins.append(float(won.mean()))
        ahead.append(won)
        prompts.append(prompt)
    beaten = sum(benjamini_yekutieli(ps))
    rate = beaten / len(ps)
    n = int(np.median([len(won) for _, won, _ in tested]))
    return [
        _passed(one.name, kind, rate, beaten, len(ps), n, people),
        _advantage(one.name, np.concatenate(ahead), np.concatenate(prompts)),
    ]


def _tested(people: HumanVotes, one: AgainstHumans) -> list[tuple[Array, Array, Array]]:
    """For each person: how far behind the judge is on each matchup, whether it is as good, the prompt."""
    judged = np.full(len(people), -1)
    judged[one.item] = sides(one.p)
    others = people.counts.sum(axis=1)[people.item] - 1
    rows = np.flatnonzero((judged[people.item] >= 0) & (others > 0))
    order = rows[np.argsort(people.who[rows], kind="stable")]
    names, starts = np.unique(people.who[order], return_index=True)
    found = []
    for own in np.split(order, starts[1:]) if len(names) else []:
        if len(own) < FEWEST_ITEMS:
            continue
        item, side = people.item[own], people.side[own]
        votes = people.counts[item].copy()
        at = np.arange(len(own))
        votes[at, side] -= 1
        told = agreeing_votes(votes)
        ours, theirs = told[at, judged[item]], told[at, side]
        behind = (theirs >= ours).astype(float) - (ours >= theirs)
        found.append((behind, (ours >= theirs).astype(float), people.prompt[item]))
    return found


def _passed(name: str, kind: Kind, rate: float, beaten: int, m: int, n: int, people: HumanVotes) -> Finding:
    h = round(human_accuracy(people.agreement.value), 2)
    few = min(m, 5)
    sure = power(h, h, few, min(n, MOST), EPSILON[kind])
    worse = power(h, h - 0.1, few, min(n, MOST), EPSILON[kind])
    passed = rate >= 0.5
    says = (
        f"{name} {'passes' if passed else 'does not pass'} the alternative annotator test: leaving out each "
        f"person in turn, it surely does no more than {EPSILON[kind]:g} worse than {beaten} of {m} "
        f"(epsilon for {kind}). With {n} matchups a person, a judge as good as a person passes "
        f"{percent(sure)} of the time, and one that is 10 points worse {percent(worse)}."
    )
    grade: Grade = "fine" if passed else "warning" if sure >= SURE else "note"
    advice = ""
    if not passed:
        more = next((size for size in SIZES if power(h, h, few, size, EPSILON[kind]) >= SURE), SIZES[-1])
        advice = (
            f"Let {m} people label {max(more, n)} of the same matchups each"
            if sure < SURE
            else "Keep people for these labels, or take a better judge"
        )
    return Finding(
        "agreement.alt_test",
        name,
        says,
        grade,
        n * m,
        rate,
        fair=0.5,
        advice=advice,
        chart=_chart(h, few),
    )


def _advantage(name: str, won: Array, prompts: Array) -> Finding:
    one = clustered_share(won, prompts)
    says = (
        f"Held against the other people, {name} is as good as the one it stands in for, or better, in "
        f"{percent(one.value)} of the cases ({span(one)}; {count(one.n, 'prompt')})."
    )
    return measured("agreement.advantage", name, says, "note", one)


def _chart(h: float, m: int) -> Chart:
    lines = tuple(
        Series(
            f"{kind}, epsilon {epsilon:g}",
            tuple(Point(n, power(h, h, m, n, epsilon), n=n) for n in SIZES),
        )
        for kind, epsilon in EPSILON.items()
    )
    return Chart(
        "lines",
        f"How often a judge as good as people ({percent(h)} right) passes",
        lines,
        x="matchups a person",
        y="share of trials passed",
        mark=0.8,
        marked="usual aim",
    )


@lru_cache(maxsize=256)
def power(people: float, judge: float, m: int, n: int, epsilon: float) -> float:
    """How often a judge of this accuracy passes, by simulation: m people, n matchups with two sides."""
    dice = np.random.default_rng(0)
    right = (dice.random((DRAWS, n, m), dtype=np.float32) < people).astype(np.int8)
    ours = (dice.random((DRAWS, n), dtype=np.float32) < judge).astype(np.int8)
    total = right.sum(axis=2, dtype=np.int8)
    harmonic = math.fsum(1 / rank for rank in range(1, m + 1))
    t = np.empty((DRAWS, m))
    for j in range(m):
        others = total - right[:, :, j]
        with_us = np.where(ours == 1, others, m - 1 - others)
        with_them = np.where(right[:, :, j] == 1, others, m - 1 - others)
        behind = (with_them >= with_us).astype(np.int8) - (with_us >= with_them).astype(np.int8)
        mean, spread = behind.mean(axis=1), behind.std(axis=1, ddof=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            t[:, j] = np.where(
                spread > 0, (mean - epsilon) / (spread / math.sqrt(n)), np.sign(mean - epsilon) * np.inf
            )
    bars = [-student(1 - 2 * 0.05 * rank / (m * harmonic), n - 1) for rank in range(1, m + 1)]
    reached = np.sort(t, axis=1) <= np.array(bars)
    beaten = np.where(reached.any(axis=1), m - np.argmax(reached[:, ::-1], axis=1), 0)
    return float((beaten >= m / 2).mean())
