"""Every audit of a sheet, the worst finding first."""

from __future__ import annotations

from collections.abc import Iterable

from .agreement import Kind, agreement
from .calibration import calibration
from .ceiling import ceiling
from .cost import PEOPLE, cost
from .diversity import of_policies
from .families import Families
from .finding import Finding
from .grade import rank
from .humans import WANTED
from .length import length
from .overoptimisation import best_of_n
from .position import position
from .reading import reading
from .self_preference import self_preference
from .sheet import Sheet
from .words import by_engine, folded, silent


def audit(
    sheet: Sheet,
    *,
    families: Families | None = None,
    spent: float | None = None,
    price: tuple[float, float] = PEOPLE,
    wanted: float = WANTED,
    people_are: Kind = "skilled",
    holds_back: bool = True,
) -> list[Finding]:
    """`families` says which models are related, `spent` what the whole run cost, `price` what people ask for
    a comparison, from and to; `wanted` is how often the labels of a domain must agree with people, and
    whether what does not can be held back is said by `holds_back`.
    """
    found = folded(
        [
            *reading(sheet),
            *(position(sheet) if sheet.positions_known else [_unseated()]),
            *length(sheet),
            *self_preference(sheet, families),
            *agreement(sheet, people_are=people_are),
            *ceiling(sheet, wanted=wanted, holds_back=holds_back),
            *calibration(sheet),
            *of_policies(sheet),
            *best_of_n(sheet),
            *cost(sheet, spent, price),
        ],
        sheet.judges,
    )
    return worst_first(by_engine(found, sheet.judges))


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """By grade; within one, as they came."""
    return sorted(findings, key=rank)


def _unseated() -> Finding:
    return silent(
        "position.first_seat",
        "The file does not say which answer the judge saw first.",
        "Add a column: swapped, or one verdict for each order: winner_given and winner_turned",
    )
