"""What an audit returns, what a reader sees, and how the one becomes the other.

An audit returns a `Measure`: numbers. `findings.py` holds one `Kind` for each name: its sentence, its
threshold, its advice and its chart. `find` puts the two together into a `Finding`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from string import Formatter
from typing import Any, Final, Literal, NamedTuple, get_args

from msgspec import Struct
from msgspec.structs import replace

from ..stats.intervals import Estimate
from .advice import About, Advice

Grade = Literal["alarm", "warning", "note", "fine", "silent"]
"""Worst first. `alarm`: do not train on this before it is mended. `silent`: there was no data to measure it
on, and `advice` says what would make it possible; then n is 0 and there is no value.
"""
Unit = Literal["share", "points", "number", "usd", "seconds"]
"""`points` is a difference of two shares."""
WORST_FIRST: Final[tuple[Grade, ...]] = get_args(Grade)
WRONG: Final[tuple[Grade, ...]] = ("alarm", "warning")
"""What asks for something to be done."""
MOST_LINES: Final = 6
"""In one chart."""


class Point(Struct, frozen=True, omit_defaults=True):
    """One mark of a chart, with the interval around it where there is one."""

    x: float | str
    y: float
    low: float | None = None
    high: float | None = None
    n: int = 0


class Series(Struct, frozen=True, omit_defaults=True):
    name: str
    points: tuple[Point, ...]


class Chart(Struct, frozen=True, omit_defaults=True):
    """What to draw, as data: whoever shows it decides how."""

    kind: Literal["bars", "lines"]
    title: str
    series: tuple[Series, ...]
    x: str = ""
    """What runs along the bottom (or, for bars, what they are about), and what goes up."""
    y: str = ""
    unit: Unit = "share"
    """How y is written."""
    mark: float | None = None
    """A line to compare with, e.g. 0.5, and what it is called."""
    marked: str = ""
    diagonal: bool = False
    """Draw y = x, for confidence against accuracy; `marked` says what lies on it."""


class Measure(Struct, frozen=True):
    """What an audit measured: numbers and names, no sentence."""

    name: str
    """Of a `Kind`, e.g. `position.flip_rate`."""
    about: str = ""
    """A judge, a domain, a policy, a round, "labels"; empty for all of the run."""
    estimate: Estimate | None = None
    """None where there was no data; `missing` says which."""
    figures: Mapping[str, Any] = {}
    """What else the sentence, the threshold and the advice read."""
    examples: tuple[str, ...] = ()
    """Matchups that show it, by id, the most telling first."""
    series: tuple[Series, ...] = ()
    """For a chart of its own."""
    missing: str = ""
    """A key into the kind's `missing`."""


class Finding(Struct, frozen=True):
    """What a reader sees: one number, how sure it is, whether it is bad and why, and what to do about it."""

    name: str
    """What was measured: `position.flip_rate`. A gate names it: `--fail-on position.flip_rate`."""
    about: str = ""
    says: str = ""
    """One sentence with the figures in it, for somebody who has read no documentation."""
    grade: Grade = "note"
    n: int = 0
    """How many independent things it rests on."""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    """The 95% interval."""
    unit: Unit = "share"
    fair: float | None = None
    """The value without this fault, where there is one."""
    advice: str = ""
    chart: Chart | None = None
    examples: tuple[str, ...] = ()
    title: str = ""
    """What it is called: Flip rate."""
    reason: str = ""
    """Why it has its grade: "significantly above the 10% tolerated"."""


class ChartWords(NamedTuple):
    """How a kind is drawn: its measures' own `series`, or without any one bar for each `about`."""

    title: str
    x: str = ""
    y: str = ""
    mark: float | None = None
    marked: str = ""
    kind: Literal["bars", "lines"] = "bars"
    unit: Unit = "share"
    diagonal: bool = False
    together: bool = False
    """Whether the series of all `about` stand in one chart."""


class Missing(NamedTuple):
    says: str
    advice: str | Advice = ""


Graded = tuple[Grade, str]
Rule = Callable[[Measure], Graded]
"""From what was measured to a grade and its reason."""


class Kind(NamedTuple):
    """All words about one kind of measure; see `findings.py`."""

    title: str
    says: str
    """A template: `{judge} flipped {value} of {n:matchup} ({interval})[; {more:%} are ties].` What stands in
    brackets is left out where one of its figures is missing, `[?name|...]` where that figure is false."""
    rule: Rule
    advice: tuple[str | Advice, ...] = ()
    """Given where the grade is wrong, or `advise` is set; `advice_for` in the figures picks one by place."""
    unit: Unit = "share"
    fair: float | None = None
    chart: ChartWords | None = None
    missing: Mapping[str, Missing] = {}


