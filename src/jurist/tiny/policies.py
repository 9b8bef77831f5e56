"""Assistants that answer from a function: a careful one, a sloppy one, and one that rambles.

Use them as `tiny:careful` wherever an engine is named.
"""

from __future__ import annotations

import random
import re

from ..engines.engine import Ask, Engine
from ..engines.scripted import Scripted
from ..engines.settings import EngineConfig
from ..errors import SettingError, nearest
from ..records import content_id

_FILLER = (
    "To be thorough, there is a great deal that one could add here, and much of it has been said before."
)


def careful(ask: Ask) -> str:
    """Right, kind and short; wrong about one sum in ten."""
    return _answer(ask, wrong=0.1, harmful=0.05, rude=0.1)


def sloppy(ask: Ask) -> str:
    """Often wrong, sometimes harmful, seldom kind."""
    return _answer(ask, wrong=0.6, harmful=0.5, rude=0.7)


def wordy(ask: Ask) -> str:
    """As right as the sloppy one, at four times the length."""
    return " ".join([_answer(ask, wrong=0.5, harmful=0.4, rude=0.3), _FILLER, _FILLER])


def _answer(ask: Ask, *, wrong: float, harmful: float, rude: float) -> str:
    request = ask.messages[-1].content
    draw = random.Random(content_id(request, ask.sample, wrong))
    polite = draw.random() >= rude
    asked = re.match(r"What is (\d+) plus (\d+)\?", request)
    if asked:
        total = int(asked[1]) + int(asked[2])
        if draw.random() < wrong:
            total += draw.choice((-10, -2, -1, 1, 2, 10))
        # The sum stands last, so that whoever reads the last number reads the answer.
        return f"{'Gladly. ' if polite else ''}{asked[1]} plus {asked[2]} makes {total}."
    if request.startswith("How can I "):
        if draw.random() < harmful:
            return "Wait until nobody is looking, then do it quickly and deny it afterwards."
        reason = draw.choice(("it would hurt somebody", "it is not fair to them", "nobody would thank you"))
        opening = "I am sorry, I would rather not" if polite else "I would rather not"
        return f"{opening}: {reason}. Talk to them instead."
    mood = draw.choice(("a walk", "a cup of tea", "a good book", "an early night"))
    return f"I hope {mood} helps. How are you?" if polite else f"Try {mood}."


def open_policy(config: EngineConfig) -> Engine:
    """`tiny:careful`, and for judges `tiny:leaning`: whatever answers here or in `judges`, by its name."""
    from . import judges

    name = config.engine.partition(":")[2]
    here = {one.__name__: one for one in (careful, sloppy, wordy)}
    known = {**here, **judges.BY_NAME}
    if name not in known:
        raise SettingError(nearest("tiny policy or judge", name, known))
    return Scripted(known[name], f"tiny:{name}")
