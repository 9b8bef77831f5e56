"""Settings of the trainers: one Struct a method, which is the YAML, the command line and the help page."""

from __future__ import annotations

from importlib.util import find_spec
from math import ceil, isfinite
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from ..errors import SettingError
from ..policies.checkpoint import Attention, Lora

AboveZero = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
CountOr0 = Annotated[int, Meta(ge=0)]
AtLeast0 = Annotated[float, Meta(ge=0)]
BelowHalf = Annotated[float, Meta(ge=0, lt=0.5)]
BelowOne = Annotated[float, Meta(ge=0, lt=1)]
ZeroToOne = Annotated[float, Meta(ge=0, le=1)]
Precision = Literal["auto", "float32", "bfloat16"]
Schedule = Literal["cosine", "linear", "constant"]
Advantage = Literal["gae", "rloo", "grpo"]
RATES: Final = {"SftConfig": 2e-5, "RewardConfig": 1e-5, "DpoConfig": 5e-7, "PPOConfig": 1e-6}
"""Learning rates for all weights of a model of some billion."""
DpoLoss = Literal["dpo", "length_normalised", "r_dpo", "simpo", "ipo"]


class ModelConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How the base is loaded and computed."""

    attention: Annotated[Attention, Meta(description="Implementation of attention.")] = "sdpa"
    precision: Annotated[
        Precision, Meta(description="auto: bfloat16 on a GPU that has it; on a CPU, if the base names it.")
    ] = "auto"
    checkpointing: Annotated[bool, Meta(description="Recompute activations: less memory, more time.")] = False
    chat_template_kwargs: Annotated[
        dict[str, Any], Meta(description="Arguments of the chat template, kept in the model.")
    ] = {}


class OptimConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """AdamW and the course of its learning rate."""

    schedule: Annotated[Schedule, Meta(description="Decay: cosine to a tenth, linear to 0, or none.")] = (
        "cosine"
    )
    warmup: Annotated[BelowOne, Meta(description="Share of the steps with rising learning rate.")] = 0.05
    weight_decay: Annotated[AtLeast0, Meta(description="Decoupled weight decay of AdamW.")] = 0.0


class Training(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all methods share."""

    data: Annotated[str, Meta(description="A run folder, or a file of rows in TRL's format.")] = ""
    columns: Annotated[dict[str, str], Meta(description="Names, e.g. --columns.chosen preferred.")] = {}
    on_error: Annotated[Literal["stop", "drop"], Meta(description="At a row that cannot be read.")] = "stop"
    base: Annotated[str, Meta(description="The initial model: a folder, a name on the hub, or tiny.")] = ""
    out: Annotated[str, Meta(description="Folder for the model, its metrics and checkpoints.")] = ""
    epochs: Annotated[AboveZero, Meta(description="Passes over the rows; 0.5 stops half way.")] = 1.0
    batch: Annotated[
        Count | None, Meta(description="Rows per step, over all processes; null: 64, of few rows fewer.")
    ] = None
    lr: Annotated[
        AboveZero | None, Meta(description="Peak learning rate; null: 1e-5, ten times that for an adapter.")
    ] = None
    optim: Annotated[OptimConfig, Meta(description="The optimiser.")] = OptimConfig()
    max_length: Annotated[Count, Meta(description="Most tokens of a row; longer ones are dropped.")] = 2048
    # An 8B model keeps about 34 x hidden x layers = 34 x 4096 x 32 = 4.5 MB of bfloat16 activations a token
    # (Korthikanti et al. 2022, with flash or SDPA attention): 18 GB for 4,096 tokens, beside 16 GB of weights
    # and an adapter's few hundred MB. 16,384 tokens would need 71 GB and not fit on 80.
    tokens: Annotated[Count, Meta(description="Tokens in a forward pass: bounds the memory.")] = 4096
    lora: Annotated[Lora | None, Meta(description="Train an adapter, e.g. --lora.r 16.")] = None
    model: Annotated[ModelConfig, Meta(description="How the base is loaded and computed.")] = ModelConfig()
    held_out: Annotated[BelowOne, Meta(description="Share of prompts for evaluation after each epoch.")] = 0.0
    save_every: Annotated[CountOr0, Meta(description="Steps between checkpoints; 0: none.")] = 200
    seed: Annotated[int, Meta(description="Seed of the order of the rows and all other choices.")] = 0
    track: Annotated[Literal["", "wandb", "trackio"], Meta(description="Where else metrics are sent.")] = ""

    def rows_a_step(self, rows: int) -> int:
        """Of so many in an epoch. A few hundred in steps of 64 would be over before anything is learnt."""
        return self.batch or max(8, min(64, ceil(rows / 16)))

    @property
    def peak_lr(self) -> float:
        """An adapter learns best at some ten times the rate of all weights (Schulman et al. 2025)."""
        return self.lr or RATES[type(self).__name__] * (10 if self.lora else 1)


