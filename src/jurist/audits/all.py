"""Every audit of a sheet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from .advice import About, short_names
from .agreement import agreement
from .alt_test import Annotators
from .attacks import attacks
from .calibration import calibration
from .ceiling import ceiling
from .finding import WRONG, Finding, Measure, find, rank
from .findings import KINDS
from .headline import human_agreement
from .length import length
from .overoptimisation import best_of_n
from .position import position
from .reading import reading
from .self_preference import Families, self_preference
from .sheet import Sheet
from .win_rates import length_controlled


def audit(
    sheet: Sheet,
    *,
    families: Families | None = None,
    summary: Mapping[str, Any] | None = None,
    wanted: float | None = None,
    tolerated: float | None = None,
    annotators: Annotators | float = "skilled",
    holds_back: bool = True,
    more: Iterable[Measure] = (),
    about: About = About(),  # noqa: B008
) -> list[Finding]:
    """`families` says which models are related, `summary` is that of the run, `wanted` how often labels must
    agree with humans, `tolerated` the share of wrong labels, `holds_back` whether a domain that falls short
    can be quarantined. `more` was measured elsewhere.
    """
    measures = [
        *reading(sheet, summary),
        *attacks(sheet),
        *position(sheet),
        *length(sheet),
        *length_controlled(sheet),
        *self_preference(sheet, families),
        *agreement(sheet, annotators=annotators, tolerated=tolerated),
        *ceiling(sheet, wanted=wanted, tolerated=tolerated, holds_back=holds_back),
        *calibration(sheet),
        *best_of_n(sheet),
        *more,
    ]
    about = about._replace(names=short_names(sheet.judges))
    return _agreement_first(find(measures, KINDS, about))


def _agreement_first(findings: list[Finding]) -> list[Finding]:
    """Agreement with humans, then by grade; within one, as they came. What to do about several that are wrong
    is said with the worst.
    """
    first, given = human_agreement(findings), set[str]()
    found = sorted(findings, key=lambda one: (one is not first, rank(one)))
    for at, one in enumerate(found):
        if one.grade in WRONG and one.advice in given:
            found[at] = replace(one, advice="")
        given.add(one.advice)
    return found
