"""Judges with known faults, and honest ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from jurist.audits.finding import Measure
from jurist.audits.position import position
from jurist.audits.sheet import Sheet
from support.simulated import Simulated, World, simulate

from . import Scenario, formulas

FAIR = Simulated()
BIASED = Simulated(slot=1.0, slot_spread=1.2)
BOTH = World(prompts=60, pairs=6, people=1)


def scenarios() -> list[Scenario]:
    return [*of_position()]


def of_position() -> list[Scenario]:
    """Verdicts sampled and probabilities given, both orders and one, matchups of a prompt alike."""
    soft, thrice = replace(BIASED, soft=True), World(prompts=200, samples=3, people=1)
    once, equals = World(prompts=300, orders="given", people=1), Simulated(slot=1.0)
    return [
        scenario("first position is worth one log-odd", position, BIASED, BOTH, formulas.position),
        scenario("the same, probabilities given", position, soft, BOTH, formulas.position),
        scenario("the same, three samples", position, BIASED, thrice, formulas.position),
        scenario(
            "the same, two samples, whose ties are no flips",
            position,
            BIASED,
            replace(thrice, samples=2),
            lambda judge, world: {"flip_rate": formulas.position(judge, world)["flip_rate"]},
        ),
        scenario(
            "the same, one order",
            position,
            BIASED,
            once,
            lambda judge, world: {"first_position": formulas.position(judge, world)["first_position"]},
        ),
        scenario(
            "honest", position, FAIR, BOTH, lambda *_: {"first_position": 0.5, "between_equals": 0.0}, True
        ),
        scenario("honest, one order", position, FAIR, once, lambda *_: {"first_position": 0.5}, True),
        scenario("alike in all prompts", position, equals, BOTH, lambda *_: {"between_equals": 1.0}),
    ]


def scenario(
    about: str,
    audit: Callable[[Sheet], Iterable[Measure]],
    judge: Simulated,
    world: World,
    truth: Callable[[Simulated, World], dict[str, float]],
    honest: bool = False,
) -> Scenario:
    planted = {f"{audit.__name__}.{name}": value for name, value in truth(judge, world).items()}
    return Scenario(about, lambda seed: audit(simulate((judge,), world, seed)[0]), planted, honest)
