"""Bars and lines as SVG that grows with the page: numbers stand beside them as text, never inside.

Widths are shares of whatever room there is, so the same drawing serves a telephone and a desk.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ..summary import Share


def bar(value: float, *, of: float = 1.0, kind: str = "") -> Markup:
    """One bar."""
    return _svg(f'<rect class="fill {kind}" width="{_per_cent(value / of)}" height="100%" rx="2"/>', "bar")


def interval(share: Share, *, kind: str = "", mark: float | None = None) -> Markup:
    """A bar with its 95 % interval, and a line where chance would be."""
    low, high = _per_cent(share.low), _per_cent(share.high)
    drawn = [
        f'<rect class="fill {kind}" width="{_per_cent(share.value)}" height="100%" rx="2"/>',
        f'<line class="width" x1="{low}" x2="{high}" y1="50%" y2="50%"/>',
        *(f'<line class="width" x1="{at}" x2="{at}" y1="28%" y2="72%"/>' for at in (low, high)),
    ]
    if mark is not None:
        at = _per_cent(mark)
        drawn.append(f'<line class="chance" x1="{at}" x2="{at}" y1="0" y2="100%"/>')
    return _svg("".join(drawn), "bar")


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


def _per_cent(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"


def _svg(drawn: str, kind: str, more: str = "") -> Markup:
    # Every number was made above; nothing here was written by anybody else.
    return Markup(f'<svg class="{kind}"{more} aria-hidden="true">{drawn}</svg>')
