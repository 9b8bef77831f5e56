"""What the seat is worth to a judge, from matchups of which only some were asked in both orders.

Asking twice costs twice. With a fifth of the matchups asked in both orders (`--swap fraction:0.2`) those
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
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ..errors import SettingError
from ..records import Verdict
from ..stats import logit, sigmoid, z_of

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

EDGE = 0.02
FEWEST = 30
"""Matchups asked in both orders, below which nothing is fitted."""
_NEVER = 1e-3


class SlotBias(Struct, frozen=True, omit_defaults=True):
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
    """False where seats in the file are not random, so that verdicts asked once say nothing about the slot."""


class _Tally:
    """One judge's verdicts, 17 bytes each."""

    def __init__(self) -> None:
        self.key, self.turned, self.p = array("q"), array("b"), array("d")

    def add(self, matchup_id: str, order: str, p: float | None) -> None:
        if p is not None:
            self.key.append(hash(matchup_id))
            self.turned.append(order == "turned")
            self.p.append(p)


def fit_slot_biases(verdicts: Iterable[Verdict]) -> dict[str, SlotBias]:
    """Each judge's slot bias, from one pass over verdicts in any order. Unread ones are left out."""
    tallies: dict[str, _Tally] = {}
    for v in verdicts:
        if v.matchup_id:
            tallies.setdefault(v.judge, _Tally()).add(v.matchup_id, v.seat_order, v.p_first)
    return {judge: _fit(judge, tally) for judge, tally in tallies.items()}


def fit_slot_bias(triples: Iterable[tuple[str, str, float | None]], judge: str = "") -> SlotBias:
    """The same for one judge, from (matchup id, `given` or `turned`, p of the first seat as shown)."""
    tally = _Tally()
    for matchup_id, order, p in triples:
        tally.add(matchup_id, order, p)
    return _fit(judge, tally)


def correct(p_first: float, bias: SlotBias) -> float:
    """What asking in both orders would have come to, given what was said in one; p as shown in, p as shown
    out.
    """
    return (p_first + sigmoid(bias.slope * logit(p_first, EDGE) + bias.intercept)) / 2


def _fit(judge: str, tally: _Tally) -> SlotBias:
    import numpy as np

    one, other, single, lean = _join(tally)
    n = len(one)
    if n < FEWEST:
        raise SettingError(
            f"judge {judge or 'given'} has {n} matchups read in both orders, too few for its slot bias; "
            f"{FEWEST} are the least: ask more with --swap fraction:0.2, or all with --swap always"
        )
    # In a swapped pair the texts cancel, so what is left is the seat; asked once, they cancel only on
    # average,
    # and only if no seat was kept for the better text.
    both = (one + other) / 2
    settled = (one + 1 - other) / 2
    drift = abs(lean * (settled.mean() - 0.5))
    random = len(single) > 1 and drift <= 2 * abs(lean) * settled.std() / math.sqrt(n)
    share, error = both.mean(), max(both.std() / math.sqrt(n), _NEVER / math.sqrt(n))
    if random:
        error_single = max(single.std() / math.sqrt(len(single)), _NEVER / math.sqrt(len(single)))
        trust = error_single**2 / (error**2 + error_single**2)
        share = trust * share + (1 - trust) * single.mean()
        error = error * math.sqrt(trust)
    reach = z_of(0.95) * error
    low, high = max(0.0, share - reach), min(1.0, share + reach)
    shown = np.concatenate([one, other, single] if random else [one, other])
    slope, intercept = _other_order(one, other, shown, 1 - share)
    spread = _spread(share, float((one * (1 - other) + (1 - one) * other).mean()))
    return SlotBias(
        judge=judge,
        first_share=float(share),
        low=float(low),
        high=float(high),
        bias=_slot(share, spread),
        bias_low=_slot(low, spread),
        bias_high=_slot(high, spread),
        spread=spread,
        slope=slope,
        intercept=intercept,
        n_swapped=n,
        n_single=len(single),
        singles_used=bool(random),
    )


def _join(tally: _Tally) -> tuple[Array, Array, Array, float]:
    """p as shown of each matchup in the given and in the turned order; those asked once; and how
    one-sidedly these sat.
    """
    import numpy as np

    keys, place = np.unique(np.asarray(tally.key, dtype=np.int64), return_inverse=True)
    turned, p = np.asarray(tally.turned, dtype=bool), np.asarray(tally.p, dtype=float)
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


def _other_order(one: Array, other: Array, shown: Array, wanted: float) -> tuple[float, float]:
    """Slope and intercept of the other order's log-odds, such that its mean over all that was shown is
    `wanted`.
    """
    import numpy as np

    def side(p: Array) -> Array:
        held = np.clip(p, EDGE, 1 - EDGE)
        return np.asarray(np.log(held / (1 - held)))

    x = np.concatenate([side(one), side(other)])
    y = np.concatenate([1 - other, 1 - one])
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


def _average(bias: float, spread: float) -> tuple[float, float]:
    """Under the model: the first seat's share, and how often the two orders favour the same text."""
    import numpy as np

    nodes, mass = np.polynomial.hermite_e.hermegauss(40)
    mass = mass / mass.sum()
    here = 1 / (1 + np.exp(-(spread * nodes + bias)))
    there = 1 / (1 + np.exp(-(-spread * nodes + bias)))
    return float(mass @ here), float(mass @ (here * (1 - there) + (1 - here) * there))


def _slot(share: float, spread: float) -> float:
    """The slot term that gives the first seat this share."""
    share = min(max(share, _NEVER), 1 - _NEVER)
    low, high = -40.0, 40.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _average(middle, spread)[0] < share else (low, middle)
    return (low + high) / 2


def _spread(share: float, same_text: float) -> float:
    """How far apart the texts must be for the two orders to agree this often."""
    low, high = 0.0, 20.0
    for _ in range(30):
        middle = (low + high) / 2
        agrees = _average(_slot(share, middle), middle)[1]
        low, high = (middle, high) if agrees < same_text else (low, middle)
    return (low + high) / 2
