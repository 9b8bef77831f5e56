"""Judges that are as sure as they are right, and judges that shout."""

from __future__ import annotations

from jurist.audits.calibration import calibration
from jurist.audits.finding import Finding
from support.simulated import Simulated, World, simulate

from . import Case, finding, large

MODEST = Simulated(soft=True)
"""Its log-odds are those with which each person prefers."""
LOUD = Simulated(soft=True, sharpness=4.0, noise=3.0)
WORLD = World(prompts=250, people=1)
PAIRS = World(prompts=100, pairs=3, people=1)


def cases() -> list[Case]:
    return [
        case("calibration.over", MODEST, WORLD, "as sure as right", planted=0.0, fair=True),
        case("calibration.over", MODEST, PAIRS, "the same, three matchups a prompt", planted=0.0, fair=True),
        case("calibration.over", LOUD, WORLD, "too sure"),
        case("calibration.auroc", MODEST, WORLD, "as sure as right"),
        case("calibration.auroc", LOUD, PAIRS, "too sure, three matchups a prompt"),
        case("calibration.brier", LOUD, WORLD, "too sure"),
    ]


def case(
    name: str, judge: Simulated, world: World, about: str, *, planted: float | None = None, fair: bool = False
) -> Case:
    def once(seed: int) -> Finding:
        return finding(calibration(simulate((judge,), world, seed)[0]), name)

    if planted is None:
        planted = finding(calibration(large((judge,), world)), name).value
    return Case("calibration", name, once, planted, fair, about, 1000)
