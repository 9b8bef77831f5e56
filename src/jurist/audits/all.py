"""Every audit of a sheet, the worst finding first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from .agreement import agreement
from .alt_test import Annotators
from .calibration import calibration
from .ceiling import ceiling
from .cost import PEOPLE, cost
from .finding import WRONG, About, Finding, Measure, find, rank
from .findings import KINDS
from .length import length
from .overoptimisation import best_of_n
from .position import position
from .reading import reading
from .self_preference import Families, self_preference
from .sheet import Sheet
from .win_rates import length_controlled
from .words import by_engine, folded


def audit(
    sheet: Sheet,
    *,
    families: Families | None = None,
    spent: float | None = None,
    price: tuple[float, float] = PEOPLE,
    wanted: float | None = None,
    tolerated: float | None = None,
    annotators: Annotators | float = "skilled",
    holds_back: bool = True,
    about: About = About(),  # noqa: B008
) -> list[Finding]:
    """`families` says which models are related, `spent` what the whole run cost, `price` what people ask for
    a comparison, from and to; `wanted` is how often labels must agree with humans, `tolerated` the share of
    wrong labels, and whether a domain that falls short can be held back is said by `holds_back`.
    """
    found: list[Measure | Finding] = [
        *reading(sheet),
        *position(sheet),
        *length(sheet),
        *length_controlled(sheet),
        *self_preference(sheet, families),
        *agreement(sheet, annotators=annotators, tolerated=tolerated),
        *ceiling(sheet, wanted=wanted, tolerated=tolerated, holds_back=holds_back),
        *calibration(sheet),
        *best_of_n(sheet),
        *cost(sheet, spent, price),
    ]
    about = about._replace(names=short_names(sheet.judges))
    old = by_engine(folded([one for one in found if isinstance(one, Finding)], sheet.judges), sheet.judges)
    return worst_first([*find([one for one in found if isinstance(one, Measure)], KINDS, about), *old])


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """By grade; within one, as they came. What to do about several that are wrong is said with the worst."""
    found, said = sorted(findings, key=rank), set[str]()
    for at, one in enumerate(found):
        if one.grade in WRONG and one.advice in said:
            found[at] = replace(one, advice="")
        said.add(one.advice)
    return found


_CODED: Final = re.compile(r"[^:#]+:(.+)#[0-9a-f]{6}")
"""How a judge asks, its engine, and the code of its settings."""


def short_names(judges: Sequence[str]) -> dict[str, str]:
    """A judge is called by its engine wherever no other of these has that one."""
    engines = {judge: coded[1] if (coded := _CODED.fullmatch(judge)) else judge for judge in judges}
    n = Counter(engines.values())
    return {judge: engine for judge, engine in engines.items() if judge != engine and n[engine] == 1}
