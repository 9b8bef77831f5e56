"""Whether there was anything to audit: replies nobody could read, judges that decide nothing, people's labels
that are about something else.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ..stats.intervals import Estimate, clustered_share
from .finding import Finding, Grade
from .sheet import Array, Sheet
from .words import JUDGE_THEM, count, measured, percent, silent, span

UNREAD: Final = 0.05
"""Of recorded replies of good judges a reader of ours leaves fewer; gpt-3.5's on PandaLM left 2.5 of 100."""
USELESS: Final = 0.5
TIES: Final = 0.5
"""People call a third of the pairs of MT-Bench a tie (Zheng et al. 2023); more than half decides little."""


def reading(sheet: Sheet) -> list[Finding]:
    """Of each judge, the replies that could not be read and those that decide nothing."""
    judges = range(len(sheet.judges))
    found = [one for judge in judges for one in (_unread(sheet, judge), _ties(sheet, judge)) if one]
    if found:
        return found
    if not len(sheet.matchups):
        said, advice = "There is no matchup here.", "Give pairs of answers, or a run that has some"
    else:
        said, advice = "No judge said anything about these answers.", JUDGE_THEM
    return [silent("reading.unread", said, advice)]


def of_people(human: str, labelled: int, found: int) -> list[Finding]:
    """Whether the labels of a file were about these matchups at all."""
    if human and not labelled:
        says = f"There is no label of people in {human}, so nothing was held against any."
        advice = f"Fill in label (first, second or tie) in the lines of {human}"
        return [Finding("reading.people", "", says, "warning", advice=advice)]
    if not human or labelled == found:
        return []
    lost = labelled - found
    about = f"of the {count(labelled, 'matchup')} labelled in {human}"
    if found:
        says = f"{lost:,} {about} are not in this data; the findings rest on the other {found:,}."
    else:
        says = f"None {about} is in this data, so nothing was held against those labels."
    return [
        Finding(
            "reading.people",
            "",
            says,
            "warning" if not found or lost > found else "note",
            labelled,
            found / labelled,
            advice="A label is found by matchup_id, or by the very same prompt and answers: compare one",
        )
    ]


def _unread(sheet: Sheet, judge: int) -> Finding | None:
    reasons, prompts = [], []
    verdicts, scores = sheet.verdicts, sheet.scores
    for said, about in (
        (verdicts, sheet.matchups.prompt[verdicts.matchup]),
        (scores, sheet.answers.prompt[scores.answer]),
    ):
        own = said.judge == judge
        reasons.append(said.unread[own])
        prompts.append(about[own])
    reason, prompt = np.concatenate(reasons), np.concatenate(prompts)
    if not len(reason):
        return None
    one = clustered_share((reason > 0).astype(float), prompt)
    who, n = sheet.judges[judge], f"{len(reason):,} {'replies' if len(reason) > 1 else 'reply'}"
    if one.value == 1:
        says = f"None of {n} of {who} could be read"
    else:
        says = f"{percent(one.value)} of {n} of {who} could not be read ({span(one)})"
    grade = _grade(one)
    advice = "" if grade == "fine" else "Read some of them: jurist show RUN --unread"
    says += f"{_why(sheet, reason)}."
    return measured("reading.unread", who, says, grade, one, advice=advice)


def _grade(one: Estimate) -> Grade:
    if one.value == 1 or one.low > USELESS:
        return "alarm"
    if one.low > UNREAD:
        return "warning"
    return "fine" if not one.value or one.high <= UNREAD else "note"


def _why(sheet: Sheet, reason: Array) -> str:
    counts = np.bincount(reason, minlength=len(sheet.reasons))
    counts[0] = 0
    most = [(sheet.reasons[row], int(counts[row])) for row in np.argsort(-counts)[:3] if counts[row]]
    return ": " + ", ".join(f"{name} {n:,}" for name, n in most) if most else ""


def _ties(sheet: Sheet, judge: int) -> Finding | None:
    opinions = sheet.opinions
    rows = np.flatnonzero((opinions.judge == judge) & ~np.isnan(opinions.p))
    if not len(rows):
        return None
    one = clustered_share(
        (opinions.p[rows] == 0.5).astype(float), sheet.matchups.prompt[opinions.matchup[rows]]
    )
    who = sheet.judges[judge]
    grade: Grade = "alarm" if one.value == 1 else "warning" if one.low > TIES else "fine"
    each = sheet.verdicts.p[sheet.verdicts.judge == judge]
    # A side in each order, and not the same one, comes to no more than a tie; but it is none.
    torn = bool((each[~np.isnan(each)] != 0.5).any())
    n, rest = count(len(rows), "matchup"), "ties, or the two orders contradict each other" if torn else "ties"
    if one.value == 1:
        what = f"decided none of {n}: {rest}" if torn else f"called every one of {n} a tie"
        says = f"{who} {what}. Nothing can be learnt from it."
    else:
        says = f"{who} decided {percent(1 - one.value)} of {n}"
        says += f"; the rest are {rest}." if one.value else "."
    advice = "" if grade == "fine" else "Ask for probabilities, or ask another judge: --judge ENGINE"
    return measured("reading.ties", who, says, grade, one, advice=advice)