def find(measures: Iterable[Measure], kinds: Mapping[str, Kind], about: About = About()) -> list[Finding]:  # noqa: B008
    """The findings, in the order of the measures; what is missing of several for one reason is said once."""
    found: list[Finding] = []
    missing: dict[tuple[str, ...], tuple[int, list[str]]] = {}
    """What was not measured and why: its place in `found`, and of whom."""
    charts: dict[str, list[tuple[int, Measure]]] = {}
    for one in measures:
        kind = kinds[one.name]
        if one.estimate is None:
            at, names = missing.setdefault((one.name, one.missing, repr(one.figures)), (len(found), []))
            names.append(_name(one.about, about))
            found += [_missing(one, kind, about)] if len(names) == 1 else []
            continue
        if kind.chart and (kind.chart.together or not one.series):
            charts.setdefault(one.name, []).append((len(found), one))
        found.append(_found(one, kind, about))
    for name, several in charts.items():
        # One chart of everybody of whom it was measured, with the worst of them.
        place = min((at for at, _ in several), key=lambda at: (grade_rank(found[at]), -_distance(found[at])))
        chart = _of_all(kinds[name], [one for _, one in several], [found[at] for at, _ in several], about)
        found[place] = replace(found[place], chart=chart)
    for at, (_, *others) in missing.values():
        if others:
            more = [*others[:3], *([f"{len(others) - 3} more"] if len(others) > 3 else [])]
            says = f"{found[at].says} The same goes for {listed(more)}."
            found[at] = replace(found[at], about="", says=says)
    return found


def _found(one: Measure, kind: Kind, about: About) -> Finding:
    estimate = one.estimate
    assert estimate is not None
    value, low, high = map(_finite, estimate[:3])
    known = value is not None and estimate.n > 1
    figures = figures_of(one, kind, about)
    grade, reason = kind.rule(one)
    place = one.figures.get("advice_for")
    steps = kind.advice if place is None else kind.advice[place : place + 1]
    wrong = grade in WRONG or one.figures.get("advise")
    own = kind.chart and not kind.chart.together and one.series
    return Finding(
        name=one.name,
        about=_name(one.about, about),
        says=fill(kind.says, figures),
        grade=grade,
        n=estimate.n,
        value=value,
        low=low if known else None,
        high=high if known else None,
        unit=kind.unit,
        fair=kind.fair,
        advice=_advice(steps, figures, one.about, about) if wrong else "",
        chart=_chart(kind, one.series, figures) if own else None,
        examples=one.examples,
        title=kind.title,
        reason=reason,
    )


def _missing(one: Measure, kind: Kind, about: About) -> Finding:
    words, figures = kind.missing[one.missing], figures_of(one, kind, about)
    says, advice = fill(words.says, figures), _advice((words.advice,), figures, "", about)
    name = _name(one.about, about)
    return Finding(one.name, name, says, "silent", unit=kind.unit, advice=advice, title=kind.title)


def _advice(steps: Iterable[str | Advice], figures: Mapping[str, Any], judge: str, about: About) -> str:
    """Those that the run does not follow yet, one after the other."""
    figures = {**figures, **about.commands}
    all_ = (one if isinstance(one, Advice) else Advice(one) for one in steps)
    texts = (about.step(fill(one.text, figures), judge) for one in all_ if not figures.get(one.unless))
    return "; or ".join(filter(None, texts))


def _of_all(kind: Kind, measures: Sequence[Measure], found: Sequence[Finding], about: About) -> Chart:
    """One chart of everybody: a line each, a bar each, or a bar each for every name of a series."""
    points: dict[str, tuple[Point, ...]] = {}
    by_series = kind.chart is not None and kind.chart.kind == "bars"
    for one in measures:
        for line in one.series:
            name = line.name if by_series else figures_of(one, kind, about)["judge"]
            points[name] = points.get(name, ()) + line.points
    lines = tuple(Series(*pair) for pair in points.items())
    bars = tuple(Point(one.about, one.value or 0.0, one.low, one.high, one.n) for one in found)
    return _chart(kind, lines[:MOST_LINES] or (Series("", bars),), measures[0].figures)


