"""Log-odds, and strengths from wins."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np

Array = np.ndarray[Any, Any]
T = TypeVar("T")


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), for any x."""
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    e = math.exp(x)
    return e / (1.0 + e)


def logit(p: float, edge: float = 1e-4) -> float:
    """Log-odds of p. Held `edge` away from 0 and 1: a judge that says 1 is very sure, not infinitely so."""
    p = min(max(p, edge), 1.0 - edge)
    return math.log(p / (1.0 - p))


def bradley_terry(wins: Iterable[tuple[T, T, float]], ridge: float = 1e-9) -> dict[T, float]:
    """Strengths such that P(a beats b) = sigmoid(a - b), with mean 0, from (winner, loser, weight).

    A tie is half a win each way. The ridge is far too small to be seen in ordinary data; it keeps finite
    whoever never lost, and centres groups that never met.
    """
    rows = list(wins)
    place = {name: i for i, name in enumerate(dict.fromkeys(name for row in rows for name in row[:2]))}
    won = np.zeros((len(place), len(place)))
    for winner, loser, weight in rows:
        won[place[winner], place[loser]] += weight
    return dict(zip(place, _strengths(won, ridge).tolist(), strict=True))


def _strengths(won: Array, ridge: float) -> Array:
    """Newton's method, halving a step that overshoots: the loss is convex."""
    won = won - np.diag(np.diag(won))
    met, k = won + won.T, len(won)
    scores = np.zeros(k)

    def loss(s: Array) -> float:
        return float((won * np.logaddexp(0, s[None, :] - s[:, None])).sum() + ridge / 2 * s @ s)

    for _ in range(100):
        p = 1 / (1 + np.exp(np.clip(scores[None, :] - scores[:, None], -500, 500)))
        gradient = (met * p - won).sum(axis=1) + ridge * scores
        curve = met * p * (1 - p)
        hessian = np.diag(curve.sum(axis=1) + ridge) - curve
        # All scores up by one changes nothing; pinning their sum makes the system solvable.
        step = np.linalg.solve(hessian + 1 / max(k, 1), gradient)
        before, size = loss(scores), 1.0
        while size > 1e-6 and loss(scores - size * step) > before:
            size /= 2
        scores = scores - size * step
        if np.abs(size * step).max(initial=0) < 1e-10:
            break
    return scores - scores.mean() if k else scores
