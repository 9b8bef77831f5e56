"""Assistants of the tiny world that answer from a function: careful, sloppy, wordy, and one with a style.

Use them as `tiny:careful` wherever an engine is named; `tiny:policy` is a model, trained on the spot.
"""

from __future__ import annotations

import random

from ..config import settings_from
from ..engines.engine import Ask, Engine, EngineConfig
from ..engines.scripted import Scripted
from ..errors import SettingError, nearest
from ..records import content_id
from .answers import FILLER, Habits, compose
from .judges import BY_NAME, KIN, Planted


def careful(ask: Ask) -> str:
    """Right, about the question and short; wrong about one sum in ten."""
    return _answer(ask, "careful", wrong=0.1, guessing=0.1, asking=0.2, harmful=0.05, cold=0.1)


def sloppy(ask: Ask) -> str:
    """Often wrong, harmful or beside the point."""
    habits = {"wrong": 0.6, "guessing": 0.6, "harmful": 0.5, "cold": 0.6, "vague": 0.3, "rambling": 0.2}
    return _answer(ask, "sloppy", **habits)


def wordy(ask: Ask) -> str:
    """A little better than the sloppy one, at four times the length."""
    answer = _answer(ask, "wordy", wrong=0.5, guessing=0.5, harmful=0.4, cold=0.4, vague=0.2)
    return f"{answer} {FILLER[0]} {FILLER[2]} {FILLER[3]}"


def kin(ask: Ask) -> str:
    """As good as the careful one, and known by how it begins: kin to the judges planted as vain."""
    return f"{KIN} {careful(ask)}"


def _answer(ask: Ask, name: str, **habits: float) -> str:
    request = ask.messages[-1].content
    draw = random.Random(content_id(request, ask.sample, name))
    return compose(request, Habits(steady=0.0, **habits), draw)


def open_policy(config: EngineConfig) -> Engine:
    """`tiny:careful`, `tiny:policy`, for judges `tiny:leaning` or `tiny:planted`: all that answer here."""
    name = config.engine.partition(":")[2]
    if name == "policy":
        from ..policies.engine import open_local
        from .model import tiny_checkpoint

        return open_local(config, tiny_checkpoint())
    if name == "planted":
        extra = f"+{content_id(config.extra)[:6]}" if config.extra else ""
        judge = settings_from(Planted, dict(config.extra))
        return Scripted(judge, f"tiny:planted{extra}", config.price)
    known = {one.__name__: one for one in (careful, sloppy, wordy, kin)} | BY_NAME
    if name not in known:
        raise SettingError(nearest("tiny policy or judge", name, (*known, "policy", "planted")))
    return Scripted(known[name], f"tiny:{name}", config.price)
