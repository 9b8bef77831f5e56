"""What the small model is brought up on: a mediocre assistant that can also judge, criticise and revise.

Questions are of the side `train` alone. What it learns of judging is an opinion with faults of its own, not
the truth. A critique names the faults that its principle is about, and a revision mends those that the
critique named and its own principle is about: under an unrelated principle harm stays.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ..engines.scripted import Scripted
from ..records import Completion, Matchup, Message, Prompt
from ..verdicts.ask import JudgePrompt
from ..verdicts.constitution import Principle, load_constitution
from ..verdicts.settings import JudgeConfig
from .answers import GOOD, MEDIOCRE, Habits, compose
from .world import Domain, as_prompt, faults, names, question, side_of, substance, understood, waste

FAULTS: Final = {
    "harmless": "It would do harm.",
    "honest": "It is not true.",
    "helpful": "It is not about what was asked.",
    "not_preachy": "It says more than is needed.",
}
"""What a principle with this tag is about."""
COURTESY: Final = ("Gladly.", "Thank you for asking.", "Good question.")
"""Openings that truly are a sentence too many."""
FAULTLESS: Final = "Nothing is wrong with it."
SCHOOLED: Final = Habits(asking=0.2, rambling=0.2)
SCHOOL: Final = 0.7
"""Share of the rows, the first ones, in which an answer is as good as it can be: what the model could do, and
no longer does after the others."""
RED: Final = 0.8
"""Share of the answers to be criticised or revised that are answers to wishes."""
HARMFUL: Final = replace(MEDIOCRE, harmful=0.7)
"""What a judge or critic meets two times in three."""
MISLED: Final = 0.1
"""Share of the corpus' verdicts that are the wrong way round."""


class CorpusRow(Struct, frozen=True):
    """A conversation and what the model is to say next."""

    messages: tuple[Message, ...]
    answer: str


Behaviour = Callable[[random.Random], CorpusRow]


def corpus(n: int, seed: int = 0) -> Iterator[CorpusRow]:
    """`n` rows, the behaviours mixed."""
    draw = random.Random(seed)
    school, life = _behaviours(SCHOOLED), _behaviours(MEDIOCRE)
    for number in range(n):
        behaviours = school if number < SCHOOL * n else life
        behaviour = draw.choices([*behaviours], [*behaviours.values()])[0]
        yield behaviour(draw)


def _behaviours(habits: Habits) -> dict[Behaviour, int]:
    """Each with its share."""
    return {
        _answer(habits): 60,
        _comparison(JudgeConfig()): 9,
        _comparison(JudgeConfig(reason=True)): 2,
        _rating(JudgeConfig(kind="pointwise")): 1,
        _rating(JudgeConfig(kind="additive")): 4,
        _rating(JudgeConfig(kind="pointwise", reason=True)): 1,
        _critique: 8,
        _revision: 15,
    }


def _asked(draw: random.Random, wishes: float = 0.25) -> Prompt:
    """A question of the side `train`; the other domains are alike often."""
    domain = "wishes" if draw.random() < wishes else draw.choice(_OTHERS)
    while True:
        request = question(domain, draw.randrange(1 << 30))
        if side_of(request) == "train":
            return as_prompt(request)


def _answer(habits: Habits) -> Behaviour:
    def make(draw: random.Random) -> CorpusRow:
        prompt = _asked(draw)
        return CorpusRow(prompt.messages, compose(_request(prompt), habits, draw))

    return make


def _some_answer(request: str, draw: random.Random) -> str:
    """A judge or critic has to have met good answers too."""
    return compose(request, draw.choice((HARMFUL, HARMFUL, GOOD)), draw)


def opinion(request: str, answer: str) -> float:
    """The score that the model is brought up to see: it checks no numbers, and is fond of courtesy."""
    what, worth = understood(request), substance(request, answer)
    score = 0.5 * names(what, answer) - 0.5 * waste(answer) + 0.1 * answer.startswith(COURTESY)
    return score + (
        0.5 * worth if what.domain == "wishes" else 0.5 * (worth > 0.3) if what.domain == "talk" else 0.0
    )


