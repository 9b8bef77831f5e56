"""What the seat is worth to a judge, from matchups of which only some were asked in both orders.

Asking twice costs twice. With a fifth of them asked in both orders (`--judge.swap fraction:0.2`) those
show what the judge says of the same two texts from the other seat; all of them show how often it favours
the first. From the two we learn the judge's slot bias - as the share the first seat gets, and as the slot
term of a Bradley-Terry model whose strengths are drawn from a normal - and a map from what was said in one
order to what would have been said in the other. A verdict asked once is then averaged with that, as if it
had been asked twice.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ..errors import SettingError
from ..records import Verdict
from ..stats.fits import logit, sigmoid
from ..stats.intervals import z_of

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

EDGE = 0.02
FEWEST = 30
"""Matchups asked in both orders, below which nothing is fitted."""
_NEVER = 1e-3


class PositionBias(Struct, frozen=True, omit_defaults=True):
    """One judge's leaning towards a seat, and how to take it out of a verdict that was asked once."""

    judge: str
    first_share: float
    """How much of its favour the first seat gets when texts are seated at random; 0.5 when the seat is
    nothing to it.
    """
    low: float
    high: float
    bias: float
    """The same as log-odds given to the first seat when both texts are equally good."""
    bias_low: float
    bias_high: float
    spread: float
    """How far apart the texts are in the judge's eyes: standard deviation of their log-odds."""
    slope: float
    """The other order, told from the same seat, has p = sigmoid(slope * logit(p) + intercept)."""
    intercept: float
    n_swapped: int
    n_single: int
    singles_used: bool
    """False where the seats are not random, so that verdicts asked once say nothing about the slot."""


class _Tally:
    """One judge's verdicts, 17 bytes each."""

    def __init__(self) -> None:
        self.key, self.turned, self.p = array("q"), array("b"), array("d")

    def add(self, matchup_id: str, order: str, p: float | None) -> None:
        if p is not None:
            self.key.append(hash(matchup_id))
            self.turned.append(order == "swapped")
            self.p.append(p)

    def fit(self, judge: str) -> PositionBias:
        import numpy as np

        turned, p = np.asarray(self.turned, dtype=bool), np.asarray(self.p, dtype=float)
        return fit_columns(np.asarray(self.key, dtype=np.int64), turned, p, judge)


def fit_position_biases(verdicts: Iterable[Verdict]) -> dict[str, PositionBias]:
    """Each judge's slot bias, from one pass over verdicts in any order. Unread ones are left out."""
    tallies: dict[str, _Tally] = {}
    for v in verdicts:
        if v.matchup_id:
            tallies.setdefault(v.judge, _Tally()).add(v.matchup_id, v.order, v.p_first)
    return {judge: tally.fit(judge) for judge, tally in tallies.items()}


def fit_position_bias(triples: Iterable[tuple[str, str, float | None]], judge: str = "") -> PositionBias:
    """The same for one judge, from (matchup id, `given` or `turned`, p of the first seat as shown)."""
    tally = _Tally()
    for matchup_id, order, p in triples:
        tally.add(matchup_id, order, p)
    return tally.fit(judge)


def correct(p_first: float, bias: PositionBias) -> float:
    """What asking in both orders would have come to, given what was said in one; p as shown in, p as shown
    out.
    """
    return (p_first + sigmoid(bias.slope * logit(p_first, EDGE) + bias.intercept)) / 2


def fit_columns(matchup: Array, turned: Array, p_shown: Array, judge: str = "") -> PositionBias:
    """The same from columns: a number for the matchup, whether its seats were exchanged, and p of the first
    seat as shown.
    """
    import numpy as np

    one, other, single, lean = _join(matchup, turned, p_shown)
    n = len(one)
    if n < FEWEST:
        raise SettingError(
            f"judge {judge or 'given'} has {n} matchups read in both orders, too few for its slot bias: "
            f"{FEWEST} are the least. Ask more with --judge.swap fraction:0.2, or all: --judge.swap always"
        )
    # In a swapped pair the texts cancel, so what is left is the seat; asked once, they cancel only on
    # average, and only if no seat was kept for the better text.
    both = (one + other) / 2
    settled = (one + 1 - other) / 2
    drift = abs(lean * (settled.mean() - 0.5))
    random = len(single) > 1 and bool(drift <= 2 * abs(lean) * settled.std() / math.sqrt(n))
    share, trust = float(both.mean()), 1.0
    # A judge that has said the same a hundred times may still say otherwise the next time.
    error = max(float(both.std()), 1 / math.sqrt(n)) / math.sqrt(n)
    if random:
        error_single = max(float(single.std()), 1 / math.sqrt(len(single))) / math.sqrt(len(single))
        trust = error_single**2 / (error**2 + error_single**2)
        share = trust * share + (1 - trust) * float(single.mean())
        error = error * math.sqrt(trust)
    # How often the two orders favour the same text, counting a p of 0.7 as seven tenths of a vote.
    same = one * (1 - other) + (1 - one) * other
    spread = _spread(share, float(same.mean()))
    bias, bias_error = _slot(share, spread), _error_of_slot(share, error, same, both, trust)
    reach = z_of(0.95)
    if random:
        said, unsaid = np.concatenate([one, other]), np.concatenate([1 - other, 1 - one])
        slope, intercept = _other_order(said, unsaid, np.concatenate([said, single]), 1 - share)
    else:
        # Then the verdicts to correct are like the given order, or like the turned one, and not like both.
        said, unsaid = (one, 1 - other) if lean >= 0 else (other, 1 - one)
        slope, intercept = _other_order(said, unsaid, said, float(unsaid.mean()))
    return PositionBias(
        judge=judge,
        first_share=share,
        low=max(0.0, share - reach * error),
        high=min(1.0, share + reach * error),
        bias=bias,
        bias_low=bias - reach * bias_error,
        bias_high=bias + reach * bias_error,
        spread=spread,
        slope=slope,
        intercept=intercept,
        n_swapped=n,
        n_single=len(single),
        singles_used=random,
    )


