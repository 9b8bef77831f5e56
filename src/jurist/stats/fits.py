"""Log-odds, and what is fitted: a logistic regression, strengths from wins, the root of a function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

Array = np.ndarray[Any, Any]
_T = TypeVar("_T")


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), for any x."""
    e = math.exp(-abs(x))
    return 1.0 / (1.0 + e) if x >= 0 else e / (1.0 + e)


def expit(x: Array) -> Array:
    """The sigmoid of an array."""
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -500, 500))))


def logit(p: float, edge: float = 1e-4) -> float:
    """Log-odds of p, held `edge` away from 0 and 1: a judge that says 1 is very sure, not infinitely so."""
    p = min(max(p, edge), 1.0 - edge)
    return math.log(p / (1.0 - p))


def log_odds(p: Array, edge: float = 1e-4) -> Array:
    """The logit of an array."""
    held = np.clip(p, edge, 1 - edge)
    return np.asarray(np.log(held / (1 - held)))


def bisect(rising: Callable[[float], float], low: float, high: float, rounds: int = 100) -> float:
    """Where a rising function crosses 0, between the two ends."""
    middle = (low + high) / 2
    for _ in range(rounds):
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
        middle = (low + high) / 2
        if middle in (low, high):
            break
    return middle


def fit_logistic(x: Array, y: Array, ridge: float = 1.0, weights: Array | None = None) -> Array:
    """Coefficients of a logistic regression without intercept; labels may be soft, `ridge` pulls to 0.

    Newton's method, halving a step that overshoots: the loss is convex.
    """
    w = np.ones(len(y)) if weights is None else weights
    fitted = np.zeros(x.shape[1])

    def loss(b: Array) -> float:
        z = x @ b
        return float(w @ (np.logaddexp(0, z) - y * z) + ridge / 2 * b @ b)

    for _ in range(100):
        p = expit(x @ fitted)
        gradient = x.T @ (w * (p - y)) + ridge * fitted
        curve = (x * (w * p * (1 - p))[:, None]).T @ x + ridge * np.eye(len(fitted))
        step = np.linalg.solve(curve, gradient)
        before = loss(fitted)
        while loss(fitted - step) > before and np.abs(step).max() > 1e-10:
            step = step / 2
        fitted = fitted - step
        if np.abs(step).max(initial=0) < 1e-10:
            break
    return fitted


def bradley_terry(wins: Iterable[tuple[_T, _T, float]], ridge: float = 1e-9) -> dict[_T, float]:
    """Strengths such that P(a beats b) = sigmoid(a - b), with mean 0, from (winner, loser, weight).

    A tie is half a win each way. The ridge keeps finite whoever never lost, and is too small to be seen else.
    """
    won: dict[tuple[_T, _T], float] = {}
    for winner, loser, weight in wins:
        won[winner, loser] = won.get((winner, loser), 0.0) + weight
    place = {name: i for i, name in enumerate(dict.fromkeys(name for pair in won for name in pair))}
    x, row = np.zeros((len(won), len(place))), np.arange(len(won))
    x[row, [place[winner] for winner, _ in won]] += 1
    x[row, [place[loser] for _, loser in won]] -= 1
    scores = fit_logistic(x, np.ones(len(won)), ridge, np.array(list(won.values())))
    return dict(zip(place, (scores - scores.mean()).tolist(), strict=True)) if place else {}


def fit_dawid_skene(
    answers: Array,
    counts: Array,
    gold: Array,
    smoothing: float = 0.01,
    tolerance: float = 1e-5,
    rounds: int = 2000,
) -> tuple[float, Array]:
    """The chance that first is true, and [judge, truth, answer]: how often each judge gives each answer.

    EM over patterns: a row of answers (0 first, 1 second, 2 tie, -1 none), how often it occurred, and the
    chance that first is true where that is known, else nan. A million matchups fall into few patterns.
    `smoothing` is added to each count of a table; a round that gains less than `tolerance` in log-likelihood
    per answer is the last. Where judges answer few questions, more of either costs accuracy.
    """
    given = (answers.T[:, None, :] == np.arange(3)[None, :, None]).astype(float)
    votes = given[:, :2].sum(axis=0)
    known, total = ~np.isnan(gold), votes.sum(axis=0)
    first = np.where(known, gold, np.where(total > 0, votes[0] / np.maximum(total, 1), 0.5))
    prior, rates, before = 0.5, np.full((len(given), 2, 3), 1 / 3), -math.inf
    n = max(float(given.sum(axis=(0, 1)) @ counts), 1.0)
    for _ in range(rounds):
        weighted = np.stack([first, 1 - first]) * counts
        prior = float(weighted[0].sum() / counts.sum())
        rates = np.einsum("jan,cn->jca", given, weighted) + smoothing
        rates /= np.maximum(rates.sum(axis=2, keepdims=True), 1e-300)
        logs = np.einsum("jan,jca->cn", given, np.log(np.maximum(rates, 1e-300)))
        logs += np.log(np.maximum([[prior], [1 - prior]], 1e-300))
        first = np.where(known, gold, expit(logs[0] - logs[1]))
        now = float(counts @ np.logaddexp(*logs)) / n
        if now - before < tolerance:
            break
        before = now
    return prior, rates


def out_of_fold(
    fit: Callable[[Array], tuple[_T, Array]], known: Array, groups: Array, k: int
) -> tuple[_T, Array]:
    """What is learnt from all known rows, and the score of each row, learnt without those of its group.

    `fit` takes which rows to learn from; rows of one group are in the same of k folds.
    """
    learnt, scores = fit(known)
    scores, fold = scores.copy(), np.unique(groups, return_inverse=True)[1] % k
    for part in np.unique(fold[known]).tolist():
        held = fold == part
        scores[held] = fit(known & ~held)[1][held]
    return learnt, scores
