"""Is the longer answer preferred because it is longer?

People prefer the longer of two answers about 65 times in 100, since a longer answer often says more. So a
share above one half accuses nobody: what counts is how much further a judge goes than people do on the same
pairs, and how much of a policy's gain is left between answers of equal length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from ..stats.intervals import EPSILON, NO_DATA, Estimate, clustered_mean, clustered_share, student
from .charts import bars, shown_by
from .finding import Finding, Grade
from .grade import WRONG, graded
from .length_debt import held
from .length_of_gains import gains
from .sheet import Array, Sheet
from .words import JUDGE_THEM, count, measured, percent, points, silent, span

PEOPLE: Final = 0.65
"""How often people prefer the longer of two answers, on pairs of chat models' answers."""
UNUSUAL: Final = 0.1
"""Beyond that, where no person labelled: no set of people's labels known to us goes so far, and judges that
AlpacaEval advises against begin at 70 in 100.
"""
EXCESS: Final = 0.05
"""Over people's on the same pairs: what tells one group of people from another."""
CLOSE: Final = 0.5
"""A correlation beyond which length tells a quarter of what is preferred, and is worth a note."""
DEFENCES: Final = (
    "Tell the judge that length is no merit (--judge.against_length true), take length out of its scores "
    "(--prefer.length_penalty 1), or choose pairs against it (--prefer.rule rho --prefer.rho 0.3)"
)


def length(sheet: Sheet) -> list[Finding]:
    """For each judge and for the labels, next to people; then for what policies gained."""
    longer = np.sign(sheet.longer_by).astype(float)
    if not longer.any():
        said = (
            "No two answers that meet differ in length." if len(sheet.matchups) else "There are no matchups."
        )
        return [silent("length.prefers_longer", said, "Nothing to do: length cannot have been preferred")]
    people = (1 + longer * (2 * sheet.human_p - 1)) / 2
    people[longer == 0] = np.nan
    found = [one for who, matchup, p in _voices(sheet) for one in _of(sheet, who, matchup, p, longer, people)]
    if not found:
        said = "No judge gave a verdict that could be read."
        asked = len(sheet.verdicts) + len(sheet.scores)
        advice = "See why: jurist show RUN --unread" if asked else JUDGE_THEM
        found = [silent("length.prefers_longer", said, advice)]
    return _charted([*_people(sheet, people), *found]) + gains(sheet)


def _voices(sheet: Sheet) -> Iterator[tuple[str, Array, Array]]:
    """Who prefers: every judge, and the labels that come of it; the matchup and p of its first."""
    opinions, labels = sheet.opinions, sheet.labels
    for judge in np.unique(opinions.judge).tolist():
        own = (opinions.judge == judge) & ~np.isnan(opinions.p)
        if own.any():
            yield sheet.judges[judge], opinions.matchup[own], opinions.p[own]
    if len(labels):
        yield "labels", labels.matchup, labels.p


def _people(sheet: Sheet, people: Array) -> list[Finding]:
    told = np.flatnonzero(~np.isnan(people))
    if not len(told):
        return []
    one = clustered_share(people[told], sheet.matchups.prompt[told])
    says = (
        f"People preferred the longer answer {percent(one.value)} of the time ({span(one)}), on "
        f"{count(len(told), 'matchup')}: what a judge's share is to be held against."
    )
    return [measured("length.people_prefer_longer", "people", says, "fine", one)]


def _of(sheet: Sheet, who: str, matchup: Array, p: Array, longer: Array, people: Array) -> Iterator[Finding]:
    side, toward = longer[matchup], np.sign(np.round(p - 0.5, 9)) * longer[matchup]
    decided = toward != 0
    prompt = sheet.matchups.prompt[matchup]
    if not decided.any():
        said = f"The verdicts of {who} are ties wherever the lengths differ."
        yield silent("length.prefers_longer", said, "Ask a judge that decides", who)
        return
    one = clustered_share((toward[decided] > 0).astype(float), prompt[decided])
    says = (
        f"{_name(who)} preferred the longer answer in {percent(one.value)} of "
        f"{count(int(decided.sum()), 'pair')} ({span(one)})"
    )
    both = np.flatnonzero((side != 0) & ~np.isnan(people[matchup]))
    if len(both):
        yield measured("length.prefers_longer", who, says + ".", "fine", one)
        yield _excess(sheet, who, matchup[both], (1 + (2 * p[both] - 1) * side[both]) / 2, people)
    else:
        grade = _unusual(one)
        says += f"; people do so about {100 * PEOPLE:.0f} times in 100, and nobody labelled these pairs."
        if one.high < 0.5:
            says += " Such labels teach to be short."
        advice = "Label some by hand: jurist spotcheck RUN" if grade == "warning" else ""
        if advice and one.value > 0.5:
            advice += f". {DEFENCES}"
        yield measured("length.prefers_longer", who, says, grade, one, advice=advice)
    yield from _correlation(sheet, who, matchup, p, labelled=bool(len(both)))


