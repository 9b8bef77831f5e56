"""Probabilities and log-odds, and how good a probability is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


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
