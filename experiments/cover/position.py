"""Judges that lean to a seat, and judges that do not."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from jurist.audits.finding import Finding
from jurist.audits.position import position
from support.simulated import Simulated, World, simulate

from . import Case, finding, large, worst

FAIR = Simulated()
LEANING = Simulated(slot=1.0)
STEADY = Simulated(soft=True)
STEADY_LEANING = Simulated(slot=1.0, soft=True)
BOTH = World(prompts=200, pairs=2, people=1)
TWICE = World(prompts=200, samples=3, people=1)
ONCE = World(prompts=300, orders="given", people=1)


def cases() -> list[Case]:
    return [
        case("position.first_seat", LEANING, BOTH, "the first seat is worth one log-odd"),
        case("position.first_seat", FAIR, BOTH, "fair, verdicts drawn", planted=0.5, fair=True),
        case("position.first_seat", STEADY_LEANING, BOTH, "the same, probabilities told"),
        case("position.first_seat", LEANING, ONCE, "the same, one order, seats drawn"),
        case("position.first_seat", FAIR, ONCE, "fair, one order, seats drawn", planted=0.5, fair=True),
        case("position.flip_rate", LEANING, BOTH, "the first seat is worth one log-odd"),
        case("position.flip_rate", FAIR, BOTH, "fair, verdicts drawn", fair=True),
        case("position.repeats", LEANING, TWICE, "verdicts drawn three times"),
        case("position.repeats", STEADY, TWICE, "says the same each time", covers=False, fair=True),
        case("position.flips_beyond_repeats", LEANING, TWICE, "the first seat is worth one log-odd"),
        case("position.flips_beyond_repeats", FAIR, TWICE, "fair", planted=0.0, fair=True),
        case("position.slot", LEANING, BOTH, "one log-odd, both orders", planted=1.0),
        case("position.slot", FAIR, BOTH, "fair, both orders", planted=0.0, fair=True),
        case("position.cost", LEANING, BOTH, "the first seat is worth one log-odd"),
        Case("position", "any finding", of_a_fair_judge, None, True, "fair, three domains"),
    ]


def of_a_fair_judge(seed: int) -> Finding:
    return worst(found(FAIR, replace(BOTH, domains=("sums", "talk", "doses")), seed))


def case(
    name: str,
    judge: Simulated,
    world: World,
    about: str,
    *,
    planted: float | None = None,
    covers: bool = True,
    fair: bool = False,
) -> Case:
    if planted is None and covers:
        planted = finding(position(large((judge,), world)), name).value
    return Case("position", name, lambda seed: finding(found(judge, world, seed), name), planted, fair, about)


@lru_cache(maxsize=10_000)
def found(judge: Simulated, world: World, seed: int) -> list[Finding]:
    return position(simulate((judge,), world, seed)[0])
