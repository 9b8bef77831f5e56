"""Making a judge's probabilities mean what they say: its over-confidence and its position bias, taken out.

Dividing log-odds by a temperature learnt from labels (Guo et al. 2017), 2 to 3.5 for typical judges, changes
no winner. A judge's `clamp` is the older cure (Bai et al. 2022), and is applied in `settle`.

Position bias cancels where a matchup is asked in both orders. With a fifth asked in both (`--judge.swap
fraction:0.2`) those show what the judge says of the same two texts in the other order, and all of them show
how often it favours the first position. From the two come the bias - as a share of verdicts, and as log-odds
in a Bradley-Terry model whose strengths are normal - and a map from what was said in one order to what would
have been said in the other. A verdict asked once is averaged with that.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from ..records import Verdict
from ..stats.agreement import log_loss
from ..stats.fits import Array, bisect, expit, fit_logistic, log_odds, logit, out_of_fold, sigmoid
from ..stats.intervals import z_of
from .cases import key_of
from .settle import Opinion

COOLEST: Final = 0.05
HOTTEST: Final = 100.0
_FOLDS: Final = 5
EDGE: Final = 0.02
FEWEST: Final = 30
"""Matchups read in both orders, below which no position bias is fitted."""


class Calibration(Struct, frozen=True, omit_defaults=True):
    """What one judge's log-odds are divided by, and what that does to labels it was not learnt from."""

    judge: str
    temperature: float = 1.0
    """1 where no temperature lowered the held-out loss."""
    n: int = 0
    """Labels it was learnt from."""
    loss_before: float | None = None
    """Cross-entropy against the labels, in nats."""
    loss_after: float | None = None
    """With temperatures from the labels of other prompts (5 folds)."""
    warning: str = ""


def fit_calibration(judge: str, p: Array, y: Array, prompts: Array) -> Calibration:
    """Learn a judge's temperature, which is used only if it lowers the loss on held-out prompts."""
    n, odds, warning = len(p), log_odds(p), ""
    if (prompts == prompts[0]).all():
        return Calibration(judge, n=n, warning=f"{judge} is not calibrated: one prompt has all labels")

    def fit(train: Array) -> tuple[float, Array]:
        temperature = fit_temperature(p[train], y[train])
        return temperature, expit(odds / temperature)

    fitted, held_out = out_of_fold(fit, np.ones(n, dtype=bool), prompts, _FOLDS)
    before, after = log_loss(p, y), log_loss(held_out, y)
    if not COOLEST * 1.01 < fitted < HOTTEST * 0.99:
        says = "do not go with the labels" if fitted > 1 else "are far less sure than it is right"
        warning = f"the temperature of {judge} is at its bound ({fitted:.2f}): its probabilities {says}"
    used = fitted if after < before else 1.0
    return Calibration(judge, used, n, before, after, warning)


def fit_temperature(p: Array, y: Array) -> float:
    """The temperature under which these probabilities best predict the labels (which may be soft).

    A judge that is wrong more often than right gets the hottest there is, so that it says nothing: a
    temperature cannot turn a judge round, a jury's weights can.
    """
    # Platt's correction: a handful of labels that are all right must not make a judge certain.
    odds, softened = log_odds(p), (1 + y * len(y)) / (len(y) + 2)
    # The derivative of the loss in 1 / T, in which it is convex.
    return 1 / bisect(lambda cold: float(odds @ (expit(cold * odds) - softened)), 1 / HOTTEST, 1 / COOLEST)


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


class PositionBias(Struct, frozen=True, omit_defaults=True):
    """How far one judge favours a position, and how to take it out of a verdict that was asked once."""

    judge: str
    first_share: float
    """Share of its favour that the first position gets; 0.5 without bias."""
    low: float
    high: float
    bias: float
    """The same as log-odds given to the first position when both texts are equally good."""
    bias_low: float
    bias_high: float
    slope: float
    """The other order, seen from the same position, has p = sigmoid(slope * logit(p) + intercept)."""
    intercept: float
    n_swapped: int
    n_single: int


def fit_position_biases(verdicts: Iterable[Verdict]) -> tuple[dict[str, PositionBias], list[str]]:
    """Each judge's position bias from one pass over verdicts in any order, and warnings about the others."""
    seen: dict[str, tuple[array[int], array[int], array[float]]] = {}
    for v in verdicts:
        if v.matchup_id and v.p_first is not None:
            matchup, swapped, p = seen.setdefault(v.judge, (array("Q"), array("b"), array("d")))
            matchup.append(key_of(v.matchup_id))
            swapped.append(v.order == "swapped")
            p.append(v.p_first)
    found, warnings = {}, []
    for judge, columns in seen.items():
        matchups, orders, ps = map(np.asarray, columns)
        if (bias := fit_columns(matchups, orders == 1, ps, judge)) is not None:
            found[judge] = bias
        else:
            warnings.append(
                f"the position bias of {judge} is not corrected: fewer than {FEWEST} matchups were read in"
                " both orders. Ask more in both with: --judge.swap fraction:0.5"
            )
    return found, warnings


def debias(p_first: float, bias: PositionBias) -> float:
    """What asking in both orders would have come to, given p of the first position in one order."""
    return (p_first + sigmoid(bias.slope * logit(p_first, EDGE) + bias.intercept)) / 2


