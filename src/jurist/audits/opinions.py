"""All that one judge said about one matchup comes to one opinion: `verdicts/settle.py`, for columns.

Samples are averaged within an order, the orders with each other; an order that was asked and not read leaves
no opinion. Two scores are compared as labels compare them, by a sigmoid of their difference.
"""

from __future__ import annotations

import numpy as np

from .columns import Array, Matchups, Opinions, Scores, Verdicts


def opinions_of(verdicts: Verdicts, scores: Scores, matchups: Matchups) -> Opinions:
    parts = [_of_verdicts(verdicts, max(len(matchups), 1))]
    parts += [_of_scores(scores, int(judge), matchups) for judge in np.unique(scores.judge)]
    names = ("judge", "matchup", "p", "given", "turned", "pointwise")
    return Opinions(*(np.concatenate([getattr(one, name) for one in parts]) for name in names))


def _of_verdicts(verdicts: Verdicts, matchups: int) -> Opinions:
    names = verdicts.judge.astype(np.int64) * matchups + verdicts.matchup
    pairs, row = np.unique(names, return_inverse=True)
    given, asked_given = _means(verdicts.p, row, ~verdicts.turned, len(pairs))
    turned, asked_turned = _means(verdicts.p, row, verdicts.turned, len(pairs))
    p = np.where(asked_given & asked_turned, (given + turned) / 2, np.where(asked_given, given, turned))
    return Opinions(pairs // matchups, pairs % matchups, p, given, turned, np.zeros(len(pairs), dtype=bool))


def _of_scores(scores: Scores, judge: int, matchups: Matchups) -> Opinions:
    """The judge's mean score of each answer; then every matchup of which it was asked to score both."""
    own = scores.judge == judge
    answers = scores.answer[own]
    rows = 1 + max(int(side.max(initial=0)) for side in (answers, matchups.first, matchups.second))
    mean, asked = _means(scores.score[own], answers, np.ones(len(answers), dtype=bool), rows)
    met = np.flatnonzero(asked[matchups.first] & asked[matchups.second])
    ahead = mean[matchups.first[met]] - mean[matchups.second[met]]
    p = 1 / (1 + np.exp(-np.clip(ahead, -500, 500)))
    nothing = np.full(len(p), np.nan)
    return Opinions(np.full(len(met), judge), met, p, nothing, nothing, np.ones(len(p), dtype=bool))


def _means(values: Array, row: Array, among: Array, rows: int) -> tuple[Array, Array]:
    """The mean of what was read in each row, nan where nothing was; and whether anything was asked."""
    asked = np.bincount(row[among], minlength=rows) > 0
    read = among & ~np.isnan(values)
    counts = np.bincount(row[read], minlength=rows)
    sums = np.bincount(row[read], values[read], minlength=rows)
    return np.divide(sums, counts, out=np.full(rows, np.nan), where=counts > 0), asked
