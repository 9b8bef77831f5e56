"""Charts as SVG that grows with the page: bars for what has names, lines over numbers.

Widths are shares of whatever room there is and letters never grow or shrink with it, so the same drawing
serves a telephone, a desk and paper. What stands in a picture also stands below it as a table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from markupsafe import Markup
from msgspec.structs import replace

from ..finding import Chart, Point, Series, Unit, between, written
from .formatting import brief, tick, visible

COLOURS: Final = 6
"""Series with a colour and a name of their own; what more there are is grey."""
MOST_ROWS: Final = 40
"""Bars that one chart shows; the table under it has them all."""
MOST_SPOTS: Final = 25
"""Points of a line that are marked."""
TALL: Final = 200
"""Pixels of a chart of lines; widths are per cent."""
NARROW: Final = 230
LETTER: Final = 7
"""Pixels that an axis has at the least, and that a letter under it takes."""


class Axis(NamedTuple):
    """An axis whose ends are round numbers."""

    low: float
    steps: int
    step: float

    @property
    def ticks(self) -> list[float]:
        return [round(self.low + at * self.step, 12) for at in range(self.steps + 1)]

    def place(self, value: float) -> float:
        """Per cent of the way along, and never beyond the ends."""
        return min(max(100 * (value - self.low) / (self.steps * self.step), 0.0), 100.0)


def axis_of(values: Sequence[float | None], *, zero: bool = False) -> Axis:
    """Up to six steps of 1, 2 or 5 times a power of ten around these values, and around 0 for `zero`."""
    finite = [one for one in values if one is not None and math.isfinite(one)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-12 * max(1.0, abs(high)):
        room = abs(high) / 2 or 1.0
        low, high = (low, low + room) if zero else (low - room, high + room)
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(power * one for one in (1, 2, 5, 10) if high - low <= 4 * power * one * 1.0000001)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Axis(first * step, last - first, step)


def draw_chart(what: Chart | None) -> Markup:
    """The figure; nothing at all where there is no point to draw."""
    series = [Series(one.name, seen) for one in (what.series if what else ()) if (seen := _drawable(one))]
    if what is None or not series:
        return Markup()
    body = _bars(what, series) if what.kind == "bars" else _lines(what, series)
    return Markup('<figure class="chart"><figcaption>{}</figcaption>{}{}{}</figure>').format(
        brief(what.title), _keys(what, series), body, _table(what, series)
    )


def drawn_together(title: str, charts: Sequence[tuple[str, Chart]]) -> Chart | None:
    """One chart for several judges, where each has one of the same kind with one series; of many, the first
    six.
    """
    (_, first), *_ = charts
    alike = {(one.kind, one.y, one.unit, one.diagonal, len(one.series)) for _, one in charts}
    if len(charts) < 2 or len(alike) > 1 or len(first.series) != 1:
        return None
    shown = charts[:COLOURS]
    x = first.x if len({one.x for _, one in shown}) == 1 else ""
    same = len({(one.mark, one.marked) for _, one in shown}) == 1
    series = tuple(Series(name, one.series[0].points) for name, one in shown)
    title = title if len(shown) == len(charts) else f"{title}, {len(shown)} of {len(charts)}"
    mark = first if same else replace(first, mark=None, marked="")
    return replace(mark, title=title, series=series, x=x)


def _drawable(series: Series) -> tuple[Point, ...]:
    """Points that have a place."""
    finite = [one for one in series.points if math.isfinite(one.y)]
    return tuple(one for one in finite if isinstance(one.x, str) or math.isfinite(one.x))


def _interval(point: Point) -> tuple[float, float] | None:
    if point.low is None or point.high is None or not math.isfinite(point.low + point.high):
        return None
    return point.low, point.high


def _names(series: Sequence[Series]) -> list[str]:
    return list(dict.fromkeys(str(point.x) for one in series for point in one.points))


def _keys(what: Chart, series: Sequence[Series]) -> Markup:
    """Which colour is which, and what the other lines are: above the chart, as long as they are."""
    keys: list[tuple[str, str | Markup]] = []
    if len(series) > 1:
        keys += [(_colour(at), brief(one.name or "unnamed")) for at, one in enumerate(series[:COLOURS])]
    if len(series) > COLOURS:
        keys.append(("rest", f"{len(series) - COLOURS} more, in the table"))
    if what.mark is not None:
        keys.append(("mark", f"{what.marked or 'to compare'}: {written(what.mark, what.unit)}"))
    if what.diagonal:
        keys.append(("ideal", (what.mark is None and what.marked) or "as often right as confident"))
    one = Markup('<span><i class="{}"></i>{}</span>')
    shown = _joined([one.format(kind, visible(text)) for kind, text in keys])
    return Markup('<p class="keys">{}</p>').format(shown) if keys else shown


def _colour(at: int) -> str:
    return "rest" if at >= COLOURS else f"s{at}"


def _joined(parts: Iterator[Markup] | Sequence[Markup]) -> Markup:
    return Markup("").join(parts)


def _name(text: str, unit: Unit, kind: str = "") -> Markup:
    """What an axis measures; points are said once, not at every tick."""
    text = ", ".join(filter(None, (text, "points" if unit == "points" and "points" not in text else "")))
    return Markup('<p class="axis-name {}">{}</p>').format(kind, visible(text)) if text else Markup()


def _ticks(axis: Axis, unit: Unit, names: Sequence[str] = ()) -> Markup:
    """As many of the numbers, or names, as stand well beside each other where it is narrowest."""
    texts = names or [tick(one, unit, axis.step) for one in axis.ticks]
    every = math.ceil((LETTER * max(map(len, texts)) + 16) * axis.steps / NARROW)
    word = Markup('<span style="left:{:.2f}%">{}</span>')
    shown = list(zip(axis.ticks, texts, strict=False))[:: max(every, 1)]
    return Markup('<div class="axis{}">{}</div>').format(
        " named" if names else "",
        _joined([word.format(axis.place(one), visible(text)) for one, text in shown]),
    )


# Bars.


def _bars(what: Chart, series: Sequence[Series]) -> Markup:
    """A row for each thing that has a name, and in it a bar for each series."""
    names = _names(series)
    points = {(at, str(point.x)): point for at, one in enumerate(series) for point in one.points}
    spread = [one for point in points.values() for one in (point.y, point.low, point.high)]
    axis = axis_of([*spread, what.mark], zero=True)
    cell = Markup('<div class="cell"><svg class="bar" aria-hidden="true">{}</svg><b>{}</b></div>')
    row = Markup('<div class="line-of"><div class="name">{}</div><div>{}</div></div>')
    rows = []
    for name in names[:MOST_ROWS]:
        here = [(_colour(at), points[at, name]) for at in range(len(series)) if (at, name) in points]
        cells = [cell.format(_bar(axis, p, of, what.mark), written(p.y, what.unit)) for of, p in here]
        rows.append(row.format(brief(name), _joined(cells)))
    widest = max(len(written(point.y, what.unit)) for point in points.values())
    more = len(names) - MOST_ROWS
    return Markup('<div class="bars{}" style="--values:{:.1f}rem">{}{}</div>{}{}').format(
        " many" if len(points) > 14 else "",
        0.54 * widest + 0.4,
        _joined(rows),
        _ticks(axis, what.unit),
        _name(what.y, what.unit),
        Markup('<p class="note">{} more in the table.</p>').format(more) if more > 0 else "",
    )


def _bar(axis: Axis, point: Point, colour: str, mark: float | None) -> Markup:
    zero, end = axis.place(0.0), axis.place(point.y)
    left, wide = min(zero, end), max(abs(end - zero), 0.2)
    parts = [f'<rect class="{colour}" x="{left:.2f}%" width="{wide:.2f}%" height="100%" rx="2"/>']
    if ends := _interval(point):
        low, high = map(axis.place, ends)
        parts.append(_line("width", low, high, "50%", "50%"))
        parts += [_line("width", x, x, "28%", "72%") for x in (low, high)]
    if mark is not None:
        parts.append(_line("mark", axis.place(mark), axis.place(mark), "-15%", "115%"))
    return Markup("".join(parts))  # numbers and our own names only


def _line(kind: str, x1: float, x2: float, y1: str, y2: str) -> str:
    return f'<line class="{kind}" x1="{x1:.2f}%" x2="{x2:.2f}%" y1="{y1}" y2="{y2}"/>'


# Lines.


class Plane(NamedTuple):
    across: Axis
    up: Axis
    names: list[str]
    """What stands along the bottom where that is no number."""

    def x(self, point: Point) -> float:
        """Per cent of the width."""
        return self.across.place(self.names.index(str(point.x)) if self.names else float(point.x))

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return TALL * (1 - self.up.place(value) / 100)


def _lines(what: Chart, series: Sequence[Series]) -> Markup:
    """The plane with its axes, and every series in it."""
    points = [point for one in series for point in one.points]
    names = _names(series) if any(isinstance(point.x, str) for point in points) else []
    across = axis_of([float(one.x) for one in points]) if not names else Axis(0, max(len(names) - 1, 1), 1)
    spread = [one for point in points for one in (point.y, point.low, point.high)]
    plane = Plane(across, axis_of([*spread, what.mark]), names)
    texts = [(one, tick(one, what.unit, plane.up.step)) for one in plane.up.ticks]
    grid = Markup(
        '<line class="grid" x2="100%" y1="{0:.1f}" y2="{0:.1f}"/><text x="-8" y="{0:.1f}" dy="4">{1}</text>'
    )
    drawn = [grid.format(plane.y(one), text) for one, text in texts]
    if what.mark is not None:
        drawn.append(Markup(_line("mark", 0, 100, f"{plane.y(what.mark):.1f}", f"{plane.y(what.mark):.1f}")))
    if what.diagonal:
        ends = [max(plane.across.low, plane.up.low), min(plane.across.ticks[-1], plane.up.ticks[-1])]
        (x1, y1), (x2, y2) = ((plane.across.place(one), plane.y(one)) for one in ends)
        drawn.append(Markup(_line("ideal", x1, x2, f"{y1:.1f}", f"{y2:.1f}")))
    drawn += [_series(plane, one, _colour(at)) for at, one in enumerate(series)]
    frame = Markup(
        '{}<div class="plane" style="--gutter:{:.1f}rem">'
        '<svg class="plot" role="img" aria-label="{}">{}</svg>{}</div>{}'
    )
    return frame.format(
        _name(what.y, what.unit, "up"),
        0.46 * max(len(text) for _, text in texts) + 0.7,
        visible(f"{what.title}. All numbers are in the table below."),
        _joined(drawn),
        _ticks(across, what.unit if what.diagonal else "number", names),
        _name(what.x, "number"),
    )


def _series(plane: Plane, series: Series, colour: str) -> Markup:
    """A band where there are intervals, a line over it, and its points where they are few."""
    points = sorted(series.points, key=plane.x)
    spots = [(plane.x(point), plane.y(point.y)) for point in points]
    ends = [(plane.x(one), *map(plane.y, known)) for one in points if (known := _interval(one))]
    parts = []
    if len(points) > 1:
        edge = [f"{x:.2f},{high:.1f}" for x, _, high in ends]
        edge += [f"{x:.2f},{low:.1f}" for x, low, _ in reversed(ends)]
        band = f'<polygon class="band {colour}" points="{" ".join(edge)}"/>' if len(ends) > 1 else ""
        path = " ".join(f"{x:.2f},{y:.1f}" for x, y in spots)
        parts.append(
            f'<svg viewBox="0 0 100 {TALL}" preserveAspectRatio="none">'
            f'{band}<polyline class="line {colour}" points="{path}"/></svg>'
        )
    else:
        parts += [_line("width", x, x, f"{low:.1f}", f"{high:.1f}") for x, low, high in ends]
    if len(points) <= MOST_SPOTS:
        parts += [f'<circle class="{colour}" cx="{x:.2f}%" cy="{y:.1f}" r="4"/>' for x, y in spots]
    return Markup("".join(parts))  # numbers and our own names only


# The same as text.


def _table(what: Chart, series: Sequence[Series]) -> Markup:
    several = len(series) > 1
    points = [(one.name, point) for one in series for point in one.points]
    counted = any(point.n for _, point in points)
    known = any(between(point.low, point.high) for _, point in points)
    heads = [*([""] if several else []), what.x, what.y or "value"]
    heads += [*(["95% interval"] if known else []), *(["n"] if counted else [])]
    rows = [_row("th", heads)]
    for name, point in points:
        x = point.x if isinstance(point.x, str) else f"{point.x:,.6g}"
        cells = [*([name] if several else []), x, written(point.y, what.unit)]
        cells += [between(point.low, point.high, what.unit)] * known + [f"{point.n:,}"] * counted
        rows.append(_row("td", cells))
    return Markup(
        '<details class="numbers"><summary>The numbers</summary><div class="scroll"><table>{}</table></div>'
        "</details>"
    ).format(_joined(rows))


def _row(tag: str, cells: Sequence[str]) -> Markup:
    one = Markup(f"<{tag}>{{}}</{tag}>")
    return Markup("<tr>{}</tr>").format(_joined([one.format(brief(cell)) for cell in cells]))
