"""What can be said about a training run: one Struct a method, which is the YAML and the command line."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ..errors import SettingError
from .policy import Lora

Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, lt=1)]


class Training(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all methods share."""

    data: str = ""
    """A run folder, or a file with rows as TRL reads them."""
    columns: dict[str, str] = {}
    """Which of the file's columns is which of ours, e.g. `--columns.chosen preferred`."""
    label_values: dict[str | int | bool, str] = {}
    """What numbers among the labels mean, e.g. `--label_values.0 second --label_values.1 first`."""
    on_error: Literal["stop", "drop"] = "stop"
    """A row that cannot be read stops the training, or leaves by name."""
    base: str = ""
    """Where to start from: a checkpoint's folder, or its name on the hub."""
    out: str = ""
    """The folder for the model, its metrics and, while it is being made, its checkpoints."""
    epochs: Positive = 1.0
    """How often each row is seen; 0.5 stops half way."""
    batch: Count = 64
    """Rows a step, over all processes; how they are cut to fit into memory changes no number."""
    lr: Positive = 1e-5
    """The learning rate at its height."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How it comes down again: to a tenth, to nothing, or not at all."""
    warmup: Share = 0.05
    """Share of the steps in which it rises."""
    weight_decay: Annotated[float, Meta(ge=0)] = 0.0
    """AdamW's, decoupled from the gradient."""
    max_length: Count = 2048
    """Tokens of a prompt with its longest answer; longer rows are dropped by name."""
    chat_template_kwargs: dict[str, Any] = {}
    """Arguments of the chat template, e.g. `{enable_thinking: false}`; the model is saved with them in it."""
    tokens: Count = 16384
    """Token slots in one forward pass, padding counted: what bounds the memory."""
    lora: Lora | None = None
    """Train a low-rank adapter instead of all weights, e.g. --lora.r 16."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What to compute in; auto: bfloat16 on a GPU that has it. Weights that learn are kept in float32."""
    checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, a third more time."""
    save_every: int = 200
    """Steps between checkpoints to resume from; 0 for none."""
    held_out: Share = 0.0
    """Share of the prompts kept apart, to be measured at the end of each epoch."""
    seed: int = 0
    """Decides the order of the rows and every other draw."""
    track: Literal["", "wandb", "trackio"] = ""
    """Also send the metrics there; nothing is sent anywhere unless this is set."""


class SftConfig(Training, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Learn answers by heart."""

    lr: Positive = 2e-5
    packing: bool = True
    """Several short rows in one, hidden from each other: no slot is wasted on padding."""


class RewardConfig(Training, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A reward model from preferences."""

    lr: Positive = 1e-5
    soft: bool = True
    """Learn the judge's probability; false: only which of the two it preferred."""
    margin: Annotated[float, Meta(ge=0)] = 0.0
    """How much of each row's margin the rewards have to differ by (Touvron et al. 2023)."""
    centre: Annotated[float, Meta(ge=0)] = 0.01
    """Pull towards a mean reward of 0."""


Loss = Literal["dpo", "length_normalised", "r_dpo", "simpo", "ipo"]
BETAS: dict[Loss, float] = {"dpo": 0.1, "length_normalised": 5.0, "r_dpo": 0.1, "simpo": 2.0, "ipo": 0.1}
"""As the papers have them; they are on different scales."""


class DpoConfig(Training, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A policy straight from preferences."""

    lr: Positive = 5e-7
    anchor: str = ""
    """The frozen policy it is held near; the base when empty."""
    loss: Loss = "dpo"
    """length_normalised: Tulu 3's; r_dpo: a token of length costs `alpha`; simpo: without an anchor; ipo: a
    square."""
    beta: Annotated[float, Meta(gt=0)] | None = None
    """How hard it is held; None: 0.1, for length_normalised 5, for simpo 2."""
    gamma: float = 1.0
    """simpo: how much more likely a token of chosen has to be, in log-probs times beta."""
    alpha: float = 0.01
    """r_dpo: what a token of length costs."""
    soft: bool = True
    """Learn the judge's probability; false: only which of the two it preferred."""
    flip_rate: Annotated[float, Meta(ge=0, lt=0.5)] = 0.0
    """Share of labels taken to be the wrong way round: conservative DPO."""


def check(cfg: Training, verb: str) -> None:
    """What has to be there before anything is loaded."""
    if cfg.track and find_spec(cfg.track) is None:
        raise SettingError(f"{cfg.track} is not installed. Install it with: pip install {cfg.track}")
    if not cfg.data:
        raise SettingError(f"nothing to train on. Name a run or a file: jurist train {verb} runs/mine")
    if not cfg.base:
        raise SettingError(f"no model to start from. Name one: jurist train {verb} {cfg.data} --base FOLDER")
