"""A reply becomes a score, or unread with a reason."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..engines.engine import Token
from .reading import CUT_OFF, EMPTY, NO_VERDICT, OFF_MENU, REFUSED, Reading


def read_score(
    text: str, low: float = 1, high: float = 10, finish: str = "stop", tokens: Sequence[Token] = ()
) -> Reading:
    if finish == "refused":
        return Reading(unread=REFUSED)
    if not text.strip():
        return Reading(unread=EMPTY)
    found = list(re.finditer(r"\d+(?:\.\d+)?", text))
    if not found:
        return Reading(unread=CUT_OFF if finish == "length" else NO_VERDICT)
    score = float(found[-1].group())
    if not low <= score <= high:
        return Reading(unread=OFF_MENU)
    return Reading(score=score, at=found[-1].start(), source="text")


def read_score_pair(
    text: str, low: float = 1, high: float = 10, finish: str = "stop"
) -> tuple[Reading, Reading]:
    found = re.match(r"\s*(\d+(?:\.\d+)?)[\s,]+(\d+(?:\.\d+)?)", text)
    if not found:
        one = Reading(unread=NO_VERDICT)
        return one, one
    return Reading(score=float(found[1]), source="text"), Reading(score=float(found[2]), source="text")
