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
    reward: str | dict[str, Any] = ""
    """A reward model's folder, a judge as in `jurist label`, a rule, or a `module:function`."""
    budget: str | float | None = None
    """The most that a live judge may cost, e.g. 5usd."""
    anchor: str = ""
    """The frozen policy it is held near; the base when empty. Its hash is kept with the model."""
    advantage: Literal["gae", "rloo", "grpo"] = "gae"
    """`gae` learns a value head; `rloo` and `grpo` compare a prompt's samples with each other instead."""
    samples: Count | None = None
    """Completions of each prompt; None: 1 for `gae`, 4 for the others."""
    max_tokens: Count = 256
    temperature: Positive = 1.0
    beta: AtLeast0 = 0.05
    """What a nat of KL to the anchor costs; where there is a target, only at first."""
    kl_target: Positive | None = None
    """Nats a completion: beta is adapted to keep the KL below that. None: beta stays as it is."""
    horizon: Positive = 1000.0
    """Completions after which the adaptive beta has doubled where the KL is twice its target."""
    rlaif: bool = False
    """Weigh the score by 1 - beta, as Lee et al. 2023 do."""
    passes: Count = 2
    """How often each step's completions are learnt from."""
    minibatches: Count = 1
    """Updates in one such pass."""
    clip: Positive = 0.2
    lam: ZeroToOne = 0.95
    """GAE's lambda. Nothing is discounted: only the end of an answer is scored."""
    value_weight: AtLeast0 = 0.1
    value_lr: Positive = 1e-4
    """The value head starts from nothing and has to hurry."""
    whiten_scores: bool = False
    """Bring each step's scores to mean 0 and variance 1 before the KL is charged."""
    length_penalty: AtLeast0 = 0.0
    """The most that length can cost: penalty x tanh((tokens - median) / IQR)."""
    unfinished_penalty: AtLeast0 = 0.0
    """What it costs not to come to an end within `max_tokens`."""
    max_failed: ZeroToOne = 0.5
    """The share of a step's verdicts that may fail before the training stops."""

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
