"""Does a prompt computed once for all its answers give the loss and gradients of separate rows?

Small random models, uneven prompts and answers, one to four answers a prompt, in both forms that share a
prompt and in the one the rule of thumb takes, log-probs and last hidden states, with and without a LoRA: the
largest difference of any gradient from the concatenated pass, relative to the largest gradient. Two claims:
models that see everything (Llama, Qwen2, GPT-2), and models with windows shorter than their prompts, in all
layers (as Mistral) or in every other one (as Gemma 3 and gpt-oss). The nulls must be noticed: masks that let
answers see each other, and masks without windows.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from evidence import record
from jurist.policies import forward
from jurist.policies.checkpoint import Lora, with_lora
from jurist.policies.policy import Policy
from jurist.policies.tokens import Example

# isort: split
from making import KINDS, WINDOWED
from making import model as made

BAR = 1e-5
ROUNDS = 5
MASKS, KINDS_OF = forward._masks, forward.layer_kinds
NULLS: dict[str, tuple[tuple[str, ...], str, str, Any]] = {
    "shared_prefix_equal": (
        KINDS,
        "masks that let answers see each other",
        "_masks",
        lambda model, part, *rest, **how: MASKS(model, part.clamp(max=0), *rest, **how),
    ),
    "windows_share_prompt": (
        WINDOWED,
        "masks without windows",
        "layer_kinds",
        lambda config: (KINDS_OF(config)[0], 1 << 30),
    ),
}


def examples(draw: random.Random) -> list[Example]:
    def ids(least: int, most: int) -> list[int]:
        return [draw.randint(5, 300) for _ in range(draw.randint(least, most))]

    return [Example(ids(1, 40), [ids(1, 12) for _ in range(draw.randint(1, 4))]) for _ in range(6)]


def loss_and_gradient(model: Any, rows: list[Example], form: Any, want: Any) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    stats = Policy(model, None, Path(), "")(rows, (want,), form=form)
    out = stats.logprobs_AT if want == "logprobs" else stats.state_AD
    assert out is not None
    loss = (out * torch.linspace(0.5, 1.5, out.numel()).view_as(out)).mean()
    loss.backward()
    gradient = torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None])
    return float(loss.detach()), gradient


def with_an_adapter(kind: str) -> Any:
    model = with_lora(made(kind), Lora(r=4), "causal", 0, "")
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return model


def differences(kinds: tuple[str, ...]) -> tuple[float, float, int]:
    """The largest of losses and of gradients, and in how many cases."""
    draw, in_loss, in_gradient, cases = random.Random(0), 0.0, 0.0, 0
    models = (model for kind in kinds for model in (made(kind), with_an_adapter(kind)))
    for model, rows in ((model, examples(draw)) for model in models for _ in range(ROUNDS)):
        for want in ("logprobs", "states"):
            loss_1, gradient_1 = loss_and_gradient(model, rows, "concat", want)
            for form in ("masked", "prefilled", "auto"):
                loss, gradient = loss_and_gradient(model, rows, form, want)
                in_loss = max(in_loss, abs(loss - loss_1) / max(1.0, abs(loss_1)))
                apart = float((gradient - gradient_1).abs().max() / gradient_1.abs().max())
                in_gradient, cases = max(in_gradient, apart), cases + 1
    return in_loss, in_gradient, cases


def main() -> None:
    torch.set_num_threads(1)
    for claim, (kinds, wrong, name, instead) in NULLS.items():
        shared = all(len(forward.shared_forms(made(kind))) == 2 for kind in kinds)
        in_loss, in_gradient, cases = differences(kinds)
        with patch.object(forward, name, instead):
            null = min(max(differences((kind,))[:2]) for kind in kinds)
        worst = max(in_loss, in_gradient)
        record(
            claim,
            float(f"{worst:.2g}"),
            null={f"{wrong}: off by at least": float(f"{null:.2g}")},
            bar=f"losses and gradients within {BAR} of the concatenated pass, in float32",
            holds=worst <= BAR and shared and null > 100 * BAR,
            in_gradient=float(f"{in_gradient:.2g}"),
            more={"in_loss": float(f"{in_loss:.2g}"), "cases": cases, "models": kinds},
        )


if __name__ == "__main__":
    main()
