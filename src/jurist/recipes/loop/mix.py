"""People's rows among those that models wrote, at a share that does not fall with the rounds.

Alemohammad et al. 2023: a loop that learns from its own output contracts, and picking the best answers makes
it contract faster; a constant share of real rows is what bounds it. How large a share is enough hangs on how
hard is picked, so the share is raised when the answers grow alike all the same.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import ceil
from typing import TypeVar

from msgspec import Struct

from ...errors import DataError
from .settings import RealConfig
from .stopping import Facts, least_left

T = TypeVar("T")

MOST = 0.9
"""A round in which nearly nothing is the policy's own would teach it nothing new."""


class Grounding(Struct, frozen=True):
    """What share of people's rows a round asks for; decided before it begins, and kept as its first step."""

    share: float
    why: str = ""
    """Why it is more than `real.share`."""


def grounding(facts: Sequence[Facts], start: Facts | None, cfg: RealConfig) -> Grounding:
    """From the rounds so far. Once raised, the share stays: what was too little would be so again."""
    share, why = cfg.share, ""
    for one in facts:
        name, left = least_left(one, start or facts[0])
        if cfg.alarm and left < 1 - cfg.alarm:
            share = min(MOST, (1 + share) / 2)
            why = f"diversity ({name}) was down to {left:.0%} after round {one.round}"
    return Grounding(max(share, cfg.share), why)


def real_rows(made: int, share: float) -> int:
    """How many rows of people's make up the share."""
    return round(share * made / (1 - share))


def mixed(made: Sequence[T], real: Sequence[T], cfg: RealConfig, seed: int) -> tuple[list[T], float]:
    """All that was made, with as many real rows as make up the share; and the share they came to."""
    if not cfg.file or not made:
        return list(made), 0.0
    drawn = random.Random(seed).sample(list(real), min(real_rows(len(made), cfg.share), len(real)))
    share = len(drawn) / (len(drawn) + len(made))
    if share < cfg.floor:
        raise DataError(
            f"{cfg.file} has {len(real)} rows, and {len(made)} that models wrote leave them a share of"
            f" {share:.1%}; the floor is {cfg.floor:.0%}. Add rows, to"
            f" {ceil(cfg.floor * len(made) / (1 - cfg.floor))} at least, or train on fewer prompts"
        )
    return [*made, *drawn], share
