"""How bad a number is: the same rule for every audit."""

from __future__ import annotations

from typing import Final, get_args

from .finding import Finding, Grade

WORST_FIRST: Final[tuple[Grade, ...]] = get_args(Grade)
WRONG: Final[tuple[Grade, ...]] = ("alarm", "warning")
"""What asks for something to be done."""
WIDER: Final = (2.576 / 1.96 - 1) / 2
"""What a 99% interval adds on each side, in widths of one of 95%."""


def graded(low: float, high: float, fair: float, tolerated: float) -> Grade:
    """An alarm where the value is surely further from fair than is tolerated, a warning where it is surely
    not fair and may be that far; what is surely not fair and surely tolerable is worth a note.

    Surely not fair is said at 99%: an audit has several findings, and a fair judge should pass them all.
    """
    near = max(low - fair, fair - high, 0.0)
    far = max(high - fair, fair - low)
    if near > tolerated:
        return "alarm"
    if near > WIDER * (high - low):
        return "warning" if far > tolerated else "note"
    return "fine"


def rank(one: Finding) -> int:
    """The smaller the worse."""
    return WORST_FIRST.index(one.grade)


def at_most(grade: Grade, most: Grade) -> Grade:
    """No worse than this."""
    return max(grade, most, key=WORST_FIRST.index)


def below(low: float, high: float, wanted: float) -> Grade:
    """For what should be large: an alarm where it surely is not, a warning where it may not be."""
    return "alarm" if high < wanted else "warning" if low < wanted else "fine"
