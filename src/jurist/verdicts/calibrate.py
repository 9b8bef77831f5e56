"""Making a judge's probabilities mean what they say, with one number learnt from labels.

Language models are far too sure of their verdicts. Dividing the log-odds by a temperature (Guo et al.
2017), 2 to 3.5 for typical judges, repairs that without changing a single winner. A judge's `clamp` is the
older cure of Bai et al. 2022, who held chain-of-thought labels between 0.4 and 0.6; it loses the order of
what it flattens, and is applied in `settle`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from ..errors import DataError
from ..stats.agreement import ece, log_loss
from ..stats.fits import Array, bisect, expit, folds, log_odds, logit, sigmoid
from .settle import Opinion

COOLEST: Final = 0.05
HOTTEST: Final = 100.0
FOLDS: Final = 5


class Calibration(Struct, frozen=True, omit_defaults=True):
    """What one judge's log-odds are divided by, and what that does to labels it was not learnt from."""

    judge: str
    temperature: float = 1.0
    """1 where no temperature lowered the held-out loss."""
    fitted: float = 1.0
    """The temperature that fits all labels best, whether it is used or not."""
    n: int = 0
    """Labels it was learnt from."""
    loss_before: float | None = None
    """Cross-entropy against the labels, in nats."""
    loss_after: float | None = None
    """With temperatures from the labels of other prompts (5 folds)."""
    ece_before: float | None = None
    ece_after: float | None = None
    warning: str = ""


def fit_calibration(judge: str, p: Array, y: Array, prompts: Array) -> Calibration:
    """Learn a judge's temperature, which is used only if it lowers the loss on held-out prompts."""
    fold = folds(prompts, FOLDS)
    if not fold.any():
        return Calibration(judge, n=len(p), warning=f"{judge} is not calibrated: one prompt has all labels")
    odds, held_out = log_odds(p), np.empty(len(p))
    for part in np.unique(fold).tolist():
        held = fold == part
        held_out[held] = expit(odds[held] / fit_temperature(p[~held], soften(y[~held])))
    fitted = fit_temperature(p, soften(y))
    before, after = log_loss(p, y), log_loss(held_out, y)
    warning = ""
    if not COOLEST * 1.01 < fitted < HOTTEST * 0.99:
        says = "do not go with the labels" if fitted > 1 else "are far less sure than it is right"
        warning = f"the temperature of {judge} is at its bound ({fitted:.2f}): its probabilities {says}"
    return Calibration(
        judge=judge,
        temperature=fitted if after < before else 1.0,
        fitted=fitted,
        n=len(p),
        loss_before=before,
        loss_after=after,
        ece_before=ece(p, y),
        ece_after=ece(held_out, y),
        warning=warning,
    )


def soften(y: Array) -> Array:
    """Platt's correction: a handful of labels that are all right must not make a judge certain."""
    return np.asarray((1 + y * len(y)) / (len(y) + 2))


def fit_temperature(ps: Sequence[float] | Array, labels: Sequence[float] | Array) -> float:
    """The temperature under which these probabilities best predict the labels (which may be soft).

    A judge that is wrong more often than right gets the hottest there is, so that it says nothing: a
    temperature cannot turn a judge round, a jury's weights can.
    """
    odds, y = log_odds(np.asarray(ps, dtype=float)), np.asarray(labels, dtype=float)
    if not len(odds) or len(odds) != len(y):
        raise DataError(
            f"a temperature needs as many labels as probabilities, and got {len(y)} for {len(odds)}; "
            "give it labels with --labels labels.jsonl"
        )
    # The derivative of the loss in 1 / T, in which it is convex.
    return 1 / bisect(lambda cold: float(odds @ (expit(cold * odds) - y)), 1 / HOTTEST, 1 / COOLEST)


def calibrate(opinion: Opinion, temperature: float) -> Opinion:
    """The same opinion at this temperature; unread stays unread, and flipped stays flipped."""
    p, gap = opinion.p_first, opinion.position_gap
    if p is None or temperature == 1.0:
        return opinion
    if gap is not None:
        gap = apply(p + gap / 2, temperature) - apply(p - gap / 2, temperature)
    return replace(opinion, p_first=apply(p, temperature), position_gap=gap)


def apply(p: float, temperature: float) -> float:
    """One probability at this temperature. 0.5 stays 0.5."""
    return sigmoid(logit(p) / temperature) if temperature != 1.0 else p
