"""The statistics everything else leans on: intervals, agreement, strengths from wins, calibration.

Plain Python where a loop over the data is cheap; numpy is loaded only inside the functions that fit
something, so importing this costs nothing. No data gives `nan` (or the whole interval), never zero.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

ELO_PER_NAT = 400 / math.log(10)


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


def mean(values: Iterable[float]) -> float:
    """The average; `nan` of nothing."""
    values = list(values)
    return math.fsum(values) / len(values) if values else math.nan


def z_of(level: float) -> float:
    """How many standard deviations hold `level` of a normal distribution around its middle."""
    from statistics import NormalDist

    return NormalDist().inv_cdf(0.5 + level / 2)


def wilson(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for a share: short, and honest near 0 and 1. Ties may count as half a success."""
    if n <= 0:
        return 0.0, 1.0
    z, p = z_of(level), successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At the ends the exact bound is 0 or 1; rounding must not push it past.
    return (0.0 if successes == 0 else max(0.0, middle - half)), (
        1.0 if successes == n else min(1.0, middle + half)
    )


def agreement(ours: Iterable[Hashable], theirs: Iterable[Hashable]) -> float:
    """Share of items with the same label. A label of None was not read: the item is left out."""
    both = _labelled(ours, theirs)
    return sum(a == b for a, b in both) / len(both) if both else math.nan


def cohen_kappa(ours: Iterable[Hashable], theirs: Iterable[Hashable]) -> float:
    """Agreement beyond what their label frequencies alone would give (Cohen 1960). None is left out."""
    both = _labelled(ours, theirs)
    if not both:
        return math.nan
    n = len(both)
    seen = sum(a == b for a, b in both) / n
    one, other = Counter(a for a, _ in both), Counter(b for _, b in both)
    chance = sum(one[label] * other[label] for label in one) / (n * n)
    # Both used one label throughout: there is nothing to agree about beyond chance.
    return math.nan if chance == 1.0 else (seen - chance) / (1 - chance)


def _labelled(ours: Iterable[Hashable], theirs: Iterable[Hashable]) -> list[tuple[Hashable, Hashable]]:
    return [(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]


def correlation(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Pearson's r; `nan` where one of the two never varies."""
    if len(xs) < 2:
        return math.nan
    mx, my = mean(xs), mean(ys)
    xx = math.fsum((x - mx) ** 2 for x in xs)
    yy = math.fsum((y - my) ** 2 for y in ys)
    xy = math.fsum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True))
    # Rounding leaves dust where a constant was meant.
    if xx <= 1e-24 * len(xs) or yy <= 1e-24 * len(ys):
        return math.nan
    return max(-1.0, min(1.0, xy / math.sqrt(xx * yy)))


def log_loss(ps: Sequence[float], labels: Sequence[float], edge: float = 1e-4) -> float:
    """Mean cross-entropy in nats; labels may be soft."""
    held = [min(max(p, edge), 1 - edge) for p in ps]
    return mean(-y * math.log(p) - (1 - y) * math.log(1 - p) for p, y in zip(held, labels, strict=True))


def ece(ps: Sequence[float], labels: Sequence[float], bins: int = 10) -> float:
    """Expected calibration error: confidence against accuracy in equal bins of confidence from 0.5 to 1."""
    counts, sure, right = [0] * bins, [0.0] * bins, [0.0] * bins
    for p, y in zip(ps, labels, strict=True):
        confidence, correct = (p, y) if p >= 0.5 else (1 - p, 1 - y)
        if p == 0.5:
            correct = 0.5  # it named neither, whichever the label is
        i = min(int((confidence - 0.5) * 2 * bins), bins - 1)
        counts[i] += 1
        sure[i] += confidence
        right[i] += correct
    n = sum(counts)
    return math.fsum(abs(s - r) for s, r in zip(sure, right, strict=True)) / n if n else math.nan


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


def bootstrap(
    values: Sequence[T],
    statistic: Callable[[Sequence[T]], float] | None = None,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """An interval by drawing the values again with replacement; the mean of numbers unless told otherwise.

    For answers that come in clusters (several matchups of one prompt), give one value per cluster.
    """
    if not values:
        return math.nan, math.nan
    import numpy as np

    dice = np.random.default_rng(seed)
    n = len(values)
    if statistic is None:
        flat = np.asarray(values, dtype=float)
        drawn = [float(flat[dice.integers(0, n, n)].mean()) for _ in range(draws)]
    else:
        drawn = [statistic([values[i] for i in dice.integers(0, n, n).tolist()]) for _ in range(draws)]
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return low, high


def sign_test(better: int, worse: int) -> float:
    """How often chance alone would put at least `better` of the differences on one side (exact)."""
    n = better + worse
    return math.fsum(math.comb(n, k) for k in range(better, n + 1)) / 2**n if n else 1.0


def effective_jurors(k: int, rho: float) -> float:
    """k judges whose errors correlate by rho are worth this many independent ones: k / (1 + (k - 1) rho)."""
    # Errors that repel each other would promise more jurors than there are; we do not count on that.
    return k / (1 + (k - 1) * max(rho, 0.0))
