"""What a reader is told and what it answers: the labels on offer, a verdict or the reason why there is
none."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

REFUSED = "refused"
CUT_OFF = "cut_off"
NO_VERDICT = "no_verdict"
OFF_MENU = "off_menu"
CONTRADICTORY = "contradictory"
LOW_MASS = "low_mass"
EMPTY = "empty"
CALL_FAILED = "call_failed"
CALL_REFUSED = "call_refused"
NO_REFERENCE = "no_reference"
NOT_ASKED = "not_asked"

UNREAD: dict[str, str] = {
    REFUSED: "the judge declined to answer",
    CUT_OFF: "the reply ended at the token limit before a verdict",
    NO_VERDICT: "the reply talks, but does not say which is better",
    OFF_MENU: "the reply gives an answer that was not on offer",
    CONTRADICTORY: "the final statement names both sides",
    LOW_MASS: "the labels hold less than half of the probability at the deciding token",
    EMPTY: "the reply is empty",
    CALL_FAILED: "the call gave nothing, however often it was tried",
    CALL_REFUSED: "the endpoint turned the call down",
    NO_REFERENCE: "a rule checks against a reference answer, and the prompt has none",
    NOT_ASKED: "no judge was asked about this matchup",
}
"""Why a verdict can be unread, each in one line. What no reply can be blamed for comes last."""


class Menu(Struct, frozen=True):
    """The labels a judge was offered. Nothing else is known to the reader."""

    first: str = "A"
    second: str = "B"
    tie: str | None = None


class Reading(Struct, frozen=True):
    """A verdict, or the reason why there is none: exactly one of p_first, score and unread is set."""

    p_first: float | None = None
    """Probability that the first is better; 0.5 is a tie."""
    score: float | None = None
    unread: str = ""
    at: int = -1
    """Where in the text the deciding label starts."""
    source: Literal["", "text", "tokens", "json"] = ""
