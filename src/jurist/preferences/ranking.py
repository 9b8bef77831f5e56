"""How good each completion of one prompt is, from what a judge said of its pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import tanh
from statistics import median, quantiles

from msgspec.structs import replace

from ..records import Completion
from ..stats.fits import bradley_terry, logit, sigmoid
from ..verdicts.settle import Opinion

Pair = tuple[str, str]
_EDGE = 0.01  # where certainty is cut off before it becomes log-odds
PULL = 0.1
"""The ridge of the fit: a prior on log-strengths of variance 10, so that who never lost stays in sight."""


def strengths(wins: Mapping[Pair, float], scores: Mapping[str, float]) -> dict[str, float]:
    """Higher is better: the scores when the judge gave scores, else a ranking of the pairs.

    `wins` has the probability that the first of each pair is better. Where everyone met everyone the ranking
    is the mean win probability, which then has the order of a Bradley-Terry fit (Ford 1957); where some pairs
    are missing, it is that fit.
    """
    if scores:
        return dict(scores)
    names = list(dict.fromkeys(name for pair in wins for name in pair))
    if len(wins) == len(names) * (len(names) - 1) // 2:
        total = dict.fromkeys(names, 0.0)
        for (one, other), p in wins.items():
            total[one] += p
            total[other] += 1.0 - p
        return {name: won / (len(names) - 1) for name, won in total.items()}
    both = [row for (one, other), p in wins.items() for row in ((one, other, p), (other, one, 1.0 - p))]
    return bradley_terry(both, PULL)


def length_terms(completions: Sequence[Completion]) -> dict[str, float]:
    """tanh((length - median) / IQR) in characters, among the completions of one prompt.

    The spread is taken as at least a tenth of the median: among answers of nearly one length, a few
    characters are no difference.
    """
    lengths = [len(c.text) for c in completions]
    middle = median(lengths)
    spread = 0.0
    if len(lengths) > 1:
        low, _, high = quantiles(lengths, n=4, method="inclusive")
        spread = high - low
    spread = max(spread, middle / 10, 1.0)
    return {c.id: tanh((len(c.text) - middle) / spread) for c in completions}


def without_length(opinion: Opinion, terms: Mapping[str, float], penalty: float) -> Opinion:
    """An opinion after s - penalty * tanh((length - median) / IQR) of both completions.

    Without scores the log-odds are what is penalised. With scores p keeps its own scale: its log-odds shrink
    or turn in the proportion in which the difference of scores did. p is rounded in any case: told from the
    other seat and back, a float is not quite what it was.
    """
    p = opinion.p_first
    if p is None:
        return opinion
    if not penalty:
        return replace(opinion, p_first=round(p, 9))
    one, other = penalty * terms[opinion.first_id], penalty * terms[opinion.second_id]
    odds = logit(p, _EDGE)
    if opinion.scores is None:
        return replace(opinion, p_first=round(sigmoid(odds - one + other), 9))
    before = opinion.scores[0] - opinion.scores[1]
    after = before - one + other
    turned = sigmoid(odds * after / before) if before else sigmoid(after)
    scores = (opinion.scores[0] - one, opinion.scores[1] - other)
    return replace(opinion, p_first=round(turned, 9), scores=scores)
