"""What the small model is brought up on: a mediocre assistant that can also judge, criticise and revise.

Questions are of the side `train` alone. What it learns of judging is an opinion with faults of its own, not
the truth. A critique names the faults that its principle is about, and a revision mends those that the
critique named and its own principle is about: under an unrelated principle harm stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import cache, partial
from random import Random
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from ..engines.scripted import Scripted
from ..records import Completion, Matchup, Message
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
VISIBLE: Final = ("harmless", "helpful")
"""The faults that a judge sees when it reasons: no wrong sums, no superfluous words."""
RED: Final = 0.8
"""Share of the answers to be criticised or revised that are answers to wishes."""


class CorpusRow(Struct, frozen=True):
    """A conversation and what the model is to say next."""

    messages: tuple[Message, ...]
    answer: str


def corpus(n: int, seed: int = 0) -> Iterator[CorpusRow]:
    """`n` rows, the behaviours mixed.

    In the first seven tenths an answer is as good as it can be: what the model could do, and no longer does
    after the others.
    """
    draw = Random(seed)
    school, life = _behaviours(Habits(asking=0.2, rambling=0.2)), _behaviours(MEDIOCRE)
    for number in range(n):
        behaviours = school if number < 0.7 * n else life
        yield draw.choices([*behaviours], [*behaviours.values()])[0](draw)


def _behaviours(habits: Habits) -> dict[Callable[[Random], CorpusRow], int]:
    """Each with its share."""
    return {
        partial(_answer, habits): 60,
        partial(_comparison, _judge()): 9,
        partial(_comparison, _judge(reason=True)): 2,
        partial(_rating, _judge(kind="pointwise")): 1,
        partial(_rating, _judge(kind="additive")): 4,
        partial(_rating, _judge(kind="pointwise", reason=True)): 1,
        _critique: 8,
        _revision: 15,
    }


def _judge(**how: Any) -> JudgePrompt:
    """A question takes shape with an engine in mind; the corpus asks none."""
    return JudgePrompt(JudgeConfig(**how), Scripted(lambda ask: "", "nobody"))


def _asked(draw: Random, wishes: float = 0.25) -> str:
    """A question of the side `train`; the other domains are alike often."""
    others: tuple[Domain, ...] = ("sums", "talk", "doses")
    domain = "wishes" if draw.random() < wishes else draw.choice(others)
    while True:
        request = question(domain, draw.randrange(1 << 30))
        if side_of(request) == "train":
            return request


def _answer(habits: Habits, draw: Random) -> CorpusRow:
    request = _asked(draw)
    return CorpusRow((Message("user", request),), compose(request, habits, draw))


def _some_answer(request: str, draw: Random) -> str:
    """Two times in three a harmful one; a judge or critic has to have met good answers too."""
    harmful = replace(MEDIOCRE, harmful=0.7)
    return compose(request, draw.choice((harmful, harmful, GOOD)), draw)


def _opinion(request: str, answer: str) -> float:
    """The score that the model is brought up to see: it checks no numbers, and is fond of courtesy."""
    what, worth = understood(request), substance(request, answer)
    courteous = answer.startswith(("Gladly.", "Thank you for asking.", "Good question."))
    seen = {"wishes": worth, "talk": float(worth > 0.3)}.get(what.domain, 0.0)
    return 0.5 * names(what, answer) - 0.5 * waste(answer) + 0.1 * courteous + 0.5 * seen


def _comparison(judge: JudgePrompt, draw: Random) -> CorpusRow:
    """Which of two is better, as this judge asks it; one verdict in ten is the wrong way round."""
    request, lead = _asked(draw), 0.0
    while abs(lead) < 0.15:
        one, two = _some_answer(request, draw), _some_answer(request, draw)
        lead = _opinion(request, one) - _opinion(request, two)
    prompt = as_prompt(request)
    matchup = Matchup.of(prompt, *(Completion.of(prompt.id, text) for text in (one, two)))
    label = "AB"[(lead < 0) != (draw.random() < 0.1)]
    if not judge.cfg.reason:
        return CorpusRow(judge.turns("verdict", judge.show_pair(matchup)), label)
    reasons = f"A: {_criticised(request, one, VISIBLE)} B: {_criticised(request, two, VISIBLE)}"
    return CorpusRow(judge.turns("reason", judge.show_pair(matchup)), f"{reasons}\nVerdict: {label}")


def _rating(judge: JudgePrompt, draw: Random) -> CorpusRow:
    """How good one is, on this judge's scale."""
    request, (low, high) = _asked(draw), judge.cfg.bounds
    prompt, text = as_prompt(request), _some_answer(request, draw)
    shown = judge.show_one(prompt, Completion.of(prompt.id, text))
    share = (_opinion(request, text) + 0.7 + draw.gauss(0.0, 0.25)) / 1.7
    score = round(low + (high - low) * min(max(share, 0.0), 1.0))
    if not judge.cfg.reason:
        return CorpusRow(judge.turns("verdict", shown), f"{score}")
    reasons = _criticised(request, text, VISIBLE)
    return CorpusRow(judge.turns("reason", shown), f"{reasons}\nScore: {score}")


def _critique(draw: Random) -> CorpusRow:
    request = _asked(draw, RED)
    answer = _some_answer(request, draw)
    principle = _principle(request, answer, draw)
    turns = (Message("user", request), Message("assistant", answer), Message("user", principle.critique))
    return CorpusRow(turns, _criticised(request, answer, principle.tags))


def _revision(draw: Random) -> CorpusRow:
    """After a critique, at times one by another principle, or straight away."""
    request = _asked(draw, RED)
    answer = _some_answer(request, draw)
    principle = _principle(request, answer, draw)
    turns: tuple[Message, ...] = (Message("user", request), Message("assistant", answer))
    known = frozenset(FAULTS)
    if draw.random() < 0.85:
        critic = principle if draw.random() < 0.45 else _principle(request, answer, draw)
        known = frozenset(critic.tags)
        critique = _criticised(request, answer, critic.tags)
        turns += (Message("user", critic.critique), Message("assistant", critique))
    better = _revised(request, answer, known.intersection(principle.tags), draw)
    return CorpusRow((*turns, Message("user", principle.revise)), better)


def _principle(request: str, answer: str, draw: Random) -> Principle:
    """Half the time one that is about a fault, where there is one."""
    principles, found = _principles(), set(faults(request, answer))
    about = [one for one in principles if found.intersection(one.tags)]
    return draw.choice(about if about and draw.random() < 0.5 else principles)


@cache
def _principles() -> tuple[Principle, ...]:
    return load_constitution().principles


def _criticised(request: str, answer: str, about: Collection[str]) -> str:
    """The faults of an answer, so far as they are among these."""
    found = [FAULTS[tag] for tag in faults(request, answer) if tag in about]
    return " ".join(found) or "Nothing is wrong with it."


def _revised(request: str, answer: str, mends: Collection[str], draw: Random) -> str:
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
        rambling=0.5 if "not_preachy" in left else 0.0,
    )
    return compose(request, habits, draw)
