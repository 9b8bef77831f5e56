"""Supervised fine-tuning: on chosen answers, best of k, revisions, or any file of conversations.

The loss is on the last answer only, up to and with the token that ends it; every token counts the same.

    jurist train sft answers.jsonl --base FOLDER --out models/sft
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor

from ..policies.policy import TokenStats
from ..policies.tokens import Example
from .rows import Target, answers_to_learn
from .settings import SftConfig
from .trainer import OnProgress, Trainer


def train_sft(
    cfg: SftConfig, targets: Iterable[Target] | None = None, on_progress: OnProgress | None = None
) -> Path:
    """Train on the answers given, or on those in `cfg.data`; the folder of the policy."""
    with Trainer(cfg, targets, on_progress) as trainer:
        if trainer.finished:
            return trainer.finished
        policy = trainer.load_base()
        rows, held_out, facts = answers_to_learn(cfg, policy, trainer.given)
        trainer.begin(policy, rows)
        for step in trainer.steps():
            trainer.learn(step, sft_values)
            trainer.measure(step, held_out, sft_values)
        return trainer.finish(**facts)


def sft_values(stats: TokenStats, part: Sequence[Example]) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean over its tokens; a row's weight is how many it has."""
    assert stats.logprobs_AT is not None
    loss_B = -stats.logprobs_AT.sum(-1) / stats.mask_AT.sum(-1)
    return loss_B, {"loss": loss_B}
