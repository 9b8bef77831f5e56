"""What can be said about training by reward, beyond what all methods share."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from ..errors import SettingError
from .settings import Count, Positive, Training

AtLeast0 = Annotated[float, Meta(ge=0)]
ZeroToOne = Annotated[float, Meta(ge=0, le=1)]

RLAIF_MOST: Final = 0.95
"""Where the score is weighed by 1 - beta, an adaptive beta stops short of weighing it at nothing."""


class PPOConfig(Training, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a policy learns from a reward. The defaults are for a model of some billion weights.

    `epochs` counts passes over the prompts, `batch` the prompts a step, `tokens` bounds a forward pass.
    """

    lr: Positive = 1e-6
    schedule: Literal["cosine", "linear", "constant"] = "constant"
    save_every: int = 20
    reward: Annotated[
        str | dict[str, Any],
        Meta(description="A reward model's folder, a judge as in label, a rule, or module:function."),
    ] = ""
    budget: Annotated[str | float | None, Meta(description="The most a live judge may cost, e.g. 5usd.")] = (
        None
    )
    anchor: Annotated[str, Meta(description="The reference policy; empty: the base.")] = ""
    advantage: Annotated[
        Literal["gae", "rloo", "grpo"],
        Meta(description="gae trains a value head; rloo and grpo compare the samples of a prompt."),
    ] = "gae"
    samples: Annotated[
        Count | None, Meta(description="Completions per prompt; null: 1 for gae, 4 for the others.")
    ] = None
    max_tokens: Annotated[Count, Meta(description="Most tokens of a completion.")] = 256
    temperature: Annotated[Positive, Meta(description="Sampling temperature.")] = 1.0
    beta: Annotated[AtLeast0, Meta(description="KL penalty per nat; with kl_target, its initial value.")] = (
        0.05
    )
    kl_target: Annotated[
        Positive | None,
        Meta(description="KL in nats per completion to adapt beta to; null: fixed."),
    ] = None
    horizon: Annotated[
        Positive, Meta(description="Completions until beta has doubled, where the KL is twice its target.")
    ] = 1000.0
    rlaif: Annotated[bool, Meta(description="Weight the score by 1 - beta (Lee et al. 2023).")] = False
    passes: Annotated[Count, Meta(description="Passes over the completions of each step.")] = 2
    minibatches: Annotated[Count, Meta(description="Updates per pass.")] = 1
    clip: Annotated[Positive, Meta(description="Clip range of the probability ratio.")] = 0.2
    lam: Annotated[ZeroToOne, Meta(description="Lambda of GAE; there is no discount.")] = 0.95
    value_weight: Annotated[AtLeast0, Meta(description="Weight of the value loss.")] = 0.1
    value_lr: Annotated[
        Positive, Meta(description="Higher learning rate for the randomly initialised value head.")
    ] = 1e-4
    whiten_scores: Annotated[
        bool, Meta(description="Normalise the scores of each step before the KL penalty.")
    ] = False
    length_penalty: Annotated[
        AtLeast0, Meta(description="Largest penalty for length: times tanh((tokens - median) / IQR).")
    ] = 0.0
    unfinished_penalty: Annotated[
        AtLeast0, Meta(description="Penalty for a completion cut off at max_tokens.")
    ] = 0.0
    max_failed: Annotated[
        ZeroToOne, Meta(description="Share of failed verdicts in a step at which training stops.")
    ] = 0.5

    def __post_init__(self) -> None:
        if self.advantage != "gae" and self.samples == 1:
            raise SettingError(
                f"{self.advantage} compares the samples of a prompt with each other, got samples: 1;"
                " set samples: 4"
            )
        if self.rlaif and self.beta > RLAIF_MOST:
            raise SettingError(
                f"with rlaif: true the score is weighed by 1 - beta, got beta: {self.beta}; set beta: 0.05"
            )
        if self.kl_target is not None and self.beta == 0:
            raise SettingError(
                "an adaptive beta is multiplied up and down, so it cannot start from 0; set beta: 0.05"
            )

    @property
    def per_prompt(self) -> int:
        return self.samples or (1 if self.advantage == "gae" else 4)
