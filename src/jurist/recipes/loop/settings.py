"""The settings that every recipe which goes round has, and the parts they are made of."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from ...errors import SettingError
from ...records import Sampling
from ...verdicts.settings import JudgeConfig
from ..settings import PolicyConfig

Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, lt=1)]
JudgeSpec = str | JudgeConfig | tuple[str | JudgeConfig, ...]


class CompareConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How each round's policy is set against the policy the loop started from."""

    judge: str | JudgeConfig = ""
    """Somebody who had no part in the training, asked in both orders; nobody is asked when empty."""
    held_out: Share = 0.1
    """Share of the prompts that nothing is trained on."""
    most: Count = 200
    """Held-out prompts that are answered, at most."""


class RealConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """What people wrote, kept in every round's training: the guard against a loop that feeds on itself."""

    file: str = ""
    """Conversations for recipes that fine-tune, labelled pairs for those that learn from preferences."""
    share: Share = 0.3
    """Of the rows of each round; one that falls with the rounds would not stop the contraction."""
    floor: Share = 0.1
    """Below this share the loop stops rather than go on: the file has too few rows for what is made."""
    alarm: Share = 0.05
    """Diversity lost since the start: a round that has lost more halves what models write of the next one's
    rows. Half of what an audit alarms at. 0: the share stays as it is."""

    def __post_init__(self) -> None:
        if self.floor > self.share:
            raise SettingError(
                f"real.floor is {self.floor} and real.share {self.share}; the floor is the lesser of the two."
                f" Set: --real.floor {self.share}"
            )


class StopConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """When to end before the last round. A rule whose number is 0 is off."""

    lost: Share = 0.25
    """Diversity lost since the start: distinct pairs of words, or different answers to one prompt."""
    worse: Annotated[int, Meta(ge=0)] = 2
    """Rounds in a row whose reward rose while the outside judge liked the policy less, in all surely so."""
    peak: Annotated[int, Meta(ge=0)] = 4
    """Rounds from which on a loop ends once it is surely beyond the KL at which the outside judge's liking
    peaks, by a curve through all rounds."""
    saturated: Share = 0.8
    """Of the prompts whose answers were compared and read, those on which all came out level: nothing is left
    to learn from the judge."""
    flips: Share = 0.75
    """Share of the matchups read in both orders whose verdict followed the seat: surely above this, nothing
    is trained on the labels."""


class LoopConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all loops have."""

    recipe: Literal["rlaif", "constitutional", "rejection", "self_rewarding"]
    """Which recipe this file is for."""
    out: str = "runs/loop"
    """The loop's folder, with one folder a round."""
    prompts: str = ""
    """A file of prompts; `tiny:160` are so many made up in the tiny world."""
    policy: str = ""
    """The checkpoint it starts from, which is also the anchor that it is held near."""
    mixture: tuple[str | PolicyConfig, ...] = ()
    """Who else writes completions, beside the current policy; a weight is relative to its 1."""
    k: Count = 4
    """Completions per prompt."""
    sampling: Sampling = Sampling(max_tokens=256)
    rounds: Count = 1
    compare: CompareConfig = CompareConfig()
    real: RealConfig = RealConfig()
    stop: StopConfig = StopConfig()
    budget: str | float | None = None
    """The most that all rounds together may cost, e.g. `5usd`."""
    seed: int = 0


_NO_NUMBER_CHANGES = ("out", "rounds", "budget", "stop", "recipe")


def deciding(cfg: LoopConfig) -> dict[str, object]:
    """The settings with which a loop can only be begun anew: every number hangs on them."""
    return {name: getattr(cfg, name) for name in cfg.__struct_fields__ if name not in _NO_NUMBER_CHANGES}


def check_loop(cfg: LoopConfig) -> None:
    """What has to be there before anything is read."""
    if not cfg.prompts:
        raise SettingError("a loop needs prompts. Name a file of them: --prompts prompts.jsonl")
    if not cfg.policy:
        raise SettingError(
            "a loop needs a policy to start from. Name a checkpoint's folder: --policy FOLDER,"
            " or: --policy tiny"
        )
