"""A judge's reply becomes a verdict, or unread with a reason: pure, total, never raises.

`choice` reads which of two is better, `score` a number, `score_pair` two numbers in one reply. What they
share is what a reply can look like: fields of JSON, labels dressed in all manner of brackets, what is said of
them and in which words, thinking that is not part of the answer, and the log-probs at the label's token.
"""

from .choice import rationale_of, read_choice
from .reading import (
    CALL_FAILED,
    CALL_REFUSED,
    CONTRADICTORY,
    CUT_OFF,
    EMPTY,
    LOW_MASS,
    NO_REFERENCE,
    NO_VERDICT,
    NOT_ASKED,
    OFF_MENU,
    REFUSED,
    UNREAD,
    Menu,
    Reading,
)
from .score import read_score
from .score_pair import read_score_pair

__all__ = [
    "CALL_FAILED",
    "CALL_REFUSED",
    "CONTRADICTORY",
    "CUT_OFF",
    "EMPTY",
    "LOW_MASS",
    "NOT_ASKED",
    "NO_REFERENCE",
    "NO_VERDICT",
    "OFF_MENU",
    "REFUSED",
    "UNREAD",
    "Menu",
    "Reading",
    "rationale_of",
    "read_choice",
    "read_score",
    "read_score_pair",
]
