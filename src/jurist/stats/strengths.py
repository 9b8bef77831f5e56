"""How strong each is, from who beat whom."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from .odds import mean

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

ELO_PER_NAT = 400 / math.log(10)


def elo(scores: Mapping[T, float], middle: float = 1000.0) -> dict[T, float]:
    """Bradley-Terry scores on the scale chess players know: 400 points are ten to one."""
    centre = mean(scores.values())
    return {name: middle + ELO_PER_NAT * (score - centre) for name, score in scores.items()}


def bradley_terry(wins: Iterable[tuple[T, T, float]], ridge: float = 1e-9) -> dict[T, float]:
    """Strengths such that P(a beats b) = sigmoid(a - b), with mean 0, from (winner, loser, weight).

    A tie is half a win each way. The ridge is far too small to be seen in ordinary data; it keeps finite
    whoever never lost, and centres groups that never met.
    """
    import numpy as np

    rows = list(wins)
    place = {name: i for i, name in enumerate(dict.fromkeys(name for row in rows for name in row[:2]))}
    won = np.zeros((len(place), len(place)))
    for winner, loser, weight in rows:
        won[place[winner], place[loser]] += weight
    return dict(zip(place, _strengths(won, ridge).tolist(), strict=True))


def _strengths(won: np.ndarray[Any, Any], ridge: float) -> np.ndarray[Any, Any]:
    """Newton's method, halving a step that overshoots: the loss is convex."""
    import numpy as np

    won = won - np.diag(np.diag(won))
    met, k = won + won.T, len(won)
    scores = np.zeros(k)

    def loss(s: np.ndarray[Any, Any]) -> float:
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
