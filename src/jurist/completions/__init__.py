"""What policies answered: samples of engines, completions read from files, and which of them meet."""

from .load import Policies, load_groups, matchups, sample_completions

__all__ = ["Policies", "load_groups", "matchups", "sample_completions"]
