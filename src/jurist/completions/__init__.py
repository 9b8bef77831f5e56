"""What policies answered: samples of engines, completions read from files, and which of them meet."""

from .answers import label_coding
from .load import load_groups, matchups, same_words
from .sample import Policies, sample

__all__ = ["Policies", "label_coding", "load_groups", "matchups", "same_words", "sample"]
