"""What policies answered: samples drawn from engines, completions read from files, and who meets whom."""

from .load import FILE_JUDGE, load_groups
from .matchups import matchups, same_words
from .sample import Policies, mixture, sample

__all__ = ["FILE_JUDGE", "Policies", "load_groups", "matchups", "mixture", "same_words", "sample"]
