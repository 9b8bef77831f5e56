"""Reasons to end a loop before its last round, from what its rounds came to. Pure: facts in, a reason out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from msgspec import Struct

from ..summary import Share
from .settings import StopConfig


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


class Facts(Struct, frozen=True, omit_defaults=True):
    """What a round came to."""

    round: int
    policy: str
    """Folder of the policy the round ended with."""
    policy_hash: str = ""
    rows: int = 0
    """Rows it was trained on, and the share of them that people wrote."""
    real_share: float = 0.0
    generation: int = 0
    synthetic: float = 0.0
    """Share of the rows it learnt from that models wrote, see `ancestry`."""
    reward: float | None = None
    """Mean reward of its answers in the eyes of what it was trained on."""
    tied: float | None = None
    """Share of prompts on which the round's judge could not tell the answers apart."""
    pool: int | None = None
    """Prompts with a best answer so far."""
    judging: Share | None = None
    """How often the judge of the round was of the outside judge's mind, where the policy judges itself."""
    kl: float | None = None
    """Nats a completion, to the policy the loop started from."""
    distinct: float | None = None
    """Different pairs of words among all pairs of words."""
    unique: float | None = None
    """Different answers among several to the same prompt."""
    against_start: Comparison | None = None
    usd: float = 0.0
    seconds: float = 0.0


def reason_to_stop(facts: Sequence[Facts], cfg: StopConfig) -> str:
    """Why not to go on; empty when nothing speaks against it."""
    return next(filter(None, (rule(facts, cfg) for rule in (_saturated, _contracted, _over_optimised))), "")


def _saturated(facts: Sequence[Facts], cfg: StopConfig) -> str:
    tied = facts[-1].tied if facts else None
    if not cfg.saturated or tied is None or tied < cfg.saturated:
        return ""
    return (
        f"the judge cannot tell the answers to {tied:.0%} of the prompts apart (stop.saturated is"
        f" {cfg.saturated:g})"
    )


def _contracted(facts: Sequence[Facts], cfg: StopConfig) -> str:
    if not cfg.lost or len(facts) < 2:
        return ""
    for name in ("distinct", "unique"):
        before, now = getattr(facts[0], name), getattr(facts[-1], name)
        if before and now is not None and now < (1 - cfg.lost) * before:
            return f"diversity ({name}) fell from {before:.3f} to {now:.3f} (stop.lost is {cfg.lost:g})"
    return ""


def _over_optimised(facts: Sequence[Facts], cfg: StopConfig) -> str:
    """The reward rises and the outside judge turns away: Gao et al. 2022."""
    if not cfg.worse or len(facts) <= cfg.worse:
        return ""
    for before, now in pairwise(facts[-cfg.worse - 1 :]):
        if before.reward is None or now.reward is None:
            return ""
        if before.against_start is None or now.against_start is None:
            return ""
        if now.reward <= before.reward or now.against_start.win_rate >= before.against_start.win_rate:
            return ""
    return f"the reward rose for {cfg.worse} rounds while the outside judge liked the policy less"
