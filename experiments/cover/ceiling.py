"""A judge that knows one domain and not another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from jurist.audits.ceiling import ceiling
from jurist.audits.finding import Finding
from jurist.audits.sheet import Sheet
from jurist.audits.spot_check import draw
from support.simulated import Simulated, World, simulate

from . import Case, finding, large
from .agreement import with_labels

JUDGE = Simulated(soft=True, noise=0.5, ignorant=("doses",))
WORLD = World(prompts=400, domains=("sums", "doses"), people=1)
MANY = World(prompts=1500, pairs=1, domains=("sums", "talk", "wishes", "doses"), people=1)


def cases() -> list[Case]:
    known, lost = (
        finding(ceiling(with_labels(large((JUDGE,), WORLD))), "ceiling.domain", one).value
        for one in WORLD.domains
    )
    return [
        Case("ceiling", "ceiling.domain", told("sums"), known, True, "a domain it knows", 1000),
        Case("ceiling", "ceiling.domain", told("doses"), lost, False, "a domain it does not know", 1000),
        Case(
            "ceiling",
            "ceiling.domain",
            checked("sums"),
            known,
            True,
            "the same from a spot check of 240",
            1000,
        ),
        Case(
            "ceiling",
            "ceiling.domain",
            checked("doses"),
            lost,
            False,
            "the same from a spot check of 240",
            1000,
        ),
    ]


def told(domain: str):
    def once(seed: int) -> Finding:
        return finding(ceiling(with_labels(simulate((JUDGE,), WORLD, seed)[0])), "ceiling.domain", domain)

    return once


def checked(domain: str):
    """People label only what a spot check drew, and each label stands for others."""

    def once(seed: int) -> Finding:
        return finding(
            ceiling(spot_checked(with_labels(simulate((JUDGE,), MANY, seed)[0]), 240, seed)),
            "ceiling.domain",
            domain,
        )

    return once


def spot_checked(sheet: Sheet, n: int, seed: int) -> Sheet:
    drawn = draw(sheet, n, seed)
    weight = np.zeros(len(sheet.matchups))
    weight[drawn.matchup] = drawn.weight
    said = sheet.human
    rows = weight[said.matchup] > 0
    some = replace(
        said,
        who=said.who[rows],
        matchup=said.matchup[rows],
        p=said.p[rows],
        weight=weight[said.matchup[rows]],
    )
    return replace(sheet, said=some)
