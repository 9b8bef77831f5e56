"""A judge's reply becomes a verdict, or unread with a reason. Nothing read is not a tie.

Pure and total: any text, any finish and any tokens give a Reading and never an exception. The reader knows the labels
that were offered and nothing else about the judge. It looks for JSON first, then for what the text says of the
labels (`read_claims`); the firmest verdict wins, and of equally firm ones the last. Where the engine gave
log-probs, the verdict becomes a probability at the token where the deciding label stands (`tokens`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..engines.engine import Token
from .read_claims import CLAIMS, DECLARES, IMPLIES, Claim, claims
from .read_json import fields
from .read_labels import P_FIRST, TIE, Labels, labels_of, undressed, undressed_at
from .read_words import REFUSAL
from .reading import (
    CALL_FAILED,
    CALL_REFUSED,
    CONTRADICTORY,
    CUT_OFF,
    EMPTY,
    LOW_MASS,
    NO_VERDICT,
    OFF_MENU,
    REFUSED,
    UNREAD,
    Menu,
    Reading,
)
from .thinking import hide_thinking, strip_thinking
from .tokens import p_first_at, p_first_from_one

__all__ = [
    "CALL_FAILED",
    "CALL_REFUSED",
    "CONTRADICTORY",
    "CUT_OFF",
    "EMPTY",
    "LOW_MASS",
    "NO_VERDICT",
    "OFF_MENU",
    "REFUSED",
    "UNREAD",
    "Menu",
    "Reading",
    "rationale_of",
    "read_choice",
    "strip_thinking",
]

_PLAIN = Menu()


def read_choice(
    text: str, menu: Menu = _PLAIN, finish: str = "stop", tokens: Sequence[Token] = ()
) -> Reading:
    """Which of the two on the menu the reply prefers."""
    if finish == REFUSED:
        return Reading(unread=REFUSED)
    labels = labels_of(menu)
    side = labels.exact.get(undressed(text))
    if side is not None:
        at = undressed_at(text)
        found: Claim | str = Claim(side, DECLARES, at, at, at, at)
        source = "text"
    else:
        shown, cut = hide_thinking(text)
        found, source = _find(shown.rstrip(), labels, cut or finish == "length")
    if isinstance(found, Claim):
        reading = Reading(p_first=P_FIRST[found.side], at=found.at, source=source)
        return (p_first_at(text, found.core, tokens, menu, reading)) if tokens else reading
    reading = Reading(unread=found)
    return p_first_from_one(tokens, menu, reading) if tokens else reading
