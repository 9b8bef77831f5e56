"""A policy straight from preferences, with no reward model between: DPO and its relatives.

Rafailov et al. 2023, with soft targets: the judge's probability reaches the loss. The reference policy's
log-probs are computed once, before the first step, and kept; the policy itself is the reference then, so a
second model is only loaded where another is named. Chosen and rejected share their prompt.

    jurist train dpo runs/mine --base FOLDER --out runs/mine/models/dpo
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec.structs import replace
from torch import Tensor

from ..policies.policy import Policy, TokenStats
from ..policies.tokens import Example
from ..records import Preference
from . import losses
from .identity import reference_hash
from .reward import labels
from .rows import pairs_to_learn
from .settings import DpoConfig, check_training
from .trainer import OnProgress, Trainer, no_progress


def train_dpo(
    cfg: DpoConfig, preferences: Iterable[Preference] | None = None, on_progress: OnProgress = no_progress
) -> Path:
    """Train on the preferences given, or on those in `cfg.data`; the folder of the policy."""
    check_training(cfg, "dpo")
    given = None if preferences is None else list(preferences)
    with Trainer(cfg, given, on_progress) as trainer:
        if trainer.finished:
            return trainer.finished
        policy = trainer.load_base()
        rows, held_out, facts = pairs_to_learn(cfg, policy, given, soft=cfg.soft)
        trainer.begin(policy, rows, [row.weight for row in rows])
        ref_hash = reference_hash(cfg)
        if ref_hash:
            reference = trainer.module if ref_hash == policy.hash else trainer.load_reference(cfg.reference)
            trainer.examples = with_reference(trainer, reference, rows)
            held_out = with_reference(trainer, reference, held_out)
            del reference

        def values(part: list[Example]) -> tuple[Tensor, dict[str, Tensor]]:
            return dpo_values(cfg, trainer.module(part), part)

        for step in trainer.steps():
            trainer.learn(step, values)
            trainer.measure(step, held_out, [row.weight for row in held_out], values)
        return trainer.finish(**facts, reference_hash=ref_hash)


def dpo_values(
    cfg: DpoConfig, stats: TokenStats, part: Sequence[Example]
) -> tuple[Tensor, dict[str, Tensor]]:
    """What is minimised for each pair, and what is written down."""
    assert stats.logprobs_AT is not None
    logp_B2, tokens_B2 = stats.logprobs_AT.sum(-1).view(-1, 2), stats.mask_AT.sum(-1).view(-1, 2)
    ratio_B2 = logp_B2 - logp_B2.new_tensor([one.ref or (0.0, 0.0) for one in part])
    pair = losses.PairLogprobs(*ratio_B2.unbind(-1), *tokens_B2.unbind(-1))
    p_B, _ = labels(part, logp_B2)
    beta = losses.BETAS[cfg.loss] if cfg.beta is None else cfg.beta
    loss_B = losses.DPO_LOSSES[cfg.loss](pair, losses.conservative(p_B, cfg.flip_rate), beta, cfg)
    margin_B = pair.delta_per_token_B if cfg.loss in losses.PER_TOKEN else pair.delta_B
    return loss_B, {
        "loss": loss_B,
        "accuracy": losses.accuracy(margin_B, p_B),
        "margin": margin_B,
        "chosen_logratio": pair.chosen_B,
        "rejected_logratio": pair.rejected_B,
    }


def with_reference(trainer: Trainer[DpoConfig], reference: Policy, rows: Sequence[Example]) -> list[Example]:
    """The rows with the reference policy's log-prob of each answer; every process computes its share."""
    if not rows:
        return []

    def values(part: list[Example]) -> tuple[Tensor, dict[str, Tensor]]:
        logp_B2 = reference(part).logprobs_AT.sum(-1).view(-1, 2)
        return logp_B2, {"chosen": logp_B2[:, 0], "rejected": logp_B2[:, 1]}

    found = trainer.read(rows, values)
    both = zip(found["chosen"].tolist(), found["rejected"].tolist(), strict=True)
    return [replace(row, ref=ref) for row, ref in zip(rows, both, strict=True)]
