"""From completions and their scores to what the policy is updated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import kl
from .actor import Thought
from .advantages import gae, group_advantages, length_penalised, moments, shaped_rewards, whiten
from .ppo_settings import PPOConfig
from .rewards import Scored
from .rollout import Written, answer_mask
from .together import Together


@dataclass
class Experience:
    """The completions that have a score: `B` of them, padded to the longest of `T` tokens."""

    written: list[Written]
    raw_B: Tensor
    """What the reward said."""
    score_B: Tensor
    """The same after penalties and whitening."""
    kl_BT: Tensor
    """k1 at each token, on the policy that wrote them."""
    k3_BT: Tensor
    logp_BT: Tensor
    value_BT: Tensor
    mask_BT: Tensor
    advantage_BT: Tensor
    return_BT: Tensor


def experience(
    written: Sequence[Written],
    scored: Sequence[Scored],
    thought: Thought,
    anchor_BT: Tensor,
    cfg: PPOConfig,
    beta: float,
    together: Together,
) -> Experience:
    """Leave out what has no score; charge the KL to the anchor; ask how much better than expected it was."""
    kept = [row for row, one in enumerate(scored) if one.score is not None]
    written = [written[row] for row in kept]
    raw_B = torch.tensor([scored[row].score or 0.0 for row in kept])
    logp_BT, value_BT, anchor_BT = thought.logp_BT[kept], thought.value_BT[kept], anchor_BT[kept]
    mask_BT = answer_mask(written, logp_BT.shape[1])
    score_B = adjusted(raw_B, written, cfg, together)
    kl_BT = kl.k1(logp_BT, anchor_BT) * mask_BT
    share = 1.0 - beta if cfg.rlaif else 1.0
    if cfg.advantage == "gae":
        reward_BT = shaped_rewards(score_B, kl_BT, mask_BT, beta, share)
        advantage_BT, return_BT = gae(reward_BT, value_BT, mask_BT, lam=cfg.lam)
        advantage_BT = whiten(advantage_BT, mask_BT, together.add_up(moments(advantage_BT, mask_BT)))
    else:
        group_B = torch.tensor([one.group for one in written])
        advantage_BT = group_advantages(cfg.advantage, score_B, kl_BT, mask_BT, group_B, beta, share)
        return_BT = torch.zeros_like(advantage_BT)
    return Experience(
        written=written,
        raw_B=raw_B,
        score_B=score_B,
        kl_BT=kl_BT,
        k3_BT=kl.k3(logp_BT, anchor_BT) * mask_BT,
        logp_BT=logp_BT,
        value_BT=value_BT,
        mask_BT=mask_BT,
        advantage_BT=advantage_BT,
        return_BT=return_BT,
    )


def adjusted(raw_B: Tensor, written: Sequence[Written], cfg: PPOConfig, together: Together) -> Tensor:
    """The score as it is learnt from: whitened, cut-off answers and length charged for, where asked."""
    score_B = raw_B
    if cfg.whiten_scores:
        ones_B = torch.ones_like(score_B)
        score_B = whiten(score_B, ones_B, together.add_up(moments(score_B, ones_B)))
    if cfg.unfinished_penalty:
        cut_off_B = torch.tensor([one.completion.finish == "length" for one in written])
        score_B = score_B - cfg.unfinished_penalty * cut_off_B
    if cfg.length_penalty:
        tokens_B = torch.tensor([float(one.tokens) for one in written])
        # Lengths of all processes: each must subtract the same.
        score_B = length_penalised(score_B, tokens_B, cfg.length_penalty, together.gather(tokens_B))
    return score_B
