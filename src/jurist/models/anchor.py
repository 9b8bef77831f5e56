"""The frozen policy that the learning one is held near: named by the user, known by the hash of its weights.

It is never guessed from where the policy came from: a policy that has already learnt would be held near
itself, or near something else on disk. Under a LoRA on the very same weights the adapter is switched off
instead of keeping a second copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..engines.checkpoints import find_checkpoint, weights_hash
from .actor import Actor
from .policy import Dtype, Policy, load_policy, refuse_other_tokens
from .rollout import Written, think


class Anchor:
    """`logp` of what the policy wrote, as the anchor would have had it."""

    def __init__(self, path: Path, hash: str, model: Any, adapted: Any = None) -> None:
        self.path, self.hash = path, hash
        self._actor = Actor(model)
        self._adapted = adapted
        """The policy's model, whose adapter has to be off while it serves as the anchor."""

    def to(self, device: Any) -> None:
        if self._adapted is None:
            self._actor.to(device)

    def logp(self, written: Sequence[Written], tokens_per_batch: int, temperature: float) -> Tensor:
        if self._adapted is None:
            return think(self._actor, written, tokens_per_batch, temperature).logp_BT
        with self._adapted.disable_adapter():
            return think(self._actor, written, tokens_per_batch, temperature).logp_BT


def open_anchor(path: str | Path, policy: Policy, dtype: Dtype = "auto") -> Anchor:
    """The checkpoint at `path`; it has to speak the policy's tokens."""
    folder = find_checkpoint(path)
    code = weights_hash(folder)
    if hasattr(policy.model, "peft_config") and code == policy.hash:
        return Anchor(folder, code, policy.model, policy.model)
    held = load_policy(folder, dtype=dtype)
    refuse_other_tokens(held, policy)
    held.model.requires_grad_(False)
    return Anchor(folder, held.hash, held.model)
