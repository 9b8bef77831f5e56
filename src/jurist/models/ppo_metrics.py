"""What is written down about each step: the reward, the distance from the anchor, and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .experience import Experience
from .rewards import Scored, failures
from .rollout import Written
from .together import Together


def observed(
    lived: Experience, written: Sequence[Written], scored: Sequence[Scored], together: Together
) -> dict[str, float]:
    """Means over the step's completions in all processes.

    `kl_*` are k1 and `kl3_*` k3, of the policy that wrote the completions: before it learns from them.
    """
    mask_BT = lived.mask_BT
    sums = torch.stack(
        [
            torch.tensor(float(len(lived.written))),
            mask_BT.sum(),
            lived.raw_B.sum(),
            lived.raw_B.square().sum(),
            lived.kl_BT.sum(),
            lived.k3_BT.sum(),
            (lived.logp_BT * mask_BT).sum(),
            torch.tensor(float(sum(one.completion.finish == "length" for one in written))),
            torch.tensor(float(len(written))),
            torch.tensor(float(sum(failures(scored).values()))),
            ((lived.return_BT - lived.value_BT).square() * mask_BT).sum(),
        ]
    ).double()
    kept, tokens, total, squares, k1, k3, logp, unfinished, *others = together.add_up(sums).tolist()
    drawn, failed, missed = others
    rows, slots = max(kept, 1.0), max(tokens, 1.0)
    mean = total / rows
    return {
        "reward": mean,
        "reward_std": max(squares / rows - mean * mean, 0.0) ** 0.5,
        "kl_token": k1 / slots,
        "kl_sequence": k1 / rows,
        "kl3_token": k3 / slots,
        "kl3_sequence": k3 / rows,
        "entropy": -logp / slots,
        "tokens": tokens / rows,
        "unfinished": unfinished / max(drawn, 1.0),
        "completions": kept,
        "failed": failed,
        "value_error": (missed / slots) ** 0.5,
    }
