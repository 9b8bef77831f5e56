"""A policy straight from preferences, with no reward model between: DPO and its relatives.

Rafailov et al. 2023, with soft targets: the judge's probability reaches the loss. The reference policy's
log-probs are computed once, before the first step, and kept; the policy itself is the reference then, so a
second model is only loaded where another is named. Chosen and rejected share their prompt.

    jurist train dpo runs/mine --base FOLDER --out runs/mine/models/dpo
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec.structs import replace
from torch import Tensor

from ..policies.policy import Policy, TokenStats
from ..policies.tokens import Example
from ..records import Preference
from .checkpoint import reference_hash
from .reward import accuracy, labels, soft_logistic
from .rows import pairs_to_learn
from .settings import DpoConfig, DpoLoss
from .trainer import OnProgress, Trainer

REFERENCE_ROWS: Final = 8192
"""Whose log-probs under the reference, token by token, are in memory at once."""


def train_dpo(
    cfg: DpoConfig, preferences: Iterable[Preference] | None = None, on_progress: OnProgress | None = None
) -> Path:
    """Train on the preferences given, or on those in `cfg.data`; the folder of the policy."""
    with Trainer(cfg, preferences, on_progress) as trainer:
        if trainer.finished:
            return trainer.finished
        policy = trainer.load_base()
        rows, held_out, facts = pairs_to_learn(cfg, policy, trainer.given, soft=cfg.soft)
        trainer.begin(policy, rows)
        ref_hash = reference_hash(cfg)
        if ref_hash:
            reference = trainer.module if ref_hash == policy.hash else trainer.load_reference(cfg.reference)
            trainer.examples = with_reference(trainer, reference, rows)
            held_out = with_reference(trainer, reference, held_out)
            del reference

        def values(stats: TokenStats, part: Sequence[Example]) -> tuple[Tensor, dict[str, Tensor]]:
            return dpo_values(cfg, stats, part)

        for step in trainer.steps():
            trainer.learn(step, values)
            trainer.measure(step, held_out, values)
        return trainer.finish(**facts, reference_hash=ref_hash)


def with_reference(trainer: Trainer[DpoConfig], reference: Policy, rows: Sequence[Example]) -> list[Example]:
    """The rows with the reference policy's log-prob of each answer; every process computes its share."""
    found: list[Example] = []
    for start in range(0, len(rows), REFERENCE_ROWS):
        block = rows[start : start + REFERENCE_ROWS]
        logp_AT = trainer.read(reference, trainer.processes.share(block)).logprobs_AT
        # None in a process that has no row of the block.
        mine = [] if logp_AT is None else logp_AT.sum(-1).view(-1, 2).tolist()
        places = trainer.processes.share(range(len(block)))
        by_place = dict(trainer.processes.gather(list(zip(places, mine, strict=True))))
        found += [replace(row, ref=tuple(by_place[place])) for place, row in enumerate(block)]
    return found


def dpo_values(
    cfg: DpoConfig, stats: TokenStats, part: Sequence[Example]
) -> tuple[Tensor, dict[str, Tensor]]:
    """What is minimised for each pair, and what is written down."""
    assert stats.logprobs_AT is not None
    logp_B2, tokens_B2 = stats.logprobs_AT.sum(-1).view(-1, 2), stats.mask_AT.sum(-1).view(-1, 2)
    ratio_B2 = logp_B2 - logp_B2.new_tensor([one.ref or (0.0, 0.0) for one in part])
    pair = PairLogprobs(*ratio_B2.unbind(-1), *tokens_B2.unbind(-1))
    p_B, _ = labels(part, logp_B2)
    beta = BETAS[cfg.loss] if cfg.beta is None else cfg.beta
    loss_B = DPO_LOSSES[cfg.loss](pair, conservative(p_B, cfg.flip_rate), beta, cfg)
    margin_B = pair.delta_per_token_B if cfg.loss in PER_TOKEN else pair.delta_B
    return loss_B, {
        "loss": loss_B,
        "accuracy": accuracy(margin_B, p_B),
        "margin": margin_B,
        "chosen_logratio": pair.chosen_B,
        "rejected_logratio": pair.rejected_B,
    }


