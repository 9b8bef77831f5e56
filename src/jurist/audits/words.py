"""How audits write their numbers, so that every sentence reads alike."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from ..stats.intervals import Estimate
from .finding import Finding, Grade

JUDGE_THEM: Final = "Judge them: jurist label --pairs FILE --judge ENGINE"
"""The next step where no judge was asked."""
_CODED: Final = re.compile(r"[^:#]+:(.+)#[0-9a-f]{6}")
"""How a judge asks, its engine, and the code of its settings."""


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def points(share: float) -> str:
    """A difference of two shares."""
    return f"{100 * share:.1f} points"


def span(one: Estimate) -> str:
    """The interval of a share."""
    return f"95% interval {100 * one.low:.1f} to {100 * one.high:.1f}"


def count(n: int, noun: str) -> str:
    """`1,367 matchups`, `1 matchup`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def by_engine(findings: Iterable[Finding], judges: Sequence[str]) -> list[Finding]:
    """The same, calling a judge by its engine wherever no other of these has that one: what it asks with and
    the code of its settings stay in `about`.
    """
    engines = {judge: coded[1] if (coded := _CODED.fullmatch(judge)) else judge for judge in judges}
    n = Counter(engines.values())
    short = {judge: engine for judge, engine in engines.items() if judge != engine and n[engine] == 1}
    return [_renamed(one, short) for one in findings] if short else list(findings)


def folded(findings: Iterable[Finding], judges: Sequence[str]) -> list[Finding]:
    """The same, with what could not be measured of several judges for one reason said once."""
    kept: list[Finding] = []
    alike: dict[tuple[str, str, str], list[Finding]] = {}
    for one in findings:
        if one.grade != "silent" or one.about not in judges:
            kept.append(one)
            continue
        group = alike.setdefault((one.name, one.says.replace(one.about, ""), one.advice), [])
        group.append(one)
        if len(group) == 1:
            kept.append(one)
    return [_said_once(one, alike.values()) for one in kept]


def _said_once(one: Finding, alike: Iterable[list[Finding]]) -> Finding:
    others = next((group[1:] for group in alike if group[0] is one), [])
    if not others:
        return one
    names = [other.about for other in others[:3]] + [f"{n} more" for n in [len(others) - 3] if n > 0]
    return replace(one, about="", says=f"{one.says} The same goes for {listed(names)}.")


def _renamed(one: Finding, short: Mapping[str, str]) -> Finding:
    says, advice, title = one.says, one.advice, one.chart.title if one.chart else ""
    for judge, engine in short.items():
        says, advice, title = (text.replace(judge, engine) for text in (says, advice, title))
    return replace(one, says=says, advice=advice, chart=one.chart and replace(one.chart, title=title))


def silent(name: str, says: str, advice: str, about: str = "") -> Finding:
    """There was nothing to measure it on."""
    return Finding(name, about, says, "silent", advice=advice)


def measured(
    name: str, about: str, says: str, grade: Grade, one: Estimate, fair: float | None = None, **more: Any
) -> Finding:
    """A finding of this estimate."""
    return Finding(name, about, says, grade, one.n, one.value, one.low, one.high, fair=fair, **more)
