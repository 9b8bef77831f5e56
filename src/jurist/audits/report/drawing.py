"""Charts as SVG that grows with the page: `chart` draws what a finding brings, the rest are its parts.

Widths are shares of whatever room there is and letters never grow or shrink with it, so the same drawing
serves a telephone, a desk and paper. What stands in a picture also stands beside it as text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from markupsafe import Markup

from ..finding import Chart, Finding, Point, Series
from .curves import COLOURS, curves, keys
from .scale import Scale, scale_of
from .words import between, brief, shown, tick, written

MOST_ROWS = 40
"""Bars that one chart shows; the table under it has them all."""


NARROWEST = 190
"""Pixels that the numbers under bars may count on, and what a letter takes of them."""
LETTER = 7
_CELL = Markup('<div class="cell"><div>{}</div><div class="value">{}</div></div>')
_ROW = Markup('<div class="line-of"><div class="name">{}</div><div>{}</div></div>')


class Interval(Protocol):
    """A number with its interval."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def chart(what: Chart | None) -> Markup:
    """The figure; nothing at all where there is no point to draw."""
    if what is None:
        return Markup()
    series = [Series(one.name, seen) for one in what.series if (seen := _drawable(one))]
    if not series:
        return Markup()
    named = any(isinstance(point.x, str) for one in series for point in one.points)
    body = _rows(what, series) if what.kind == "bars" or named else curves(what, series)
    return Markup('<figure class="chart {}"><figcaption>{}</figcaption>{}{}</figure>').format(
        what.kind, shown(brief(what.title, 160)), body, _table(what, series)
    )


def bar(value: float, *, of: float = 1.0, kind: str = "") -> Markup:
    """One bar."""
    return _svg(f'<rect class="fill {kind}" width="{_per_cent(value / of)}" height="100%" rx="2"/>')


def interval(share: Interval, *, kind: str = "", mark: float | None = None) -> Markup:
    """A bar with its 95% interval, and a line where chance would be."""
    whole = Scale(0.0, 1.0, ())
    return _svg(_bar(whole, Point("", share.value, share.low, share.high), kind) + _mark(whole, mark))


def strip(found: Finding) -> Markup:
    """Where a finding's number lies, how sure that is, and where it would be without the fault."""
    value, low, high, fair = (getattr(found, name) for name in ("value", "low", "high", "fair"))
    if not all(map(math.isfinite, (value, low, high, fair))):
        return Markup()
    is_share = found.unit == "share" and min(low, fair) >= 0
    scale = Scale(0.0, 1.0, (0.0, 1.0)) if is_share else scale_of([value, low, high, fair], 2)
    base = '<line class="base" x1="0" x2="100%" y1="50%" y2="50%"/>'
    spot = f'<circle class="spot" cx="{_at(scale, value)}" cy="50%" r="5"/>'
    drawn = base + _mark(scale, fair) + _whiskers(scale, low, high) + spot
    at = scale.share(fair)
    ends = [one for one in (scale.ticks[0], scale.ticks[-1]) if abs(scale.share(one) - at) > 0.3]
    named = [_word(scale.share(one), tick(one, found.unit, scale.step)) for one in ends]
    known = tick(fair, "share", 0.01) if found.unit == "share" else written(fair, found.unit)
    named.append(_word(at, f"fair: {known}"))
    return Markup('<div class="strip" aria-hidden="true">{}<div class="axis">{}</div></div>').format(
        _svg(drawn, "dots"), Markup("").join(named)
    )


def line(values: Sequence[float], kind: str = "") -> Markup:
    """Values over steps, from the lowest to the highest there is; 0 is drawn where it lies between."""
    low, high = min(values), max(values)
    tall = (high - low) or 1.0
    across = max(len(values) - 1, 1)
    spots = [(100 * at / across, 38 - 36 * (value - low) / tall) for at, value in enumerate(values)]
    drawn = f'<polyline class="line {kind}" points="{" ".join(f"{x:.2f},{y:.2f}" for x, y in spots)}"/>'
    if low < 0 < high:
        zero = 38 - 36 * (0 - low) / tall
        drawn = f'<line class="zero" x1="0" x2="100" y1="{zero:.2f}" y2="{zero:.2f}"/>{drawn}'
    return _svg(drawn, "curve", ' viewBox="0 0 100 40" preserveAspectRatio="none"')