def conservative(p_B: Tensor, flip_rate: float) -> Tensor:
    """(1 - e) p + e (1 - p): the target when a share e of labels is the wrong way round, Mitchell 2023."""
    return (1 - flip_rate) * p_B + flip_rate * (1 - p_B)


@dataclass(frozen=True)
class PairLogprobs:
    """Two answers to one prompt: log policy - log reference, summed over tokens, and their lengths.

    Without a reference (SimPO) they are the policy's log-probs.
    """

    chosen_B: Tensor
    rejected_B: Tensor
    chosen_tokens_B: Tensor
    rejected_tokens_B: Tensor

    @property
    def delta_B(self) -> Tensor:
        return self.chosen_B - self.rejected_B

    @property
    def delta_per_token_B(self) -> Tensor:
        """w / |w| - l / |l|: two sums over tokens, compared as means."""
        return self.chosen_B / self.chosen_tokens_B - self.rejected_B / self.rejected_tokens_B


def dpo(pair: PairLogprobs, p_B: Tensor, beta: float, cfg: DpoConfig) -> Tensor:
    """Soft cross-entropy of beta (l_w - l_l), Rafailov et al. 2023 eq. 7."""
    return soft_logistic(beta * pair.delta_B, p_B)


def length_normalised_dpo(pair: PairLogprobs, p_B: Tensor, beta: float, cfg: DpoConfig) -> Tensor:
    """Soft cross-entropy of beta (l_w / |w| - l_l / |l|), Lambert et al. 2024 (Tulu 3)."""
    return soft_logistic(beta * pair.delta_per_token_B, p_B)


def r_dpo(pair: PairLogprobs, p_B: Tensor, beta: float, cfg: DpoConfig) -> Tensor:
    """Soft cross-entropy of beta (l_w - l_l) + alpha (|w| - |l|).

    Park et al. 2024: what the reward r - alpha |y| gives, so that a longer chosen answer teaches less.
    """
    longer_B = pair.chosen_tokens_B - pair.rejected_tokens_B
    return soft_logistic(beta * pair.delta_B + cfg.alpha * longer_B, p_B)


def simpo(pair: PairLogprobs, p_B: Tensor, beta: float, cfg: DpoConfig) -> Tensor:
    """Soft cross-entropy of beta (log w / |w| - log l / |l|), margin gamma; Meng et al. 2024 eq. 6."""
    return soft_logistic(beta * pair.delta_per_token_B, p_B, cfg.gamma)


def ipo(pair: PairLogprobs, p_B: Tensor, beta: float, cfg: DpoConfig) -> Tensor:
    """(l_w / |w| - l_l / |l| - (2p - 1) / (2 beta))^2, Azar et al. 2023 eq. 17, averaged over tokens.

    The target (2p - 1) is the mean of the two squares weighted by p, up to a constant: at p = 1 the paper's
    loss, at p = 1/2 a pull towards no difference.
    """
    return (pair.delta_per_token_B - (2 * p_B - 1) / (2 * beta)).square()


DPO_LOSSES: Final[dict[DpoLoss, Callable[[PairLogprobs, Tensor, float, DpoConfig], Tensor]]] = {
    "dpo": dpo,
    "length_normalised": length_normalised_dpo,
    "r_dpo": r_dpo,
    "simpo": simpo,
    "ipo": ipo,
}
BETAS: Final[dict[DpoLoss, float]] = {
    "dpo": 0.1, "length_normalised": 5.0, "r_dpo": 0.1, "simpo": 2.0, "ipo": 0.1
}  # fmt: skip
"""As the papers have them; they are on different scales."""
PER_TOKEN: Final = ("length_normalised", "simpo", "ipo")
"""Losses whose margin is a mean over tokens."""
