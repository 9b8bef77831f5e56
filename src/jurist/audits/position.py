"""Does the verdict follow the seat instead of the text?

Repetition stability comes first (Shi et al. 2024): a judge that says otherwise when it is asked the very
same question again also says otherwise when the seats are exchanged, and nothing about seats follows from
that. Then how often the winner changes with the seats, which seat gains by it, where that happens, what it
costs in wrong labels, and whether the labels are free of it.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from msgspec.structs import replace

from ..stats.fits import logit, sigmoid
from ..stats.intervals import Estimate, clustered_mean, clustered_share
from ..verdicts.calibrate import FEWEST, fit_columns
from .charts import bars, shown_by
from .finding import Finding, Grade
from .grade import WRONG, at_most, graded
from .seats import Seats, seating_shows, seats_of
from .sheet import Array, Sheet
from .splits import by_domain, by_margin
from .words import JUDGE_THEM, count, measured, percent, points, silent, span

STABLE: Final = 0.9
"""Asked the same again, most judges of Shi et al. (2024) repeat themselves more than 95 times in 100."""
SHAKY: Final = 0.6
"""Little better than the half of a coin."""
FLIPS: Final = 0.35
"""GPT-4 changed its winner this often on MT-Bench (Zheng et al. 2023), and its labels are still of use."""
USELESS: Final = 0.5
"""A coin's."""
SOME: Final = 10
"""Prompts from which on a share means something at all."""
SEAT: Final = 0.05
"""Good judges of today give a seat up to 4 points."""
LOG_ODDS: Final = 0.2
"""The same between two answers that are equally good."""
MOST: Final = 0.99
"""What is given to a seat is told no closer to all or nothing than this."""
CORRECTED: Final = 0.99
"""Share of matchups read in both orders from which on averaging has removed the seat; a few are unread."""
ASK_BOTH: Final = "Ask in both orders, or a part in both: --judge.swap always, --judge.swap fraction:0.2"


def position(sheet: Sheet) -> list[Finding]:
    """All of it, for each judge that compared answers."""
    judges = np.unique(sheet.verdicts.judge).tolist()
    found = [one for judge in judges for one in _of_judge(sheet, seats_of(sheet, judge))]
    if found:
        return _charted(found)
    said = "No judge compared two answers, so there is no seat to prefer."
    advice = "Nothing to do: a score of a single answer has no seat" if len(sheet.scores) else JUDGE_THEM
    return [silent("position.first_seat", said, advice)]


def _of_judge(sheet: Sheet, seats: Seats) -> list[Finding]:
    if not len(seats.matchup):
        said = f"{seats.judge} gave no verdict on two answers that could be read."
        return [silent("position.first_seat", said, "See why: jurist show RUN --unread", seats.judge)]
    steady, repeats = _repeats(seats)
    return [
        *repeats,
        _flips(sheet, seats, steady),
        _first_seat(sheet, seats),
        *_slot(seats),
        *_cost(sheet, seats),
        *by_domain(sheet, seats, FLIPS),
        *by_margin(sheet, seats),
    ]


def _repeats(seats: Seats) -> tuple[bool, list[Finding]]:
    """Whether it agrees with itself, where that was asked; how often, and what the seats add."""
    votes, prompt = _draws(seats)
    asked = votes.sum(axis=-1)
    again = asked >= 2
    if not again.any():
        return True, []
    alike = np.zeros(asked.shape)
    alike[again] = (votes * (votes - 1)).sum(axis=-1)[again] / (asked * (asked - 1))[again]
    one = clustered_share(alike[again], prompt[np.nonzero(again)[0]])
    grade: Grade = "alarm" if one.high < SHAKY else "warning" if one.high < STABLE else "fine"
    says = (
        f"Asked the same question again in the same order, {seats.judge} gave the same answer in "
        f"{percent(one.value)} of the repeats ({span(one)})."
    )
    advice = ""
    if grade != "fine":
        says += " It disagrees with itself, so what follows about seats is in part mere chance."
        advice = "Lower its temperature (--judge.temperature 0), or average more draws: --judge.samples 5"
    found = [measured("position.repeats", seats.judge, says, grade, one, 1.0, advice=advice)]
    return grade == "fine", found + _beyond_repeats(seats, votes, alike, prompt)


