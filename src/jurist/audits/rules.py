"""Rules: from what was measured to a grade and its reason.

Significance is at 99% where a fair judge should pass several findings at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

from msgspec.structs import replace

from ..stats.intervals import Estimate
from .finding import WORST_FIRST, Grade, Graded, Measure, Rule, Unit, written

WIDEN: Final = (2.576 / 1.96 - 1) / 2
"""What a 99% interval adds on each side, in widths of one of 95%."""
TOO_FEW: Final = "too few to tell"
OF_LABELS: Final = ("agreement", "calibration", "ceiling")
"""What human labels are counted for, and not prompts."""

Figures = Mapping[str, Any]
Caps = Mapping[str, tuple[Grade, str]]
"""By the name of a figure that is true: as bad as it can be then, and why."""
NEVER: Final[Caps] = MappingProxyType({})


def reported(one: Measure) -> Graded:
    """A number that is not graded."""
    return "fine", "reported, not graded"


def by_facts(facts: Caps, otherwise: str = "") -> Rule:
    """The grade of the first of these figures that is true."""
    return lambda one: next((facts[fact] for fact in facts if one.figures.get(fact)), ("fine", otherwise))


def of(figure: str, rule: Rule, called: str) -> Rule:
    """The same rule for an estimate among the figures."""

    def graded(one: Measure) -> Graded:
        grade, reason = rule(replace(one, estimate=one.figures[figure]))
        return grade, f"{called}: {reason}"

    return graded


def mildest(*rules: Rule) -> Rule:
    """For what must be bad by every one of several rules: the mildest grade, with its reason."""
    return lambda one: max((rule(one) for rule in rules), key=lambda graded: WORST_FIRST.index(graded[0]))


def far_from(
    fair: float,
    tolerated: float,
    unit: Unit = "share",
    only: Literal["above", "below", ""] = "",
    unless: Caps = NEVER,
) -> Rule:
    """Bad where the value is far from fair: an alarm where it is significantly further than tolerated; a
    warning where it is significantly not fair and may be that far. Significance is at 99%: an audit has
    several findings, and a fair judge should pass them all. With `only` the other side is worth no more than
    a note.
    """
    base = _limit(fair, unit) if fair else "zero"
    limit = _limit(tolerated, "points" if unit == "share" and fair else unit)

    def grade(one: Estimate, figures: Figures) -> Graded:
        side = "above" if one.value >= fair else "below"
        near, far = max(one.low - fair, fair - one.high, 0.0), max(one.high - fair, fair - one.low)
        beyond = limit if unit == "share" and not fair else f"{limit} {side} {base}"
        if near <= WIDEN * (one.high - one.low):
            at_99 = " at 99%" if near > 0 else ""
            return "fine", f"not significantly {only or 'different from'} {base}{at_99}"
        if only and side != only:
            return "note", f"significantly {side} {base}"
        if near > tolerated:
            return "alarm", f"significantly more than {beyond}"
        if far > tolerated:
            return "warning", f"significantly {side} {base}, may be more than {beyond}"
        return "note", f"significantly {side} {base}, no more than {beyond}"

    return _where_known(grade, unless)


def unusual(note: tuple[float, float], warning: tuple[float, float], unless: Caps = NEVER) -> Rule:
    """For a share that has no fair value: a note where it is significantly outside one range, a warning where
    it is outside a wider one too.
    """

    def grade(one: Estimate, figures: Figures) -> Graded:
        above = one.low > note[1]
        if not above and one.high >= note[0]:
            return "fine", f"not significantly outside {_limit(note[0])} to {_limit(note[1])}"
        side, far = "above" if above else "below", warning[above]
        reason = f"significantly {side} {_limit(note[above])}"
        if one.value > far if above else one.value < far:
            return "warning", f"{reason}, and {side} {_limit(far)}"
        return "note", reason

    return _where_known(grade, unless)


def too_high(
    warning: float, alarm: float | None = None, few: int = 10, shown: bool = False, unless: Caps = NEVER
) -> Rule:
    """For what should be small: an alarm or a warning where it is significantly above; without `alarm`, an
    alarm where it significantly is, and a warning where it only looks so. `low` among the figures is a bound
    that allows for more than the interval does. What has to be `shown` to be small is a note until it is.
    """

    def grade(one: Estimate, figures: Figures) -> Graded:
        low, limit, limit_name = figures.get("low", one.low), *_asked(figures, "tolerated", warning)
        wrong = f"{written(one.value)} wrong: " if shown else ""
        if alarm is not None and low > alarm:
            return "alarm", f"significantly above {_limit(alarm)}"
        if low > limit:
            return "alarm" if alarm is None else "warning", f"{wrong}significantly above {limit_name}"
        if one.value > limit and one.n < few:
            return "fine", f"above {limit_name}, {TOO_FEW}"
        if one.value > limit:
            return "warning" if alarm is None else "note", f"{wrong}above {limit_name}, not significantly"
        if shown and one.high > limit:
            return "note", f"{wrong}not shown to be within {limit_name}"
        return "fine", f"significantly within {limit_name}" if shown else f"not above {limit_name}"

    return _where_known(grade, unless)


def too_low(
    wanted: float, alarm: float | None = None, unit: Unit = "share", few: int = 0, unless: Caps = NEVER
) -> Rule:
    """For what should be large. Without `alarm` an alarm where it significantly is not, a warning where that
    is not shown; with it, an alarm or a warning where it is significantly below; on fewer than `few` none.
    """

    def grade(one: Estimate, figures: Figures) -> Graded:
        limit, limit_name = _asked(figures, "wanted", wanted, unit)
        if one.n < few:
            return "note" if one.value < limit else "fine", TOO_FEW
        if one.high < (limit if alarm is None else alarm):
            return "alarm", f"significantly below {limit_name if alarm is None else _limit(alarm, unit)}"
        if one.high < limit:
            return "warning", f"significantly below {limit_name}"
        if one.low < limit:
            grade: Grade = "warning" if alarm is None else "note" if one.value < limit else "fine"
            return grade, f"not shown to reach {limit_name}"
        return "fine", f"significantly above {limit_name}"

    return _where_known(grade, unless)


def better_than_nothing(few: int) -> Rule:
    """For what a judge is ahead of one that reads nothing: not to be ahead, on `few` prompts, is an alarm."""

    def grade(one: Estimate, figures: Figures) -> Graded:
        if one.low > 0:
            return "fine", "significantly better"
        if one.n < few:
            return "note", TOO_FEW
        return ("alarm", "not better") if one.value <= 0 else ("warning", "not significantly better")

    return _where_known(grade)


def stands_in(sure: float) -> Rule:
    """For the share of humans a judge beats: not to pass says something where the power is high enough."""

    def graded(one: Measure) -> Graded:
        if one.figures["passed"] >= 0:
            return "fine", "as good as at least half of the humans, but for epsilon"
        if one.figures["power"] >= sure:
            return "warning", "does not pass, and a judge as good as the humans would"
        return "note", "does not pass; on so few labels a judge as good as the humans may not either"

    return graded


def wins_beyond_share(tolerated: float, rate: float = 0.0, unless: Caps = NEVER) -> Rule:
    """For the share of wins that marked answers take: an alarm where it is significantly (`low`) above what
    is tolerated, and they significantly (`rate_low`) win more than this part of their matchups with others;
    a warning where that is more than half of them. With no `rate` the share alone decides.
    """
    wins = f"{_limit(tolerated)} of the wins"

    def grade(one: Estimate, figures: Figures) -> Graded:
        low, rate_low = figures["low"], figures["rate_low"]
        if one.value <= tolerated:
            return "note" if one.value > 0 else "fine", f"not above {wins}"
        if low <= tolerated:
            return "note" if rate else "warning", f"above {wins}, but not significantly"
        if not rate or rate_low > rate:
            won = f", with more than {_limit(rate)} of their matchups won" if rate else ""
            return "alarm", f"significantly above {wins}{won}"
        if rate_low > 0.5:
            return "warning", f"significantly above {wins}, with more than 50% of their matchups won"
        return "note", f"significantly above {wins}, but not shown to win more than half of their matchups"

    return _where_known(grade, unless)


def _where_known(grade: Callable[[Estimate, Figures], Graded], unless: Caps = NEVER) -> Rule:
    """Nothing is bad whose interval nobody knows."""

    def graded(one: Measure) -> Graded:
        assert one.estimate is not None
        if one.estimate.n < 2:
            return "note", f"too few {'labels' if one.name.partition('.')[0] in OF_LABELS else 'prompts'}"
        if not (math.isfinite(one.estimate.low) and math.isfinite(one.estimate.high)):
            return "note", "its interval is not known"
        found, reason = grade(one.estimate, one.figures)
        for fact, (most, because) in unless.items():
            if one.figures.get(fact) and WORST_FIRST.index(found) < WORST_FIRST.index(most):
                return most, f"{reason}; {because}"
        return found, reason

    return graded


def _asked(figures: Figures, name: str, usual: float, unit: Unit = "share") -> tuple[float, str]:
    """The limit that was asked for, or else ours, and what it is called."""
    limit = figures.get(name, usual)
    return limit, f"the {_limit(limit, unit)} {'you asked for' if name in figures else name}"


def _limit(limit: float, unit: Unit = "share") -> str:
    """What somebody chose: `10%`, where what was measured is `10.0%`."""
    return written(limit, unit).replace(".0%", "%").replace(".0 points", " points")
