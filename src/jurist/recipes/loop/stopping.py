"""Reasons to end a loop before its last round, from what its rounds came to. Pure: facts in, a reason out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from msgspec import Struct

from ...stats.intervals import z_of
from ..lines import Share
from .settings import StopConfig

if TYPE_CHECKING:
    from ...audits.overoptimisation import Checkpoint

SURE = 0.9
"""Of the intervals that must lie apart where the outside judge is said to have turned away."""


class Comparison(Struct, frozen=True):
    """One policy against another in the eyes of a judge, over held-out prompts."""

    win_rate: float
    """Mean probability that the new one's answer is better; equal answers count a half."""
    low: float
    high: float
    n: int
    unread: int = 0
    """Prompts on which the judge gave nothing usable; they are not among the n."""
    words: float = 0.0
    """Mean length of the new one's answers."""
    words_before: float = 0.0
    at_equal_length: float | None = None
    """Without what length has lent the win rate, see `audits.length_debt`; None where there are too few."""

    def within(self, level: float) -> tuple[float, float]:
        """An interval of another level than the 95 % that `low` and `high` are of."""
        reach = (self.high - self.low) / 2 * z_of(level) / z_of(0.95)
        return self.win_rate - reach, self.win_rate + reach


class Facts(Struct, frozen=True, omit_defaults=True):
    """What a round came to."""

    round: int
    policy: str
    """Folder of the policy the round ended with."""
    policy_hash: str = ""
    rows: int = 0
    """Rows it was trained on, and the share of them that people wrote."""
    real_share: float = 0.0
    real_wanted: float = 0.0
    """The share that was wanted, and how many more rows that people write it would have taken."""
    missing: int = 0
    generation: int = 0
    synthetic: float = 0.0
    """Share of the rows it learnt from that models wrote, see `ancestry`."""
    reward: float | None = None
    """Mean reward of its answers in the eyes of what it was trained on."""
    tied: float | None = None
    """Of the prompts whose answers were compared and read, the share on which all came out level: every pair
    a tie, or every score the same. A prompt with one answer, or with nothing read, is not counted."""
    flips: float | None = None
    """Of the matchups read in both orders, the share whose verdict followed the seat."""
    pool: int | None = None
    """Prompts with a best answer so far."""
    judging: Share | None = None
    """How often the judge of the round was of the outside judge's mind, where the policy judges itself."""
    kl: float | None = None
    """Nats a completion, to the policy the loop started from."""
    distinct: float | None = None
    """Different pairs of words among a thousand of its pairs."""
    unique: float | None = None
    """Different answers among several to the same prompt."""
    against_start: Comparison | None = None
    usd: float = 0.0
    seconds: float = 0.0


def reason_to_stop(facts: Sequence[Facts], cfg: StopConfig, start: Facts | None = None) -> str:
    """Why not to go on; empty when nothing speaks against it. `start` is what the first policy was like."""
    reasons = (
        _saturated(facts, cfg),
        _contracted(facts, cfg, start),
        _over_optimised(facts, cfg),
        _past_peak(facts, cfg),
    )
    return next(filter(None, reasons), "")


def least_left(now: Facts, before: Facts) -> tuple[str, float]:
    """The measure of diversity that fell most, and how much of it is left; 1 where nothing was measured."""
    left = {
        name: getattr(now, name) / getattr(before, name)
        for name in ("distinct", "unique")
        if getattr(before, name) and getattr(now, name) is not None
    }
    return min(left.items(), key=lambda one: one[1], default=("", 1.0))


def _saturated(facts: Sequence[Facts], cfg: StopConfig) -> str:
    tied = facts[-1].tied if facts else None
    if not cfg.saturated or tied is None or tied < cfg.saturated:
        return ""
    return (
        f"the judge cannot tell the answers to {tied:.0%} of the prompts apart (stop.saturated is"
        f" {cfg.saturated:g})"
    )


def _contracted(facts: Sequence[Facts], cfg: StopConfig, start: Facts | None) -> str:
    if not cfg.lost or not facts or (start is None and len(facts) < 2):
        return ""
    first, now = start or facts[0], facts[-1]
    name, left = least_left(now, first)
    if left >= 1 - cfg.lost:
        return ""
    more = f"; {now.missing} more rows that people write were wanted" if now.missing else ""
    return (
        f"diversity ({name}) fell from {getattr(first, name):.3f} to {getattr(now, name):.3f} (stop.lost is"
        f" {cfg.lost:g}){more}"
    )


def _over_optimised(facts: Sequence[Facts], cfg: StopConfig) -> str:
    """The reward rises and the outside judge turns away: Gao et al. 2022."""
    if not cfg.worse or len(facts) <= cfg.worse:
        return ""
    seen = [(one.reward, one.against_start) for one in facts[-cfg.worse - 1 :]]
    told = [(reward, against) for reward, against in seen if reward is not None and against is not None]
    if len(told) < len(seen):
        return ""
    for (reward, against), (next_reward, next_against) in pairwise(told):
        if next_reward <= reward or next_against.win_rate >= against.win_rate:
            return ""
    # Two falls in a row are nothing rare where nothing changes; their ends have to lie apart.
    if told[0][1].within(SURE)[0] <= told[-1][1].within(SURE)[1]:
        return ""
    return (
        f"the reward rose for {cfg.worse} rounds while the outside judge liked the policy less; use"
        f" {facts[-cfg.worse - 1].policy}"
    )


def _past_peak(facts: Sequence[Facts], cfg: StopConfig) -> str:
    """A curve through all rounds says where the outside judge's liking turns, and this one is beyond."""
    if not cfg.peak or len(facts) < cfg.peak:
        return ""
    known = [(point, one) for one in facts if (point := checkpoint(one))]
    if not known or known[-1][1] is not facts[-1]:
        return ""
    from ...audits.overoptimisation import past_peak, to_use

    checkpoints = [point for point, _ in known]
    fit = past_peak(checkpoints)
    if fit is None:
        return ""
    best = to_use(checkpoints)
    use = next((one.policy for point, one in known if point is best), "the policy it started from")
    return (
        f"the outside judge's liking peaks at a KL of {fit.peak**2:.3g}, or of {fit.high**2:.3g} at most, and"
        f" the policy is at {facts[-1].kl:.3g} (stop.peak is {cfg.peak}); use {use}"
    )


def checkpoint(one: Facts, by_prompt: Mapping[str, float] | None = None) -> Checkpoint | None:
    """A round as a step on the way from the start, where it was compared with it."""
    from ...audits.overoptimisation import Checkpoint

    against = one.against_start
    if against is None or one.kl is None:
        return None
    gold = (against.win_rate - 0.5, against.low - 0.5, against.high - 0.5)
    return Checkpoint(f"round {one.round}", one.kl, *gold, one.reward, by_prompt or {}, against.words)
