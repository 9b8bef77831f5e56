"""What each member's word is worth, learnt from people's labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import replace

from ...stats.fits import sigmoid
from ...stats.intervals import mean
from ..calibrate import fit_temperature
from .members import EDGE
from .weights import Weights

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

STACK_FROM = 150
"""Labels from which a regression beats weights by accuracy; below, it has too much to learn from."""
SMALL_GAP = 0.05
"""Seat gaps that stay below this, down to rounding dust, are not scaled up until they look like something."""


def weigh_votes(bare: Weights, p: Array, right: Array, y: Array) -> Weights:
    """Naive Bayes: each vote counts the log-odds of its judge's accuracy, one imagined hit and miss added."""
    import numpy as np

    read = ~np.isnan(right)
    hits, n = np.where(read, right, 0).sum(axis=0), read.sum(axis=0)
    word = np.where(read, 2 * p - 1, 0.0)
    # A judge that speaks softly throughout is heard like one that shouts: what tells is how far it goes for
    # its kind.
    loud = np.abs(word).sum(axis=0) / np.maximum((word != 0).sum(axis=0), 1)
    loud = np.where(loud > 0, loud, 1.0)
    weight = np.log((hits + 1) / (n - hits + 1)) / loud
    # Each row weighed by the others only, so that the temperature and the accuracy are honest.
    others_hits, others_n = hits - np.where(read, right, 0), n - read
    honest = (word * np.log((others_hits + 1) / (others_n - others_hits + 1)) / loud).sum(axis=1)
    return finish(bare, weight, np.zeros_like(weight), honest, y, "votes")


def stack(bare: Weights, p: Array, gap: Array, y: Array, folds: int = 10) -> Weights:
    """Ridge-logistic regression on each judge's log-odds, and on them times its seat gap. No intercept: no
    seat is favoured.
    """
    import numpy as np

    held = np.clip(np.where(np.isnan(p), 0.5, p), EDGE, 1 - EDGE)
    side = np.log(held / (1 - held))
    x = np.concatenate([side, side * gap], axis=1)
    half = len(bare.jurors)
    scale = np.sqrt((x**2).mean(axis=0))
    scale[half:] = np.maximum(scale[half:], SMALL_GAP * scale[:half])
    scale = np.where(scale > 0, scale, 1.0)
    fold = np.arange(len(y)) % folds
    honest = np.zeros(len(y))
    for k in range(folds):
        honest[fold == k] = x[fold == k] / scale @ logistic(x[fold != k] / scale, y[fold != k])
    weight = logistic(x / scale, y) / scale
    return finish(bare, weight[:half], weight[half:], honest, y, "stack")


def logistic(x: Array, y: Array, ridge: float = 1.0) -> Array:
    """Logistic regression without intercept, by Newton's method; `ridge` is the strength of the pull to 0."""
    import numpy as np

    w = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -500, 500)))
        gradient = x.T @ (p - y) + ridge * w
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + ridge * np.eye(len(w)), gradient)
        w = w - step
        if np.abs(step).max(initial=0) < 1e-10:
            break
    return w


def finish(
    bare: Weights,
    weight: Array,
    gap_weight: Array,
    honest: Array,
    y: Array,
    method: Literal["votes", "stack", "tables"],
) -> Weights:
    """Attach the weights, and the temperature and accuracy from scores that never saw their own label."""
    said = [sigmoid(score) for score in honest.tolist()]
    # Platt's correction: a handful of labels all foretold must not make the jury certain.
    pull = 1 / (len(y) + 2)
    temperature = fit_temperature(said, [pull + (1 - 2 * pull) * label for label in y.tolist()])
    right = [
        0.5 if abs(s) < 1e-9 else float((s > 0) == (label > 0.5)) for s, label in zip(honest, y, strict=True)
    ]
    jurors = tuple(
        replace(juror, weight=float(w), gap_weight=float(g))
        for juror, w, g in zip(bare.jurors, weight, gap_weight, strict=True)
    )
    return replace(bare, jurors=jurors, method=method, temperature=temperature, accuracy=mean(right))
