"""How much better each token was than expected: everything between a reward and a policy gradient.

Shapes: `B` completions, `T` answer tokens, padded on the right; `mask_BT` is 1 on answer tokens. `group_B`
says which completions answer the same prompt; groups may be uneven, since completions whose verdict failed
are not among the `B`.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-4
"""Added to a group's spread, so that equal scores give no advantage instead of a division by zero."""

VARIANCE = 1e-8
"""Added to a variance, for the same reason."""


def shaped_rewards(
    score_B: Tensor, kl_BT: Tensor, mask_BT: Tensor, beta: float, share: float = 1.0
) -> Tensor:
    """r_t = 1[t is last] share R - beta kl_t; `share` is 1, or 1 - beta as in Lee et al. 2023."""
    reward_BT = -beta * kl_BT * mask_BT
    last_B = mask_BT.sum(-1).long() - 1
    reward_BT[torch.arange(len(score_B), device=score_B.device), last_B] += share * score_B
    return reward_BT


def length_penalised(
    score_B: Tensor, tokens_B: Tensor, penalty: float, among_N: Tensor | None = None
) -> Tensor:
    """R - penalty tanh((tokens - median) / IQR): bounded, so that shortness never outweighs being right.

    Median and quartiles are of `among_N`: the lengths of all processes' answers where there are several.
    """
    if not len(score_B):
        return score_B
    among_N = (tokens_B if among_N is None else among_N).to(score_B.dtype)
    low, middle, high = torch.quantile(among_N, among_N.new_tensor([0.25, 0.5, 0.75]))
    return score_B - penalty * torch.tanh((tokens_B - middle) / (high - low).clamp(min=1.0))


def gae(
    reward_BT: Tensor, value_BT: Tensor, mask_BT: Tensor, gamma: float = 1.0, lam: float = 0.95
) -> tuple[Tensor, Tensor]:
    """A_t = d_t + gamma lam A_{t+1} with d_t = r_t + gamma V_{t+1} - V_t, and the returns A + V.

    Schulman et al. 2015 eq. 16. Nothing follows the last token: an answer ends there, cut off or not.
    """
    advantage_BT = torch.zeros_like(value_BT)
    ahead_B = next_B = torch.zeros_like(value_BT[:, 0])
    for t in reversed(range(value_BT.shape[1])):
        mask_B = mask_BT[:, t]
        delta_B = reward_BT[:, t] + gamma * next_B - value_BT[:, t]
        # Padding lies to the right of every answer, so carrying zeros through it changes nothing.
        ahead_B = (delta_B + gamma * lam * ahead_B) * mask_B
        next_B = value_BT[:, t] * mask_B
        advantage_BT[:, t] = ahead_B
    return advantage_BT, (advantage_BT + value_BT) * mask_BT


def moments(x: Tensor, mask: Tensor) -> Tensor:
    """Count, sum and sum of squares of the masked entries: what several processes add up before `whiten`."""
    return torch.stack([mask.sum(), (x * mask).sum(), (x.square() * mask).sum()]).double()


def whiten(x: Tensor, mask: Tensor, moments_3: Tensor | None = None) -> Tensor:
    """Zero mean and unit variance over the masked entries; the rest becomes zero."""
    count, total, squares = (moments(x, mask) if moments_3 is None else moments_3).tolist()
    mean = total / max(count, 1.0)
    variance = max(squares / max(count, 1.0) - mean * mean, 0.0)
    scale = float((variance + VARIANCE) ** -0.5)
    white: Tensor = (x - mean) * scale * mask
    return white


def rloo(score_B: Tensor, group_B: Tensor) -> Tensor:
    """R_i minus the mean of the others in its group, Ahmadian et al. 2024 eq. 9; alone in a group: 0."""
    size_B, total_B = _group_sums(score_B, group_B)
    others_B = (total_B - score_B) / (size_B - 1).clamp(min=1)
    return torch.where(size_B > 1, score_B - others_B, torch.zeros_like(score_B))


def grpo(score_B: Tensor, group_B: Tensor) -> Tensor:
    """(R_i - mean) / (std + 1e-4) inside the group, Shao et al. 2024; alone in a group: 0."""
    size_B, total_B = _group_sums(score_B, group_B)
    centred_B = score_B - total_B / size_B
    _, squares_B = _group_sums(centred_B.square(), group_B)
    std_B = (squares_B / (size_B - 1).clamp(min=1)).sqrt()
    return torch.where(size_B > 1, centred_B / (std_B + EPSILON), torch.zeros_like(score_B))


def _group_sums(x_B: Tensor, group_B: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's group size and group total."""
    _, index_B = torch.unique(group_B, return_inverse=True)
    zero_G = x_B.new_zeros(int(index_B.max()) + 1)
    size_G = zero_G.index_add(0, index_B, torch.ones_like(x_B))
    return size_G[index_B], zero_G.index_add(0, index_B, x_B)[index_B]


def group_advantages(
    how: str, score_B: Tensor, kl_BT: Tensor, mask_BT: Tensor, group_B: Tensor, beta: float, share: float
) -> Tensor:
    """Critic-free: the score against its group, less the KL bill against the group's, at every token.

    The bill is never divided by a spread: in a group of equal scores the noise of the KL would become the
    whole signal. For `rloo` the sum equals leaving one out of the shaped reward.
    """
    if not len(score_B):
        return torch.zeros_like(kl_BT)
    baseline = {"rloo": rloo, "grpo": grpo}[how]
    kl_B = (kl_BT * mask_BT).sum(-1)
    advantage_B = share * baseline(score_B, group_B) - beta * rloo(kl_B, group_B)
    return advantage_B[:, None] * mask_BT
