"""When to end a loop before its last round, and how many human rows a round takes. Pure functions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, TypeVar

from ...errors import DataError
from .compare import Facts
from .settings import RealConfig, StopConfig

if TYPE_CHECKING:
    from ...audits.overoptimisation import Checkpoint

Item = TypeVar("Item")
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


def reason_to_stop(facts: Sequence[Facts], checkpoints: Sequence[Checkpoint], cfg: StopConfig) -> str:
    """Why not to go on; empty when nothing speaks against it. Checkpoints are rounds that were compared."""
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
    return _past_peak(facts, checkpoints, cfg)


def _past_peak(facts: Sequence[Facts], checkpoints: Sequence[Checkpoint], cfg: StopConfig) -> str:
    """The win rate fell significantly, the proxy did not, and a curve through all rounds has turned."""
    compared = {one.name: one for one in checkpoints}
    if not cfg.peak or len(facts) < cfg.peak or f"round {facts[-1].round}" not in compared:
        return ""
    from ...audits.overoptimisation import past_peak, policy_to_use

    if (past := past_peak(checkpoints)) is None:
        return ""
    earlier, best = past[0].earlier, policy_to_use(checkpoints).name
    use = {f"round {one.round}": one.policy for one in facts}.get(best, best)
    return (
        f"the win rate by compare.judge fell significantly from {earlier.win_rate:.1%} ({earlier.name}) to"
        f" {checkpoints[-1].win_rate:.1%}, and a curve through all rounds has turned (stop.peak is"
        f" {cfg.peak}); use {use}"
    )


def warnings(facts: Sequence[Facts], cfg: StopConfig) -> list[str]:
    """What came near to a reason to stop."""
    return [
        f"in round {one.round} the judge's verdict followed the position in {one.flips:.0%} of the matchups"
        f" (stop.flips is {cfg.flips:g})"
        for one in facts
        if cfg.flips and one.flips is not None and one.flips > WARN_FLIPS * cfg.flips
    ]
