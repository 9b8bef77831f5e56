"""People's rows among those that models wrote, at a share that does not fall with the rounds.

Alemohammad et al. 2023: a loop that learns from its own output contracts, and picking the best answers makes
it contract faster; a constant share of real rows is what bounds it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from ...errors import DataError
from .settings import RealConfig

T = TypeVar("T")


def mixed(made: Sequence[T], real: Sequence[T], cfg: RealConfig, seed: int) -> tuple[list[T], float]:
    """All that was made, with as many real rows as make up the share; and the share they came to."""
    if not cfg.file or not made:
        return list(made), 0.0
    wanted = round(cfg.share * len(made) / (1 - cfg.share))
    drawn = random.Random(seed).sample(list(real), min(wanted, len(real)))
    share = len(drawn) / (len(drawn) + len(made))
    if share < cfg.floor:
        needed = -(-cfg.floor * len(made) // (1 - cfg.floor))
        raise DataError(
            f"{cfg.file} has {len(real)} rows, and {len(made)} that models wrote leave them a share of"
            f" {share:.1%}; the floor is {cfg.floor:.0%}. Add rows, to {needed:.0f} at least, or train"
            " on fewer prompts"
        )
    return [*made, *drawn], share