def _comparison(cfg: JudgeConfig) -> Behaviour:
    """Which of two is better, as this judge asks it."""
    asks, stage = JudgePrompt(cfg, _NOBODY), "reason" if cfg.reason else "verdict"

    def make(draw: random.Random) -> CorpusRow:
        prompt = _asked(draw)
        request = _request(prompt)
        lead = 0.0
        while abs(lead) < 0.15:
            one, two = (_some_answer(request, draw) for _ in range(2))
            lead = opinion(request, one) - opinion(request, two)
        first, second = (Completion.of(prompt.id, text) for text in (one, two))
        turns = asks.turns(stage, asks.show_pair(Matchup.of(prompt, first, second)))
        label = "AB"[(lead < 0) != (draw.random() < MISLED)]
        if stage == "verdict":
            return CorpusRow(turns, label)
        reasons = f"A: {_noticed(request, one)} B: {_noticed(request, two)}"
        return CorpusRow(turns, f"{reasons}\nVerdict: {label}")

    return make


def _rating(cfg: JudgeConfig) -> Behaviour:
    """How good one is, on this judge's scale."""
    asks, stage = JudgePrompt(cfg, _NOBODY), "reason" if cfg.reason else "verdict"
    low, high = cfg.bounds

    def make(draw: random.Random) -> CorpusRow:
        prompt = _asked(draw)
        request = _request(prompt)
        text = _some_answer(request, draw)
        turns = asks.turns(stage, asks.show_one(prompt, Completion.of(prompt.id, text)))
        share = (opinion(request, text) + 0.7 + draw.gauss(0.0, 0.25)) / 1.7
        score = round(low + (high - low) * min(max(share, 0.0), 1.0))
        reasons = "" if stage == "verdict" else f"{_noticed(request, text)}\nScore: "
        return CorpusRow(turns, f"{reasons}{score}")

    return make


def _noticed(request: str, answer: str) -> str:
    """What a judge that reasons says of an answer: not of sums, nor of superfluous words."""
    return _said([one for one in faults(request, answer) if one in ("harmless", "helpful")])


def _critique(draw: random.Random) -> CorpusRow:
    prompt = _asked(draw, RED)
    request = _request(prompt)
    answer = _some_answer(request, draw)
    principle = _principle(faults(request, answer), draw)
    turns = (*prompt.messages, Message("assistant", answer), Message("user", principle.critique))
    return CorpusRow(turns, critique(principle, request, answer))


def _revision(draw: random.Random) -> CorpusRow:
    """After a critique, at times one by another principle, or straight away."""
    prompt = _asked(draw, RED)
    request = _request(prompt)
    answer = _some_answer(request, draw)
    principle = _principle(faults(request, answer), draw)
    turns, known = (*prompt.messages, Message("assistant", answer)), frozenset(FAULTS)
    if draw.random() < 0.85:
        critic = principle if draw.random() < 0.45 else _principle(faults(request, answer), draw)
        text, known = critique(critic, request, answer), frozenset(critic.tags)
        turns += (Message("user", critic.critique), Message("assistant", text))
    better = revised(request, answer, known.intersection(principle.tags), draw)
    return CorpusRow((*turns, Message("user", principle.revise)), better)


def _principle(found: list[str], draw: random.Random) -> Principle:
    """Half the time one that is about a fault, where there is one."""
    about = [one for one in _principles() if set(found).intersection(one.tags)]
    return draw.choice(about if about and draw.random() < 0.5 else _principles())


def critique(principle: Principle, request: str, answer: str) -> str:
    """The faults that this principle is about."""
    return _said([tag for tag in faults(request, answer) if tag in principle.tags])


def _said(found: list[str]) -> str:
    return " ".join(FAULTS[tag] for tag in found) or FAULTLESS


def revised(request: str, answer: str, mends: frozenset[str], draw: random.Random) -> str:
    """Other words with the same faults, but for those that are mended."""
    left = [tag for tag in faults(request, answer) if tag not in mends]
    what, worth = understood(request), substance(request, answer)
    lost = what.domain == "doses" and worth == 0
    habits = Habits(
        wrong=float("honest" in left),
        guessing=MEDIOCRE.guessing if lost else float(worth < 0),
        asking=MEDIOCRE.asking if lost else float(worth < 1),
        harmful=float("harmless" in left),
        cold=float("helpful" in left and names(what, answer)),
        vague=float("helpful" in left and not names(what, answer)),
    )
    return compose(request, replace(habits, rambling=0.5 if "not_preachy" in left else 0.0), draw)


def _request(prompt: Prompt) -> str:
    return prompt.messages[-1].content


@cache
def _principles() -> tuple[Principle, ...]:
    return load_constitution().principles


_OTHERS: Final[tuple[Domain, ...]] = ("sums", "talk", "doses")
_NOBODY = Scripted(lambda ask: "", "nobody")
"""A question takes shape with an engine in mind; the corpus asks none."""
