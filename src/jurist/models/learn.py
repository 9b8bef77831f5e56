"""A few clipped updates on one step's completions."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from ..errors import RunError
from .actor import Actor
from .checkpoint import trainable
from .clipped import clipped_policy, clipped_share, clipped_value
from .experience import Experience
from .loop import MAX_NORM, Loop, Step
from .plan import lr_share
from .ppo_settings import PPOConfig
from .rollout import Written, batches, grouped
from .together import Together


def groups(actor: Actor, cfg: PPOConfig) -> list[dict[str, Any]]:
    """The weights that learn: the value head at a rate of its own."""
    found: list[dict[str, Any]] = [{"params": trainable(actor.model), "height": cfg.lr}]
    if actor.value is not None:
        found.append({"params": trainable(actor.value), "lr": cfg.value_lr, "height": cfg.value_lr})
    return found


def learn(
    loop: Loop, lived: Experience, written: Sequence[Written], step: Step, cfg: PPOConfig, together: Together
) -> dict[str, float]:
    """All passes over this step; the means of the losses over its tokens."""
    share = lr_share(step.number, loop.total, cfg.warmup, cfg.schedule)
    for group in loop.optimizer.param_groups:
        group["lr"] = share * group["height"]
    noted: list[list[float]] = []
    norms: list[float] = []
    order = list(range(len(lived.written)))
    draw = random.Random(cfg.seed * 1_000_003 + step.number)
    for _ in range(cfg.passes):
        draw.shuffle(order)
        for number in range(cfg.minibatches):
            rows = order[number :: cfg.minibatches]
            tokens = together.add_up(lived.mask_BT[rows].sum()).item()
            if tokens == 0:
                continue
            sums = _gradient(loop, lived, written, rows, tokens, cfg)
            norm = float(loop.accelerator.clip_grad_norm_(loop.model.parameters(), MAX_NORM))
            noted.append([part / tokens for part in together.add_up(sums).tolist()])
            norms.append(norm)
            refuse_nan([*noted[-1], norm], step, cfg)
            loop.optimizer.step()
            loop.optimizer.zero_grad()
    means = [sum(column) / len(noted) for column in zip(*noted, strict=True)] or [0.0] * 3
    return {
        **dict(zip(("policy_loss", "value_loss", "clipped"), means, strict=True)),
        "grad_norm": max(norms, default=0.0),
        "lr": share * cfg.lr,
    }


def _gradient(
    loop: Loop,
    lived: Experience,
    written: Sequence[Written],
    rows: Sequence[int],
    tokens: float,
    cfg: PPOConfig,
) -> Tensor:
    """Fill in the gradient of one update; the sums of policy loss, value loss and clipped tokens."""
    # Every process has to go through the model at least once, or the others would wait for its gradient.
    parts = batches(lived.written, rows, cfg.tokens, loop.model) or [[]]
    sums = torch.zeros(3)
    for number, part in enumerate(parts, 1):
        with nullcontext() if number == len(parts) else loop.accelerator.no_sync(loop.model):
            if not part:
                thought = loop.model(grouped(written, [0]), cfg.temperature)
                loop.backward(0.0 * (thought.logp_BT.sum() + thought.value_BT.sum()))
                continue
            logp_BT, value_BT = loop.model(grouped(lived.written, part), cfg.temperature)
            width, device = logp_BT.shape[1], logp_BT.device
            old_BT, old_value_BT, advantage_BT, return_BT, mask_BT = (
                whole_BT[part, :width].to(device)
                for whole_BT in (
                    lived.logp_BT, lived.value_BT, lived.advantage_BT, lived.return_BT, lived.mask_BT
                )
            )  # fmt: skip
            policy = clipped_policy(logp_BT, old_BT, advantage_BT, mask_BT, cfg.clip)
            value = clipped_value(value_BT, old_value_BT, return_BT, mask_BT, cfg.clip)
            worth = cfg.value_weight if cfg.advantage == "gae" else 0.0
            loop.backward((policy + worth * value) / tokens)
            clipped = clipped_share(logp_BT.detach(), old_BT, mask_BT, cfg.clip)
            sums += torch.stack([policy.detach(), value.detach(), clipped]).cpu()
    return sums


def refuse_nan(values: Sequence[float], step: Step, cfg: PPOConfig) -> None:
    """A weight that is not a number spreads to all others within a step."""
    if all(map(math.isfinite, values)):
        return
    raise RunError(
        f"a loss or gradient of step {step.number} is not a number"
        f" ({', '.join(f'{one:g}' for one in values)}); the checkpoint before it is kept."
        f" Lower the rate: --lr {cfg.lr / 4:g}, or compute in full: --precision float32"
    )
