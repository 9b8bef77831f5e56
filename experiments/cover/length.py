"""Judges that like length, and judges that do not, where longer answers truly are better."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from jurist.audits.finding import Finding
from jurist.audits.length import length
from jurist.audits.length_debt import length_debt
from jurist.stats.intervals import Estimate
from support.simulated import Simulated, World, simulate

from . import Case, finding, large, worst

FAIR, TASTE = Simulated(), Simulated(length=0.7)
LONGER_IS_BETTER = World(prompts=200, pairs=2, long=0.4)
UNLABELLED = World(prompts=200, pairs=2, long=0.4, people=0)
PROMPTS, LEAD, SLOPE, GROWN = 300, 0.3, 1.2, 0.8
"""Log-odds at equal length, for a standard deviation of length (as tanh), and how much longer it answers."""


def cases() -> list[Case]:
    return [
        case("length.prefers_longer", TASTE, LONGER_IS_BETTER, "a taste for length"),
        case("length.prefers_longer", FAIR, UNLABELLED, "fair, nobody labelled", fair=True),
        case("length.excess", TASTE, LONGER_IS_BETTER, "a taste for length"),
        case(
            "length.excess",
            FAIR,
            LONGER_IS_BETTER,
            "as people, who prefer the longer",
            fair=True,
            planted=0.0,
        ),
        case("length.people_prefer_longer", FAIR, LONGER_IS_BETTER, "longer is better"),
        case("length.correlation", TASTE, LONGER_IS_BETTER, "a taste for length"),
        case("length.debt", FAIR, LONGER_IS_BETTER, "no policy is longer", fair=True, planted=0.0),
        Case("length", "length.debt", debt, planted_debt(), False, "longer answers, a taste", 2000),
        Case("length", "any finding", of_a_fair_judge, None, True, "fair, three policies", 2000),
        Case("length", "length.debt", no_debt, planted_debt(0.0), True, "longer answers, a fair judge", 2000),
    ]


def of_a_fair_judge(seed: int) -> Finding:
    return worst(found(FAIR, replace(LONGER_IS_BETTER, policies=("one", "two", "three")), seed))


def case(
    name: str,
    judge: Simulated,
    world: World,
    about: str,
    *,
    planted: float | None = None,
    fair: bool = False,
) -> Case:
    if planted is None:
        planted = finding(length(large((judge,), world)), name).value
    return Case(
        "length", name, lambda seed: finding(found(judge, world, seed), name), planted, fair, about, 2000
    )


@lru_cache(maxsize=10_000)
def found(judge: Simulated, world: World, seed: int) -> list[Finding]:
    return length(simulate((judge,), world, seed)[0])


def drawn(seed: int, slope: float, n: int = PROMPTS) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Verdicts about a policy that answers at greater length: p, both lengths, how easy each prompt is."""
    dice = np.random.default_rng(seed)
    ours, theirs = 500 + 120 * dice.normal(GROWN, 1, n), 500 + 120 * dice.normal(0, 1, n)
    easier = dice.normal(size=n)
    odds = LEAD + slope * np.tanh((ours - theirs) / (120 * np.sqrt(2))) + 0.8 * easier
    return (dice.random(n) < 1 / (1 + np.exp(-odds))).astype(float), ours, theirs, easier


def planted_debt(slope: float = SLOPE) -> float:
    """The win rate less that with the same odds at equal length."""
    p, _, _, easier = drawn(1, slope, 4_000_000)
    return float(p.mean() - (1 / (1 + np.exp(-LEAD - 0.8 * easier))).mean())


def debt(seed: int) -> Finding:
    return told(seed, SLOPE)


def no_debt(seed: int) -> Finding:
    return told(seed, 0.0)


def told(seed: int, slope: float) -> Finding:
    p, ours, theirs, easier = drawn(seed, slope)
    found = length_debt(p, ours, theirs, easier=easier)
    one = found.debt if found else Estimate(np.nan, np.nan, np.nan, 0)
    return Finding("length.debt", value=one.value, low=one.low, high=one.high, n=one.n)