def fit_columns(matchup: Array, swapped: Array, p_shown: Array, judge: str = "") -> PositionBias | None:
    """The same from columns: a number for the matchup, whether it was shown swapped, and p of the first
    position as shown. None where too few matchups were read in both orders.
    """
    one, other, single, lean = _join(matchup, swapped, p_shown)
    if (n := len(one)) < FEWEST:
        return None
    # In a swapped pair the texts cancel, so what is left is the position; asked once, they cancel only on
    # average, and only if no position was kept for the better text.
    both, averaged = (one + other) / 2, (one + 1 - other) / 2
    drift = abs(lean * (averaged.mean() - 0.5))
    random = len(single) > 1 and bool(drift <= 2 * abs(lean) * averaged.std() / math.sqrt(n))
    # How often the two orders favour the same text, counting a p of 0.7 as seven tenths of a vote.
    same = one * (1 - other) + (1 - one) * other
    error, trust = _error(both), 1.0
    share = float(both.mean())
    if random:
        trust = _error(single) ** 2 / (error**2 + _error(single) ** 2)
        share = trust * share + (1 - trust) * float(single.mean())
        error *= math.sqrt(trust)
        said, unsaid = np.concatenate([one, other]), np.concatenate([1 - other, 1 - one])
        shown, wanted = np.concatenate([said, single]), 1 - share
    else:
        # The verdicts to correct are like those in the order that the single ones were asked in.
        said, unsaid = (one, 1 - other) if lean >= 0 else (other, 1 - one)
        shown, wanted = said, float(unsaid.mean())
    x = log_odds(said, EDGE)
    slope = float(fit_logistic(np.stack([x, np.ones_like(x)], axis=1), unsaid, 1e-6)[0])
    # All verdicts know the share better than the swapped ones alone: shift until it comes out.
    tilted = slope * log_odds(shown, EDGE)
    most = 20.0 + float(np.abs(tilted).max())
    intercept = bisect(lambda shift: float(expit(tilted + shift).mean()) - wanted, -most, most)
    spread = _spread(share, float(same.mean()))
    bias = _bias(share, spread)
    reach, bias_reach = z_of(0.95) * error, z_of(0.95) * _error_of_bias(both, same, share, error, trust)
    return PositionBias(
        judge=judge,
        first_share=share,
        low=max(0.0, share - reach),
        high=min(1.0, share + reach),
        bias=bias,
        bias_low=bias - bias_reach,
        bias_high=bias + bias_reach,
        slope=slope,
        intercept=intercept,
        n_swapped=n,
        n_single=len(single),
    )


def _join(matchup: Array, swapped: Array, p: Array) -> tuple[Array, Array, Array, float]:
    """p as shown of each matchup in the given and in the swapped order; of those asked once; and by how much
    more of these were asked as given.
    """
    keys, place = np.unique(matchup, return_inverse=True)
    means = []
    for side in (~swapped, swapped):
        count = np.bincount(place[side], minlength=len(keys))
        total = np.bincount(place[side], weights=p[side], minlength=len(keys))
        means.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    given, other = means
    has_given, has_other = ~np.isnan(given), ~np.isnan(other)
    both, once = has_given & has_other, has_given ^ has_other
    lean = float(has_given[once].mean() - has_other[once].mean()) if once.any() else 0.0
    return given[both], other[both], np.where(has_given, given, other)[once], lean


def _error(values: Array) -> float:
    """A judge that has said the same a hundred times may still say otherwise the next time."""
    n = len(values)
    return max(float(values.std()), 1 / math.sqrt(n)) / math.sqrt(n)


_NODES, _MASS = np.polynomial.hermite_e.hermegauss(40)
_MASS /= _MASS.sum()
"""Forty points of a standard normal and their weights (Gauss-Hermite)."""


def _bias(share: float, spread: float) -> float:
    """The log-odds that give the first position this share, when texts are so far apart."""
    share = min(max(share, 1e-3), 1 - 1e-3)
    return bisect(lambda bias: float(_MASS @ expit(spread * _NODES + bias)) - share, -40.0, 40.0, rounds=36)


def _spread(share: float, same_text: float) -> float:
    """How far apart the texts must be for the two orders to agree this often."""

    def agreement(spread: float) -> float:
        bias = _bias(share, spread)
        here, there = expit(bias + spread * _NODES), expit(bias - spread * _NODES)
        return float(_MASS @ (here * (1 - there) + (1 - here) * there))

    return bisect(lambda spread: agreement(spread) - same_text, 0.0, 20.0, rounds=22)


def _error_of_bias(both: Array, same: Array, share: float, error: float, trust: float) -> float:
    """Standard error of the log-odds, by the delta method from the share and the agreement of the orders."""
    middle, wobble = float(same.mean()), max(float(same.std()) / math.sqrt(len(same)), 1e-3)

    def bias(share: float, same_text: float) -> float:
        return _bias(share, _spread(share, same_text))

    by_share = bias(share + error / 2, middle) - bias(share - error / 2, middle)
    by_same = bias(share, middle + wobble / 2) - bias(share, middle - wobble / 2)
    together = trust * float(np.cov(both, same)[0, 1]) / len(same) / (error * wobble)
    variance = by_share**2 + by_same**2 + 2 * by_share * by_same * together
    # Bare winners move the two together, and what is left of the sum may be nothing: it is no smaller than
    # the share's part would be if the spread were known.
    spread = _spread(share, middle)
    known = _bias(share + error / 2, spread) - _bias(share - error / 2, spread)
    return max(math.sqrt(max(variance, 0.0)), known)
