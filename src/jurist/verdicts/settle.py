"""All verdicts of one judge about one matchup become one opinion.

Samples are averaged within an order, then the two orders with each other, so that a judge's position bias
cancels. Which completion a verdict speaks for is decided by the ids it carries, never by its place in a list.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from ..errors import DataError
from ..records import Matchup, Verdict
from ..stats.fits import sigmoid

ScoreScale = tuple[float, float] | Literal["logits", "certain"]
"""Of a judge's scores: the lowest and the highest, log-odds (a reward model's), or facts (a rule's)."""
SHARPNESS: Final = 8.0
"""Log-odds of a difference as large as the scale: on 1 to 9 a point is a nat."""


class Opinion(Struct, frozen=True):
    """One matchup as one judge, or a whole jury, sees it, seen from the positions as they were given.

    Derived, never stored: the verdicts are the evidence.
    """

    matchup_id: str
    first_id: str
    second_id: str
    judge: str = ""
    p_first: float | None = None
    """Probability that the first completion is better. None: no usable opinion, `unread` says why."""
    unread: str = ""
    position_gap: float | None = None
    """p_first as given minus p_first from the swapped question, mapped back: 0 without position bias."""
    scores: tuple[float, float] | None = None
    """Mean scores of first and second where a judge scored them one by one."""
    verdict_ids: tuple[str, ...] = ()
    flipped: bool = False
    """Both orders were read and favoured the same position. Decided once, in `settle`."""
    forced: bool = False
    """A constraint forced the label of one of its verdicts."""

    @classmethod
    def of(cls, verdicts: Sequence[Verdict], matchup: Matchup, **fields: Any) -> Opinion:
        """What these verdicts of one judge come to."""
        judge, ids = verdicts[0].judge if verdicts else "", tuple(one.id for one in verdicts)
        fields |= {"verdict_ids": ids, "forced": any(one.forced for one in verdicts)}
        return cls(matchup.id, matchup.first.id, matchup.second.id, judge, **fields)

    def swapped(self) -> Opinion:
        """The same opinion, seen from the other position."""
        return replace(
            self,
            first_id=self.second_id,
            second_id=self.first_id,
            p_first=None if self.p_first is None else 1.0 - self.p_first,
            position_gap=None if self.position_gap is None else -self.position_gap,
            scores=None if self.scores is None else (self.scores[1], self.scores[0]),
        )


def settle(
    verdicts: Sequence[Verdict],
    matchup: Matchup,
    *,
    clamp: tuple[float, float] | None = None,
    debias: Callable[[float], float] = lambda p: p,
) -> Opinion:
    """p that `matchup.first` is better. An order that was asked and not read leaves no opinion.

    `debias` takes the position bias out of a matchup asked in one order only; asked in both, it cancels.
    """
    low, high = clamp or (0.0, 1.0)
    given = [one for one in verdicts if not is_swapped(one, matchup)]
    swapped = [one for one in verdicts if is_swapped(one, matchup)]
    p_given, p_swapped = (
        _mean(min(max(one.p_first, low), high) for one in asked if one.p_first is not None)
        for asked in (given, swapped)
    )
    unread = [*(given if p_given is None else ()), *(swapped if p_swapped is None else ())]
    if unread or not verdicts:
        return Opinion.of(verdicts, matchup, unread=_commonest_reason(unread))
    if p_given is None or p_swapped is None:
        p = debias(p_given) if p_given is not None else 1.0 - debias(p_swapped or 0.0)
        return Opinion.of(verdicts, matchup, p_first=p)
    return Opinion.of(
        verdicts,
        matchup,
        p_first=(p_given + 1.0 - p_swapped) / 2.0,
        position_gap=p_given + p_swapped - 1.0,
        flipped=(p_given - 0.5) * (p_swapped - 0.5) > 0,
    )


def settle_scores(verdicts: Sequence[Verdict], matchup: Matchup, scale: ScoreScale) -> Opinion:
    """Mean scores against each other; takes the verdicts of one judge, and uses those about these two."""
    of_first = [one for one in verdicts if one.first_id == matchup.first.id]
    of_second = [one for one in verdicts if one.first_id == matchup.second.id]
    first, second = (
        _mean(one.score for one in about if one.score is not None) for about in (of_first, of_second)
    )
    used = list({one.id: one for one in (*of_first, *of_second)}.values())
    if first is None or second is None:
        unread = _commonest_reason(of_first if first is None else of_second)
        return Opinion.of(used, matchup, unread=unread)
    p = p_of_scores(first - second, scale)
    return Opinion.of(used, matchup, p_first=p, scores=(first, second))


def p_of_scores(difference: float, scale: ScoreScale) -> float:
    """The probability that the first is better, whatever the unit of the scale."""
    if scale == "certain":
        return 0.5 if difference == 0 else float(difference > 0)
    if isinstance(scale, str):
        return sigmoid(difference)
    low, high = scale
    return sigmoid(SHARPNESS * difference / (high - low)) if high > low else 0.5


def is_swapped(verdict: Verdict, matchup: Matchup) -> bool:
    """Whether the judge saw the two in the other order; refuses a verdict about anything else."""
    shown = (verdict.first_id, verdict.second_id)
    first, second = matchup.first.id, matchup.second.id
    if first == second == shown[0] == shown[1]:
        return verdict.order == "swapped"  # two equal completions: only the order can tell them apart
    if shown == (first, second):
        return False
    if shown == (second, first):
        return True
    raise DataError(
        f"verdict {verdict.id} is about {shown[0]} and {shown[1]}, not about matchup {matchup.id}."
        f" See: jurist show RUN --pair {matchup.id}"
    )


def _mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return math.fsum(values) / len(values) if values else None


def _commonest_reason(unread: Sequence[Verdict]) -> str:
    """Whatever order they come in."""
    counts = Counter(one.unread for one in unread)
    return min(counts, key=lambda reason: (-counts[reason], reason)) if counts else "not_asked"
