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

    data: Annotated[str, Meta(description="A run folder, or a file of rows in TRL's format.")] = ""
    columns: Annotated[
        dict[str, str], Meta(description="Names of the file's columns, e.g. --columns.chosen preferred.")
    ] = {}
    label_values: Annotated[
        dict[str | int | bool, str],
        Meta(description="What the values of the label column mean, e.g. --label_values.0 second."),
    ] = {}
    on_error: Annotated[
        Literal["stop", "drop"], Meta(description="What to do with a row that cannot be read.")
    ] = "stop"
    base: Annotated[
        str, Meta(description="The model to start from: a checkpoint's folder or its name on the hub.")
    ] = ""
    out: Annotated[str, Meta(description="Folder for the model, its metrics and checkpoints.")] = ""
    epochs: Annotated[Positive, Meta(description="Passes over the rows; 0.5 stops half way.")] = 1.0
    batch: Annotated[Count, Meta(description="Rows per step, over all processes.")] = 64
    lr: Annotated[Positive, Meta(description="Peak learning rate.")] = 1e-5
    schedule: Annotated[
        Literal["cosine", "linear", "constant"],
        Meta(description="Decay of the learning rate: cosine to a tenth, linear to 0, or none."),
    ] = "cosine"
    warmup: Annotated[Share, Meta(description="Share of the steps with rising learning rate.")] = 0.05
    weight_decay: Annotated[float, Meta(ge=0, description="Decoupled weight decay of AdamW.")] = 0.0
    max_length: Annotated[
        Count, Meta(description="Most tokens of a prompt with its longest answer; longer rows are dropped.")
    ] = 2048
    chat_template_kwargs: Annotated[
        dict[str, Any],
        Meta(description="Arguments of the chat template, e.g. {enable_thinking: false}; kept in the model."),
    ] = {}
    tokens: Annotated[
        Count, Meta(description="Tokens in one forward pass, padding included: bounds the memory.")
    ] = 16384
    lora: Annotated[
        Lora | None, Meta(description="Train a low-rank adapter instead of all weights, e.g. --lora.r 16.")
    ] = None
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Meta(description="Precision of the computation; auto: bfloat16 on a GPU that has it."),
    ] = "auto"
    checkpointing: Annotated[
        bool, Meta(description="Recompute activations: less memory, a third more time.")
    ] = False
    save_every: Annotated[int, Meta(description="Steps between checkpoints; 0: none.")] = 200
    held_out: Annotated[Share, Meta(description="Share of prompts for evaluation after each epoch.")] = 0.0
    seed: Annotated[int, Meta(description="Seed of the order of the rows and all other choices.")] = 0
    track: Annotated[
        Literal["", "wandb", "trackio"], Meta(description="Also send the metrics to this service.")
    ] = ""


class SftConfig(Training, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Learn answers by heart."""

    lr: Positive = 2e-5
    packing: Annotated[bool, Meta(description="Several short rows in one sequence, masked apart.")] = True


class RewardConfig(Training, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A reward model from preferences."""

    lr: Positive = 1e-5
    soft: Annotated[bool, Meta(description="Train on the label's probability; false: on its sign.")] = True
    margin: Annotated[
        float, Meta(ge=0, description="Weight of each row's margin in the loss (Touvron et al. 2023).")
    ] = 0.0
    centre: Annotated[float, Meta(ge=0, description="Penalty that keeps the mean reward near 0.")] = 0.01


Loss = Literal["dpo", "length_normalised", "r_dpo", "simpo", "ipo"]
BETAS: dict[Loss, float] = {"dpo": 0.1, "length_normalised": 5.0, "r_dpo": 0.1, "simpo": 2.0, "ipo": 0.1}
"""As the papers have them; they are on different scales."""


class DpoConfig(Training, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A policy straight from preferences."""

    lr: Positive = 5e-7
    anchor: Annotated[str, Meta(description="The reference policy; empty: the base.")] = ""
    loss: Annotated[
        Loss,
        Meta(description="simpo has no reference policy; r_dpo penalises length by alpha."),
    ] = "dpo"
    beta: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="Strength of the KL constraint; null: 0.1, length_normalised 5, simpo 2."),
    ] = None
    gamma: Annotated[float, Meta(description="simpo: target reward margin per token.")] = 1.0
    alpha: Annotated[float, Meta(description="r_dpo: penalty per token of length.")] = 0.01
    soft: Annotated[bool, Meta(description="Train on the label's probability; false: on its sign.")] = True
    flip_rate: Annotated[
        float, Meta(ge=0, lt=0.5, description="Share of labels assumed wrong (conservative DPO).")
    ] = 0.0


def check(cfg: Training, verb: str) -> None:
    """What has to be there before anything is loaded."""
    if cfg.track and find_spec(cfg.track) is None:
        raise SettingError(f"{cfg.track} is not installed. Install it with: pip install {cfg.track}")
    if not cfg.data:
        raise SettingError(f"nothing to train on. Name a run or a file: jurist train {verb} runs/mine")
    if not cfg.base:
        raise SettingError(f"no model to start from. Name one: jurist train {verb} {cfg.data} --base FOLDER")
