"""The audit's one page: may these labels be trained on, what to do, what was found, what was not measured.

It is whole without its script, which only adds keys. Texts by models and people are escaped, whatever they
hold, and what the eye cannot see in them is named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from msgspec import Struct

from ...run import write_whole
from ..finding import Chart, Finding, Grade
from ..grade import WRONG, rank
from ..read_run import MatchupExample
from . import drawing, words

HERE: Final = Path(__file__).parent
ALIKE: Final = 3
"""Findings of one name that are shown at length; the rest of many judges or domains follow in short."""
STEPS: Final = 5
FEW: Final = 4
"""Findings in short that stand open; more of them are opened by who wants them."""


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
    question: str = "May these labels be trained on?"
    """What the first line answers."""


@dataclass(frozen=True)
class Entry:
    """A finding with what is drawn of it."""

    finding: Finding
    anchor: str
    strip: Markup
    chart: Markup
    examples: Sequence[MatchupExample]


@dataclass(frozen=True)
class Section:
    """All that one audit found: what matters at length, what is like it in short, the rest on demand."""

    audit: str
    title: str
    asks: str
    grade: Grade
    full: Sequence[Entry]
    short: Sequence[Entry]
    rest: Sequence[Entry]

    def repeats(self, one: Finding) -> bool:
        """Whether its advice was given at length."""
        return any(one.advice == other.finding.advice for other in self.full)

    @property
    def more(self) -> list[tuple[Grade, str, int]]:
        return words.counts([one.finding for one in self.rest])

    @property
    def counts(self) -> list[tuple[Grade, str, int]]:
        return words.counts([one.finding for one in (*self.full, *self.short, *self.rest)])


@dataclass(frozen=True)
class Step:
    """Something to do, and the findings that ask for it."""

    advice: str
    entries: Sequence[Entry]


def write_report(path: Path, page: Page) -> None:
    write_whole(path, render(page).encode(errors="replace"))


def render(page: Page) -> str:
    """The page as one HTML text."""
    measured = [one for one in page.findings if one.grade != "silent"]
    silent = [one for one in page.findings if one.grade == "silent"]
    sections = _sections(measured, page.examples)
    grade, short, why = words.answer(page.findings)
    alone = {one.about for one in page.findings if one.about}
    return (
        templates(HERE)
        .get_template("page.html.jinja")
        .render(
            page=page,
            grade=grade,
            short=short,
            why=why,
            counts=words.counts(page.findings),
            grades=words.GRADES,
            sections=sections,
            steps=_steps(sections, silent),
            silent=silent,
            alone=alone.pop() if len(alone) == 1 else "",
        )
    )


@cache
def templates(*folders: Path) -> Environment:
    """Templates of these folders and of this one, whose style sheet and parts they share."""
    room = Environment(
        loader=FileSystemLoader([*folders, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=words.shown,
    )
    room.filters |= {
        "written": words.written,
        "told": words.told,
        "called": words.called,
        "brief": words.brief,
        "excerpt": words.excerpt,
        "asks": lambda name: words.section(name.partition(".")[0])[0],
        "verdict": words.verdict,
    }
    room.globals |= {"between": words.between}
    return room


def _sections(measured: Sequence[Finding], examples: Mapping[str, MatchupExample]) -> list[Section]:
    """By audit, the worst first; a chart that several findings share is drawn once."""
    by_audit: dict[str, list[Finding]] = {}
    for one in sorted(measured, key=rank):
        by_audit.setdefault(one.name.partition(".")[0], []).append(one)
    drawn: set[bytes] = set()
    sections = []
    for place, (audit, findings) in enumerate(by_audit.items()):
        names = list(dict.fromkeys(one.name for one in findings))
        findings.sort(key=lambda one: (rank(one), names.index(one.name), -_far(one)))
        full: list[Finding] = []
        for one in findings:
            before = [other for other in full if other.name == one.name]
            new = len(before) < ALIKE and all(other.advice != one.advice for other in before)
            if new and (one.grade in WRONG or (one.grade == "note" and one.chart is not None)):
                full.append(one)
        short = [one for one in findings if one not in full]
        entries = [
            _entry(one, f"f{place}-{at}-{_slug(one.name)}", examples, drawn)
            for at, one in enumerate((*full, *short))
        ]
        title, asks = words.section(audit)
        sections.append(
            Section(
                audit,
                title,
                asks,
                findings[0].grade,
                entries[: len(full)],
                *_parted(entries[len(full) :]),
            )
        )
    return sections


def _parted(short: list[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Those to show, and those to open: a few need no opening, and what is wrong is never hidden."""
    if len(short) <= FEW:
        return short, []
    shown = [one for one in short if one.finding.grade in WRONG]
    return shown, [one for one in short if one.finding.grade not in WRONG]


def _entry(found: Finding, anchor: str, examples: Mapping[str, MatchupExample], drawn: set[bytes]) -> Entry:
    chart = Markup()
    if found.chart is not None and not _seen(found.chart, drawn):
        chart = drawing.chart(found.chart)
    strip = Markup()
    if not chart and None not in (found.value, found.low, found.high, found.fair):
        strip = drawing.strip(found)
    opened = [examples[name] for name in found.examples if name in examples]
    return Entry(found, anchor, strip, chart, opened)


def _far(one: Finding) -> float:
    """How far from fair: among findings of one name the worst is told at length."""
    return abs(one.value - one.fair) if one.value is not None and one.fair is not None else 0.0


def _seen(chart: Chart, drawn: set[bytes]) -> bool:
    name = msgspec.json.encode(chart)
    if name in drawn:
        return True
    drawn.add(name)
    return False


def _steps(sections: Sequence[Section], silent: Sequence[Finding]) -> list[Step]:
    """What to do about what is wrong, the worst first; where nothing is, what would tell more."""
    entries = [one for section in sections for one in (*section.full, *section.short, *section.rest)]
    entries.sort(key=lambda one: rank(one.finding))
    wrong = [one for one in entries if one.finding.grade in WRONG]
    steps: dict[str, list[Entry]] = {}
    for entry in wrong or [one for one in entries if one.finding.grade == "note"]:
        if entry.finding.advice:
            steps.setdefault(entry.finding.advice, []).append(entry)
    if not wrong:
        for one in silent:
            if one.advice and not one.advice.startswith("Nothing to do"):
                steps.setdefault(one.advice, [])
    return [Step(advice, asked) for advice, asked in list(steps.items())[:STEPS]]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
