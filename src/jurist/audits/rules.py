"""Rules: from what was measured to a grade and its reason.

Significance is at 99% where a fair judge should pass several findings at once.
"""

from __future__ import annotations

import math
from typing import Final

from .finding import WORST_FIRST, Grade, Graded, Measure, Rule, Unit, written

WIDEN: Final = (2.576 / 1.96 - 1) / 2
"""What a 99% interval adds on each side, in widths of one of 95%."""
OF_LABELS: Final = ("agreement", "calibration", "ceiling")
"""What human labels are counted for, and not prompts."""


def reported(one: Measure) -> Graded:
    """A number that is not graded."""
    return "fine", "reported, not graded"


def _where_known(rule: Rule) -> Rule:
    """Nothing is bad whose interval nobody knows; and nothing worse than the measure's `at_most`."""

    def graded(one: Measure) -> Graded:
        assert one.estimate is not None
        _, low, high, n = one.estimate
        if n < 2:
            return "note", f"too few {'labels' if one.name.partition('.')[0] in OF_LABELS else 'prompts'}"
        if not (math.isfinite(low) and math.isfinite(high)):
            return "note", "its interval is not known"
        grade, reason = rule(one)
        most = one.figures.get("at_most")
        if most is None or WORST_FIRST.index(grade) >= WORST_FIRST.index(most):
            return grade, reason
        return most, f"{reason}; {one.figures['because']}"

    return graded


def far_from(fair: float | None, tolerated: float, unit: Unit = "share", only: str = "") -> Rule:
    """Bad where the value is far from fair (None: from the measure's own `fair`). An alarm where it is
    significantly further than tolerated; a warning where it is significantly not fair and may be that far.
    Significance is at 99%: an audit has several findings, and a fair judge should pass them all. `only` above
    or below. A measure may name `at_most` and `because`: as bad as this fault can be here.
    """

    def rule(one: Measure) -> Graded:
        assert one.estimate is not None
        _, low, high, _ = one.estimate
        at = one.figures["fair"] if fair is None else fair
        limit = one.figures.get("tolerated", tolerated)
        above, below = low - at, at - high
        if only:
            above, below = (above, -1.0) if only == "above" else (-1.0, below)
        near, far = max(above, below, 0.0), max(high - at, at - low)
        more = f"{written(limit, 'points' if unit == 'share' else unit)} from {written(at, unit)}"
        if near > limit:
            graded: Graded = "alarm", f"significantly more than {more}"
        elif near > WIDEN * (high - low):
            grade: Grade = "warning" if far > limit else "note"
            may = f"may be more than {more}" if far > limit else f"within {more}"
            graded = grade, f"significantly different from {written(at, unit)}, {may}"
        else:
            graded = "fine", f"not significantly different from {written(at, unit)}"
        return graded

    return _where_known(rule)


def too_high(warning: float, alarm: float | None = None, unit: Unit = "share", few: int = 10) -> Rule:
    """For what should be small: an alarm or a warning where it is significantly above."""

    def rule(one: Measure) -> Graded:
        assert one.estimate is not None
        value, low, _, n = one.estimate
        limit = one.figures.get("tolerated", warning)
        said = "you asked for" if "tolerated" in one.figures else "tolerated"
        if alarm is not None and low > alarm:
            return "alarm", f"significantly above {written(alarm, unit)}"
        if low > limit:
            grade: Grade = "warning" if alarm is not None else "alarm"
            return grade, f"significantly above the {written(limit, unit)} {said}"
        if value > limit:
            grade = "fine" if n < few else "warning" if alarm is None else "note"
            shown = "too few prompts to tell" if n < few else "not significantly"
            return grade, f"above the {written(limit, unit)} {said}, {shown}"
        return "fine", f"not above the {written(limit, unit)} {said}"

    return _where_known(rule)


def too_low(wanted: float, alarm: float | None = None, unit: Unit = "share") -> Rule:
    """For what should be large. Without `alarm` an alarm where it significantly is not, a warning where that
    is not shown; with it, an alarm or a warning where it is significantly below.
    """

    def rule(one: Measure) -> Graded:
        assert one.estimate is not None
        limit = one.figures.get("wanted", wanted)
        said = f"the {written(limit, unit)} {'you asked for' if 'wanted' in one.figures else 'wanted'}"
        value, low, high, _ = one.estimate
        if high < (limit if alarm is None else alarm):
            return "alarm", f"significantly below {said if alarm is None else written(alarm, unit)}"
        if alarm is not None and high < limit:
            return "warning", f"significantly below {said}"
        if low < limit:
            grade: Grade = "warning" if alarm is None else "note" if value < limit else "fine"
            return grade, f"not shown to reach {said}"
        return "fine", f"significantly above {said}"

    return _where_known(rule)
