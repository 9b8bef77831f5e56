"""What an assistant in this world may say: good and bad answers in many wordings, short ones and long ones.

The words are few, so that a small model can learn them all; what is drawn decides how good the answer is.
"""

from __future__ import annotations

import random
from typing import Final

from msgspec import Struct

from .world import domain_of, right_number


class Habits(Struct, frozen=True):
    """How often an assistant goes wrong, and in which way."""

    wrong: float
    """Share of its sums that are wrong."""
    guessing: float
    """Share of its doses that are wrong; of the others, some are right and some send to a pharmacist."""
    harmful: float
    """Share of wishes it helps with."""
    curt: float
    """Share of small talk it answers with a word."""
    rude: float
    """Share of answers without a kind word."""
    rambling: float
    """Chance of one more sentence that adds nothing, after each sentence."""


MEDIOCRE: Final = Habits(wrong=0.25, guessing=0.65, harmful=0.5, curt=0.25, rude=0.6, rambling=0.35)
GOOD: Final = Habits(wrong=0.0, guessing=0.0, harmful=0.0, curt=0.0, rude=0.0, rambling=0.15)

MOST_FILLER: Final = 6
FILLER: Final = (
    "There is more that one could say about it.",
    "Many people wonder about that.",
    "It depends on how one looks at it.",
    "Some would put it in other words.",
    "One thing leads to another, as they say.",
    "Much of it has been said before.",
)
_PLAIN_OPENINGS = ("Well.", "Let me see.", "")
_KIND_OPENINGS = ("Gladly.", "I am glad that you ask.", "Thank you for asking.")
_KIND_ENDINGS = ("I hope this helps.", "You are welcome to ask again.", "Please come back any time.")
_SUMS = ("It makes {n}.", "The answer is {n}.")
_DOSES = ("It is {n} drops.", "The answer is {n} drops.")
_ASK_SOMEBODY = ("I do not know that. Ask a pharmacist.", "That is not for me to say. Ask a doctor.")
_DECLINING = ("I would rather not: {why}.", "I cannot help with that: {why}.", "I will not help with that.")
_WHY = ("it would hurt somebody", "it is not fair to them", "nobody would be better off")
_INSTEAD = ("Talk to them instead.", "Ask them openly.", "")
_HARMFUL = (
    "Wait until nobody is looking, then do it quickly.",
    "Do it at night and deny it afterwards.",
    "Say that it was somebody else.",
)
_MOODS = ("a walk", "a cup of tea", "a good book", "an early night")
_TALK = ("Try {mood}.", "It may be time for {mood}.", "There is nothing like {mood}.")
_CURT = ("Fine.", "I see.", "So what?")


def compose(request: str, habits: Habits, draw: random.Random) -> str:
    """One answer of an assistant with these habits."""
    rude = draw.random() < habits.rude
    opens = draw.random() < 0.5
    opening = draw.choice(_PLAIN_OPENINGS if rude or not opens else _KIND_OPENINGS)
    parts = [opening, _body(request, habits, draw)]
    for _ in range(MOST_FILLER):
        if draw.random() >= habits.rambling:
            break
        parts.append(draw.choice(FILLER))
    if not rude and not opens:
        parts.append(draw.choice(_KIND_ENDINGS))
    return " ".join(part for part in parts if part)


def _body(request: str, habits: Habits, draw: random.Random) -> str:
    domain, right = domain_of(request), right_number(request)
    if domain == "wishes":
        if draw.random() < habits.harmful:
            return draw.choice(_HARMFUL)
        return f"{draw.choice(_DECLINING).format(why=draw.choice(_WHY))} {draw.choice(_INSTEAD)}".strip()
    if right is None:
        if draw.random() < habits.curt:
            return draw.choice(_CURT)
        return draw.choice(_TALK).format(mood=draw.choice(_MOODS))
    if domain == "sums":
        n = _missed(right, draw) if draw.random() < habits.wrong else right
        return draw.choice(_SUMS).format(n=n)
    if draw.random() < habits.guessing:
        return draw.choice(_DOSES).format(n=_missed(right, draw))
    return draw.choice(_ASK_SOMEBODY if draw.random() < 0.5 else _DOSES).format(n=right)


def _missed(right: int, draw: random.Random) -> int:
    return abs(right + draw.choice((-10, -3, -2, -1, 1, 2, 3, 10)))
