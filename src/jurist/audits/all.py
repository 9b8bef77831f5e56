"""Every audit of a sheet, and what they come to: train on these labels or not, why, what to do, and whether a
pipeline may go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from operator import ge, gt, le, lt
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from ..errors import SettingError, nearest
from .advice import About, short_names
from .agreement import agreement
from .alt_test import Annotators
from .attacks import attacks
from .calibration import calibration
from .ceiling import ceiling
from .finding import WRONG, Finding, Grade, Measure, count, figures, find, grade_rank
from .findings import KINDS, SECTIONS
from .length import length
from .overoptimisation import best_of_n
from .position import position
from .reading import reading
from .self_preference import Families, self_preference
from .sheet import Sheet
from .win_rates import length_controlled

HUMAN_AGREEMENT: Final = "agreement.accuracy"
"""What the answer hangs on: without human labels nobody knows whether labels are right."""
LIMIT: Final = re.compile(r"([\w.]+)\s*([<>]=?)\s*(-?[\d.]+(?:e-?\d+)?)\s*(%?)")
COMPARED: Final = {">": gt, ">=": ge, "<": lt, "<=": le}
EVENTS: Final = ("reading.forced", "reading.retries", "reading.uncertain", "reading.human_file")
"""Findings that are only there where something happened."""
GRADES_OF: Final = {"alarm": ("alarm",), "warning": WRONG}
FEW_PROMPTS: Final = 10
"""On fewer prompts nearly everything lies within its interval, so nothing is cleared."""


def audit_sheet(
    sheet: Sheet,
    *,
    families: Families | None = None,
    summary: Mapping[str, Any] | None = None,
    wanted: float | None = None,
    tolerated: float | None = None,
    annotators: Annotators | float = "skilled",
    holds_back: bool = True,
    more: Iterable[Measure] = (),
    about: About = About(),  # noqa: B008
) -> list[Finding]:
    """`families` says which models are related, `summary` is that of the run, `wanted` how often labels must
    agree with humans, `tolerated` the share of wrong labels, `holds_back` whether a domain that falls short
    can be quarantined. `more` was measured elsewhere.
    """
    measures = [
        *reading(sheet, summary),
        *attacks(sheet),
        *position(sheet),
        *length(sheet),
        *length_controlled(sheet),
        *self_preference(sheet, families),
        *agreement(sheet, annotators=annotators, tolerated=tolerated),
        *ceiling(sheet, wanted=wanted, tolerated=tolerated, holds_back=holds_back),
        *calibration(sheet),
        *best_of_n(sheet),
        *more,
    ]
    about = about._replace(names=short_names(sheet.judges))
    return _agreement_first(find(measures, KINDS, about))


def _agreement_first(findings: list[Finding]) -> list[Finding]:
    """Agreement with humans, then by grade; within one, as they came. What to do about several that are wrong
    is said with the worst.
    """
    first, given = human_agreement(findings), set[str]()
    found = sorted(findings, key=lambda one: (one is not first, grade_rank(one)))
    for at, one in enumerate(found):
        if one.grade in WRONG and one.advice in given:
            found[at] = replace(one, advice="")
        given.add(one.advice)
    return found


class Headline(NamedTuple):
    """What a reader takes away."""

    grade: Grade
    answer: str
    """Yes, Not yet or No."""
    reason: str
    agreement: Finding | None
    """With human labels; None where that is not the question, e.g. of a probe."""


class Step(NamedTuple):
    """Something to do, and the findings that ask for it."""

    text: str
    findings: list[Finding]


def headline(findings: Sequence[Finding]) -> Headline:
    """No where something is significantly wrong; not yet where nobody knows; else yes."""
    ordered = sorted(findings, key=place_of)
    agreement = human_agreement(findings)
    measured = [one for one in ordered if one.grade != "silent"]
    silent = [one for one in ordered if one.grade == "silent"]
    spared = _judges_made_up_for(findings, agreement)
    if alarms := [one for one in measured if one.grade == "alarm" and one.about not in spared]:
        return Headline("alarm", "No", _because(alarms[0]), agreement)
    if not measured:
        return Headline("silent", "Not yet", "Nothing could be measured.", agreement)
    most = max(one.n for one in measured)
    if most < FEW_PROMPTS:
        return Headline("silent", "Not yet", f"All of it rests on {count(most, 'prompt')}.", agreement)
    if agreement and (agreement.grade in WRONG or 0 < agreement.n < FEW_PROMPTS):
        return Headline("warning", "Not yet", _because(agreement), agreement)
    unknown = agreement if agreement and agreement.grade == "silent" else None
    if unknown or (agreement is None and silent):
        reason = (unknown or silent[0]).says
        return Headline("silent", "Not yet", f"{reason} {_nothing_wrong(measured)}", agreement)
    humans = "Humans agree with most of these labels. " if agreement else ""
    return Headline("fine", "Yes", humans + _nothing_wrong(measured), agreement)


def human_agreement(findings: Iterable[Finding]) -> Finding | None:
    """Of the labels where there are some, else of the worst judge."""
    named = [one for one in findings if one.name == HUMAN_AGREEMENT]
    return min(named, key=lambda one: (one.about != "labels", grade_rank(one)), default=None)


def steps(findings: Iterable[Finding]) -> list[Step]:
    """What to do about what is wrong, the worst first; nothing twice."""
    ordered = sorted(findings, key=lambda one: (grade_rank(one), place_of(one)))
    unknown = [one for one in ordered if one.name == HUMAN_AGREEMENT and one.grade == "silent"]
    alarms = [one for one in ordered if one.grade == "alarm"]
    given: dict[str, Step] = {}
    found: list[Step] = []
    for one in [*alarms, *unknown, *(one for one in ordered if one.grade == "warning")]:
        new: dict[str, list[str]] = {}
        for part, clauses in parts_of(one.advice):
            if before := next((given[clause] for clause in clauses if clause in given), None):
                before.findings.extend([one] * (one not in before.findings))
            else:
                new[part] = clauses
        if new:
            text = "; or ".join(new)
            found.append(Step(text[:1].upper() + text[1:], [one]))
            given |= {clause: found[-1] for clauses in new.values() for clause in clauses}
    return found


def parts_of(advice: str) -> list[tuple[str, list[str]]]:
    """What may be done instead of each other; two that share a command or its words are the same."""
    parts = advice.split("; or ") if advice else []
    words = [part.partition("`")[0].lower().strip(" :,").split(": ") for part in parts]
    commands = [re.findall(r"`([^`]+)`", part) for part in parts]
    return [(part, [*filter(None, some), *of]) for part, some, of in zip(parts, words, commands, strict=True)]


def place_of(one: Finding) -> int:
    """By section, as on the page."""
    part = one.name.partition(".")[0]
    return list(SECTIONS).index(part) if part in SECTIONS else len(SECTIONS)


def _judges_made_up_for(findings: Iterable[Finding], agreement: Finding | None) -> set[str]:
    """The judges of a jury whose labels are right: it is the labels that are trained on."""
    judges = {one.about for one in findings if one.name == HUMAN_AGREEMENT and one.about != "labels"}
    right = agreement is not None and agreement.about == "labels" and agreement.grade in ("fine", "note")
    return judges if right and len(judges) > 1 else set()


def _because(one: Finding) -> str:
    return f"{one.says} {one.grade.capitalize()}: {one.reason}." if one.reason else one.says


def _nothing_wrong(measured: Sequence[Finding]) -> str:
    alarms, warnings = (sum(one.grade == grade for one in measured) for grade in WRONG)
    if not alarms and not warnings:
        return f"None of the {count(len(measured), 'thing')} measured is wrong."
    judges = f"{count(alarms, 'alarm')} about single judges of the jury" if alarms else ""
    rest = " and ".join(filter(None, (judges, count(warnings, "warning") if warnings else "")))
    are = "is" if alarms + warnings == 1 else "are"
    return f"Nothing is significantly wrong with the labels; below {are} {rest}."


def reasons_to_fail(findings: Sequence[Finding], conditions: Iterable[str]) -> list[str]:
    """A sentence for each condition that is met; what was to be guarded and was not measured meets it too.

    --fail-on alarm                         any finding that is an alarm
    --fail-on warning                       any that is an alarm or a warning
    --fail-on position                      the same, among the findings of that name or of that audit
    --fail-on 'position.flip_rate>0.2'      any of that name with a value above; or <, >= and <=
    """
    return [reason for condition in conditions for reason in _met(findings, condition)]


def _met(findings: Sequence[Finding], condition: str) -> list[str]:
    if grades := GRADES_OF.get(condition):
        if all(one.grade == "silent" for one in findings):
            return [f"{condition}: nothing could be measured"]
        return [f"{condition}: {_called(one)}" for one in findings if one.grade in grades]
    limit = LIMIT.fullmatch(condition.strip())
    name = limit[1] if limit else condition.strip()
    among = [one for one in findings if one.name == name or one.name.partition(".")[0] == name]
    if not among and name not in {*SECTIONS, *KINDS}:
        raise SettingError(nearest("finding", name, {*KINDS, *SECTIONS, *GRADES_OF}))
    if all(one.grade == "silent" for one in among) and name not in EVENTS:
        return [f"{condition}: not measured. {among[0].says if among else ''}".strip()]
    if limit is None:
        return [f"{condition}: {_called(one)}" for one in among if one.grade in GRADES_OF["warning"]]
    bound, beyond = float(limit[3]) / (100 if limit[4] else 1), COMPARED[limit[2]]
    return [
        f"{condition}: {_called(one)} is {figures(one)}"
        for one in among
        if one.value is not None and beyond(one.value, bound)
    ]


def _called(one: Finding) -> str:
    return f"{one.name} of {one.about}" if one.about else one.name
