"""What a run says, as columns: one number a row and array, so that a million verdicts fit in 100 MB.

Things are named by their place: `verdicts.matchup[i]` is the row of `matchups` that verdict i is about. A
probability is nan where nothing was read, and is told from the first seat of the matchup as it was given,
whichever way round the judge saw it. Names (judges, domains, policies, people) stand once, in a tuple.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Prompts:
    id: tuple[str, ...]
    domain: Array
    """Into `Sheet.domains`."""
    high: Array
    """Whether a wrong label does harm."""

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True)
class Answers:
    """Completions."""

    prompt: Array
    policy: Array
    """Into `Sheet.policies`."""
    chars: Array
    words: Array
    cut: Array
    """Whether it was cut off."""

    def __len__(self) -> int:
        return len(self.prompt)


@dataclass(frozen=True)
class Matchups:
    id: tuple[str, ...]
    prompt: Array
    first: Array
    second: Array
    """Into `answers`, as given."""

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True)
class Verdicts:
    """What judges said about matchups, one row each."""

    judge: Array
    """Into `Sheet.judges`."""
    matchup: Array
    turned: Array
    """Whether the judge saw the seats exchanged."""
    p: Array
    """That the matchup's first, as given, is better; nan where unread."""
    sample: Array
    unread: Array
    """Into `Sheet.reasons`; 0 where it was read."""
    usd: Array
    seconds: Array

    def __len__(self) -> int:
        return len(self.judge)

    @property
    def seat(self) -> Array:
        """The probability the judge gave to the seat it saw first."""
        return np.where(self.turned, 1 - self.p, self.p)


@dataclass(frozen=True)
class Scores:
    """What judges said about single completions."""

    judge: Array
    answer: Array
    score: Array
    sample: Array
    unread: Array
    usd: Array
    seconds: Array

    def __len__(self) -> int:
        return len(self.judge)


@dataclass(frozen=True)
class Said:
    """What people said about matchups, one row for each person and matchup."""

    who: Array
    """Into `Sheet.people`."""
    matchup: Array
    p: Array
    """1, 0, or 1/2 for a tie, told from the matchup's first; nan where they have not labelled it yet."""
    weight: Array
    """How many matchups of the run this one stands for, where a spot check drew it; else 1."""

    def __len__(self) -> int:
        return len(self.who)


@dataclass(frozen=True)
class Labels:
    """What was decided to train on."""

    matchup: Array
    p: Array
    """That the matchup's first is better."""
    weight: Array

    def __len__(self) -> int:
        return len(self.matchup)


@dataclass(frozen=True)
class Opinions:
    """One row for each judge and matchup: all it said about it, its seats averaged out as labels do it."""

    judge: Array
    matchup: Array
    p: Array
    """That the matchup's first is better; nan where an order that was asked was not read."""
    given: Array
    turned: Array
    """The same from one order alone; nan where that was not asked or not read."""
    pointwise: Array
    """Whether it comes from two scores."""

    def __len__(self) -> int:
        return len(self.judge)

    @property
    def both(self) -> Array:
        """Where both orders were read."""
        return ~np.isnan(self.given) & ~np.isnan(self.turned)

    @property
    def gap(self) -> Array:
        """What the first seat added, summed over the orders: 0 when seats do not matter."""
        return self.given - self.turned
