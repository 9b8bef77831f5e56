"""What is minimised, one function and one equation each; every one returns a loss for each row.

Shapes: `B` rows. Targets are soft throughout: `p_B` is the probability that the first answer is better, 1 for
a certain label. A label told from the other side, answers swapped and p turned to 1 - p, has the same loss:
where p is 1/2, no answer is preferred.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from .settings import DpoConfig, DpoLoss


def soft_logistic(delta_B: Tensor, p_B: Tensor | float = 1.0, margin_B: Tensor | float = 0.0) -> Tensor:
    """-[p log s(d - m) + (1 - p) log s(-d - m)]: cross-entropy of a preference, Bradley and Terry 1952.

    The margin is asked of whichever answer is better, so it turns round with the label.
    """
    return -(p_B * F.logsigmoid(delta_B - margin_B) + (1 - p_B) * F.logsigmoid(-delta_B - margin_B))


def bradley_terry_loss(
    chosen_B: Tensor, rejected_B: Tensor, p_B: Tensor | float = 1.0, margin_B: Tensor | float = 0.0
) -> Tensor:
    """Soft cross-entropy of r_w - r_l: Ouyang et al. 2022 eq. 1, margin as in Touvron et al. 2023."""
    return soft_logistic(chosen_B - rejected_B, p_B, margin_B)


def centring(chosen_B: Tensor, rejected_B: Tensor) -> Tensor:
    """(r_w + r_l)^2: rewards are only known up to a constant, and this one is 0 (Eisenstein et al. 2023)."""
    return (chosen_B + rejected_B).square()


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

    @property
    def longer_B(self) -> Tensor:
        return self.chosen_tokens_B - self.rejected_tokens_B


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
    return soft_logistic(beta * pair.delta_B + cfg.alpha * pair.longer_B, p_B)


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


def accuracy(delta_B: Tensor, p_B: Tensor) -> Tensor:
    """1 where the likelier answer is ahead, 0 where it is behind; 1/2 where neither is likelier or ahead."""
    ahead_B = (1 + torch.sign(delta_B) * torch.sign(p_B - 0.5)) / 2
    return ahead_B.float()


def entropy(p_B: Tensor) -> Tensor:
    """-[p log p + (1 - p) log(1 - p)]: no model can bring the loss on a soft target below it."""
    return -(torch.xlogy(p_B, p_B) + torch.xlogy(1 - p_B, 1 - p_B))
