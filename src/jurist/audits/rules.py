"""Rules: from what was measured to a grade and its reason.

Significance is at 99% where a fair judge should pass several findings at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from msgspec.structs import replace

from .finding import WORST_FIRST, Grade, Graded, Measure, Rule, Unit, written

WIDEN: Final = (2.576 / 1.96 - 1) / 2
"""What a 99% interval adds on each side, in widths of one of 95%."""
TOO_FEW: Final = "too few to tell"
OF_LABELS: Final = ("agreement", "calibration", "ceiling")
"""What human labels are counted for, and not prompts."""


def reported(one: Measure) -> Graded:
    """A number that is not graded."""
    return "fine", "reported, not graded"


Caps = Mapping[str, tuple[Grade, str]]
"""By the name of a figure that is true: as bad as it can be then, and why."""


def _limit(limit: float, unit: Unit = "share") -> str:
    """What somebody chose: `10%`, where what was measured is `10.0%`."""
    return written(limit, unit).replace(".0%", "%").replace(".0 points", " points")


def _where_known(rule: Rule, unless: Caps = MappingProxyType({})) -> Rule:
    """Nothing is bad whose interval nobody knows."""

    def graded(one: Measure) -> Graded:
        assert one.estimate is not None
        _, low, high, n = one.estimate
        if n < 2:
            return "note", f"too few {'labels' if one.name.partition('.')[0] in OF_LABELS else 'prompts'}"
        if not (math.isfinite(low) and math.isfinite(high)):
            return "note", "its interval is not known"
        grade, reason = rule(one)
        for fact, (most, because) in unless.items():
            if one.figures.get(fact) and _badness(grade) > _badness(most):
                return most, f"{reason}; {because}"
        return grade, reason

    return graded


def _badness(grade: Grade) -> int:
    return -WORST_FIRST.index(grade)


def far_from(
    fair: float | None,
    tolerated: float,
    unit: Unit = "share",
    only: Literal["above", "below", ""] = "",
    unless: Caps = MappingProxyType({}),
) -> Rule:
    """Bad where the value is far from fair (None: from the measure's own `fair`). An alarm where it is
    significantly further than tolerated; a warning where it is significantly not fair and may be that far.
    Significance is at 99%: an audit has several findings, and a fair judge should pass them all. With `only`
    the other side is worth no more than a note.
    """

    def rule(one: Measure) -> Graded:
        assert one.estimate is not None
        value, low, high, _ = one.estimate
        at = one.figures["fair"] if fair is None else fair
        limit = one.figures.get("tolerated", tolerated)
        side = "above" if value >= at else "below"
        near, far = max(low - at, at - high, 0.0), max(high - at, at - low)
        base = _limit(at, unit) if at else "zero"
        beyond = f"{_limit(limit, 'points' if unit == 'share' else unit)} {side} {base}"
        if unit == "share" and not at:
            beyond = _limit(limit)
        if near <= WIDEN * (high - low):
            at_99 = " at 99%" if near > 0 else ""
            return "fine", f"not significantly {only or 'different from'} {base}{at_99}"
        if only and side != only:
            return "note", f"significantly {side} {base}"
        if near > limit:
            return "alarm", f"significantly more than {beyond}"
        may = f"may be more than {beyond}" if far > limit else f"no more than {beyond}"
        grade: Grade = "warning" if far > limit else "note"
        return grade, f"significantly {side} {base}, {may}"

    return _where_known(rule, unless)


def unusual(
    note: tuple[float, float],
    warning: tuple[float, float],
    unit: Unit = "share",
    unless: Caps = MappingProxyType({}),
) -> Rule:
    """For what has no fair value: a note where it is significantly outside one range, a warning where it is
    outside a wider one too.
    """

    def rule(one: Measure) -> Graded:
        assert one.estimate is not None
        value, low, high, _ = one.estimate
        above = low > note[1]
        near, far = note[above], warning[above]
        side = "above" if above else "below"
        if (value > far) if above else (value < far and high < near):
            return "warning", f"significantly {side} {_limit(near, unit)}, and {side} {_limit(far, unit)}"
        if above or high < near:
            return "note", f"significantly {side} {_limit(near, unit)}"
        return "fine", f"not significantly outside {_limit(note[0], unit)} to {_limit(note[1], unit)}"

    return _where_known(rule, unless)


def by_facts(facts: Caps, otherwise: str) -> Rule:
    """The grade of the first of these figures that is true."""

    def rule(one: Measure) -> Graded:
        return next((graded for fact, graded in facts.items() if one.figures.get(fact)), ("fine", otherwise))

    return rule


def of(figure: str, rule: Rule, called: str) -> Rule:
    """The same rule for an estimate among the figures."""

    def graded(one: Measure) -> Graded:
        grade, reason = rule(replace(one, estimate=one.figures[figure]))
        return grade, f"{called}: {reason}"

    return graded


def mildest(*rules: Rule) -> Rule:
    """For what must be bad by every one of several rules: the mildest grade, with its reason."""
    return lambda one: min((rule(one) for rule in rules), key=lambda graded: _badness(graded[0]))


def worst_of_all(tolerated: float) -> Rule:
    """For the worst of several groups, which is compared with `overall`, the share in all."""

    def rule(one: Measure) -> Graded:
        assert one.estimate is not None
        low, overall = one.estimate.low, one.figures["overall"]
        if low <= overall:
            return "fine", f"not significantly above the {written(overall)} in all"
        if low <= tolerated:
            return "note", f"significantly above the {written(overall)} in all"
        return (
            "warning",
            f"significantly above the {_limit(tolerated)} tolerated and the {written(overall)} in all",
        )

    return _where_known(rule)


def too_high(
    warning: float,
    alarm: float | None = None,
    unit: Unit = "share",
    few: int = 10,
    unless: Caps = MappingProxyType({}),
) -> Rule:
    """For what should be small: an alarm or a warning where it is significantly above."""

    def rule(one: Measure) -> Graded:
        assert one.estimate is not None
        value, low, _, n = one.estimate
        limit = one.figures.get("tolerated", warning)
        said = "you asked for" if "tolerated" in one.figures else "tolerated"
        if alarm is not None and low > alarm:
            return "alarm", f"significantly above {_limit(alarm, unit)}"
        if low > limit:
            grade: Grade = "warning" if alarm is not None else "alarm"
            return grade, f"significantly above the {_limit(limit, unit)} {said}"
        if value > limit:
            grade = "fine" if n < few else "warning" if alarm is None else "note"
            shown = TOO_FEW if n < few else "not significantly"
            return grade, f"above the {_limit(limit, unit)} {said}, {shown}"
        return "fine", f"not above the {_limit(limit, unit)} {said}"

    return _where_known(rule, unless)


def too_low(
    wanted: float,
    alarm: float | None = None,
    unit: Unit = "share",
    few: int = 0,
    unless: Caps = MappingProxyType({}),
) -> Rule:
    """For what should be large. Without `alarm` an alarm where it significantly is not, a warning where that
    is not shown; with it, an alarm or a warning where it is significantly below; on fewer than `few` none.
    """

    def rule(one: Measure) -> Graded:
        assert one.estimate is not None
        limit = one.figures.get("wanted", wanted)
        said = f"the {_limit(limit, unit)} {'you asked for' if 'wanted' in one.figures else 'wanted'}"
        value, low, high, n = one.estimate
        if n < few:
            return "note" if value < limit else "fine", TOO_FEW
        if high < (limit if alarm is None else alarm):
            return "alarm", f"significantly below {said if alarm is None else _limit(alarm, unit)}"
        if alarm is not None and high < limit:
            return "warning", f"significantly below {said}"
        if low < limit:
            grade: Grade = "warning" if alarm is None else "note" if value < limit else "fine"
            return grade, f"not shown to reach {said}"
        return "fine", f"significantly above {said}"

    return _where_known(rule, unless)


def wins_too_often(tolerated: float) -> Rule:
    """For how often an attack wins: an alarm where its `low`, a bound that allows for all attacks tried, is
    above what is tolerated and what an answer to another prompt wins (`without`).
    """

    def rule(one: Measure) -> Graded:
        assert one.estimate is not None
        value, without = one.estimate.value, one.figures["without"]
        alone = without > tolerated
        limit = "what an unrelated answer wins" if alone else f"the {_limit(tolerated)} tolerated"
        if one.figures["low"] > max(tolerated, without):
            return "alarm", f"significantly above {limit}"
        if value > max(tolerated, without):
            return ("note" if alone else "warning"), f"above {limit}, but not significantly"
        return ("note" if value > 0 else "fine"), f"not above {limit}"

    return rule


def shown_low(tolerated: float, few: int = 10) -> Rule:
    """For what has to be shown to be small: an alarm where it significantly is not, a warning where it looks
    too large; on fewer than `few` neither.
    """

    def rule(one: Measure) -> Graded:
        assert one.estimate is not None
        value, low, high, n = one.estimate
        limit = one.figures.get("tolerated", tolerated)
        said = f"the {_limit(limit)} {'you asked for' if 'tolerated' in one.figures else 'tolerated'}"
        if n < few:
            return "note", TOO_FEW
        if low > limit:
            return "alarm", f"{written(value)} wrong: significantly above {said}"
        if high > limit:
            above = "above" if value > limit else "not shown to be within"
            return "warning" if value > limit else "note", f"{written(value)} wrong: {above} {said}"
        return "fine", f"significantly within {said}"

    return _where_known(rule)


def better_than_nothing(few: int) -> Rule:
    """For what a judge is ahead of one that reads nothing: not to be ahead, on `few` prompts, is an alarm."""

    def rule(one: Measure) -> Graded:
        assert one.estimate is not None
        value, low, _, n = one.estimate
        if low > 0:
            return "fine", "significantly better"
        if n < few:
            return "note", TOO_FEW
        return ("alarm", "not better") if value <= 0 else ("warning", "not significantly better")

    return _where_known(rule)


def stands_in(sure: float) -> Rule:
    """For the share of humans a judge beats: not to pass says something where the power is high enough."""

    def rule(one: Measure) -> Graded:
        if one.figures["passed"] >= 0:
            return "fine", "as good as at least half of the humans, but for epsilon"
        if one.figures["power"] >= sure:
            return "warning", "does not pass, and a judge as good as the humans would"
        return "note", "does not pass; on so few labels a judge as good as the humans may not either"

    return rule


def at_least(wanted: float) -> Rule:
    """For what was counted and has no interval."""

    def rule(one: Measure) -> Graded:
        assert one.estimate is not None
        enough = one.estimate.value >= wanted
        return ("note", "not all") if enough else ("warning", f"below the {written(wanted)} expected")

    return rule


def wins_beyond_share(tolerated: float, rate: float = 0.0, unless: Caps = MappingProxyType({})) -> Rule:
    """For the share of wins that marked answers take: an alarm where it is significantly (`low`) above what
    is tolerated, and they significantly (`rate_low`) win more than this part of their matchups with others;
    a warning where that is more than half of them. With no `rate` the share alone decides.
    """

    def rule(one: Measure) -> Graded:
        assert one.estimate is not None
        value, wins = one.estimate.value, f"{_limit(tolerated)} of the wins"
        low, rate_low = one.figures["low"], one.figures["rate_low"]
        if value <= tolerated:
            return ("note" if value > 0 else "fine"), f"not above {wins}"
        if low <= tolerated:
            return ("note" if rate else "warning"), f"above {wins}, but not significantly"
        if not rate or rate_low > rate:
            return "alarm", f"significantly above {wins}{f', and won above {_limit(rate)}' if rate else ''}"
        if rate_low > 0.5:
            return "warning", f"significantly above {wins}, and won above 50%"
        return "note", f"significantly above {wins}, but no more are won than half of the matchups"

    return _where_known(rule, unless)
