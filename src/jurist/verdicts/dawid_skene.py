"""Who errs how, learnt from nothing but who disagrees with whom (Dawid & Skene 1979).

Each judge has a table: what it says, given what is true. EM goes to and fro between guessing the truths
from the tables and the tables from the truths. Items are counted by pattern - the row of answers the judges
gave - so a million items cost no more memory than the few hundred patterns they fall into.

It believes that judges err independently. Where they err together its probabilities are falsely sure, and
without labels from people it can settle on the truth turned upside down.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MISSING = -1


class Tables(Struct, frozen=True):
    """What the fit came to."""

    prior: tuple[float, ...]
    """How common each truth is."""
    says: tuple[tuple[tuple[float, ...], ...], ...]
    """`says[judge][truth][answer]`: probability that this judge gives this answer."""
    rounds: int


def fit_tables(
    patterns: Sequence[Sequence[int]],
    counts: Sequence[float],
    gold: Sequence[Sequence[float] | None],
    truths: int = 2,
    answers: int = 3,
    smoothing: float = 1.0,
    rounds: int = 100,
    tolerance: float = 1e-5,
) -> Tables:
    """EM over answer patterns; where `gold` gives the chance of each truth, it is taken as known.

    An answer below `truths` names that truth; the others (a tie) name none. `MISSING` says nothing.
    """
    import numpy as np

    said = np.asarray(patterns, dtype=np.int64).reshape(len(counts), -1)
    weight = np.asarray(counts, dtype=float)
    known = np.array([g is not None for g in gold], dtype=bool)
    truth = _majority(said, truths)
    for i, g in enumerate(gold):
        if g is not None:
            truth[i] = g
    # Told[judge, answer, pattern]: who said what, once and for all.
    told = np.stack([answer == said.T for answer in range(answers)], axis=1).astype(float)
    before, done = -np.inf, 0
    prior, says = np.full(truths, 1 / truths), np.full((said.shape[1], truths, answers), 1 / answers)
    for done in range(1, rounds + 1):
        weighted = truth * weight[:, None]
        prior = weighted.sum(axis=0) / weighted.sum()
        says = np.einsum("jan,nc->jca", told, weighted) + smoothing
        says = says / np.maximum(says.sum(axis=2, keepdims=True), 1e-300)
        logs = _log(prior)[None, :] + np.einsum("jan,jca->nc", told, _log(says))
        top = logs.max(axis=1, keepdims=True)
        likely = np.exp(logs - top)
        total = likely.sum(axis=1, keepdims=True)
        truth = np.where(known[:, None], truth, likely / total)
        now = float((weight * (top + np.log(total))[:, 0]).sum() / weight.sum())
        if now - before < tolerance and done > 1:
            break
        before = now
    table = tuple(tuple(tuple(row) for row in judge) for judge in says.tolist())
    return Tables(tuple(prior.tolist()), table, done)


def _majority(said: Array, truths: int) -> Array:
    """Where EM starts: the share of votes each truth has; undecided where nobody named one."""
    import numpy as np

    votes = np.stack([(said == truth).sum(axis=1) for truth in range(truths)], axis=1).astype(float)
    total = votes.sum(axis=1, keepdims=True)
    return np.where(total > 0, votes / np.maximum(total, 1), 1 / truths)


def _log(x: Array) -> Array:
    import numpy as np

    return np.asarray(np.log(np.maximum(x, 1e-300)))
