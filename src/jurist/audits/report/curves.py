"""Lines with bands, and dots in a plane. Heights are in pixels, widths in shares of the room there is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from ..finding import Chart, Point, Series
from .scale import Scale, scale_of
from .words import shown, tick, written

TALL: Final = 220
"""Pixels."""
APART: Final = 15
"""Between two labels at the ends of lines."""
COLOURS: Final = 6
"""Lines with a colour and a name of their own; what more there are is grey."""
_SHORT: Final = 22


def curves(what: Chart, series: Sequence[Series]) -> Markup:
    """The plane with its axes; every series drawn and named."""
    points = [point for one in series for point in one.points]
    names = list(dict.fromkeys(str(point.x) for point in points if isinstance(point.x, str)))
    across = _across(points, names)
    spread = [one for p in points for one in (p.y, p.low, p.high) if one is not None]
    up = scale_of([*spread, *([] if what.mark is None else [what.mark])], 4)
    plane = _Plane(across, up, names)
    drawn = [
        _grid(plane, what),
        *(_series(plane, what, one, at, len(series)) for at, one in enumerate(series)),
    ]
    several = len(series) > 1
    label = f"{what.title}. {_told(what, series)}"
    return Markup(
        '{keys}<p class="axis-name up">{y}</p><div class="plane"{room}>'
        '<svg class="plot" height="{tall}" role="img" aria-label="{label}">{drawn}</svg>'
        '<div class="axis">{ticks}</div></div><p class="axis-name">{x}</p>'
    ).format(
        keys=keys(series),
        y=shown(what.y),
        room=_room_at_ends(series) if several else "",
        tall=TALL,
        label=shown(label),
        drawn=Markup("").join([*drawn, _ends(plane, series) if several else ""]),
        ticks=_ticks(plane),
        x=shown(what.x),
    )


class _Plane:
    """Where a point goes."""

    def __init__(self, across: Scale, up: Scale, names: list[str]) -> None:
        self.across, self.up, self.names = across, up, names
        self._places = {name: place for place, name in enumerate(names)}

    def x(self, point: Point) -> float:
        """Per cent of the width."""
        value = self._places[str(point.x)] if isinstance(point.x, str) else point.x
        return 100 * self.across.share(value)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return TALL * (1 - self.up.share(value))


def _across(points: Sequence[Point], names: list[str]) -> Scale:
    if names:
        return Scale(-0.5, len(names) - 0.5, tuple(float(at) for at in range(len(names))))
    return scale_of([float(point.x) for point in points], 5)


def _grid(plane: _Plane, what: Chart) -> Markup:
    parts = []
    for one in plane.up.ticks:
        y = plane.y(one)
        parts.append(
            Markup(
                '<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
                '<text class="tick" x="-8" y="{y:.1f}" dy="4" text-anchor="end">{text}</text>'
            ).format(y=y, text=tick(one, what.unit, plane.up.step))
        )
    if what.mark is not None:
        y = plane.y(what.mark)
        parts.append(Markup('<line class="chance" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>').format(y=y))
        if what.marked:
            left = _room(plane, what, 0) >= _room(plane, what, 60)
            side = Markup('x="4"' if left else 'x="100%" dx="-4" text-anchor="end"')
            parts.append(
                Markup('<text class="tick marked" {side} y="{y:.1f}" dy="{dy}">{text}</text>').format(
                    side=side, y=y, dy=-5 if y > 20 else 14, text=shown(what.marked)
                )
            )
    return Markup("").join(parts)


def _room(plane: _Plane, what: Chart, start: float) -> float:
    """How near the mark anything is drawn in the part of the width that starts here."""
    near = [
        abs(point.y - (what.mark or 0.0))
        for one in what.series
        for point in one.points
        if start <= plane.x(point) <= start + 40
    ]
    return min(near, default=math.inf)


def _series(plane: _Plane, what: Chart, one: Series, at: int, of: int) -> Markup:
    """A band where there are intervals, a line or dots over it."""
    kind = _kind(at, of)
    points = sorted(one.points, key=plane.x) if what.kind == "lines" else list(one.points)
    spots = [(plane.x(point), plane.y(point.y)) for point in points]
    sure = [
        (plane.x(p), plane.y(p.low), plane.y(p.high))
        for p in points
        if p.low is not None and p.high is not None
    ]
    parts = []
    if what.kind == "lines" and len(points) > 1:
        band = ""
        if len(sure) > 1:
            edge = [f"{x:.2f},{high:.1f}" for x, _, high in sure]
            edge += [f"{x:.2f},{low:.1f}" for x, low, _ in reversed(sure)]
            band = f'<polygon class="band {kind}" points="{" ".join(edge)}"/>'
        path = " ".join(f"{x:.2f},{y:.1f}" for x, y in spots)
        parts.append(
            f'<svg class="inner" height="{TALL}" viewBox="0 0 100 {TALL}" preserveAspectRatio="none">'
            f'{band}<polyline class="line {kind}" points="{path}"/></svg>'
        )
    elif sure:
        parts += [
            f'<line class="whisker {kind}" x1="{x:.2f}%" x2="{x:.2f}%" y1="{low:.1f}" y2="{high:.1f}"/>'
            for x, low, high in sure
        ]
    if len(points) <= 25:
        radius = 4 if len(points) <= 60 else 2.5
        parts += [f'<circle class="spot {kind}" cx="{x:.2f}%" cy="{y:.1f}" r="{radius}"/>' for x, y in spots]
    return Markup("".join(parts))  # numbers and our own names only


def _ends(plane: _Plane, series: Sequence[Series]) -> Markup:
    """Names at the ends of lines, moved apart where they would stand on each other: for wide pages."""
    last = [(plane.y(max(one.points, key=plane.x).y), at) for at, one in enumerate(series[:COLOURS])]
    last.sort()
    places: list[float] = []
    for y, _ in last:
        places.append(max(y, places[-1] + APART) if places else max(y, 6.0))
    over = max(0.0, places[-1] - (TALL - 2))
    for back in range(len(places) - 1, -1, -1):
        limit = places[back + 1] - APART if back + 1 < len(places) else places[back] - over
        places[back] = min(places[back], limit)
    parts = [
        Markup('<text class="end {kind}" x="100%" dx="10" y="{y:.1f}" dy="4">{text}</text>').format(
            kind=_kind(at, len(series)), y=place, text=_short(series[at].name)
        )
        for place, (_, at) in zip(places, last, strict=True)
    ]
    return Markup("").join(parts)


def _room_at_ends(series: Sequence[Series]) -> Markup:
    longest = max(len(_short(one.name)) for one in series[:COLOURS])
    return Markup(' style="--ends:{:.1f}rem"').format(1.2 + 0.45 * longest)


def keys(series: Sequence[Series], *, always: bool = False) -> Markup:
    """Which colour is which, where there are several: for lines only where there is no room at their ends."""
    if len(series) < 2:
        return Markup()
    named = series if always else series[:COLOURS]
    words = [
        Markup('<span><i class="key s{}"></i>{}</span>').format(at % COLOURS, shown(one.name) or "unnamed")
        for at, one in enumerate(named)
    ]
    more = len(series) - len(named)
    if more:
        words.append(Markup('<span><i class="key rest"></i>{} more, in the table</span>').format(more))
    narrow = "" if always or more else " narrow"
    return Markup('<p class="keys{}">{}</p>').format(narrow, Markup(" ").join(words))


def _kind(at: int, of: int) -> str:
    return "rest" if at >= COLOURS else f"s{at}" if of > 1 else ""


def _ticks(plane: _Plane) -> Markup:
    """Along the bottom; of many names only some, and the last always."""
    ticks = plane.across.ticks
    every = -(-len(ticks) // 6)
    parts = []
    for at, one in enumerate(ticks):
        if (at % every and at != len(ticks) - 1) or 0 < len(ticks) - 1 - at < every:
            continue
        share = plane.across.share(one)
        side = "first" if share < 0.04 else "last" if share > 0.96 else "mid"
        text = _short(plane.names[at]) if plane.names else tick(one, "number", plane.across.step)
        parts.append(
            Markup('<span class="{}" style="left:{:.2f}%">{}</span>').format(side, 100 * share, shown(text))
        )
    return Markup("").join(parts)


def _told(what: Chart, series: Sequence[Series]) -> str:
    """What the picture shows, for who cannot see it."""
    parts = []
    for one in series[:COLOURS]:
        first, last = one.points[0], one.points[-1]
        ends = f"{written(first.y, what.unit)} at {first.x}"
        ends += f" to {written(last.y, what.unit)} at {last.x}" if len(one.points) > 1 else ""
        parts.append(f"{one.name}: {ends}" if one.name else ends)
    return f"{'; '.join(parts)}. All numbers are in the table below."


def _short(name: str) -> str:
    clean = str(shown(name))
    return clean if len(clean) <= _SHORT else f"{clean[: _SHORT - 1]}…"