def _draws(seats: Seats) -> tuple[Array, Array]:
    """For each matchup and order, how many draws favoured the matchup's first, neither, and its second; and
    the matchup's prompt.
    """
    asked, row = np.unique(seats.matchup, return_inverse=True)
    p = np.where(seats.turned, 1 - seats.p_shown, seats.p_shown)
    vote = (1 - np.sign(p - 0.5)).astype(np.int64)
    cell = (row * 2 + seats.turned) * 3 + vote
    return np.bincount(cell, minlength=6 * len(asked)).reshape(-1, 2, 3), seats.prompt[asked]


def _beyond_repeats(seats: Seats, votes: Array, alike: Array, prompt: Array) -> list[Finding]:
    """How much more often two draws disagree in different orders than in the same one."""
    asked = votes.sum(axis=-1)
    full = (asked >= 2).all(axis=-1)
    if not full.any():
        return []
    across = (votes[full, 0] * votes[full, 1]).sum(axis=-1) / asked[full].prod(axis=-1)
    one = clustered_mean(alike[full].mean(axis=-1) - across, prompt[full])
    says = (
        f"When the seats are exchanged, {seats.judge} says otherwise in {percent(1 - float(across.mean()))} "
        f"of the cases; {points(one.value)} of that are the seats' doing ({span(one)}), the rest it also "
        "does when asked the same again."
    )
    grade = at_most(graded(one.low, one.high, 0.0, SEAT), _mended(seats))
    return [
        measured(
            "position.flips_beyond_repeats", seats.judge, says, grade, one, 0.0, advice=_way_out(seats, grade)
        )
    ]


def _flips(sheet: Sheet, seats: Seats, steady: bool) -> Finding:
    """How often the winner changed with the seats."""
    if not len(seats.both):
        said = f"{seats.judge} was read in one order only: what it says in the other is not known."
        return silent("position.flip_rate", said, ASK_BOTH, seats.judge)
    flipped = seats.flipped
    one = clustered_share(flipped.astype(float), seats.prompt[seats.both])
    says = (
        f"{seats.judge} came to the same verdict in both orders for {int(seats.same.sum()):,} of "
        f"{count(len(flipped), 'matchup')}; for {int(flipped.sum()):,} ({percent(one.value)}, {span(one)}) "
        "the winner changed with the seats."
    )
    if flipped.any():
        says += f" Asked once, it would be wrong in at least {percent(one.value / 2)}."
    if not steady:
        says += " Part of this is chance, since it disagrees with itself in the same order too."
    # A few dozen matchups leave it open, which is no reason to call such a share fine.
    open_ = one.n >= SOME and one.value > FLIPS
    grade: Grade = (
        "alarm" if one.low > USELESS else "warning" if one.low > FLIPS else "note" if open_ else "fine"
    )
    advice = ""
    if grade != "fine":
        advice = "Leave out the pairs that flipped (--prefer.consistent_only true), or ask another judge"
    widest = seats.both[flipped][np.argsort(-np.abs(seats.gap[flipped]), kind="stable")[:5]]
    examples = tuple(sheet.matchups.id[row] for row in widest.tolist())
    return measured(
        "position.flip_rate", seats.judge, says, grade, one, 0.0, advice=advice, examples=examples
    )


def _first_seat(sheet: Sheet, seats: Seats) -> Finding:
    """Which share of its decisions went to the first seat, where the texts in the seats cancel."""
    among = np.ones(len(seats.matchup), dtype=bool)
    drawn = ""
    if seats.swapped < CORRECTED and (why := seating_shows(sheet, seats)):
        among = np.isin(seats.matchup, seats.both)
        if not among.any():
            said = f"{seats.judge} was asked in one order, and the seats were not drawn: {why}."
            return silent("position.first_seat", said, ASK_BOTH, seats.judge)
    elif not len(seats.both):
        drawn = " It was asked in one order; the seats look drawn by lot, else this says nothing."
    decided = among & (seats.p_shown != 0.5)
    if not decided.any():
        said = f"{seats.judge} called every matchup a tie, so no seat won."
        return silent("position.first_seat", said, "Forbid ties (--judge.ties false)", seats.judge)
    rows = seats.matchup[decided]
    one = _seat_share(seats, rows, seats.p_shown[decided] > 0.5)
    says = (
        f"{seats.judge} gave {percent(one.value)} of its {count(len(rows), 'decided verdict')} to the answer "
        f"in the first seat ({span(one)}); a judge that goes by the text gives 50%.{drawn}"
    )
    grade = at_most(graded(one.low, one.high, 0.5, SEAT), _mended(seats))
    if grade == "warning" and seats.swapped >= CORRECTED:
        says += " Both orders were asked, so the labels are free of it: it costs ties, not wrong labels."
    return measured("position.first_seat", seats.judge, says, grade, one, 0.5, advice=_way_out(seats, grade))


