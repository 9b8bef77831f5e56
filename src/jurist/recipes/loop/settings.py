"""The settings that all loops share, and the parts they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from ...errors import SettingError
from ...policies.checkpoint import Lora
from ...records import Sampling
from ...verdicts.settings import JudgeConfig
from ..settings import PolicyConfig

AtLeast1 = Annotated[int, Meta(ge=1)]
Fraction = Annotated[float, Meta(ge=0, lt=1)]
JudgeSpec = str | JudgeConfig | tuple[str | JudgeConfig, ...]
MixedIn = tuple[str | PolicyConfig, ...]
Money = str | float | None
RecipeName = Literal["rlaif", "constitutional", "rejection", "self_rewarding"]
Optimiser = Literal["ppo", "rloo", "dpo"]
PromptsEach = Annotated[int, Meta(ge=0, description="New prompts per round, in file order; 0: all of them.")]


class CompareConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How each round's policy is compared with the initial policy."""

    judge: Annotated[str | JudgeConfig, Meta(description="A judge that is not learnt from; empty: none.")] = (
        ""
    )
    held_out: Annotated[Fraction, Meta(description="Share of prompts that are never trained on.")] = 0.1
    most: Annotated[AtLeast1, Meta(description="Most held-out prompts per comparison.")] = 200
    pairs: Annotated[int, Meta(ge=0, description="Pairs per round to measure agreement on; 0: none.")] = 100


class RealConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Human-written rows in every round's training: the guard against a loop that feeds on itself."""

    file: Annotated[str, Meta(description="Labelled pairs; for the recipe rejection, conversations.")] = ""
    share: Annotated[Fraction, Meta(description="Share of human rows in each round's training.")] = 0.3
    floor: Annotated[Fraction, Meta(description="The loop stops below this share of human rows.")] = 0.1
    alarm: Annotated[Fraction, Meta(description="Loss of diversity that halves generated rows.")] = 0.05

    def __post_init__(self) -> None:
        if self.floor > self.share:
            raise SettingError(
                f"real.floor is {self.floor} and real.share {self.share}; the floor is the lesser of the two."
                f" Set: --real.floor {self.share}"
            )


class StopConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """When to end before the last round. A rule whose number is 0 is off."""

    lost: Annotated[Fraction, Meta(description="Loss of diversity since the initial policy.")] = 0.25
    peak: Annotated[int, Meta(ge=0, description="Rounds before a fall past the peak counts.")] = 3
    saturated: Annotated[Fraction, Meta(description="Share of prompts whose answers are all tied.")] = 0.8
    agreement: Annotated[Fraction, Meta(description="Less agreement with compare.judge ends the loop.")] = 0.6
    flips: Annotated[Fraction, Meta(description="Labels with significantly more flips are not learnt.")] = 0.4


class LoopConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all loops have."""

    recipe: Annotated[RecipeName, Meta(description="The recipe of this file.")]
    out: Annotated[str, Meta(description="The loop's folder, with one folder per round.")] = "runs/loop"
    prompts: Annotated[str, Meta(description="A file of prompts; tiny:160 are 160 of the tiny world.")] = ""
    limit: Annotated[AtLeast1 | None, Meta(description="Most prompts to read.")] = None
    policy: Annotated[str, Meta(description="A checkpoint: the initial and the reference policy.")] = ""
    mixture: Annotated[MixedIn, Meta(description="Policies sampled beside the current one.")] = ()
    k: Annotated[AtLeast1, Meta(description="Completions per prompt.")] = 4
    sampling: Annotated[Sampling, Meta(description="How completions are sampled.")] = Sampling(max_tokens=256)
    rounds: Annotated[AtLeast1, Meta(description="Rounds of sampling, judging and training.")] = 1
    compare: Annotated[CompareConfig, Meta(description="How policies are compared.")] = CompareConfig()
    real: Annotated[RealConfig, Meta(description="Human rows in every round's training.")] = RealConfig()
    stop: Annotated[StopConfig, Meta(description="When to stop early; 0 turns a rule off.")] = StopConfig()
    lora: Annotated[Lora | None, Meta(description="Train adapters in every training.")] = None
    budget: Annotated[Money, Meta(description="The most all rounds together may cost, e.g. 5usd.")] = None
    seed: Annotated[int, Meta(description="Seed of all random choices.")] = 0


def deciding(cfg: LoopConfig) -> dict[str, object]:
    """The settings that change numbers: with others a loop cannot be resumed."""
    others = ("out", "rounds", "budget", "stop", "recipe")
    return {name: getattr(cfg, name) for name in cfg.__struct_fields__ if name not in others}


def check_loop(cfg: LoopConfig) -> None:
    """What has to be there before anything is read."""
    if not cfg.prompts:
        raise SettingError("a loop needs prompts. Name a file of them: --prompts prompts.jsonl")
    if not cfg.policy:
        raise SettingError(
            "a loop needs an initial policy. Name a checkpoint's folder: --policy FOLDER, or: --policy tiny"
        )


def refuse_decided(cfg: Struct, methods: Sequence[str]) -> None:
    """No training may be given what the loop decides: where it begins, what it reads, where it writes."""
    for method in methods:
        for name in ("data", "columns", "base", "out", "reference", "reward", "budget"):
            given = getattr(getattr(cfg, method), name, None)
            if given:
                raise SettingError(f"{method}.{name} is what the loop decides, got {given!r}; leave it out")
