"""The policy as PPO sees it: the log-prob of every answer token, and for GAE what each state is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .batch import Example
from .forward import answers_forward, causal_of


class Thought(NamedTuple):
    """For each answer and token: the log-prob of what was written, and the value of where it was written."""

    logp_BT: Tensor
    value_BT: Tensor


class Actor(nn.Module):
    """Policy and value head on one trunk, in one forward, so that DDP sees one module."""

    beta: Tensor
    """What a nat of KL costs now. A buffer, so that a checkpoint has it."""

    def __init__(self, model: Any, *, with_value: bool = False, beta: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("beta", torch.tensor(beta, dtype=torch.float64))
        self.value: nn.Linear | None = None
        if with_value:
            causal = causal_of(model)
            width, device = causal.get_input_embeddings().weight.shape[1], causal.device
            # In float32 even under a bf16 trunk: values are sums of small steps. From zero: no opinion yet.
            self.value = nn.Linear(width, 1, device=device, dtype=torch.float32)
            nn.init.zeros_(self.value.weight)
            nn.init.zeros_(self.value.bias)

    def forward(self, examples: Sequence[Example], temperature: float = 1.0) -> Thought:
        said = answers_forward(self.model, examples, head="values", temperature=temperature)
        logp_BT, states_BTD = said.logprobs_AT, said.states_ATD
        assert logp_BT is not None
        assert states_BTD is not None
        if self.value is None:
            return Thought(logp_BT, torch.zeros_like(logp_BT))
        with torch.autocast(states_BTD.device.type, enabled=False):
            value_BT = self.value(states_BTD.float()).squeeze(-1)
        return Thought(logp_BT, value_BT * said.mask_AT)
