"""Making a judge's probabilities mean what they say, with one number learnt from people's labels.

Language models are far too sure of their verdicts. Dividing the log-odds by a temperature (Guo et al.
2017), 2 to 3.5 for typical judges, repairs that without changing a single winner. A judge's `clamp` is the
older, blunter cure of Bai et al. 2022, who held chain-of-thought labels between 0.4 and 0.6; it loses the
order of what it flattens, and is applied in `settle`.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from ..errors import DataError
from ..stats.agreement import ece, log_loss
from ..stats.fits import logit, sigmoid
from .opinion import Opinion

COOLEST, HOTTEST = 0.05, 100.0


class Calibration(Struct, frozen=True, omit_defaults=True):
    """What one judge's log-odds are divided by, and how much that helped."""

    judge: str
    temperature: float = 1.0
    n: int = 0
    """Labels it was learnt from."""
    ece_before: float | None = None
    ece_after: float | None = None
    loss_before: float | None = None
    """Cross-entropy against the labels, in nats."""
    loss_after: float | None = None


def fit_temperature(ps: Sequence[float], labels: Sequence[float]) -> float:
    """The temperature under which these probabilities best predict the labels (which may be soft).

    A judge that is wrong more often than right gets the hottest there is, so that it says nothing: a
    temperature cannot turn a judge round, a jury's weights can.
    """
    if len(ps) == 0 or len(ps) != len(labels):
        raise DataError(
            f"a temperature needs as many labels as probabilities, and got {len(labels)} for {len(ps)}; "
            "give it people's labels with --labels labels.jsonl"
        )
    import numpy as np

    x = np.array([logit(p) for p in ps])
    y = np.asarray(labels, dtype=float)

    def slope(cold: float) -> float:
        # Derivative of the loss in 1/T, in which it is convex.
        return float(x @ (1 / (1 + np.exp(-np.clip(cold * x, -500, 500))) - y))

    low, high = 1 / HOTTEST, 1 / COOLEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 2 / (low + high)


def apply(p: float, temperature: float) -> float:
    """One probability, cooled down. 0.5 stays 0.5."""
    return sigmoid(logit(p) / temperature) if temperature != 1.0 else p


def fit_calibration(judge: str, ps: Sequence[float], labels: Sequence[float]) -> Calibration:
    """Learn a judge's temperature, and report its calibration before and after on the same labels."""
    # Platt's correction: a handful of labels that are all right must not make the judge certain.
    pull = 1 / (len(labels) + 2) if labels else 0.0
    temperature = fit_temperature(ps, [pull + (1 - 2 * pull) * y for y in labels])
    after = [apply(p, temperature) for p in ps]
    return Calibration(
        judge,
        temperature,
        len(labels),
        ece(ps, labels),
        ece(after, labels),
        log_loss(ps, labels),
        log_loss(after, labels),
    )


def calibrate(opinion: Opinion, how: Calibration) -> Opinion:
    """The same opinion with a probability that can be believed; unread stays unread."""
    if opinion.p_first is None:
        return opinion
    gap = opinion.position_gap
    if gap is not None:
        given, turned = opinion.p_first + gap / 2, opinion.p_first - gap / 2
        gap = apply(given, how.temperature) - apply(turned, how.temperature)
    return replace(opinion, p_first=apply(opinion.p_first, how.temperature), position_gap=gap)
