"""All that a run says as columns, one number a row: what every audit reads. A million verdicts fit in 100 MB.

Things are named by their row: `verdicts.matchup[i]` is the row of `matchups` that verdict i is about. A
probability is that of the matchup's first completion, whichever way round the judge saw it, and nan where
nothing was read. Names (judges, domains, policies, humans) stand once, in a tuple.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..stats.fits import expit
from ..verdicts.settle import SHARPNESS, ScoreScale

Array = np.ndarray[Any, Any]


def _no_column() -> Array:
    return np.empty(0, dtype=np.int64)


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
    text: Array
    """A hash of its text: the same for texts that differ in case, spacing and punctuation only."""
    core: Array = field(default_factory=_no_column)
    """A hash of most of it; empty, as `marks`, where no text was read."""
    marks: Array = field(default_factory=_no_column)
    """What `texts.read_text` saw in it."""

    def __len__(self) -> int:
        return len(self.prompt)


@dataclass(frozen=True)
class Matchups:
    id: tuple[str, ...]
    prompt: Array
    first: Array
    second: Array
    """Into `answers`, as given."""
    holds: Array = field(default_factory=_no_column)
    """1 where the first answer holds nearly all of the second and more, -1 the reverse, else 0."""

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True)
class Verdicts:
    """What judges said about matchups, one row each."""

    judge: Array
    """Into `Sheet.judges`."""
    matchup: Array
    swapped: Array
    """Whether the judge saw the matchup's second completion first."""
    p: Array
    """That the matchup's first is better; nan where unread."""
    unread: Array
    """Into `Sheet.reasons`; 0 where it was read."""
    usd: Array
    forced: Array
    """Whether a constraint made the model choose a label."""
    label_mass: Array
    """Probability that the model, unconstrained, gave to all labels together; nan where not reported."""

    def __len__(self) -> int:
        return len(self.judge)


@dataclass(frozen=True)
class Scores:
    """What judges said about single completions."""

    judge: Array
    answer: Array
    score: Array
    unread: Array
    usd: Array

    def __len__(self) -> int:
        return len(self.judge)


@dataclass(frozen=True)
class HumanLabels:
    """What humans said about matchups, one row for each human and matchup."""

    who: Array
    """Into `Sheet.humans`."""
    matchup: Array
    p: Array
    """That the matchup's first is better: 1, 0, or 1/2 for a tie; nan where it is not labelled yet."""
    weight: Array
    """How many matchups of the run this one stands for, where a spot check sampled it; else 1."""

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
    """One row for each judge and matchup: what its verdicts come to, the two orders averaged as labels do."""

    judge: Array
    matchup: Array
    p: Array
    """That the matchup's first is better; nan where an order that was asked was not read."""
    p_given: Array
    p_swapped: Array
    """The same from one order alone; nan where that was not asked or not read."""
    pointwise: Array
    """Whether it comes from two scores."""

    def __len__(self) -> int:
        return len(self.judge)

    @property
    def both(self) -> Array:
        """Where both orders were read."""
        return ~np.isnan(self.p_given) & ~np.isnan(self.p_swapped)


@dataclass(frozen=True)
class Sheet:
    prompts: Prompts
    answers: Answers
    matchups: Matchups
    verdicts: Verdicts
    scores: Scores
    labels: Labels
    human: HumanLabels
    domains: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    judges: tuple[str, ...] = ()
    humans: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ("",)
    """Why verdicts are unread; the first is "", read."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Rows that left, by stage and reason."""
    texts: dict[int, str] = field(default_factory=dict)
    """Some of the answers' texts, whole prompts sampled by content: by row of `answers`."""
    scales: Mapping[str, ScoreScale] = field(default_factory=dict)
    """Of judges whose scale of scores is known; of others it is the lowest and the highest that they gave."""
    positions_known: bool = True
    """Whether it is known in which position the judges saw each answer; of anybody's file it may not be."""

    @cached_property
    def opinions(self) -> Opinions:
        scales = {
            self.judges.index(name): scale for name, scale in self.scales.items() if name in self.judges
        }
        return opinions_of(self.verdicts, self.scores, self.matchups, scales)

    @cached_property
    def mean_opinion(self) -> Array:
        """For each matchup the mean of what the judges that were read say; nan where none was."""
        return mean_by(self.opinions.matchup, self.opinions.p, len(self.matchups))

    @cached_property
    def human_p(self) -> Array:
        """For each matchup the mean of what humans said; nan where nobody did."""
        return mean_by(self.human.matchup, self.human.p, len(self.matchups))

    @property
    def judges_with_logprobs(self) -> tuple[str, ...]:
        """Those of which label mass is known."""
        rows = ~np.isnan(self.verdicts.label_mass)
        return tuple(self.judges[code] for code in np.unique(self.verdicts.judge[rows]).tolist())

    @property
    def longer_by(self) -> Array:
        """Characters by which each matchup's first is longer than its second."""
        chars = self.answers.chars
        longer: Array = chars[self.matchups.first] - chars[self.matchups.second]
        return longer