def _chart(kind: Kind, series: tuple[Series, ...], figures: Mapping[str, Any]) -> Chart:
    words = kind.chart
    assert words is not None
    mark = figures.get("mark", words.mark)
    title, x, marked = (fill(text, figures) for text in (words.title, words.x, words.marked))
    marked = marked if mark is not None or words.diagonal else ""
    return Chart(words.kind, title, series, x, words.y, words.unit, mark, marked, words.diagonal)


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def _name(name: str, about: About) -> str:
    return about.names.get(name, name)


def _distance(one: Finding) -> float:
    return abs(one.value - (one.fair or 0.0)) if one.value is not None else 0.0


# Templates.

_CLAUSE: Final = re.compile(r"\[(?:\?(\w+)\|)?([^\[\]]*)\]")
_FIELD: Final = re.compile(r"{(\w+)[^}]*}")


class _Words(Formatter):
    """`{x:%}` a share, `{x:points}` a difference of shares, `{x:+}` signed, `{n:matchup}` a count with its
    noun, `{x:more|less}` by sign.
    """

    def format_field(self, value: Any, spec: str) -> str:
        if isinstance(value, str):
            return value
        if spec == "%":
            return written(value, "share")
        if spec in ("points", "usd", "seconds", "number"):
            return written(value, spec)  # type: ignore[arg-type]
        if "|" in spec:
            more, less = spec.split("|")
            return more if value >= 0 else less
        if re.fullmatch(r"[a-z]{2,}( [a-z]+)*", spec):
            return count(int(value), spec)
        return str(format(value, spec))


def figures_of(one: Measure, kind: Kind, about: About) -> dict[str, Any]:
    """What a template may name: the measure's figures, and `judge`, `value`, `size`, `interval`, `n`."""
    name = _name(one.about, about)
    whose = {"judge": name or "the judge", "about": name}
    if one.about == "labels":
        whose = {"judge": "the labels", "about": "the labels"}
    figures = {**whose, **one.figures}
    if one.estimate is None:
        return figures
    value, low, high, n = one.estimate
    around = between(low, high, kind.unit) if n > 1 else ""
    written_ = {"value": written(value, kind.unit), "size": written(abs(value), kind.unit)}
    return {
        **written_,
        "interval": f"95% interval {around}" if around else None,
        "sign": value,
        "n": n,
        **{key: _name(v, about) if isinstance(v, str) else v for key, v in figures.items()},
    }


def fill(template: str, figures: Mapping[str, Any]) -> str:
    """A template with its figures; a sentence begins with a capital."""

    def clause(found: re.Match[str]) -> str:
        asked, text = found.groups()
        known = all(figures.get(name) is not None for name in _FIELD.findall(text))
        return text if known and (not asked or figures.get(asked)) else ""

    always = {**figures, "interval": figures.get("interval") or "no interval"}
    text = _Words().vformat(_CLAUSE.sub(clause, template), (), always)
    return text[:1].upper() + text[1:] if template.startswith("{") and text.startswith("the ") else text


def written(value: float | None, unit: Unit = "share") -> str:
    """A number as people write it: the same in sentences, charts and tables."""
    if value is None or not math.isfinite(value):
        return "unknown"
    size = abs(value) if unit in ("share", "points") or abs(value) >= 1e-9 else 0.0
    sign = "−" if value < 0 and size >= (5e-4 if unit in ("share", "points") else 1e-9) else ""
    if unit == "share":
        return f"{sign}{size:.1%}"
    if unit == "points":
        return f"{sign}{100 * size:.1f} points"
    if unit == "usd":
        return f"{sign}${_digits(size)}" if 0 < size < 0.01 else f"{sign}${size:,.2f}"
    if unit == "seconds":
        return f"{sign}{size:.1f} s" if size < 100 else f"{sign}{size / 60:.1f} min"
    return sign + _digits(size)


def between(low: float | None, high: float | None, unit: Unit = "share") -> str:
    """An interval: `29.5% to 38.7%`, `−8.3 to −0.4 points`; empty where there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    start = written(low, unit)
    return f"{start.removesuffix(' points')} to {written(high, unit)}"


def figures(one: Finding) -> str:
    """The value of a finding with its interval."""
    around = between(one.low, one.high, one.unit)
    return written(one.value, one.unit) + (f" ({around})" if around else "")


def _digits(size: float) -> str:
    return f"{size:,.0f}" if size >= 1000 else f"{size:.3g}"


def count(n: int, noun: str) -> str:
    """`1,367 matchups`, `1 matchup`."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{n:,} {noun if n == 1 else plural}"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def grade_rank(one: Finding) -> int:
    """The smaller the worse."""
    return WORST_FIRST.index(one.grade)
