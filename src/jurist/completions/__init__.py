"""What policies answered: samples of engines, completions read from files, and which of them meet."""

from .load import load_groups, matchups
from .sample import Policies, sample_completions

__all__ = ["Policies", "load_groups", "matchups", "sample_completions"]
