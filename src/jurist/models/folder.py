"""Where checkpoints lie, and what they are called: the same for those that learn and those that judge."""

from ..engines.checkpoints import ADAPTER, base_of, find_checkpoint, weights_hash

__all__ = ["ADAPTER", "base_of", "find_checkpoint", "weights_hash"]
