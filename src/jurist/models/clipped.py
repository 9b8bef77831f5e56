"""The two clipped losses of PPO (Schulman et al. 2017), summed so that the caller divides once.

A step is cut into micro-batches and spread over processes; only a sum over the tokens here, divided by the
tokens of the whole step, gives the same gradient however it was cut.
"""

from __future__ import annotations

import torch
from torch import Tensor


def clipped_policy(
    logp_BT: Tensor, old_BT: Tensor, advantage_BT: Tensor, mask_BT: Tensor, clip: float
) -> Tensor:
    """-min(w A, clip(w, 1 +- clip) A) with w = policy / old policy, eq. 7."""
    ratio_BT = torch.exp(logp_BT - old_BT)
    held_BT = ratio_BT.clamp(1.0 - clip, 1.0 + clip)
    return -(torch.minimum(ratio_BT * advantage_BT, held_BT * advantage_BT) * mask_BT).sum()


def clipped_value(
    value_BT: Tensor, old_BT: Tensor, return_BT: Tensor, mask_BT: Tensor, clip: float
) -> Tensor:
    """max((V - R)^2, (clip(V, V_old +- clip) - R)^2) / 2."""
    held_BT = torch.minimum(torch.maximum(value_BT, old_BT - clip), old_BT + clip)
    worse_BT = torch.maximum((value_BT - return_BT).square(), (held_BT - return_BT).square())
    return 0.5 * (worse_BT * mask_BT).sum()


def clipped_share(logp_BT: Tensor, old_BT: Tensor, mask_BT: Tensor, clip: float) -> Tensor:
    """How many tokens moved past the clip: a step that is too long shows here first."""
    moved_BT = (torch.exp(logp_BT - old_BT) - 1.0).abs() > clip
    return (moved_BT * mask_BT).sum()
