"""Fine-tuning on answers: chosen ones, best of k, revisions, or any file of conversations.

The loss is on the last answer only, up to and with the token that ends it; every token counts the same.

    jurist train sft answers.jsonl --base FOLDER --out models/sft
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from .batch import Example, by_length
from .loop import Loop, Watch, nobody
from .plan import start_from
from .rows import Target, answers_to_learn
from .settings import SftConfig, check


def train_sft(cfg: SftConfig, targets: Iterable[Target] | None = None, watch: Watch = nobody) -> Path:
    """Train on the answers given, or on those in `cfg.data`; the folder of the policy."""
    check(cfg, "sft")
    policy = start_from(cfg)
    learnt, held, facts = answers_to_learn(cfg, policy, targets)
    how = "pack" if cfg.packing else "concat"
    tokens = [float(len(one.answers[0])) for one in learnt]
    with Loop(cfg, policy, learnt, tokens, watch) as loop:
        for step in loop.steps():
            for part in loop.parts(step):
                said = loop.model(part.examples, how)
                loss_B = -said.logprobs_AT.sum(-1) / said.mask_AT.sum(-1)
                loop.backward((part.weight_B * loss_B).sum())
                loop.note(part, loss=loss_B)
            loop.update(step)
            if held and loop.epoch_ends(step):
                loop.measured(step, len(held), measure(loop.model, held, cfg.tokens, how))
        return loop.finish(**facts)


@torch.no_grad()
def measure(model: Any, examples: Sequence[Example], tokens: int, how: str) -> dict[str, float]:
    """Loss a token on answers that were not learnt."""
    model.eval()
    total = 0.0
    for rows in by_length([one.length for one in examples], tokens):
        total -= float(model([examples[row] for row in rows], how).logprobs_AT.sum())
    model.train()
    return {"loss": total / sum(len(one.answers[0]) for one in examples)}
