"""What a judge said, made into a verdict: about a matchup as it is seated, or about one completion."""

from __future__ import annotations

from typing import Any

from ..engines.engine import Reply
from ..records import Completion, Matchup, Verdict, content_id
from .read import Reading, rationale_of


def about_pair(judge: str, matchup: Matchup, sample: int, **said: Any) -> Verdict:
    first, second = matchup.first.id, matchup.second.id
    name = content_id(judge, first, second, sample)
    return Verdict(name, judge, matchup.id, first, second, sample=sample, **said)


def about_one(judge: str, completion: Completion, sample: int, **said: Any) -> Verdict:
    name = content_id(judge, completion.id, sample)
    return Verdict(name, judge, first_id=completion.id, sample=sample, **said)


def evidence(reply: Reply, reading: Reading) -> dict[str, Any]:
    """The reply behind a verdict, word for word, and what it cost."""
    return {
        "unread": reading.unread,
        "rationale": rationale_of(reply.text, reading) or reply.reasoning,
        "raw": reply.text,
        "call": reply.call,
        "usage": reply.usage,
        "cost": reply.cost,
        "seconds": reply.seconds,
    }
