"""All that one judge said about one matchup comes to one opinion.

Samples are averaged within an order, then the two orders with each other, so that what a judge gives to a
seat cancels. Which completion a verdict speaks for is decided by the ids it carries, never by its place in
a list.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Literal

from ..errors import DataError
from ..records import Matchup, Verdict
from ..stats.fits import logit, sigmoid
from .opinion import Opinion
from .read import NOT_ASKED

Scale = tuple[float, float] | Literal["logits", "certain"]
"""Of a judge's scores: the lowest and the highest, log-odds (a reward model's), or facts (a rule's)."""
SHARPNESS: Final = 8.0
"""Log-odds of a difference as large as the scale: on 1 to 9 a point is a nat."""
SlotBias = Callable[[float], float] | float
"""What the first seat is worth to a judge: log-odds to take away, or a function that corrects p as shown."""


def settle(
    verdicts: Sequence[Verdict],
    matchup: Matchup,
    *,
    clamp: tuple[float, float] | None = None,
    slot_bias: SlotBias | None = None,
) -> Opinion:
    """p that `matchup.first` is better. An order that was asked and not read leaves no opinion.

    `slot_bias` corrects a matchup asked in one order only; asked in both, the seats cancel by themselves.
    """
    given = [one for one in verdicts if not is_swapped(one, matchup)]
    turned = [one for one in verdicts if is_swapped(one, matchup)]
    p_given, p_turned = _mean_p(given, clamp), _mean_p(turned, clamp)
    p: float | None = None
    gap: float | None = None
    unread, flipped = "", False
    if not verdicts:
        unread = NOT_ASKED
    elif (given and p_given is None) or (turned and p_turned is None):
        unread = _reason(
            [one for some, p in ((given, p_given), (turned, p_turned)) if p is None for one in some]
        )
    elif p_given is not None and p_turned is not None:
        p, gap = (p_given + 1.0 - p_turned) / 2.0, p_given + p_turned - 1.0
        flipped = (p_given - 0.5) * (p_turned - 0.5) > 0
    elif p_given is not None:
        p = correct(p_given, slot_bias)
    elif p_turned is not None:
        p = 1.0 - correct(p_turned, slot_bias)
    return Opinion(
        matchup_id=matchup.id,
        first_id=matchup.first.id,
        second_id=matchup.second.id,
        judge=judge_of(verdicts),
        p_first=p,
        unread=unread,
        position_gap=gap,
        verdict_ids=tuple(one.id for one in verdicts),
        flipped=flipped,
    )


def settle_scores(verdicts: Sequence[Verdict], matchup: Matchup, scale: Scale) -> Opinion:
    """Mean scores against each other; takes the verdicts of one judge, and uses those about these two."""
    ids = (matchup.first.id, matchup.second.id)
    about = [[one for one in verdicts if one.first_id == completion] for completion in ids]
    means = [_mean([one.score for one in some if one.score is not None]) for some in about]
    used = list({one.id: one for some in about for one in some}.values())
    first, second = means
    p: float | None = None
    scores: tuple[float, float] | None = None
    unread = ""
    if first is not None and second is not None:
        scores, p = (first, second), p_of_scores(first - second, scale)
    else:
        unread = _reason(about[0] if first is None else about[1])
    return Opinion(
        matchup_id=matchup.id,
        first_id=ids[0],
        second_id=ids[1],
        judge=judge_of(used),
        p_first=p,
        unread=unread,
        scores=scores,
        verdict_ids=tuple(one.id for one in used),
    )


def p_of_scores(difference: float, scale: Scale) -> float:
    """The probability that the first is better, whatever the unit of the scale."""
    if scale == "certain":
        return 0.5 if difference == 0 else float(difference > 0)
    if isinstance(scale, str):
        return sigmoid(difference)
    low, high = scale
    return sigmoid(SHARPNESS * difference / (high - low)) if high > low else 0.5


def is_swapped(verdict: Verdict, matchup: Matchup) -> bool:
    """Whether the judge saw the seats the other way round; refuses a verdict about anything else."""
    shown = (verdict.first_id, verdict.second_id)
    first, second = matchup.first.id, matchup.second.id
    if first == second == shown[0] == shown[1]:
        return verdict.order == "swapped"  # two equal completions: only the order can tell the seats apart
    if shown == (first, second):
        return False
    if shown == (second, first):
        return True
    raise DataError(
        f"verdict {verdict.id} is about {shown[0]} and {shown[1]}, not about matchup {matchup.id}. "
        f"See: jurist show RUN --pair {matchup.id}"
    )


def correct(p: float, slot_bias: SlotBias | None) -> float:
    """p without what the first seat added to it."""
    if slot_bias is None:
        return p
    if callable(slot_bias):
        return slot_bias(p)
    return sigmoid(logit(p) - slot_bias)


def judge_of(verdicts: Sequence[Verdict]) -> str:
    """The one judge they are from; opinions of several are a jury's business."""
    names = {one.judge for one in verdicts}
    if len(names) > 1:
        raise DataError(
            f"verdicts of {len(names)} judges were to be settled as one: {', '.join(sorted(names))}"
        )
    return names.pop() if names else ""


def _mean_p(verdicts: Sequence[Verdict], clamp: tuple[float, float] | None) -> float | None:
    read = [one.p_first for one in verdicts if one.p_first is not None]
    if clamp is not None:
        read = [min(max(p, clamp[0]), clamp[1]) for p in read]
    return _mean(read)


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _reason(unread: Sequence[Verdict]) -> str:
    """The commonest reason, whatever order they come in."""
    counts = Counter(one.unread for one in unread)
    return min(counts, key=lambda reason: (-counts[reason], reason)) if counts else NOT_ASKED