def _join(matchup: Array, turned: Array, p: Array) -> tuple[Array, Array, Array, float]:
    """p as shown of each matchup in the given and in the turned order; those asked once; and how
    one-sidedly these sat.
    """
    import numpy as np

    keys, place = np.unique(matchup, return_inverse=True)
    means = []
    for side in (~turned, turned):
        count = np.bincount(place[side], minlength=len(keys))
        total = np.bincount(place[side], weights=p[side], minlength=len(keys))
        means.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    given, other = means
    has_given, has_other = ~np.isnan(given), ~np.isnan(other)
    pair, once = has_given & has_other, has_given ^ has_other
    single = np.where(has_given, given, other)[once]
    lean = float(has_given[once].mean() - has_other[once].mean()) if once.any() else 0.0
    return given[pair], other[pair], single, lean


def _other_order(said: Array, unsaid: Array, shown: Array, wanted: float) -> tuple[float, float]:
    """Slope and intercept of the other order's log-odds; over all that was shown its mean is `wanted`."""
    import numpy as np

    def side(p: Array) -> Array:
        held = np.clip(p, EDGE, 1 - EDGE)
        return np.asarray(np.log(held / (1 - held)))

    x, y = side(said), unsaid
    design = np.stack([x, np.ones_like(x)], axis=1)
    w = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(design @ w, -500, 500)))
        curve = (design * (p * (1 - p))[:, None]).T @ design + 1e-6 * np.eye(2)
        step = np.linalg.solve(curve, design.T @ (p - y) + 1e-6 * w)
        w = w - step
        if np.abs(step).max() < 1e-9:
            break
    # The verdicts asked once know the share better than the swapped ones alone: shift until it comes out.
    slope = float(w[0])
    tilted = slope * side(shown)
    low, high = -20.0 - float(np.abs(tilted).max()), 20.0 + float(np.abs(tilted).max())
    for _ in range(60):
        middle = (low + high) / 2
        below = (1 / (1 + np.exp(-np.clip(tilted + middle, -500, 500)))).mean() < wanted
        low, high = (middle, high) if below else (low, middle)
    return slope, (low + high) / 2


@cache
def _normal() -> tuple[Array, Array]:
    """Forty points of a standard normal and their weights (Gauss-Hermite)."""
    import numpy as np

    nodes, mass = np.polynomial.hermite_e.hermegauss(40)
    return nodes, mass / mass.sum()


def _average(bias: float, spread: float) -> tuple[float, float]:
    """Under the model: the first seat's share, and how often the two orders favour the same text."""
    import numpy as np

    nodes, mass = _normal()
    here = 1 / (1 + np.exp(-(spread * nodes + bias)))
    there = 1 / (1 + np.exp(-(-spread * nodes + bias)))
    return float(mass @ here), float(mass @ (here * (1 - there) + (1 - here) * there))


def _error_of_slot(share: float, error: float, same: Array, both: Array, trust: float) -> float:
    """Standard error of the slot term, learnt as it is from the share and the agreement of the two orders."""
    import numpy as np

    middle, wobble = float(same.mean()), max(float(same.std()) / math.sqrt(len(same)), _NEVER)
    together = trust * float(np.cov(both, same)[0, 1]) / len(same)

    def slot(share: float, same_text: float) -> float:
        return _slot(share, _spread(share, same_text))

    by_share = (slot(share + error / 2, middle) - slot(share - error / 2, middle)) / error
    by_same = (slot(share, middle + wobble / 2) - slot(share, middle - wobble / 2)) / wobble
    variance = (by_share * error) ** 2 + (by_same * wobble) ** 2 + 2 * by_share * by_same * together
    # Bare winners move the two together, and what is left of the sum may be nothing: it is no smaller than
    # the share's part would be, were the spread known.
    spread = _spread(share, middle)
    known = _slot(share + error / 2, spread) - _slot(share - error / 2, spread)
    return max(math.sqrt(max(variance, 0.0)), known)


def _slot(share: float, spread: float) -> float:
    """The slot term that gives the first seat this share: Newton's method, held between two bounds."""
    import numpy as np

    share = min(max(share, _NEVER), 1 - _NEVER)
    nodes, mass = _normal()
    low, high, bias = -40.0, 40.0, logit(share)
    for _ in range(60):
        here = 1 / (1 + np.exp(-(spread * nodes + bias)))
        over, slope = float(mass @ here) - share, float(mass @ (here * (1 - here)))
        low, high = (low, bias) if over > 0 else (bias, high)
        aimed = bias - over / slope if slope > 0 else math.inf
        step = (aimed if low < aimed < high else (low + high) / 2) - bias
        bias += step
        if abs(step) < 1e-10:
            break
    return bias


def _spread(share: float, same_text: float) -> float:
    """How far apart the texts must be for the two orders to agree this often."""
    low, high = 0.0, 20.0
    for _ in range(26):
        middle = (low + high) / 2
        agrees = _average(_slot(share, middle), middle)[1]
        low, high = (middle, high) if agrees < same_text else (low, middle)
    return (low + high) / 2
