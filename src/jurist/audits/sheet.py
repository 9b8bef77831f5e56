"""All that a run says, as columns; what every audit reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .columns import Answers, Array, Labels, Matchups, Opinions, Prompts, Said, Scores, Verdicts
from .opinions import opinions_of

__all__ = [
    "Answers",
    "Array",
    "Labels",
    "Matchups",
    "Opinions",
    "Prompts",
    "Said",
    "Scores",
    "Sheet",
    "Verdicts",
]


@dataclass(frozen=True)
class Sheet:
    prompts: Prompts
    answers: Answers
    matchups: Matchups
    verdicts: Verdicts
    scores: Scores
    labels: Labels
    said: Said
    domains: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    judges: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ("",)
    dropped: dict[str, int] = field(default_factory=dict)
    """Rows that left, by stage and reason."""
    texts: dict[int, str] = field(default_factory=dict)
    """Some of the answers' texts, whole prompts drawn by content: by row of `answers`."""

    seated: bool = True
    """Whether it is known in which seat the judges saw each answer; of anybody's file it may not be."""

    @cached_property
    def opinions(self) -> Opinions:
        return opinions_of(self.verdicts, self.scores, self.matchups)

    @cached_property
    def truth(self) -> Array:
        """For each matchup the mean of what people said, told from its first; nan where nobody did."""
        told = ~np.isnan(self.said.p)
        rows, n = self.said.matchup[told], len(self.matchups)
        counts = np.bincount(rows, minlength=n)
        sums = np.bincount(rows, self.said.p[told], minlength=n)
        told_by_somebody: Array = np.divide(sums, counts, out=np.full(n, np.nan), where=counts > 0)
        return told_by_somebody

    @property
    def longer_by(self) -> Array:
        """Characters by which each matchup's first is longer than its second."""
        chars = self.answers.chars
        longer: Array = chars[self.matchups.first] - chars[self.matchups.second]
        return longer
