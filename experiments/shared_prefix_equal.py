"""Does a prompt computed once for all its answers give the loss and gradients of separate rows?

Small random Llama, Qwen2 and GPT-2 models, uneven prompts and answers, one to four answers a prompt, in all
forms that share a prompt and in the batches the trainers would make, log-probs and last hidden states, with
and without a LoRA: the largest difference of any gradient from the concatenated pass, relative to the largest
gradient.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import torch

from evidence import record
from jurist.models.batch import Example
from jurist.models.forward import Head, How, answers_forward
from jurist.models.policy import Lora, with_lora

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "models"))
import making

BAR = 1e-5
ROUNDS = 5


def examples(draw: random.Random) -> list[Example]:
    def ids(most: int) -> list[int]:
        return [draw.randint(5, 300) for _ in range(draw.randint(1, most))]

    return [Example(ids(40), [ids(12) for _ in range(draw.randint(1, 4))]) for _ in range(6)]


def loss_and_gradient(model: Any, rows: list[Example], how: How, head: Head) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    said = answers_forward(model, rows, how=how, head=head)
    out = said.logprobs_AT if head == "logprobs" else said.hidden_AD
    assert out is not None
    loss = (out * torch.linspace(0.5, 1.5, out.numel()).view_as(out)).mean()
    loss.backward()
    gradient = torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None])
    return float(loss.detach()), gradient


def with_an_adapter(kind: str) -> Any:
    model = with_lora(making.model(kind), Lora(r=4))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return model


def main() -> None:
    torch.set_num_threads(1)
    draw, in_loss, in_gradient, cases = random.Random(0), 0.0, 0.0, 0
    for kind in making.KINDS:
        for model in (making.model(kind), with_an_adapter(kind)):
            for rows in (examples(draw) for _ in range(ROUNDS)):
                for head in ("logprobs", "hidden"):
                    want_loss, want = loss_and_gradient(model, rows, "concat", head)
                    for how in ("mask", "cache", "repeat", "auto"):
                        loss, gradient = loss_and_gradient(model, rows, how, head)
                        in_loss = max(in_loss, abs(loss - want_loss) / max(1.0, abs(want_loss)))
                        in_gradient = max(
                            in_gradient, float((gradient - want).abs().max() / want.abs().max())
                        )
                        cases += 1
    record(
        "shared_prefix_equal",
        value=float(f"{max(in_loss, in_gradient):.2g}"),
        bar=f"losses and gradients within {BAR} of the concatenated pass, in float32",
        holds=max(in_loss, in_gradient) <= BAR,
        packages=("jurist", "torch", "transformers"),
        in_loss=float(f"{in_loss:.2g}"),
        in_gradient=float(f"{in_gradient:.2g}"),
        cases=cases,
    )


if __name__ == "__main__":
    main()
