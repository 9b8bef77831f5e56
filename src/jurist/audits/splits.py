"""Where the winner changes with the seats: in which domains, and whether only between close answers."""

from __future__ import annotations

from typing import Final

import numpy as np

from ..stats.intervals import Estimate, clustered_share
from .finding import Chart, Finding, Grade, Point, Series
from .seats import FEWEST, Seats
from .sheet import Array, Sheet
from .words import measured, percent

BINS: Final = 5
"""Of how far apart the answers are, from not at all to surely."""
SURE: Final = 0.05
"""Of 1 from the ends: what counts as a bare winner and not as a probability."""


def by_domain(sheet: Sheet, seats: Seats, tolerated: float) -> list[Finding]:
    """The domain with the most flips, at a level that allows for having looked at all of them."""
    prompt = seats.prompt[seats.both]
    domain, flipped = sheet.prompts.domain[prompt], seats.flipped.astype(float)
    sizes = np.bincount(domain, minlength=len(sheet.domains))
    looked = np.flatnonzero(sizes >= FEWEST).tolist()
    if len(looked) < 2:
        return []
    level = 1 - 0.05 / len(looked)
    found = {
        sheet.domains[one] or "no domain": clustered_share(
            flipped[domain == one], prompt[domain == one], level
        )
        for one in looked
    }
    name, worst = max(found.items(), key=lambda pair: pair[1].value)
    overall = float(flipped.mean())
    says = (
        f"By domain, the winner that {seats.judge} names changes with the seats most often in {name}: "
        f"{percent(worst.value)} of the matchups, against {percent(overall)} in all."
    )
    grade: Grade = "warning" if worst.low > max(tolerated, overall) else "fine"
    if worst.low > overall and grade == "fine":
        grade = "note"
    advice = f"Ask another judge, or people, about {name}" if grade == "warning" else ""
    bars = tuple(Point(one, e.value, e.low, e.high, e.n) for one, e in found.items())
    chart = Chart(
        "bars",
        f"Flips of {seats.judge} by domain",
        (Series("flips", bars),),
        y="share of matchups",
        mark=overall,
        marked="all",
    )
    return [measured("position.by_domain", seats.judge, says, grade, worst, advice=advice, chart=chart)]


def by_margin(sheet: Sheet, seats: Seats) -> list[Finding]:
    """Flips against how far apart the answers are to somebody else, or to the judge where it says."""
    apart, whose = _margin(sheet, seats)
    told = ~np.isnan(apart)
    if told.sum() < FEWEST:
        return []
    prompt, flipped = seats.prompt[seats.both][told], seats.flipped[told].astype(float)
    bins = np.minimum((apart[told] * BINS).astype(int), BINS - 1)
    found: dict[int, Estimate] = {
        one: clustered_share(flipped[bins == one], prompt[bins == one]) for one in np.unique(bins).tolist()
    }
    if len(found) < 2:
        return []
    near, far = found[min(found)], found[max(found)]
    says = (
        f"Where the two answers are closest to {whose}, the winner that {seats.judge} names changed with the "
        f"seats in {percent(near.value)}; where they are furthest apart, in {percent(far.value)}."
    )
    line = tuple(Point((one + 0.5) / BINS, e.value, e.low, e.high, e.n) for one, e in sorted(found.items()))
    chart = Chart(
        "lines",
        f"Flips of {seats.judge} by how far apart the answers are",
        (Series("flips", line),),
        x=f"how far apart the answers are to {whose}, |2p - 1|",
        y="share of matchups",
    )
    return [measured("position.by_margin", seats.judge, says, "fine", near, chart=chart)]


def _margin(sheet: Sheet, seats: Seats) -> tuple[Array, str]:
    """|2p - 1| of each matchup read in both orders, by whoever is not the judge itself if there is anybody:
    its own margin is small wherever it flipped, by arithmetic.
    """
    opinions, n = sheet.opinions, len(sheet.matchups)
    others = ~np.isnan(opinions.p) & (opinions.judge != sheet.judges.index(seats.judge))
    counts = np.bincount(opinions.matchup[others], minlength=n)[seats.both]
    if (counts > 0).sum() >= FEWEST:
        sums = np.bincount(opinions.matchup[others], opinions.p[others], minlength=n)[seats.both]
        mean = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
        return np.abs(2 * mean - 1), "the other judges"
    people = np.bincount(sheet.human.matchup, minlength=n)[seats.both]
    if (people > 1).sum() >= FEWEST:
        return np.where(people > 1, np.abs(2 * sheet.human_p[seats.both] - 1), np.nan), "people"
    bare = (np.abs(seats.given - 0.5) > 0.5 - SURE) | (seats.given == 0.5)
    own = np.abs(seats.given + seats.other - 1)
    return np.where(2 * bare.sum() > len(bare), np.nan, own), "itself"
