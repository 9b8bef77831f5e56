"""Judges that go with people, judges that know nothing, and how long the intervals of both have to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from jurist.audits.agreement import agreement
from jurist.audits.finding import Finding
from jurist.audits.sheet import Labels, Sheet
from support.simulated import Simulated, World, simulate

from . import Case, finding, large

GOOD = Simulated("good", soft=True)
SHARP = Simulated("sharp", sharpness=4.0, soft=True)
DIM = Simulated("dim", sharpness=0.4)
COIN = Simulated("coin", sharpness=0.0)
PEOPLE = World(prompts=200, policies=("one",))
"""Three people label everything."""
SOME = World(prompts=1000, people=1, labelled=0.2)
"""One person labels a fifth."""
PAIRS = World(prompts=150, pairs=3, policies=("one",))


def cases() -> list[Case]:
    return [
        case("agreement.accuracy", (GOOD,), PEOPLE, "good, probabilities told", fair=True),
        case("agreement.accuracy", (GOOD,), PAIRS, "good, three matchups a prompt", fair=True),
        case("agreement.accuracy", (DIM,), PEOPLE, "dim, verdicts drawn"),
        case("agreement.people", (GOOD,), PEOPLE, "people among themselves"),
        case("agreement.people_alpha", (GOOD,), PEOPLE, "people among themselves"),
        case("agreement.with_a_person", (GOOD,), PEOPLE, "as good as people, and surer", fair=True),
        case(
            "agreement.among_judges",
            (GOOD, SHARP, DIM),
            World(prompts=200, people=0, pairs=2, policies=("one",)),
            "good, sharp and dim",
            fair=True,
        ),
        case(
            "agreement.among_judges",
            (COIN, replace(COIN, name="another")),
            World(prompts=200, people=0),
            "coins",
            planted=0.0,
        ),
        case("agreement.kappa", (GOOD,), PEOPLE, "good"),
        case("agreement.kappa", (DIM,), PAIRS, "dim, three matchups a prompt"),
        case("agreement.ac1", (GOOD,), PEOPLE, "good"),
        case("agreement.alpha", (DIM,), PEOPLE, "dim"),
        case("agreement.over_longest", (GOOD,), PEOPLE, "good", fair=True),
        case("agreement.over_first", (COIN,), PEOPLE, "a coin", planted=0.0),
        case(
            "agreement.alt_test",
            (replace(GOOD, soft=False, sharpness=2.5),),
            PEOPLE,
            "as good as people",
            covers=False,
            fair=True,
        ),
        case("agreement.advantage", (GOOD,), PEOPLE, "good"),
        case("agreement.better_judge", (SHARP, DIM), PEOPLE, "sharp against dim"),
        case(
            "agreement.win_rate",
            (GOOD,),
            SOME,
            "from 200 labels of 1,000",
            about="one",
            planted=0.5,
            fair=True,
        ),
        case("agreement.label_error", (GOOD,), SOME, "from 200 labels of 1,000", labelled=True, fair=True),
    ]


def case(
    name: str,
    judges: tuple[Simulated, ...],
    world: World,
    planted_is: str,
    *,
    about: str | None = None,
    planted: float | None = None,
    covers: bool = True,
    fair: bool = False,
    labelled: bool = False,
) -> Case:
    made: Callable[[Sheet], Sheet] = with_labels if labelled else lambda sheet: sheet

    def once(seed: int) -> Finding:
        return finding(agreement(made(simulate(judges, world, seed)[0])), name, about)

    if planted is None and covers:
        everybody = made(large(judges, replace(world, labelled=1.0), 300_000))
        planted = finding(agreement(everybody), name, about).value
    return Case("agreement", name, once, planted, fair, planted_is, 1000)


def with_labels(sheet: Sheet) -> Sheet:
    """As if its first judge had labelled everything that it did not call a tie."""
    said = sheet.opinions
    rows = np.flatnonzero((said.judge == 0) & ~np.isnan(said.p) & (said.p != 0.5))
    return replace(sheet, labels=Labels(said.matchup[rows], said.p[rows], np.ones(len(rows))))