def mean_by(rows: Array, values: Array, n: int) -> Array:
    """For each of n rows the mean of its values that are not nan; nan where it has none."""
    known = ~np.isnan(values)
    counts = np.bincount(rows[known], minlength=n)
    sums = np.bincount(rows[known], values[known], minlength=n)
    means: Array = np.divide(sums, counts, out=np.full(n, np.nan), where=counts > 0)
    return means


def opinions_of(
    verdicts: Verdicts, scores: Scores, matchups: Matchups, scales: Mapping[int, ScoreScale]
) -> Opinions:
    """`verdicts/settle.py` for columns: samples are averaged within an order, the orders with each other; an
    order that was asked and not read leaves no opinion. Two scores are compared on their judge's scale.
    """
    parts = [_of_verdicts(verdicts, max(len(matchups), 1))]
    judges = np.unique(scores.judge).tolist()
    parts += [_of_scores(scores, judge, matchups, scales.get(judge)) for judge in judges]
    names = ("judge", "matchup", "p", "p_given", "p_swapped", "pointwise")
    return Opinions(*(np.concatenate([getattr(one, name) for one in parts]) for name in names))


def _of_verdicts(verdicts: Verdicts, matchups: int) -> Opinions:
    names = verdicts.judge.astype(np.int64) * matchups + verdicts.matchup
    pairs, row = np.unique(names, return_inverse=True)
    p, asked = [], []
    for rows in (~verdicts.swapped, verdicts.swapped):
        p.append(mean_by(row[rows], verdicts.p[rows], len(pairs)))
        asked.append(np.bincount(row[rows], minlength=len(pairs)) > 0)
    both = np.where(asked[0] & asked[1], (p[0] + p[1]) / 2, np.where(asked[0], p[0], p[1]))
    return Opinions(pairs // matchups, pairs % matchups, both, p[0], p[1], np.zeros(len(pairs), dtype=bool))


def _of_scores(scores: Scores, judge: int, matchups: Matchups, scale: ScoreScale | None) -> Opinions:
    """The judge's mean score of each answer; then every matchup of which it was asked to score both."""
    own = scores.judge == judge
    answers = scores.answer[own]
    rows = 1 + max(int(side.max(initial=0)) for side in (answers, matchups.first, matchups.second))
    mean, asked = mean_by(answers, scores.score[own], rows), np.bincount(answers, minlength=rows) > 0
    met = np.flatnonzero(asked[matchups.first] & asked[matchups.second])
    ahead = mean[matchups.first[met]] - mean[matchups.second[met]]
    if scale == "certain":
        p = (1 + np.sign(ahead)) / 2
    elif scale == "logits" or not (span := _span(scale, scores.score[own])):
        p = expit(ahead)
    else:
        p = expit(SHARPNESS * ahead / span)
    nothing = np.full(len(p), np.nan)
    return Opinions(np.full(len(met), judge), met, p, nothing, nothing, np.ones(len(p), dtype=bool))


def _span(scale: Any, scores: Array) -> float:
    """From the lowest score to the highest: of the scale, or where that is not known of those given."""
    known = scores[~np.isnan(scores)]
    low, high = scale or (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    return float(high - low)
