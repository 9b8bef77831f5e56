"""How much of a gain is length: the win rate as it is, and as it would be between answers of equal length.

The length-controlled win rate of Dubois et al. (2024): a logistic model of who wins, with the policies' own
difference, the length difference as tanh(difference / sd), and how hard the prompt is; then the length term
is set to 0. Their prompt difficulty comes from a table of 200 models; ours from the same run, from the
matchups that the two policies had with others, so that no pair explains itself. The model is the same told
from either side, so LC(m, b) = 1 - LC(b, m), and a policy against itself has one half.

`by_ratio` is the simpler one of Lee et al. (2023): a logistic model on the ratio of the lengths, read off at
1. It is not symmetric, and there for comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import Struct

from ..stats.intervals import Estimate, clustered_mean
from .sheet import Array

RIDGE: Final = 0.01
"""A hundredth of an observation: keeps finite who never lost, and is not seen otherwise."""
FEWEST: Final = 20
"""Matchups below which three coefficients are not fitted."""


class LengthDebt(Struct, frozen=True):
    """A win rate, what is left of it at equal length, and the difference: what length has lent it."""

    raw: Estimate
    corrected: Estimate
    debt: Estimate
    slope: float
    """Log-odds for a length difference of one standard deviation, as tanh(1) of this."""
    by_ratio: float
    """The win rate at a length ratio of 1, as Lee et al. (2023) have it."""


def length_debt(
    p: Sequence[float] | Array,
    ours: Sequence[int] | Array,
    theirs: Sequence[int] | Array,
    prompt: Sequence[int] | Array | None = None,
    easier: Sequence[float] | Array | None = None,
) -> LengthDebt | None:
    """p that ours is the better answer, the lengths of both, whose prompt it was, and how much easier that
    prompt is for us than for them. None where there are too few, lengths never differ, or one side never
    lost: then nothing says what length did.
    """
    won, us, them = (np.asarray(one, dtype=float) for one in (p, ours, theirs))
    clusters = np.arange(len(won)) if prompt is None else np.asarray(prompt)
    read = ~np.isnan(won)
    never = (won[read] == 0).all() or (won[read] == 1).all()
    if read.sum() < FEWEST or (us == them)[read].all() or never:
        return None
    columns = [np.ones(len(won)), held(us - them)]
    if easier is not None:
        columns.append(np.asarray(easier, dtype=float))
    x = np.stack(columns, axis=1)[read]
    won, clusters = won[read], clusters[read]
    weights, each = _fit(x, won)
    level = x.copy()
    level[:, 1] = 0.0
    even = _sigmoid(level @ weights)
    # What each row does to the corrected rate: through its own prediction, and through the coefficients.
    pull = (level * (even * (1 - even))[:, None]).mean(axis=0)
    corrected = even + each @ pull
    return LengthDebt(
        clustered_mean(won, clusters),
        _centred(corrected, float(even.mean()), clusters),
        _centred(won - corrected, float(won.mean() - even.mean()), clusters),
        float(weights[1]),
        _at_ratio_one(won, us[read], them[read]),
    )


def held(longer: Array) -> Array:
    """tanh(difference / sd): the first few hundred characters count, the next thousand hardly."""
    spread = float(longer.std())
    held: Array = np.tanh(longer / spread) if spread > 0 else np.tanh(longer / (np.abs(longer).max() or 1.0))
    return held


def _centred(each: Array, value: float, clusters: Array) -> Estimate:
    """The interval from what each row contributes, around the value itself."""
    return clustered_mean(each - each.mean() + value, clusters)


def _fit(x: Array, p: Array) -> tuple[Array, Array]:
    """The coefficients of a logistic model by Newton's method, and how each row moves them (n rows)."""
    weights = np.zeros(x.shape[1])
    for _ in range(60):
        said = _sigmoid(x @ weights)
        curve = (x * (said * (1 - said))[:, None]).T @ x + RIDGE * np.eye(len(weights))
        step = np.linalg.solve(curve, x.T @ (p - said) - RIDGE * weights)
        # Where one side nearly always wins, a full step leaps too far.
        step *= min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        weights = weights + step
        if np.abs(step).max() < 1e-10:
            break
    said = _sigmoid(x @ weights)
    curve = (x * (said * (1 - said))[:, None]).T @ x + RIDGE * np.eye(len(weights))
    return weights, len(p) * np.linalg.solve(curve, (x * (p - said)[:, None]).T).T


def _at_ratio_one(p: Array, ours: Array, theirs: Array) -> float:
    ratio = (ours + 1) / (theirs + 1)  # an empty answer has a length too
    weights, _ = _fit(np.stack([np.ones(len(p)), ratio - 1], axis=1), p)
    return float(_sigmoid(weights[:1])[0])


def _sigmoid(x: Array) -> Array:
    p: Array = 1 / (1 + np.exp(-np.clip(x, -500, 500)))
    return p
