"""One judge's verdicts, told by the seats: what the position audit counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..stats.intervals import wilson
from .sheet import Array, Sheet

FEWEST = 30
"""Verdicts asked in one order, below which nobody can tell whether their seats were drawn."""


@dataclass(frozen=True)
class Seats:
    """What was read of one judge: a row for each verdict, and one for each matchup read in both orders."""

    judge: str
    matchup: Array
    turned: Array
    p_shown: Array
    """Of the seat that was shown first."""
    both: Array
    """The matchups read in both orders; `given` and `other` are p of their first, told in each order."""
    given: Array
    other: Array
    prompt: Array
    """Of every matchup of the sheet."""

    @property
    def asked(self) -> int:
        """Matchups of which at least one order was read."""
        return len(np.unique(self.matchup))

    @property
    def swapped(self) -> float:
        """The share of them read in both orders."""
        return len(self.both) / max(self.asked, 1)

    @property
    def flipped(self) -> Array:
        """The same seat won both times, so opposite answers."""
        flipped: Array = (self.given - 0.5) * (self.other - 0.5) < 0
        return flipped

    @property
    def gap(self) -> Array:
        """What the first seat added, over both orders."""
        gap: Array = self.given - self.other
        return gap

    @property
    def same(self) -> Array:
        """The same answer won both times, or neither did."""
        same: Array = np.sign(self.given - 0.5) == np.sign(self.other - 0.5)
        return same


def seats_of(sheet: Sheet, judge: int) -> Seats:
    verdicts, opinions = sheet.verdicts, sheet.opinions
    own = (verdicts.judge == judge) & ~np.isnan(verdicts.p)
    turned, p = verdicts.swapped[own], verdicts.p[own]
    both = (opinions.judge == judge) & opinions.both
    return Seats(
        sheet.judges[judge],
        verdicts.matchup[own],
        turned,
        np.where(turned, 1 - p, p),
        opinions.matchup[both],
        opinions.p_given[both],
        opinions.p_swapped[both],
        sheet.matchups.prompt,
    )


def seating_shows(sheet: Sheet, seats: Seats) -> str:
    """What gives away that seats were not drawn: empty when nothing does.

    In a matchup asked once, the first seat wins for what sits there. Only where seats were drawn does that
    cancel, and we see whether they were by what the audit knows of the texts: their lengths, who wrote them,
    and what people said of them.
    """
    answers, matchups = sheet.answers, sheet.matchups
    turned = seats.turned
    first = np.where(turned, matchups.second[seats.matchup], matchups.first[seats.matchup])
    second = np.where(turned, matchups.first[seats.matchup], matchups.second[seats.matchup])
    longer = answers.chars[first] - answers.chars[second]
    truth = sheet.human_p[seats.matchup]
    liked = np.where(turned, 0.5 - truth, truth - 0.5)
    if _lopsided((longer > 0).sum(), (longer < 0).sum()):
        return "the longer answer sits in one seat more often than in the other"
    if _lopsided((liked > 0).sum(), (liked < 0).sum()):
        return "the answer that people prefer sits in one seat more often than in the other"
    one, other = answers.policy[first], answers.policy[second]
    met, policies = one != other, len(sheet.policies)
    ahead, behind = (np.bincount(side[met], minlength=policies) for side in (one, other))
    for name, here, there in zip(sheet.policies, ahead, behind, strict=True):
        if _lopsided(here, there):
            return f"the answers of {name or 'one policy'} sit in one seat more often than in the other"
    return ""


def _lopsided(one: int, other: int) -> bool:
    """Whether one side leads more often than drawing lots would let it, once in ten thousand."""
    low, high = wilson(float(one), float(one + other), 0.9999)
    return one + other >= FEWEST and not low <= 0.5 <= high
