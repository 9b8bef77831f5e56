"""Judges beside each other, on the matchups that several of them compared: the one thing about being right
that can be seen without people. Judges that agree may all be wrong; judges that do not cannot all be right.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from ...stats.agreement import alpha_of, alpha_parts, jackknifed
from ..finding import Finding, Grade
from ..sheet import Array, Sheet
from ..words import count, measured

LOTS: Final = 0.1
"""Alpha up to which judges might as well draw lots; 0 is what lots would give."""
FEWEST: Final = 30
"""Prompts, or matchups of one pair of judges, below which little agreement may be bad luck."""
MOST: Final = 20
"""Judges that are held against each other one by one, those that compared the most."""

DRAW: Final = (
    "Find out which of them say what people say, and keep those: jurist spotcheck RUN -n 200 --out spot.jsonl"
)


def among_judges(sheet: Sheet) -> list[Finding]:
    """How far their winners are alike beyond chance, and which two are least alike."""
    judge, matchup, winner = _shared(sheet)
    if not len(matchup):
        return []
    parts = alpha_parts(matchup, winner, "interval")
    # Which answer was given first is nobody's doing: told from either seat, the winners add up to nothing.
    parts[:, 2] = 0.0
    prompts = sheet.matchups.prompt[np.flatnonzero(np.bincount(matchup))]
    # Of clusters it takes the number, not the names.
    n = int((np.bincount(prompts) > 0).sum())
    one = jackknifed(parts, prompts, partial(alpha_of, level="interval"), n)
    if not np.isfinite(one.low):
        return []
    judges = int((np.bincount(judge) > 0).sum())
    says = (
        f"On {count(len(prompts), 'matchup')} that two or more of {judges} judges compared, Krippendorff's "
        f"alpha among their winners is {one.value:.3f} (95% interval {one.low:.3f} to {one.high:.3f}): 1 is "
        "perfect agreement, 0 is what drawing lots would give."
    )
    grade: Grade = "note"
    if n >= FEWEST and one.value < LOTS:
        grade = "alarm" if one.high < LOTS else "warning"
        says += " They might as well draw lots." if grade == "alarm" else " Lots might do as well."
    says += _least_alike(sheet, judge, matchup, winner) if judges > 2 else ""
    advice = "" if grade == "note" else DRAW
    return [measured("agreement.among_judges", "", says, grade, one, 0.0, advice=advice, unit="number")]


def _shared(sheet: Sheet) -> tuple[Array, Array, Array]:
    """Judge, matchup and winner, 1 for its first, -1 for its second, 0 for a tie, where two or more said."""
    said = sheet.opinions
    several = np.bincount(said.matchup[~np.isnan(said.p)], minlength=len(sheet.matchups)) > 1
    rows = np.flatnonzero(several[said.matchup] & ~np.isnan(said.p))
    return said.judge[rows], said.matchup[rows], np.sign(said.p[rows] - 0.5)


def _least_alike(sheet: Sheet, judge: Array, matchup: Array, winner: Array) -> str:
    """The same alpha of every two: what two tables of judges by matchups come to, multiplied."""
    busiest = np.argsort(-np.bincount(judge, minlength=len(sheet.judges)), kind="stable")[:MOST]
    place = np.full(len(sheet.judges), -1)
    place[busiest] = np.arange(len(busiest))
    rows = np.flatnonzero(place[judge] >= 0)
    column = (np.cumsum(np.bincount(matchup) > 0) - 1)[matchup[rows]]
    said, read = np.zeros((2, len(busiest), int(column.max()) + 1), dtype=np.float32)
    said[place[judge[rows]], column], read[place[judge[rows]], column] = winner[rows], 1.0
    sided = said**2 @ read.T
    sided, met = sided + sided.T, read @ read.T
    known = np.triu((met >= FEWEST) & (sided > 0), 1)
    if not known.any():
        return ""
    alike = np.where(known, 2 * (said @ said.T) / np.maximum(sided, 1), np.inf)
    a, b = np.unravel_index(int(alike.argmin()), alike.shape)
    one, other = (sheet.judges[int(busiest[at])] for at in (a, b))
    return (
        f" Least alike are {one} and {other}: {float(alike[a, b]):.3f} on "
        f"{count(int(met[a, b]), 'matchup')} that both compared."
    )
