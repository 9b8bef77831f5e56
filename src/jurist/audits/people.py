"""What people said, as audits of agreement need it: the last word of each person about each matchup."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from ..stats.intervals import NO_DATA, Estimate, clustered_share
from .columns import Array
from .sheet import Sheet

WORTH: Final = 0.6
"""Labels wrong with probability e carry (1 - 2e)^2 of what right ones do: at 60% right, a twenty-fifth."""


@dataclass(frozen=True)
class People:
    """One row for each person and matchup."""

    who: Array
    item: Array
    """Into the arrays below, one entry for each matchup somebody labelled."""
    side: Array
    """0 for the matchup's first, 1 for a tie, 2 for its second."""
    matchup: Array
    prompt: Array
    mean: Array
    """Of what people said of it, told from its first."""
    weight: Array
    """How many matchups of the run it stands for."""

    def __len__(self) -> int:
        return len(self.matchup)

    @cached_property
    def votes(self) -> Array:
        """For each labelled matchup, how many people said each side."""
        cells = np.bincount(self.item * 3 + self.side, minlength=3 * len(self))
        return cells.reshape(-1, 3)

    def only(self, rows: Array) -> People:
        """As if they had labelled no other matchups."""
        kept = rows[self.item]
        item = (np.cumsum(rows) - 1)[self.item[kept]]
        parts = (self.matchup[rows], self.prompt[rows], self.mean[rows], self.weight[rows])
        return People(self.who[kept], item, self.side[kept], *parts)

    @property
    def majority(self) -> Array:
        """The side their mean leans to."""
        return sides(self.mean)

    @cached_property
    def alike(self) -> Estimate:
        """How often two people who labelled the same matchup said the same; a tie against a side is half."""
        n = self.votes.sum(axis=1)
        twice = n > 1
        if not twice.any():
            return NO_DATA
        votes, n = self.votes[twice], n[twice]
        pairs = n * (n - 1)
        same = (votes * (near(votes) - 1)).sum(axis=1) / pairs
        return clustered_share(same, self.prompt[twice], weights=pairs * self.weight[twice])

    @property
    def drawn(self) -> bool:
        """Whether the matchups stand for different numbers of others."""
        return bool(len(self) and np.ptp(self.weight) > 0)


def people_of(sheet: Sheet) -> People:
    said = sheet.said
    told = np.flatnonzero(~np.isnan(said.p))
    name = said.who[told].astype(np.int64) * max(len(sheet.matchups), 1) + said.matchup[told]
    # Who labels a matchup again corrects it: of the same name the last row is kept.
    kept = told[len(told) - 1 - np.unique(name[::-1], return_index=True)[1]]
    matchup, item = np.unique(said.matchup[kept], return_inverse=True)
    n = len(matchup)
    counts = np.maximum(np.bincount(item, minlength=n), 1)
    weight = np.bincount(item, said.weight[kept], minlength=n) / counts
    mean = np.bincount(item, said.p[kept], minlength=n) / counts
    prompt = sheet.matchups.prompt[matchup]
    return People(said.who[kept], item, sides(said.p[kept]), matchup, prompt, mean, weight)


def near(votes: Array) -> Array:
    """For each side, how many of these votes are for it; a tie is half a vote for a side, and the reverse."""
    half = votes[:, [1]] / 2
    middle = votes[:, [1]] + (votes[:, [0]] + votes[:, [2]]) / 2
    return np.concatenate([votes[:, [0]] + half, middle, votes[:, [2]] + half], axis=1)


def sides(p: Array) -> Array:
    """0 for the first, 1 for a tie, 2 for the second."""
    which: Array = (1 - np.sign(p - 0.5)).astype(np.int64)
    return which


@dataclass(frozen=True)
class Heard:
    """What one judge, or the labels, said of the matchups that people labelled."""

    name: str
    item: Array
    """Into `People`."""
    p: Array
    people: People

    def __len__(self) -> int:
        return len(self.item)

    @property
    def prompt(self) -> Array:
        prompt: Array = self.people.prompt[self.item]
        return prompt

    @property
    def mean(self) -> Array:
        mean: Array = self.people.mean[self.item]
        return mean

    @property
    def weight(self) -> Array:
        weight: Array = self.people.weight[self.item]
        return weight

    @cached_property
    def right(self) -> Array:
        """1 where it goes with people, 0 where it goes against them, 1/2 where either calls it a tie."""
        right: Array = 1 - np.abs(sides(self.p) - sides(self.mean)) / 2
        return right

    @property
    def decided(self) -> Array:
        """Where people are not divided in halves."""
        decided: Array = self.mean != 0.5
        return decided

    def only(self, rows: Array) -> Heard:
        return Heard(self.name, self.item[rows], self.p[rows], self.people)


def heard(sheet: Sheet, people: People, judge: int) -> Heard:
    own = sheet.opinions.judge == judge
    return _heard(sheet.judges[judge], sheet.opinions.matchup[own], sheet.opinions.p[own], people)


def heard_labels(sheet: Sheet, people: People) -> Heard:
    return _heard("", sheet.labels.matchup, sheet.labels.p, people)


def heard_run(sheet: Sheet, people: People) -> Heard:
    """What is trained on: the labels, or where none were made yet what the judges say on average."""
    if len(sheet.labels):
        return heard_labels(sheet, people)
    p = mean_opinion(sheet)
    return _heard("", np.arange(len(p)), p, people)


def mean_opinion(sheet: Sheet) -> Array:
    """For each matchup what the judges that were read say on average; nan where none was."""
    p, matchup = sheet.opinions.p, sheet.opinions.matchup
    read = ~np.isnan(p)
    n = len(sheet.matchups)
    counts = np.bincount(matchup[read], minlength=n)
    sums = np.bincount(matchup[read], p[read], minlength=n)
    means: Array = np.divide(sums, counts, out=np.full(n, np.nan), where=counts > 0)
    return means


def _heard(name: str, matchup: Array, p: Array, people: People) -> Heard:
    if not len(people):
        return Heard(name, np.empty(0, dtype=np.int64), np.empty(0), people)
    place = np.minimum(np.searchsorted(people.matchup, matchup), len(people) - 1)
    known = (people.matchup[place] == matchup) & ~np.isnan(p)
    return Heard(name, place[known], p[known], people)
