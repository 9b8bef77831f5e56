"""The audit's one page: train on these labels or not, why, what to do, and every finding.

It needs no script and nothing beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from msgspec import Struct
from msgspec.structs import replace

from ...run import write_whole
from ..all import HUMAN_AGREEMENT, headline, parts_of, place_of, steps
from ..finding import Chart, Finding, between, grade_rank, written
from ..findings import KINDS
from ..read_run import MatchupExample
from . import formatting
from .charts import draw_chart, drawn_together

HERE: Final = Path(__file__).parent
STEPS: Final = 6
SHOWN_ALIKE: Final = 3
"""Findings of one name that are seen at once; of more judges or domains, the rest is opened."""


class Page(Struct, frozen=True):
    """What there is to say."""

    title: str
    source: str
    """The run or the file that was audited."""
    findings: tuple[Finding, ...]
    """In any order."""
    facts: tuple[tuple[str, str], ...] = ()
    """What it is about, in a few words each: `("judge", "openai:gpt-5-mini")`."""
    examples: Mapping[str, MatchupExample] = {}
    """By the id that findings give them."""
    question: str = "Train on these labels?"


class Entry(NamedTuple):
    finding: Finding
    advice: str
    """Where it was not given in this section before."""
    chart: Markup
    examples: list[MatchupExample]


class FindingGroup(NamedTuple):
    """Findings of one name, the worst first: those shown, and those to open."""

    name: str
    shown: list[Entry]
    more: list[Entry]


class Section(NamedTuple):
    key: str
    groups: list[FindingGroup]
    findings: list[Finding]


def write_report(path: Path, page: Page) -> None:
    write_whole(path, render(page).encode(errors="replace"))


def render(page: Page) -> str:
    """The page as one HTML text."""
    measured = [one for one in page.findings if one.grade != "silent"]
    missing: dict[tuple[str, str], list[Finding]] = {}
    for one in page.findings:
        if one.grade == "silent":
            missing.setdefault((one.says, one.advice), []).append(one)
    return (
        templates(HERE)
        .get_template("page.html.jinja")
        .render(
            page=page,
            headline=headline(page.findings),
            steps=steps(page.findings),
            most_steps=STEPS,
            sections=_sections(measured, page.examples),
            missing=missing,
        )
    )


@cache
def templates(*folders: Path) -> Environment:
    """Templates of these folders and of this one, whose style sheet they share."""
    environment = Environment(
        loader=FileSystemLoader([*folders, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=formatting.visible,
    )
    names = ("brief", "excerpt", "with_commands", "opinion", "section", "tally")
    environment.filters |= {name: getattr(formatting, name) for name in names} | {"written": written}
    environment.globals |= {"between": between, "grades": formatting.GRADES}
    return environment


def _sections(measured: Sequence[Finding], examples: Mapping[str, MatchupExample]) -> list[Section]:
    """In the order of the table; in each agreement and the worst first."""
    sections: dict[str, list[Finding]] = {}
    for one in sorted(
        measured, key=lambda one: (place_of(one), one.name != HUMAN_AGREEMENT, grade_rank(one))
    ):
        sections.setdefault(one.name.partition(".")[0], []).append(one)
    return [Section(key, _groups(some, examples), some) for key, some in sections.items()]


def _groups(findings: Sequence[Finding], examples: Mapping[str, MatchupExample]) -> list[FindingGroup]:
    names: dict[str, list[Finding]] = {}
    for one in findings:
        names.setdefault(one.name, []).append(one)
    given: set[str] = set()
    groups = []
    for name, some in names.items():
        some.sort(key=lambda one: (one.about != "labels", grade_rank(one), -_distance(one)))
        charts = [_titled(one.chart, name) for one in some]
        drawn = [(one.about, chart) for one, chart in zip(some, charts, strict=True) if chart]
        alone = drawn[0][1] if len(drawn) == 1 else None
        if drawn and (chart := alone or drawn_together(some[0].title, drawn)):
            charts = [chart, *[None] * (len(some) - 1)]
        entries = []
        for one, chart in zip(some, charts, strict=True):
            opened = [examples[name] for name in one.examples if name in examples]
            parts = parts_of(one.advice)
            advice = "; or ".join(part for part, clauses in parts if given.isdisjoint(clauses))
            given.update(clause for _, clauses in parts for clause in clauses)
            entries.append(Entry(one, advice, draw_chart(chart), opened))
        # One that is left over is not worth opening.
        shown = SHOWN_ALIKE if len(entries) > SHOWN_ALIKE + 1 else len(entries)
        groups.append(FindingGroup(name, entries[:shown], entries[shown:]))
    return groups


def _distance(one: Finding) -> float:
    """From fair, where that is known."""
    return 0.0 if one.value is None or one.fair is None else abs(one.value - one.fair)


def _titled(chart: Chart | None, name: str) -> Chart | None:
    """Series that are called like findings of the same audit get their titles."""
    if chart is None:
        return None
    kinds = [KINDS.get(f"{name.partition('.')[0]}.{one.name}") for one in chart.series]
    named = zip(chart.series, kinds, strict=True)
    return replace(chart, series=tuple(replace(one, name=kind.title) if kind else one for one, kind in named))
