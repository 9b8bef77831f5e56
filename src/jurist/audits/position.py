"""Position bias: does the verdict follow the position instead of the text?

Repetition stability comes first (Shi et al. 2024): a judge that contradicts itself when it is asked the very
same question again also contradicts itself when the order is swapped, and nothing about positions follows
from that. Then how often the winner changes with the order, which position gains by it, where that happens,
what it costs in wrong labels, and whether the labels are free of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ..stats.fits import logit, sigmoid
from ..stats.intervals import Estimate, clustered_mean, clustered_share, wilson
from ..verdicts.calibrate import FEWEST as ENOUGH
from ..verdicts.calibrate import fit_columns
from .finding import Measure, Point, Series
from .sheet import Array, Sheet

FEWEST: Final = 30
"""Verdicts below which nobody can tell whether positions were random."""
CORRECTED: Final = 0.99
"""Share of matchups read in both orders from which on averaging has removed the bias; a few are unread."""
MOST: Final = 0.99
"""How the positions share between equally good answers is given no closer to all or nothing than this."""


@dataclass(frozen=True)
class Positions:
    """What was read of one judge: a row for each verdict, and one for each matchup read in both orders."""

    judge: str
    matchup: Array
    swapped: Array
    p_shown: Array
    """Of the answer that was shown first."""
    both: Array
    """The matchups read in both orders, and p of their first in each."""
    p_given: Array
    p_swapped: Array
    prompt: Array
    """Of every matchup of the sheet."""

    @property
    def asked_both(self) -> float:
        """The share of its matchups that were read in both orders."""
        return len(self.both) / max(len(np.unique(self.matchup)), 1)

    @property
    def flipped(self) -> Array:
        """The same position won both times, so opposite answers."""
        flipped: Array = (self.p_given - 0.5) * (self.p_swapped - 0.5) < 0
        return flipped

    @property
    def labels_are(self) -> dict[str, bool]:
        """What takes a position bias out of the labels: the average of both orders, or a correction."""
        every = self.asked_both >= CORRECTED
        return {"averaged": every, "corrected": not every and len(self.both) >= ENOUGH}


def position(sheet: Sheet) -> list[Measure]:
    """All of it, for each judge that compared answers."""
    if not sheet.positions_known:
        return [Measure("position.first_position", missing="unknown")]
    found = [one for judge in np.unique(sheet.verdicts.judge).tolist() for one in _of_judge(sheet, judge)]
    return found or [
        Measure("position.first_position", missing="scores" if len(sheet.scores) else "no_judge")
    ]


def _of_judge(sheet: Sheet, judge: int) -> Iterator[Measure]:
    positions = positions_of(sheet, judge)
    if not len(positions.matchup):
        yield Measure("position.first_position", positions.judge, missing="unread")
        return
    repeats = list(_repeats(positions))
    yield from repeats
    same = next((one.estimate.value for one in repeats if one.estimate), None)
    yield _flips(sheet, positions, None if same is None else 1 - same)
    yield _first_position(sheet, positions)
    yield from _between_equals(positions)
    yield from _cost(sheet, positions)
    yield from _by_domain(sheet, positions)


def positions_of(sheet: Sheet, judge: int) -> Positions:
    verdicts, opinions = sheet.verdicts, sheet.opinions
    own = (verdicts.judge == judge) & ~np.isnan(verdicts.p)
    swapped, p = verdicts.swapped[own], verdicts.p[own]
    both = (opinions.judge == judge) & opinions.both
    return Positions(
        sheet.judges[judge],
        verdicts.matchup[own],
        swapped,
        np.where(swapped, 1 - p, p),
        opinions.matchup[both],
        opinions.p_given[both],
        opinions.p_swapped[both],
        sheet.matchups.prompt,
    )


def _repeats(positions: Positions) -> Iterator[Measure]:
    """How often it agrees with itself in the same order, and how much less in the other."""
    asked, row = np.unique(positions.matchup, return_inverse=True)
    prompt = positions.prompt[asked]
    p = np.where(positions.swapped, 1 - positions.p_shown, positions.p_shown)
    side = (1 - np.sign(p - 0.5)).astype(np.int64)
    # For each matchup and order, how many samples favoured its first, neither, and its second.
    votes = np.bincount((row * 2 + positions.swapped) * 3 + side, minlength=6 * len(asked)).reshape(-1, 2, 3)
    n = votes.sum(axis=-1)
    again = n >= 2
    if not again.any():
        return
    alike = np.zeros(n.shape)
    alike[again] = (votes * (votes - 1)).sum(axis=-1)[again] / (n * (n - 1))[again]
    same = clustered_share(alike[again], prompt[np.nonzero(again)[0]])
    yield Measure("position.repeats", positions.judge, same)
    full = again.all(axis=-1)
    if full.any():
        across = (votes[full, 0] * votes[full, 1]).sum(axis=-1) / n[full].prod(axis=-1)
        more = clustered_mean(alike[full].mean(axis=-1) - across, prompt[full], most=1.0)
        figures = {"across": 1 - float(across.mean()), **positions.labels_are}
        yield Measure("position.flips_beyond_repeats", positions.judge, more, figures)


def _flips(sheet: Sheet, positions: Positions, anyway: float | None) -> Measure:
    """How often the winner changed with the order; `anyway` it does so in the same order too."""
    if not len(positions.both):
        return Measure("position.flip_rate", positions.judge, missing="one_order")
    flipped = positions.flipped
    share = clustered_share(flipped.astype(float), positions.prompt[positions.both])
    gap = np.abs(positions.p_given - positions.p_swapped)[flipped]
    widest = positions.both[flipped][np.argsort(-gap, kind="stable")[:5]]
    same = np.sign(positions.p_given - 0.5) == np.sign(positions.p_swapped - 0.5)
    figures = {
        "same": int(same.sum()),
        "of": len(flipped),
        "flips": int(flipped.sum()),
        "wrong": share.value / 2 if flipped.any() else None,
        "anyway": anyway,
    }
    return Measure("position.flip_rate", positions.judge, share, figures, _ids(sheet, widest))


def _first_position(sheet: Sheet, positions: Positions) -> Measure:
    """Which share of its decisions went to the first position, where the texts in the positions cancel."""
    name, among = "position.first_position", np.ones(len(positions.matchup), dtype=bool)
    by_lot = None
    if positions.asked_both < CORRECTED and (why := _not_by_lot(sheet, positions)):
        among = np.isin(positions.matchup, positions.both)
        if not among.any():
            return Measure(name, positions.judge, figures=why, missing="not_by_lot")
    elif not len(positions.both):
        by_lot = len(positions.matchup) >= FEWEST or None
    decided = among & (positions.p_shown != 0.5)
    if not decided.any():
        return Measure(name, positions.judge, missing="ties")
    matchup, first = positions.matchup[decided], positions.p_shown[decided] > 0.5
    asked, row, times = np.unique(matchup, return_inverse=True, return_counts=True)
    # A matchup counts as often as it was asked; the texts of one asked in both orders cancel.
    mean = float(first.mean())
    share = np.round(mean + times / times.mean() * (np.bincount(row, first) / times - mean), 12)
    figures = {"decided": len(matchup), "by_lot": by_lot, **positions.labels_are}
    return Measure(name, positions.judge, clustered_share(share, positions.prompt[asked]), figures)


def _not_by_lot(sheet: Sheet, positions: Positions) -> dict[str, str]:
    """What gives away that positions were not random: nothing when nothing does.

    In a matchup asked once, the first position wins for the text that stands there. Only where positions were
    drawn does that cancel, and that shows in what the audit knows of the texts: their lengths, who wrote
    them, and what humans said of them.
    """
    answers, matchups, swapped = sheet.answers, sheet.matchups, positions.swapped
    first = np.where(swapped, matchups.second[positions.matchup], matchups.first[positions.matchup])
    second = np.where(swapped, matchups.first[positions.matchup], matchups.second[positions.matchup])
    longer = answers.chars[first] - answers.chars[second]
    human = sheet.human_p[positions.matchup]
    liked = np.where(swapped, 0.5 - human, human - 0.5)
    if _lopsided((longer > 0).sum(), (longer < 0).sum()):
        return {"what": "the longer answer"}
    if _lopsided((liked > 0).sum(), (liked < 0).sum()):
        return {"what": "the answer that humans prefer"}
    one, other = answers.policy[first], answers.policy[second]
    met, policies = one != other, len(sheet.policies)
    ahead, behind = (np.bincount(side[met], minlength=policies) for side in (one, other))
    for name, here, there in zip(sheet.policies, ahead, behind, strict=True):
        if _lopsided(here, there):
            return {"what": f"the answer of {name or 'an unnamed policy'}"}
    return {}


def _lopsided(one: int, other: int) -> bool:
    """Whether one side leads more often than drawing lots would let it, once in ten thousand."""
    low, high = wilson(float(one), float(one + other), 0.9999)
    return one + other >= FEWEST and not low <= 0.5 <= high


def _between_equals(positions: Positions) -> Iterator[Measure]:
    """What the first position is worth in log-odds, and what takes it out of the labels."""
    fit = fit_columns(positions.matchup, positions.swapped, positions.p_shown, positions.judge)
    if fit is None:
        return
    bias, low, high, edge = fit.bias, fit.bias_low, fit.bias_high, logit(MOST)
    figures: dict[str, Any] = {"both": positions.asked_both, "share": sigmoid(bias), **positions.labels_are}
    if abs(bias) > edge:
        # Verdicts without probabilities tell no farther.
        bias, low, high = math.copysign(edge, bias), math.nan, math.nan
        figures |= {"share": sigmoid(bias), "bound": "at least" if bias > 0 else "at most"}
    n = fit.n_swapped + fit.n_single
    yield Measure("position.between_equals", positions.judge, Estimate(bias, low, high, n), figures)


def _cost(sheet: Sheet, positions: Positions) -> Iterator[Measure]:
    """How much more often labels would be wrong had each matchup been asked once, by human labels."""
    truth = sheet.human_p[positions.both]
    known = ~np.isnan(truth) & (truth != 0.5)
    right = np.sign(truth[known] - 0.5)
    given, swapped = positions.p_given[known] - 0.5, positions.p_swapped[known] - 0.5
    net = np.round(given + swapped, 9)
    kept = net != 0
    if not kept.any():
        return
    # A tie in one order would be broken at random.
    once = (2 - right * (np.sign(given) + np.sign(swapped))) / 4
    wrong = (np.sign(net) != right) & kept
    error, left = wrong.sum() / kept.sum(), kept.mean()
    # The error of what is kept is a ratio; its first-order terms make the difference a mean.
    lead = once - error - (wrong - error * kept) / left
    cost = clustered_mean(lead, positions.prompt[positions.both][known], most=1.0)
    figures = {"once": float(once.mean()), "both": float(error), "ties": 1 - float(left)}
    figures["advise"] = positions.asked_both < CORRECTED
    yield Measure("position.cost", positions.judge, cost, figures)


def _by_domain(sheet: Sheet, positions: Positions) -> Iterator[Measure]:
    """The domain with the most flips, at a level that allows for having looked at all of them."""
    prompt = positions.prompt[positions.both]
    domain, flipped = sheet.prompts.domain[prompt], positions.flipped.astype(float)
    looked = np.flatnonzero(np.bincount(domain, minlength=len(sheet.domains)) >= FEWEST).tolist()
    if len(looked) < 2:
        return
    shares = {
        sheet.domains[one] or "no domain": clustered_share(
            flipped[domain == one], prompt[domain == one], 1 - 0.05 / len(looked)
        )
        for one in looked
    }
    name, worst = max(shares.items(), key=lambda pair: pair[1].value)
    overall = float(flipped.mean())
    figures = {"domain": name, "overall": overall, "mark": overall, "as_usual": worst.low <= overall}
    bars = tuple(Point(one, e.value, e.low, e.high, e.n) for one, e in shares.items())
    yield Measure("position.by_domain", positions.judge, worst, figures, series=(Series("flips", bars),))


def _ids(sheet: Sheet, matchups: Array) -> tuple[str, ...]:
    return tuple(sheet.matchups.id[row] for row in matchups.tolist())