def _seat_share(seats: Seats, matchup: Array, first: Array) -> Estimate:
    """The share of verdicts that favoured the first seat; the texts of a matchup asked twice cancel."""
    asked, row, times = np.unique(matchup, return_inverse=True, return_counts=True)
    weight = times / times.mean()
    mean = float(first.mean())
    # A matchup counts as often as it was asked.
    share = np.round(mean + weight * (np.bincount(row, first) / times - mean), 12)
    return clustered_share(share, seats.prompt[asked])


def _slot(seats: Seats) -> list[Finding]:
    """What the seat is worth in log-odds, and what takes it out of the labels."""
    fit = fit_columns(seats.matchup, seats.turned, seats.p_shown, seats.judge)
    if fit is None:
        return []
    one = Estimate(fit.bias, fit.bias_low, fit.bias_high, fit.n_swapped + fit.n_single)
    told: tuple[float | None, float | None] = fit.bias_low, fit.bias_high
    width = f" (95% interval {fit.bias_low:+.2f} to {fit.bias_high:+.2f})"
    most, bias, end = logit(MOST), fit.bias, ""
    if abs(bias) > most:
        # Verdicts without probabilities tell no farther.
        bias, told, width = math.copysign(most, bias), (None, None), " or beyond"
        end = "at least " if bias > 0 else "at most "
    says = (
        f"Between two equally good answers {seats.judge} gives the first seat {end}{percent(sigmoid(bias))}: "
        f"{bias:+.2f} log-odds{width}. "
    )
    if seats.swapped >= CORRECTED:
        says += "Every matchup was asked in both orders; the average of the two is free of it."
    else:
        says += (
            f"{percent(seats.swapped)} of the matchups were asked in both orders; from those jurist learns "
            "what the rest would have been in the other order, and averages the two."
        )
    grade = at_most(graded(one.low, one.high, 0.0, LOG_ODDS), "note")
    found = measured("position.slot", seats.judge, says, grade, one, 0.0, unit="number")
    return [replace(found, value=bias, low=told[0], high=told[1])]


def _cost(sheet: Sheet, seats: Seats) -> list[Finding]:
    """How much more often labels would be wrong had each matchup been asked once, by people's labels."""
    truth = sheet.human_p[seats.both]
    known = ~np.isnan(truth) & (truth != 0.5)
    right = np.sign(truth[known] - 0.5)
    given, other = seats.given[known] - 0.5, seats.other[known] - 0.5
    settled = np.round(given + other, 9)
    kept = settled != 0
    if not kept.any():
        return []
    # A tie in one order would be broken by lot.
    once = (2 - right * (np.sign(given) + np.sign(other))) / 4
    wrong = (np.sign(settled) != right) & kept
    error, left = wrong.sum() / kept.sum(), kept.mean()
    # The error of what is kept is a ratio; its first-order terms make the difference a mean.
    lead = once - error - (wrong - error * kept) / left
    one = clustered_mean(lead, seats.prompt[seats.both][known])
    says = (
        f"Asked once, {seats.judge} would disagree with people on {percent(float(once.mean()))} of the "
        f"matchups; in both orders it does on {percent(float(error))}, and {percent(1 - float(left))} become "
        f"ties. One order costs {points(one.value)} ({span(one)})."
    )
    advice = "" if seats.swapped >= CORRECTED else ASK_BOTH
    return [measured("position.cost", seats.judge, says, "note", one, advice=advice)]


def _mended(seats: Seats) -> Grade:
    """How bad a seat can be: what is taken out of the labels spoils none of them."""
    return "warning" if seats.swapped >= CORRECTED or len(seats.both) >= FEWEST else "alarm"


def _way_out(seats: Seats, grade: Grade) -> str:
    if grade not in WRONG:
        return ""
    if seats.swapped >= CORRECTED:
        return "Keep asking in both orders: --judge.swap always"
    return ASK_BOTH


def _charted(found: list[Finding]) -> list[Finding]:
    """One chart of all judges, with the finding of the one that is furthest from a half."""
    shares = [one for one in found if one.name == "position.first_seat" and one.value is not None]
    if not shares:
        return found
    chart = bars(
        "How often the first seat wins",
        "first seat",
        shares,
        y="share of decided verdicts",
        mark=0.5,
        marked="the seat is nothing to it",
    )
    worst = max(shares, key=lambda one: abs((one.value or 0.5) - 0.5))
    return shown_by(worst, chart, found)
