"""What humans said, as audits of agreement need it: the last label of each human for each matchup."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from ..stats.intervals import NO_DATA, Estimate, clustered_share
from .sheet import Array, Sheet

WANTED: Final = 0.6
"""Labels wrong with probability e carry (1 - 2e)^2 of what right ones do: at 60% right, a twenty-fifth."""


@dataclass(frozen=True)
class HumanVotes:
    """One row for each human and matchup."""

    who: Array
    item: Array
    """Into the arrays below, one entry for each matchup somebody labelled."""
    side: Array
    """0 for the matchup's first, 1 for a tie, 2 for its second."""
    matchup: Array
    prompt: Array
    mean: Array
    """Of what humans said of it: that its first is better."""
    weight: Array
    """How many matchups of the run it stands for."""

    def __len__(self) -> int:
        return len(self.matchup)

    @cached_property
    def counts(self) -> Array:
        """For each labelled matchup, how many humans said each side."""
        cells = np.bincount(self.item * 3 + self.side, minlength=3 * len(self))
        return cells.reshape(-1, 3)

    def subset(self, rows: Array) -> HumanVotes:
        """As if they had labelled no other matchups."""
        kept = rows[self.item]
        item = (np.cumsum(rows) - 1)[self.item[kept]]
        parts = (self.matchup[rows], self.prompt[rows], self.mean[rows], self.weight[rows])
        return HumanVotes(self.who[kept], item, self.side[kept], *parts)

    @cached_property
    def agreement(self) -> Estimate:
        """How often two humans who labelled the same matchup agree; a tie against a side is half."""
        n = self.counts.sum(axis=1)
        twice = n > 1
        if not twice.any():
            return NO_DATA
        counts, n = self.counts[twice], n[twice]
        pairs = n * (n - 1)
        same = (counts * (agreeing_votes(counts) - 1)).sum(axis=1) / pairs
        return clustered_share(same, self.prompt[twice], weights=pairs * self.weight[twice])

    @property
    def weighted(self) -> bool:
        """Whether the matchups stand for different numbers of others."""
        return bool(len(self) and np.ptp(self.weight) > 0)


@dataclass(frozen=True)
class AgainstHumans:
    """What one judge, or the labels, said of the matchups that humans labelled."""

    name: str
    """The judge; "labels" for the labels."""
    item: Array
    """Into `HumanVotes`."""
    p: Array
    humans: HumanVotes

    def __len__(self) -> int:
        return len(self.item)

    @property
    def prompt(self) -> Array:
        prompt: Array = self.humans.prompt[self.item]
        return prompt

    @property
    def mean(self) -> Array:
        mean: Array = self.humans.mean[self.item]
        return mean

    @property
    def weight(self) -> Array:
        weight: Array = self.humans.weight[self.item]
        return weight

    @cached_property
    def right(self) -> Array:
        """1 where it agrees with humans, 0 where it does not, 1/2 where either calls it a tie."""
        right: Array = 1 - np.abs(sides(self.p) - sides(self.mean)) / 2
        return right

    @cached_property
    def decided(self) -> AgainstHumans:
        """Only where humans are not undecided."""
        return self.subset(self.mean != 0.5)

    def subset(self, rows: Array) -> AgainstHumans:
        return AgainstHumans(self.name, self.item[rows], self.p[rows], self.humans)


def human_votes(sheet: Sheet) -> HumanVotes:
    human = sheet.human
    labelled = np.flatnonzero(~np.isnan(human.p))
    name = human.who[labelled].astype(np.int64) * max(len(sheet.matchups), 1) + human.matchup[labelled]
    # Who labels a matchup again corrects it: of the same name the last row is kept.
    kept = labelled[len(labelled) - 1 - np.unique(name[::-1], return_index=True)[1]]
    matchup, item = np.unique(human.matchup[kept], return_inverse=True)
    n = len(matchup)
    counts = np.maximum(np.bincount(item, minlength=n), 1)
    weight = np.bincount(item, human.weight[kept], minlength=n) / counts
    mean = np.bincount(item, human.p[kept], minlength=n) / counts
    prompt = sheet.matchups.prompt[matchup]
    return HumanVotes(human.who[kept], item, sides(human.p[kept]), matchup, prompt, mean, weight)


def agreeing_votes(counts: Array) -> Array:
    """For each side, how many of these votes are for it; a tie is half a vote for a side, and the reverse."""
    half = counts[:, [1]] / 2
    middle = counts[:, [1]] + (counts[:, [0]] + counts[:, [2]]) / 2
    return np.concatenate([counts[:, [0]] + half, middle, counts[:, [2]] + half], axis=1)


def sides(p: Array) -> Array:
    """0 for the first, 1 for a tie, 2 for the second."""
    which: Array = (1 - np.sign(p - 0.5)).astype(np.int64)
    return which


def judge_against_humans(sheet: Sheet, humans: HumanVotes, judge: int) -> AgainstHumans:
    own = sheet.opinions.judge == judge
    return _against(sheet.judges[judge], sheet.opinions.matchup[own], sheet.opinions.p[own], humans)


def labels_against_humans(sheet: Sheet, humans: HumanVotes) -> AgainstHumans:
    return _against("labels", sheet.labels.matchup, sheet.labels.p, humans)


def run_against_humans(sheet: Sheet, humans: HumanVotes) -> AgainstHumans:
    """What is trained on: the labels, or where none were made yet what the judges say on average."""
    if len(sheet.labels):
        return labels_against_humans(sheet, humans)
    return _against("labels", np.arange(len(sheet.matchups)), sheet.mean_opinion, humans)


def _against(name: str, matchup: Array, p: Array, humans: HumanVotes) -> AgainstHumans:
    if not len(humans):
        return AgainstHumans(name, np.empty(0, dtype=np.int64), np.empty(0), humans)
    place = np.minimum(np.searchsorted(humans.matchup, matchup), len(humans) - 1)
    known = (humans.matchup[place] == matchup) & ~np.isnan(p)
    return AgainstHumans(name, place[known], p[known], humans)
