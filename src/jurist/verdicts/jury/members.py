"""Many opinions in, one out: pure, and quick enough to be called for every matchup."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import attrgetter

from ...errors import DataError, SettingError, nearest
from ...stats.fits import sigmoid
from ..opinion import Opinion
from .weights import EVEN, Juror, JuryConfig, Weights

# A hard yes counts as 0.98, so that one sure judge cannot drown the others in the stack.
EDGE = 0.02
_SIDE = math.log((1 - EDGE) / EDGE)
_by_judge = attrgetter("judge")

# A member's judge, its p and its seat gap (0 when unknown), told from one and the same seat.
Member = tuple[str, float, float]
Rule = Callable[[Sequence[Member]], float]


def combine(opinions: Sequence[Opinion], weights: Weights | None, cfg: JuryConfig) -> Opinion:
    """The jury's opinion on one matchup: one opinion a judge in, one out, whatever their order."""
    if not opinions:
        raise DataError(
            "a jury got no opinion at all; name its members: --judge openai:gpt-5-mini --judge shorter"
        )
    # A fixed order, so that neither the sum nor the seats depend on who answered first.
    opinions = sorted(opinions, key=_by_judge) if len(opinions) > 1 else opinions
    head = opinions[0]
    first, second = head.first_id, head.second_id
    members: list[Member] = []
    ids: tuple[str, ...] = ()
    gaps = False
    flips: list[bool] = []
    for o in opinions:
        ids += o.verdict_ids
        p = o.p_first
        if p is None:
            continue
        gap = o.position_gap
        if gap is None:
            gap = 0.0
        else:
            gaps = True
            flips.append(o.flipped)
        if o.first_id == first and o.second_id == second:
            members.append((o.judge, p, gap))
        elif o.first_id == second and o.second_id == first:
            members.append((o.judge, 1.0 - p, -gap))
        else:
            raise DataError(
                f"opinions on different matchups in one jury: {head.matchup_id} and {o.matchup_id}; "
                "group them by matchup_id first"
            )
    if len(members) < max(1.0, cfg.quorum * len(opinions)):
        reasons = {o.unread for o in opinions if o.p_first is None}
        why = reasons.pop() if len(reasons) == 1 and not members else "no quorum"
        return Opinion(head.matchup_id, first, second, "jury", unread=why, verdict_ids=ids)
    rule = _rule(weights, cfg)
    p = rule(members)
    position_gap = None
    if gaps:
        given = rule([(judge, min(max(q + gap / 2, 0.0), 1.0), gap) for judge, q, gap in members])
        turned = rule([(judge, min(max(q - gap / 2, 0.0), 1.0), gap) for judge, q, gap in members])
        position_gap = given - turned
    flipped = 2 * sum(flips) > len(flips)
    return Opinion(head.matchup_id, first, second, "jury", p, "", position_gap, None, ids, flipped)


def _rule(weights: Weights | None, cfg: JuryConfig) -> Rule:
    if cfg.combine == "mean":
        return _mean
    if cfg.combine == "vote":
        return _vote
    if weights is None or weights.combine != cfg.combine:
        raise SettingError(
            f"combine: {cfg.combine} needs weights fitted for it, not "
            f"{weights.combine if weights else 'none'}; fit them first, or set combine: mean"
        )
    known = {juror.judge: juror for juror in weights.jurors}

    def weighed(members: Sequence[Member]) -> float:
        total = 0.0
        for judge, p, gap in members:
            juror = known.get(judge)
            if juror is None:
                raise SettingError(f"{nearest('juror', judge, known)} Fit the weights again with this judge.")
            total += _word(juror, p, gap, weights.method)
        return sigmoid(total / weights.temperature)

    return weighed


def _mean(members: Sequence[Member]) -> float:
    total = 0.0
    for _, p, _ in members:
        total += p
    return total / len(members)


def _vote(members: Sequence[Member]) -> float:
    total = 0.0
    for _, p, _ in members:
        total += 1.0 if p > 0.5 + EVEN else 0.0 if p < 0.5 - EVEN else 0.5
    return total / len(members)


def answer_of(p: float) -> int:
    """0 for first, 1 for second, 2 for a tie."""
    return 0 if p > 0.5 + EVEN else 1 if p < 0.5 - EVEN else 2


def _word(juror: Juror, p: float, gap: float, method: str) -> float:
    """What one member adds to the log-odds. Odd in p, so that turning the seats turns the sum."""
    if method == "tables":
        answer = answer_of(p)
        return math.log(juror.says[0][answer] / juror.says[1][answer])
    if method == "stack":
        side = _SIDE if p > 1 - EDGE else -_SIDE if p < EDGE else math.log(p / (1 - p))
        return (juror.weight + juror.gap_weight * abs(gap)) * side
    return juror.weight * (2 * p - 1)
