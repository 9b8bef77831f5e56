"""What audits read of each record: a line holds prose, replies and token counts that no audit looks at, and
leaving them undecoded is what makes a million verdicts a matter of seconds.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class PromptRow(Struct, frozen=True, gc=False):
    """Of a prompt."""

    id: str
    domain: str = ""
    stakes: Literal["normal", "high"] = "normal"


class CompletionRow(Struct, frozen=True, gc=False):
    """Of a completion."""

    id: str
    text: str
    policy: str = ""
    finish: str = "stop"


class VerdictRow(Struct, frozen=True, gc=False):
    """Of a verdict."""

    judge: str
    matchup_id: str = ""
    first_id: str = ""
    second_id: str = ""
    order: Literal["given", "swapped"] = "given"
    p_first: float | None = None
    score: float | None = None
    unread: str = ""
    sample: int = 0
    cost: float = 0.0
    seconds: float = 0.0


class IdRow(Struct, frozen=True, gc=False):
    id: str


class PreferenceRow(Struct, frozen=True, gc=False):
    """Of a preference."""

    prompt: IdRow
    chosen: IdRow
    rejected: IdRow
    p: float
    weight: float = 1.0
