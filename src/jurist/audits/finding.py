"""What an audit says: a finding, and the chart that shows it, as data."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Grade = Literal["alarm", "warning", "note", "fine", "silent"]
"""Worst first. `alarm`: do not train on this before it is mended. `silent`: there was no data to measure it
on, and `advice` says what would make it possible; then n is 0 and there is no value.
"""


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

    kind: Literal["bars", "lines", "dots"]
    title: str
    series: tuple[Series, ...]
    x: str = ""
    """What runs along the bottom (or, for bars, what they are about), and what goes up."""
    y: str = ""
    unit: Literal["share", "number", "usd", "seconds"] = "share"
    """How y is written."""
    mark: float | None = None
    """A line to compare with, e.g. 0.5, and what it is called."""
    marked: str = ""


class Finding(Struct, frozen=True, omit_defaults=True):
    """What an audit says: one number, how sure it is, and what to do about it."""

    name: str
    """What was measured: `position.flip_rate`. A gate names it: `--fail-on position.flip_rate`."""
    about: str = ""
    """Whom or what it is said of: a judge, a domain, a policy, a round; empty for all of the run."""
    says: str = ""
    """One sentence with the figures in it, for somebody who has read no documentation."""
    grade: Grade = "note"
    n: int = 0
    """How many independent things it rests on."""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    """The 95 % interval."""
    unit: Literal["share", "number", "usd", "seconds"] = "share"
    fair: float | None = None
    """The value of a judge without this fault, where there is one."""
    advice: str = ""
    chart: Chart | None = None
    examples: tuple[str, ...] = ()
    """Matchups that show it, by id, the most telling first."""
