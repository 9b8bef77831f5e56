"""How much better each token was than expected: everything between a score and the clipped losses.

Pure functions. Shapes: `B` completions, `T` answer tokens, padded on the right; `mask_BT` is 1 on answer
tokens. `group_B` says which completions answer the same prompt; groups may be uneven, since completions whose
verdict failed are not among the `B`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

STD_EPSILON: Final = 1e-4
"""Added to a group's spread, so that equal scores give no advantage instead of a division by zero."""
VARIANCE_EPSILON: Final = 1e-8
"""Added to a variance, for the same reason."""
MAX_DECREASE: Final = 0.2
"""The most that a KL below the target counts, as a share of it (Ziegler et al. 2019)."""
MAX_INCREASE: Final = 1.0
"""The most that one above it counts. The paper has the same for both; but reward is found faster than beta
grows, and a policy that has gone far beyond the target has to be back there before the training ends."""
TARGET_SHARE: Final = 0.8
"""The share of the target that is steered for, so that the swings around it stay below the target."""


def k1(logp_BT: Tensor, ref_BT: Tensor) -> Tensor:
    """log policy - log reference at each token: unbiased, and what the reward is charged for.

    k1 and k3 read only the log-probs of the tokens that the policy sampled. Under those samples each has the
    true KL(policy | reference) as its mean; k1 may be negative on a token (Schulman 2020).
    """
    return logp_BT - ref_BT


def k3(logp_BT: Tensor, ref_BT: Tensor) -> Tensor:
    """ratio - 1 - log ratio with ratio = reference / policy: never negative, and varies less."""
    log_ratio_BT = ref_BT - logp_BT
    return log_ratio_BT.expm1() - log_ratio_BT


def next_beta(beta: float, kl: float, target: float, samples: int, horizon: float) -> float:
    """beta (1 + clip(kl / aim - 1, -0.2, 1) samples / horizon), after Ziegler et al. 2019 section 2.2.

    Below the aim, 0.8 of the target, beta falls, above it grows; `horizon` is in samples, and a step of more
    counts as one: beta may double, and never turns negative.
    """
    error = min(max(kl / (TARGET_SHARE * target) - 1.0, -MAX_DECREASE), MAX_INCREASE)
    return beta * (1.0 + error * min(samples / horizon, 1.0))


def shaped_rewards(score_B: Tensor, kl_BT: Tensor, mask_BT: Tensor, beta: float) -> Tensor:
    """r_t = 1[t is last] R - beta kl_t."""
    reward_BT = -beta * kl_BT * mask_BT
    last_B = mask_BT.sum(-1).long() - 1
    reward_BT[torch.arange(len(score_B), device=score_B.device), last_B] += score_B
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


def moments(x: Tensor, mask: Tensor) -> dict[str, float]:
    """Of the masked entries, what several processes add up before `whiten`."""
    x, mask = x.double(), mask.double()
    found = {"count": mask.sum(), "sum": (x * mask).sum(), "squares": (x.square() * mask).sum()}
    return {name: float(value) for name, value in found.items()}


def whiten(x: Tensor, mask: Tensor, whole: Mapping[str, float] | None = None) -> Tensor:
    """Zero mean and unit variance over the masked entries; the rest becomes zero."""
    whole = moments(x, mask) if whole is None else whole
    count = max(whole["count"], 1.0)
    mean = whole["sum"] / count
    variance = max(whole["squares"] / count - mean * mean, 0.0)
    return (x - mean) * (variance + VARIANCE_EPSILON) ** -0.5 * mask


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
    return torch.where(size_B > 1, centred_B / (std_B + STD_EPSILON), torch.zeros_like(score_B))


def _group_sums(x_B: Tensor, group_B: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's group size and group total."""
    _, index_B = torch.unique(group_B, return_inverse=True)
    zero_G = x_B.new_zeros(int(index_B.max()) + 1)
    size_G = zero_G.index_add(0, index_B, torch.ones_like(x_B))
    return size_G[index_B], zero_G.index_add(0, index_B, x_B)[index_B]


def group_advantages(
    how: str, score_B: Tensor, kl_BT: Tensor, mask_BT: Tensor, group_B: Tensor, beta: float
) -> Tensor:
    """Critic-free: the score against its group, less the KL bill against the group's, at every token.

    The bill is never divided by a spread: in a group of equal scores the noise of the KL would become the
    whole signal. For `rloo` the sum equals leaving one out of the shaped reward.
    """
    if not len(score_B):
        return torch.zeros_like(kl_BT)
    baseline = {"rloo": rloo, "grpo": grpo}[how]
    kl_B = (kl_BT * mask_BT).sum(-1)
    advantage_B = baseline(score_B, group_B) - beta * rloo(kl_B, group_B)
    return advantage_B[:, None] * mask_BT


def clipped_policy(
    logp_BT: Tensor, old_BT: Tensor, advantage_BT: Tensor, mask_BT: Tensor, clip: float
) -> Tensor:
    """-min(w A, clip(w, 1 +- clip) A) with w = policy / old policy, Schulman et al. 2017 eq. 7.

    Summed over a completion's tokens, as are the two below.
    """
    ratio_BT = torch.exp(logp_BT - old_BT)
    clipped_BT = ratio_BT.clamp(1.0 - clip, 1.0 + clip)
    return -(torch.minimum(ratio_BT * advantage_BT, clipped_BT * advantage_BT) * mask_BT).sum(-1)


def clipped_value(
    value_BT: Tensor, old_BT: Tensor, return_BT: Tensor, mask_BT: Tensor, clip: float
) -> Tensor:
    """max((V - R)^2, (clip(V, V_old +- clip) - R)^2) / 2."""
    clipped_BT = torch.minimum(torch.maximum(value_BT, old_BT - clip), old_BT + clip)
    worse_BT = torch.maximum((value_BT - return_BT).square(), (clipped_BT - return_BT).square())
    return 0.5 * (worse_BT * mask_BT).sum(-1)


def clip_fraction(logp_BT: Tensor, old_BT: Tensor, mask_BT: Tensor, clip: float) -> Tensor:
    """How many tokens moved past the clip: a step that is too long shows here first."""
    moved_BT = (torch.exp(logp_BT - old_BT) - 1.0).abs() > clip
    return (moved_BT * mask_BT).sum(-1)
