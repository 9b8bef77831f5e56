"""When to end a loop before its last round, and how many human rows a round takes. Pure functions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from typing import TypeVar

from ...errors import DataError
from .compare import Comparison, Facts, checkpoint_of
from .settings import RealConfig, StopConfig

Item = TypeVar("Item")
FALL_LEVEL = 0.9
"""Of the intervals that must lie apart before one win rate is called lower than another: over several rounds
smaller falls come by chance."""
MOST_REAL = 0.9
"""The largest share of human rows that is asked for: with more a round learns nothing from itself."""
WARN_FLIPS = 0.75
"""A flip rate above this part of `stop.flips` is warned of."""


def real_share_for(facts: Sequence[Facts], cfg: RealConfig) -> float:
    """The share of human rows that the next round asks for. Each round so far that lost too much diversity
    halves what models write; once raised, the share stays.

    Alemohammad et al. 2023: a loop that learns from its own output contracts, and only a share of human rows
    that does not fall with the rounds bounds it."""
    share = cfg.share
    for one in facts:
        if cfg.alarm and diversity_left(one)[0] < 1 - cfg.alarm:
            share = min(MOST_REAL, (1 + share) / 2)
    return max(share, cfg.share)


def diversity_left(one: Facts) -> tuple[float, str, float, float]:
    """What is left of the measure that fell most since the initial policy; 1 where none was taken. Its name,
    what it was and what it is."""
    found = one.compared
    measures = (
        ("distinct", found.distinct_before, found.distinct),
        ("unique", found.unique_before, found.unique),
    )
    left = [(now / before, name, before, now) for name, before, now in measures if before and now is not None]
    return min(left, default=(1.0, "", 0.0, 0.0))


def mix_real_rows(
    made: Sequence[Item], real: Sequence[Item], cfg: RealConfig, seed: int
) -> tuple[list[Item], int]:
    """All that was made, with as many human rows as make up the share; and how many of these are missing."""
    wanted = round(cfg.share * len(made) / (1 - cfg.share))
    drawn = random.Random(seed).sample(list(real), min(wanted, len(real)))
    share = len(drawn) / (len(drawn) + len(made))
    if cfg.file and share < cfg.floor:
        raise DataError(
            f"{cfg.file} has {len(real)} rows, and {len(made)} that models wrote leave them a share of"
            f" {share:.1%}; the floor is {cfg.floor:.0%}. Add rows, to"
            f" {ceil(cfg.floor * len(made) / (1 - cfg.floor))} at least, or train on fewer prompts"
        )
    return [*made, *drawn], wanted - len(drawn)


def reason_to_stop(facts: Sequence[Facts], cfg: StopConfig) -> str:
    """Why not to go on; empty when nothing speaks against it."""
    if not facts:
        return ""
    now = facts[-1]
    if cfg.saturated and now.tied is not None and now.tied >= cfg.saturated:
        return (
            f"the judge cannot tell the answers to {now.tied:.0%} of the prompts apart (stop.saturated is"
            f" {cfg.saturated:g})"
        )
    if cfg.agreement and now.agreement is not None and now.agreement.high < cfg.agreement:
        return (
            f"the loop's judge agrees with compare.judge on {now.agreement.value:.0%} of"
            f" {now.agreement.n:,} pairs, significantly below {cfg.agreement:.0%} (stop.agreement)"
        )
    left, name, before, value = diversity_left(now)
    if cfg.lost and left < 1 - cfg.lost:
        more = f"; {now.missing} more rows that humans write were wanted" if now.missing else ""
        return f"diversity ({name}) fell from {before:.3f} to {value:.3f} (stop.lost is {cfg.lost:g}){more}"
    return _over_optimised(facts, cfg) or _past_peak(facts, cfg)


def _over_optimised(facts: Sequence[Facts], cfg: StopConfig) -> str:
    """The proxy rises and the win rate falls: Gao et al. 2022."""
    last = facts[-cfg.worse - 1 :]
    story = [(one.proxy, one.compared.win_rate) for one in last]
    known = [(proxy, win) for proxy, win in story if proxy is not None and win is not None]
    if not cfg.worse or len(known) <= cfg.worse or not _below(last[-1], last[0]):
        return ""
    if any(proxy <= before or win >= won for (before, won), (proxy, win) in pairwise(known)):
        return ""
    return (
        f"the proxy rose for {cfg.worse} rounds and the win rate by compare.judge fell; use {last[0].policy}"
    )


def _past_peak(facts: Sequence[Facts], cfg: StopConfig) -> str:
    """The win rate is significantly below its best, and a curve through all rounds has turned."""
    last = facts[-1]
    initial = Facts(0, "the initial policy", compared=Comparison(0.5))
    known = {one.policy: point for one in facts if (point := checkpoint_of(one))}
    if not cfg.peak or len(facts) < cfg.peak or last.policy not in known:
        return ""
    if not any(_below(last, one) for one in (initial, *facts[:-1])):
        return ""
    from ...audits.overoptimisation import past_peak, to_use

    checkpoints = [*known.values()]
    fit = past_peak(checkpoints)
    if fit is None:
        return ""
    best = to_use(checkpoints)
    use = next((policy for policy, point in known.items() if point is best), initial.policy)
    return (
        f"the win rate by compare.judge peaks at a KL of {fit.peak**2:.3g}, or of {fit.high**2:.3g} at most,"
        f" and the policy is at {last.compared.kl:.3g} (stop.peak is {cfg.peak}); use {use}"
    )


def _below(one: Facts, other: Facts) -> bool:
    """Its win rate is significantly lower: the intervals lie apart."""
    return one.compared.within(FALL_LEVEL)[1] < other.compared.within(FALL_LEVEL)[0]


def warnings(facts: Sequence[Facts], cfg: StopConfig) -> list[str]:
    """What came near to a reason to stop."""
    return [
        f"in round {one.round} the judge's verdict followed the position in {one.flips:.0%} of the matchups"
        f" (stop.flips is {cfg.flips:g})"
        for one in facts
        if cfg.flips and one.flips is not None and one.flips > WARN_FLIPS * cfg.flips
    ]