def _rows(what: Chart, series: Sequence[Series]) -> Markup:
    """A row for each thing compared, and in it a bar or a dot for each series."""
    names = list(dict.fromkeys(str(point.x) for one in series for point in one.points))
    found = {(at, str(point.x)): point for at, one in enumerate(series) for point in one.points}
    spread = [one for point in found.values() for one in (point.y, point.low, point.high) if one is not None]
    scale = scale_of([*spread, *([] if what.mark is None else [what.mark])], 4, zero=what.kind == "bars")
    rows = []
    for name in names[:MOST_ROWS]:
        cells = []
        for at, _ in enumerate(series):
            point = found.get((at, name))
            if point is None:
                continue
            kind = f"s{at % COLOURS}" if len(series) > 1 else ""
            drawn = (_bar if what.kind == "bars" else _dot)(scale, point, kind) + _mark(scale, what.mark)
            cells.append(_CELL.format(_svg(drawn, what.kind), written(point.y, what.unit)))
        rows.append(_ROW.format(shown(brief(name)), Markup("").join(cells)))
    axis = [_word(scale.share(one), text) for one, text in _fitting(scale, what.unit)]
    top = Markup()
    if what.mark is not None:
        called = " ".join(filter(None, (what.marked, written(what.mark, what.unit))))
        top = Markup('<div class="axis over">{}</div>').format(_word(scale.share(what.mark), called))
    more = len(names) - MOST_ROWS
    rest = Markup('<p class="note">{} more in the table.</p>').format(more) if more > 0 else ""
    dense = " many" if len(names) * len(series) > 14 else ""
    return Markup('{}<div class="bars-of{}">{}{}<div class="axis">{}</div></div>{}{}').format(
        keys(series, always=True),
        dense,
        top,
        Markup("").join(rows),
        Markup("").join(axis),
        _said(what.y),
        rest,
    )


def _table(what: Chart, series: Sequence[Series]) -> Markup:
    """All the points as text."""
    lone = len(series) == 1
    counted = any(point.n for one in series for point in one.points)
    sure = any(between(point.low, point.high, what.unit) for one in series for point in one.points)
    heads = [*([] if lone else [""]), what.x or "", what.y or "value"]
    heads += [*(["95% interval"] if sure else []), *(["n"] if counted else [])]
    rows = []
    for one in series:
        for point in one.points:
            x = point.x if isinstance(point.x, str) else f"{point.x:,.6g}"
            cells = [*([] if lone else [one.name]), x, written(point.y, what.unit)]
            cells += [between(point.low, point.high, what.unit)] * sure + [f"{point.n:,}"] * counted
            rows.append(_cells("td", cells))
    return Markup(
        '<details class="numbers"><summary>The numbers</summary><div class="scroll"><table><thead>{}</thead>'
        "<tbody>{}</tbody></table></div></details>"
    ).format(_cells("th", heads), Markup("").join(rows))


def _cells(tag: str, cells: Sequence[str]) -> Markup:
    one = Markup(f"<{tag}>{{}}</{tag}>")
    return Markup("<tr>{}</tr>").format(Markup("").join(one.format(shown(brief(cell))) for cell in cells))


def _drawable(series: Series) -> tuple[Point, ...]:
    """Points that have a place."""
    return tuple(
        point
        for point in series.points
        if math.isfinite(point.y) and (isinstance(point.x, str) or math.isfinite(point.x))
    )


def _bar(scale: Scale, point: Point, kind: str) -> str:
    zero, end = scale.share(0.0), scale.share(point.y)
    left, wide = min(zero, end), max(abs(end - zero), 0.002)
    return (
        f'<rect class="fill {kind}" x="{_per_cent(left)}" width="{_per_cent(wide)}" height="100%" rx="2"/>'
        + (_whiskers(scale, point.low, point.high))
    )


def _dot(scale: Scale, point: Point, kind: str) -> str:
    base = '<line class="base" x1="0" x2="100%" y1="50%" y2="50%"/>'
    spot = f'<circle class="spot {kind}" cx="{_at(scale, point.y)}" cy="50%" r="5"/>'
    return base + _whiskers(scale, point.low, point.high) + spot


def _whiskers(scale: Scale, low: float | None, high: float | None) -> str:
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    ends = (_at(scale, low), _at(scale, high))
    drawn = "".join(f'<line class="width" x1="{at}" x2="{at}" y1="28%" y2="72%"/>' for at in ends)
    return f'<line class="width" x1="{ends[0]}" x2="{ends[1]}" y1="50%" y2="50%"/>{drawn}'


def _mark(scale: Scale, mark: float | None) -> str:
    if mark is None:
        return ""
    at = _at(scale, mark)
    return f'<line class="chance" x1="{at}" x2="{at}" y1="-15%" y2="115%"/>'


def _fitting(scale: Scale, unit: str) -> list[tuple[float, str]]:
    """As many of the axis's numbers as can stand beside each other where it is narrowest."""
    named = [(one, tick(one, unit, scale.step)) for one in scale.ticks]
    wide = LETTER * (2 + max(len(text) for _, text in named))
    every = -(-len(named) * wide // NARROWEST)
    return named if every == 1 else [named[0], named[-1]] if every > 2 else named[::2]


def _word(share: float, text: str) -> Markup:
    """A word under a place; near an edge it leans inward."""
    side = "first" if share < 0.08 else "last" if share > 0.85 else "mid"
    return Markup('<span class="{}" style="left:{}">{}</span>').format(side, _per_cent(share), shown(text))


def _said(text: str) -> Markup:
    return Markup('<p class="axis-name">{}</p>').format(shown(text)) if text else Markup()


def _at(scale: Scale, value: float) -> str:
    return _per_cent(scale.share(value))


def _per_cent(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"


def _svg(drawn: str, kind: str = "bar", more: str = "") -> Markup:
    # Every number was made above; nothing here was written by anybody else.
    kind = "bar" if kind == "bars" else kind
    return Markup(f'<svg class="{kind}"{more} aria-hidden="true">{drawn}</svg>')