def _unusual(one: Estimate) -> Grade:
    """Of a share that no person's is beside: what no people known to us do, on either side."""
    if (one.low > PEOPLE and one.value > PEOPLE + UNUSUAL) or one.high < 1 - PEOPLE - UNUSUAL:
        return "warning"
    return "note" if one.high < 0.5 else "fine"


def _excess(sheet: Sheet, who: str, matchup: Array, ours: Array, people: Array) -> Finding:
    """How much further than people on the same pairs, each telling the probability of the longer one."""
    theirs = people[matchup]
    one = clustered_mean(ours - theirs, sheet.matchups.prompt[matchup])
    grade = graded(one.low, one.high, 0.0, EXCESS)
    more = "more" if one.value >= 0 else "less"
    says = (
        f"On the {count(len(matchup), 'pair')} that people labelled too, {_name(who, start=False)} gave the "
        f"longer answer {percent(float(ours.mean()))} and people {percent(float(theirs.mean()))}: "
        f"{points(abs(one.value))} {more} ({span(one)})."
    )
    if grade != "fine" and one.value < 0:
        grade, says = "note", says + " Such labels teach to be short."
    against = np.flatnonzero((ours > 0.5) & (theirs < 0.5))
    widest = against[np.argsort(-np.abs(sheet.longer_by[matchup[against]]), kind="stable")[:5]]
    return measured(
        "length.excess",
        who,
        says,
        grade,
        one,
        0.0,
        advice=DEFENCES if grade in WRONG else "",
        examples=tuple(sheet.matchups.id[row] for row in matchup[widest].tolist()),
    )


def _correlation(sheet: Sheet, who: str, matchup: Array, p: Array, *, labelled: bool) -> list[Finding]:
    """Of preference and length within a prompt: neither has a middle but 0, since a pair has two sides."""
    longer = held(sheet.longer_by[matchup].astype(float))
    one = correlation_through_zero(longer, p - 0.5, sheet.matchups.prompt[matchup])
    if np.isnan(one.value):
        return []
    says = (
        f"Within a prompt, the preferences of {_name(who, start=False)} and the difference in length "
        f"correlate by {one.value:+.2f} (95% interval {one.low:+.2f} to {one.high:+.2f})."
    )
    close = max(one.low, -one.high) > CLOSE and not labelled
    return [measured("length.correlation", who, says, "note" if close else "fine", one, unit="number")]


def correlation_through_zero(xs: Array, ys: Array, clusters: Array, level: float = 0.95) -> Estimate:
    """Pearson's r of two differences, whose mean is 0 because each could be told from the other side.

    The interval is Fisher's, with the spread over clusters.
    """
    if not len(xs) or not xs.any() or not ys.any():
        return NO_DATA
    xx, yy = float(xs @ xs), float(ys @ ys)
    r = max(-1.0, min(1.0, float(xs @ ys) / math.sqrt(xx * yy)))
    # What each cluster does to r, to first order.
    each = xs * ys / math.sqrt(xx * yy) - r / 2 * (xs * xs / xx + ys * ys / yy)
    moved = np.bincount(np.unique(clusters, return_inverse=True)[1], each)
    n = len(moved)
    if n < 3 or 1 - r * r < EPSILON:
        return Estimate(r, -1.0 if n < 3 else r, 1.0 if n < 3 else r, n)
    error = math.sqrt(n / (n - 1) * float(moved @ moved)) / (1 - r * r)
    reach = student(level, n - 1) * error
    return Estimate(r, math.tanh(math.atanh(r) - reach), math.tanh(math.atanh(r) + reach), n)


def _name(who: str, start: bool = True) -> str:
    return who if who != "labels" else "The labels" if start else "the labels"


def _charted(found: list[Finding]) -> list[Finding]:
    """One chart of everybody, with the finding of whoever took the longer answer most often."""
    names = ("length.people_prefer_longer", "length.prefers_longer")
    shares = [one for one in found if one.name in names and one.value is not None]
    theirs = [one for one in shares if one.name == names[1]]
    if not theirs:
        return found
    mark = next((one.value for one in shares if one.name == names[0]), PEOPLE)
    chart = bars(
        "How often the longer answer is preferred",
        "longer preferred",
        shares,
        y="share of decided pairs",
        mark=mark,
        marked="people" if len(shares) > len(theirs) else "people, elsewhere",
    )
    most = max(theirs, key=lambda one: one.value or 0.0)
    return shown_by(most, chart, found)
