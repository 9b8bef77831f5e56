"""What is minimised, one function and one equation each; every one returns a loss for each row.

Shapes: `B` rows. Targets are soft throughout: `p_B` is the probability that the first one is better, 1 where
somebody was sure. `logratio` is log policy - log anchor, summed over the answer's tokens.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def soft_logistic(delta_B: Tensor, p_B: Tensor | float = 1.0) -> Tensor:
    """-[p log s(d) + (1 - p) log s(-d)]: cross-entropy of a preference, Bradley and Terry 1952."""
    return -(p_B * F.logsigmoid(delta_B) + (1 - p_B) * F.logsigmoid(-delta_B))


def bradley_terry(
    chosen_B: Tensor, rejected_B: Tensor, p_B: Tensor | float = 1.0, margin_B: Tensor | float = 0.0
) -> Tensor:
    """Soft cross-entropy of r_w - r_l - m: Ouyang et al. 2022 eq. 1, margin as in Touvron et al. 2023."""
    return soft_logistic(chosen_B - rejected_B - margin_B, p_B)


def centring(chosen_B: Tensor, rejected_B: Tensor) -> Tensor:
    """(r_w + r_l)^2: rewards are only known up to a constant, and this one is 0 (Eisenstein et al. 2023)."""
    return (chosen_B + rejected_B).square()


def dpo(
    chosen_logratio_B: Tensor, rejected_logratio_B: Tensor, beta: float, p_B: Tensor | float = 1.0
) -> Tensor:
    """Soft cross-entropy of beta (l_w - l_l), Rafailov et al. 2023 eq. 7."""
    return soft_logistic(beta * (chosen_logratio_B - rejected_logratio_B), p_B)


def conservative(p_B: Tensor, flip_rate: float) -> Tensor:
    """(1 - e) p + e (1 - p): the target when a share e of labels is the wrong way round, Mitchell 2023."""
    return (1 - flip_rate) * p_B + flip_rate * (1 - p_B)


def per_token_gap(
    chosen_B: Tensor, rejected_B: Tensor, chosen_tokens_B: Tensor, rejected_tokens_B: Tensor
) -> Tensor:
    """w / |w| - l / |l|: two sums over tokens, compared as means."""
    return chosen_B / chosen_tokens_B - rejected_B / rejected_tokens_B


def length_normalised_dpo(
    chosen_logratio_B: Tensor,
    rejected_logratio_B: Tensor,
    chosen_tokens_B: Tensor,
    rejected_tokens_B: Tensor,
    beta: float,
    p_B: Tensor | float = 1.0,
) -> Tensor:
    """Soft cross-entropy of beta (l_w / |w| - l_l / |l|), Lambert et al. 2024 (Tulu 3)."""
    delta_B = per_token_gap(chosen_logratio_B, rejected_logratio_B, chosen_tokens_B, rejected_tokens_B)
    return soft_logistic(beta * delta_B, p_B)


def r_dpo(
    chosen_logratio_B: Tensor,
    rejected_logratio_B: Tensor,
    chosen_tokens_B: Tensor,
    rejected_tokens_B: Tensor,
    beta: float,
    alpha: float,
    p_B: Tensor | float = 1.0,
) -> Tensor:
    """Soft cross-entropy of beta (l_w - l_l) + alpha (|w| - |l|).

    Park et al. 2024: what the reward r - alpha |y| gives, so that a longer chosen answer teaches less.
    """
    longer_B = alpha * (chosen_tokens_B - rejected_tokens_B)
    return soft_logistic(beta * (chosen_logratio_B - rejected_logratio_B) + longer_B, p_B)


def simpo(
    chosen_logp_B: Tensor,
    rejected_logp_B: Tensor,
    chosen_tokens_B: Tensor,
    rejected_tokens_B: Tensor,
    beta: float,
    gamma: float,
    p_B: Tensor | float = 1.0,
) -> Tensor:
    """Soft cross-entropy of beta (log w / |w| - log l / |l|) - gamma; Meng et al. 2024 eq. 6: no anchor."""
    delta_B = per_token_gap(chosen_logp_B, rejected_logp_B, chosen_tokens_B, rejected_tokens_B)
    return soft_logistic(beta * delta_B - gamma, p_B)


def ipo(
    chosen_logratio_B: Tensor,
    rejected_logratio_B: Tensor,
    chosen_tokens_B: Tensor,
    rejected_tokens_B: Tensor,
    beta: float,
    p_B: Tensor | float = 1.0,
) -> Tensor:
    """(l_w / |w| - l_l / |l| - (2p - 1) / (2 beta))^2, Azar et al. 2023 eq. 17, averaged over tokens.

    The target (2p - 1) is the mean of the two squares weighted by p, up to a constant: at p = 1 the paper's
    loss, at p = 1/2 a pull towards no difference.
    """
    delta_B = per_token_gap(chosen_logratio_B, rejected_logratio_B, chosen_tokens_B, rejected_tokens_B)
    return (delta_B - (2 * p_B - 1) / (2 * beta)).square()


def agreement(gap_B: Tensor, p_B: Tensor) -> Tensor:
    """1 where the gap points to the likelier side, 0 where it does not; 1/2 where neither is likelier."""
    return torch.where(p_B == 0.5, 0.5, ((gap_B > 0) == (p_B > 0.5)).float())


def entropy(p_B: Tensor) -> Tensor:
    """-[p log p + (1 - p) log(1 - p)]: no model can bring the loss on a soft target below it."""
    return -(torch.xlogy(p_B, p_B) + torch.xlogy(1 - p_B, 1 - p_B))
