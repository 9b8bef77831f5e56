"""How far the policy has gone from its anchor, and how hard it is pulled back.

Both estimators read only the log-probs of the tokens that were drawn from the policy. Under those draws each
has the true KL(policy | anchor) as its mean; k1 may be negative on a token, k3 never is and varies less
(Schulman 2020, "Approximating KL divergence").
"""

from __future__ import annotations

from torch import Tensor

LETS_GO = 0.2
"""The most that being below the target counts, as a share of it (Ziegler et al. 2019)."""
PULLS_BACK = 1.0
"""The most that being above it counts. The paper has the same for both; but reward is found faster than beta
grows, and a policy that has gone far beyond the target has to be back there before the training ends."""

AIM = 0.8
"""The share of the target that is steered for, so that the swings around it stay below the target."""


def k1(logp_BT: Tensor, anchor_BT: Tensor) -> Tensor:
    """log policy - log anchor at each token: unbiased, and what the reward is charged for."""
    return logp_BT - anchor_BT


def k3(logp_BT: Tensor, anchor_BT: Tensor) -> Tensor:
    """ratio - 1 - log ratio with ratio = anchor / policy: never negative."""
    log_ratio_BT = anchor_BT - logp_BT
    return log_ratio_BT.expm1() - log_ratio_BT


def next_beta(beta: float, kl: float, target: float, samples: int, horizon: float) -> float:
    """beta (1 + clip(kl / aim - 1, -0.2, 1) samples / horizon), after Ziegler et al. 2019 section 2.2.

    Below the aim, 0.8 of the target, the pull weakens, above it grows; `horizon` is in samples, and
    a step of more counts as one: beta may double, and never turns round.
    """
    error = min(max(kl / (AIM * target) - 1.0, -LETS_GO), PULLS_BACK)
    return beta * (1.0 + error * min(samples / horizon, 1.0))
