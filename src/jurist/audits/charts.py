"""Charts of everybody of whom the same was measured, and which finding shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from .finding import Chart, Finding, Point, Series


def bars(title: str, name: str, told: Iterable[Finding], **more: Any) -> Chart:
    """A bar for each finding, under the name of whom it is said of."""
    points = tuple(Point(one.about, one.value or 0.0, one.low, one.high, one.n) for one in told)
    return Chart("bars", title, (Series(name, points),), **more)


def shown_by(chosen: Finding, chart: Chart, found: Sequence[Finding]) -> list[Finding]:
    """The same findings; this one has the chart."""
    return [replace(one, chart=chart) if one is chosen else one for one in found]