class LabelledTraining(Training, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Training on rows that may have labels."""

    label_values: Annotated[
        dict[str | int | bool, str], Meta(description="What labels mean, e.g. --label_values.0 second.")
    ] = {}


class SftConfig(LabelledTraining, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Supervised fine-tuning on chosen answers."""

    lr: Annotated[
        AboveZero | None, Meta(description="Peak learning rate; null: 2e-5, ten times that for an adapter.")
    ] = None


class RewardConfig(LabelledTraining, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A reward model from preferences."""

    learn: Annotated[Literal["all", "head"], Meta(description="head: fit only the head, in seconds.")] = "all"
    soft: Annotated[bool, Meta(description="Train on the label's probability; false: on its sign.")] = True
    margin: Annotated[AtLeast0, Meta(description="Weight of each row's margin in the loss.")] = 0.0
    centre: Annotated[AtLeast0, Meta(description="Penalty that keeps the mean reward near 0.")] = 0.01
    ridge: Annotated[
        AtLeast0 | None, Meta(description="With learn: head, the L2 penalty; null: best on prompts left out.")
    ] = None


class DpoConfig(LabelledTraining, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A policy straight from preferences."""

    lr: Annotated[
        AboveZero | None, Meta(description="Peak learning rate; null: 5e-7, ten times that for an adapter.")
    ] = None
    reference: Annotated[str, Meta(description="The reference policy; empty: the base.")] = ""
    loss: Annotated[DpoLoss, Meta(description="simpo has no reference; r_dpo penalises length.")] = "dpo"
    beta: Annotated[
        AboveZero | None, Meta(description="KL constraint; null: 0.1, length_normalised 5, simpo 2.")
    ] = None
    gamma: Annotated[float, Meta(description="simpo: target reward margin per token.")] = 1.0
    alpha: Annotated[float, Meta(description="r_dpo: penalty per token of length.")] = 0.01
    soft: Annotated[bool, Meta(description="Train on the label's probability; false: on its sign.")] = True
    flip_rate: Annotated[BelowHalf, Meta(description="Share of labels assumed wrong.")] = 0.0


class KlConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """What distance from the reference policy costs.

    The (1 - b) R - b KL of Lee et al. 2023 is, up to the scale of R, a beta of b / (1 - b).
    """

    beta: Annotated[AtLeast0, Meta(description="Penalty per nat; with a target, the initial one.")] = 0.05
    target: Annotated[AboveZero | None, Meta(description="KL per completion to adapt beta to.")] = None
    horizon: Annotated[AboveZero, Meta(description="Completions until beta may double.")] = 1000.0


class RolloutConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How completions are sampled."""

    samples: Annotated[Count | None, Meta(description="Per prompt; null: 1 for gae, else 4.")] = None
    max_tokens: Annotated[
        Count | None, Meta(description="Most tokens of a completion; null: the recipe's, or 256.")
    ] = None
    temperature: Annotated[AboveZero, Meta(description="Sampling temperature.")] = 1.0
    writer: Annotated[Literal["hf", "vllm"], Meta(description="Who samples.")] = "hf"
    url: Annotated[str, Meta(description="Of a vLLM server; empty: vLLM in this process.")] = ""


class PpoOptimConfig(OptimConfig, frozen=True, forbid_unknown_fields=True):
    """The same for PPO, with its clipped updates."""

    schedule: Schedule = "constant"
    passes: Annotated[Count, Meta(description="Passes over the completions of each step.")] = 2
    minibatches: Annotated[Count, Meta(description="Updates per pass.")] = 1
    clip: Annotated[AboveZero, Meta(description="Clip range of the probability ratio.")] = 0.2


class ValueConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The value head of advantage: gae."""

    lr: Annotated[AboveZero, Meta(description="Higher learning rate for the new value head.")] = 1e-4
    weight: Annotated[AtLeast0, Meta(description="Weight of the value loss.")] = 0.1
    lam: Annotated[ZeroToOne, Meta(description="Lambda of GAE; there is no discount.")] = 0.95


class PenaltyConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """What is taken off a score, beside the KL."""

    unfinished: Annotated[AtLeast0, Meta(description="For a completion cut off at max_tokens.")] = 0.0
    length: Annotated[AtLeast0, Meta(description="Times tanh((tokens - median) / IQR).")] = 0.0


class HaltConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """When training ends before its last step."""

    failed: Annotated[ZeroToOne, Meta(description="Share of failed verdicts in a step that ends it.")] = 0.5
    kl: Annotated[AboveZero | None, Meta(description="Held-out KL, in nats, that ends it.")] = None
    worse: Annotated[bool, Meta(description="End when held-out reward falls significantly.")] = False


class PPOConfig(Training, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A policy from a reward. The defaults are for a model of some billion weights.

    `epochs` counts passes over the prompts, `batch` the prompts of a step, `tokens` bounds a forward pass.
    """

    lr: Annotated[
        AboveZero | None, Meta(description="Peak learning rate; null: 1e-6, ten times that for an adapter.")
    ] = None
    optim: PpoOptimConfig = PpoOptimConfig()
    save_every: CountOr0 = 20
    reward: Annotated[
        str | dict[str, Any], Meta(description="A reward model's folder, a judge, a rule or module:function.")
    ] = ""
    budget: Annotated[str | float | None, Meta(description="The most a live judge may cost, e.g. 5usd.")] = (
        None
    )
    reference: Annotated[str, Meta(description="The reference policy; empty: the base.")] = ""
    advantage: Annotated[Advantage, Meta(description="gae has a value head; others compare samples.")] = "gae"
    rollout: Annotated[RolloutConfig, Meta(description="How completions are sampled.")] = RolloutConfig()
    kl: Annotated[KlConfig, Meta(description="What distance from the reference policy costs.")] = KlConfig()
    value: Annotated[ValueConfig, Meta(description="The value head of advantage: gae.")] = ValueConfig()
    penalty: Annotated[PenaltyConfig, Meta(description="What is taken off a score.")] = PenaltyConfig()
    halt: Annotated[HaltConfig, Meta(description="When training ends before its last step.")] = HaltConfig()

    def __post_init__(self) -> None:
        if self.advantage != "gae" and self.rollout.samples == 1:
            raise SettingError(
                f"{self.advantage} compares the samples of a prompt with each other, got rollout.samples: 1."
                " Set: --rollout.samples 4"
            )
        if self.kl.target is not None and self.kl.beta == 0:
            raise SettingError(
                "an adaptive beta is multiplied up and down, so it cannot start at 0. Set: --kl.beta 0.05"
            )

    @property
    def samples(self) -> int:
        """Completions per prompt."""
        return self.rollout.samples or (1 if self.advantage == "gae" else 4)

    @property
    def max_tokens(self) -> int:
        """Of a completion."""
        return self.rollout.max_tokens or 256


def check_training(cfg: Training, given: bool = False) -> None:
    """What has to be there before anything is loaded; rows may be given instead of named."""
    verb = type(cfg).__name__.removesuffix("Config").lower()
    verb = "rloo" if getattr(cfg, "advantage", "") == "rloo" else verb
    if cfg.track and find_spec(cfg.track) is None:
        raise SettingError(f"{cfg.track} is not installed. Install it with: pip install {cfg.track}")
    if not cfg.data and not given:
        raise SettingError(f"nothing to train on. Name a run or a file: jurist train {verb} runs/mine")
    if not isfinite(cfg.peak_lr):
        raise SettingError("lr: expected a finite number, got inf. Set: --lr 1e-5")
    if not cfg.base:
        raise SettingError(f"no model to start from. Name one: jurist train {verb} {cfg.data} --base FOLDER")
