"""What policies are asked: loading, de-duplicating and splitting prompts."""

from .load import load_prompts, split_of
from .rows import Source, ignore

__all__ = ["Source", "ignore", "load_prompts", "split_of"]
