"""What a loop says about the trainings inside it, and what it leaves to their settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ...errors import SettingError
from ...models.ppo_settings import PPOConfig

DECIDED: Final = ("data", "columns", "base", "out", "anchor", "reward", "budget")
"""Where a training starts, what it reads, what holds it and where its model goes: the loop's to say."""


def by_reward(optimiser: str, ppo: PPOConfig) -> PPOConfig:
    """RLOO is PPO without a critic, comparing the samples of a prompt with each other."""
    if optimiser == "ppo" or ppo.advantage != "gae":
        return ppo
    return replace(ppo, advantage="rloo", samples=ppo.samples or 4)


def refuse_decided(cfg: Struct, methods: Sequence[str]) -> None:
    """A setting that would be overruled was meant for something."""
    for method in methods:
        for name in DECIDED:
            given = getattr(getattr(cfg, method), name, None)
            if given:
                raise SettingError(f"{method}.{name} is what the loop decides, got {given!r}; leave it out")
