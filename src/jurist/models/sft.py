"""Supervised fine-tuning: on chosen answers, best of k, revisions, or any file of conversations.

The loss is on the last answer only, up to and with the token that ends it; every token counts the same.

    jurist train sft answers.jsonl --base FOLDER --out models/sft
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from ..policies.tokens import Example
from .rows import Target, answers_to_learn
from .settings import SftConfig, check_training
from .trainer import OnProgress, Trainer, no_progress


def train_sft(
    cfg: SftConfig, targets: Iterable[Target] | None = None, on_progress: OnProgress = no_progress
) -> Path:
    """Train on the answers given, or on those in `cfg.data`; the folder of the policy."""
    check_training(cfg, "sft")
    given = None if targets is None else list(targets)
    with Trainer(cfg, given, on_progress) as trainer:
        if trainer.finished:
            return trainer.finished
        policy = trainer.load_base()
        rows, held_out, facts = answers_to_learn(cfg, policy, given)
        trainer.begin(policy, rows, tokens(rows))

        def values(part: list[Example]) -> tuple[Tensor, dict[str, Tensor]]:
            stats = trainer.module(part)
            loss_B = -stats.logprobs_AT.sum(-1) / stats.mask_AT.sum(-1)
            return loss_B, {"loss": loss_B}

        for step in trainer.steps():
            trainer.learn(step, values)
            trainer.measure(step, held_out, tokens(held_out), values)
        return trainer.finish(**facts)


def tokens(rows: Iterable[Example]) -> list[float]:
    """What each row counts."""
    return [float(len(row.answers[0])) for row in rows]
