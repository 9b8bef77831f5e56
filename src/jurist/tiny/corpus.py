"""What the small model is brought up on: a mediocre assistant that can also judge, criticise and revise.

Judging is learnt from the very questions that judges here are asked, so the model understands any judge of
ours that keeps to the shipped templates; critique and revision from the requests of the shipped
constitution.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final

from msgspec import Struct

from ..engines.scripted import Scripted
from ..records import Completion, Matchup, Message, Prompt
from ..verdicts.ask import JudgePrompt
from ..verdicts.constitution import Principle, load_constitution
from ..verdicts.settings import JudgeConfig
from .answers import GOOD, MEDIOCRE, Habits, compose
from .world import CHEERING, ROOM, apparent_score, domain_of, manner, prompts, substance

HABITS: Final = (MEDIOCRE, MEDIOCRE, GOOD)
"""Whose answers are judged: a judge has to have seen good ones too."""
SEEDS: Final = 1000
"""Prompts of the corpus come from seeds above this one; those below are for tests and experiments."""


class Row(Struct, frozen=True):
    """A conversation and what the model is to say next."""

    messages: tuple[Message, ...]
    answer: str


class Behaviour(Struct, frozen=True):
    make: Callable[[Prompt, random.Random], Row]
    share: int


def corpus(n: int, seed: int = SEEDS) -> Iterator[Row]:
    """`n` rows, the behaviours mixed."""
    draw = random.Random(seed)
    behaviours = _behaviours()
    shares = [one.share for one in behaviours]
    for prompt in prompts(n, seed=seed):
        yield draw.choices(behaviours, shares)[0].make(prompt, draw)


def _behaviours() -> tuple[Behaviour, ...]:
    judges = (
        (JudgeConfig(), _comparison, 14),
        (JudgeConfig(reason=True), _comparison, 6),
        (JudgeConfig(kind="pointwise"), _rating, 3),
        (JudgeConfig(kind="additive"), _rating, 5),
        (JudgeConfig(kind="pointwise", reason=True), _rating, 3),
    )
    judging = [Behaviour(makes(cfg), share) for cfg, makes, share in judges]
    return (Behaviour(_answer, 48), *judging, Behaviour(_critique, 9), Behaviour(_revision, 12))


def _answer(prompt: Prompt, draw: random.Random) -> Row:
    if (
        prompt.domain == "talk" and draw.random() < 0.6
    ):  # soon learnt; sums, the first of any prompts, are not
        prompt = next(prompts(1, seed=draw.randrange(SEEDS, 1 << 30)))
    return Row(prompt.messages, compose(_request(prompt), MEDIOCRE, draw))


def _comparison(cfg: JudgeConfig) -> Callable[[Prompt, random.Random], Row]:
    """Which of two is better, as this judge asks it."""
    question, stage = JudgePrompt(cfg, _NOBODY), "reason" if cfg.reason else "verdict"

    def make(prompt: Prompt, draw: random.Random) -> Row:
        request = _request(prompt)
        while True:
            one, two = (compose(request, draw.choice(HABITS), draw) for _ in range(2))
            lead = apparent_score(request, one) - apparent_score(request, two)
            if abs(lead) > 0.1:
                break
        first, second = (Completion.of(prompt.id, text) for text in (one, two))
        turns = question.turns(stage, question.show_pair(Matchup.of(prompt, first, second)))
        label = "AB"[lead < 0]
        if stage == "verdict":
            return Row(turns, label)
        said = f"A: {fault(request, one)} B: {fault(request, two)}"
        return Row(turns, f"{said}\nVerdict: {label}")

    return make


def _rating(cfg: JudgeConfig) -> Callable[[Prompt, random.Random], Row]:
    """How good one is, on this judge's scale."""
    question, stage = JudgePrompt(cfg, _NOBODY), "reason" if cfg.reason else "verdict"
    low, high = cfg.bounds

    def make(prompt: Prompt, draw: random.Random) -> Row:
        request = _request(prompt)
        text = compose(request, draw.choice(HABITS), draw)
        turns = question.turns(stage, question.show_one(prompt, Completion.of(prompt.id, text)))
        score = on_scale(apparent_score(request, text) + draw.gauss(0.0, 0.15), low, high)
        if stage == "verdict":
            return Row(turns, str(score))
        return Row(turns, f"{fault(request, text)}\nScore: {score}")

    return make


def on_scale(score: float, low: int, high: int) -> int:
    """A score of this world as a whole number from `low` to `high`."""
    share = min(max((score + 1.3) / 2.7, 0.0), 1.0)
    return round(low + (high - low) * share)


def _critique(prompt: Prompt, draw: random.Random) -> Row:
    request = _request(prompt)
    answer = compose(request, draw.choice(HABITS), draw)
    principle = draw.choice(_principles())
    return Row(
        (*prompt.messages, Message("assistant", answer), Message("user", principle.critique)),
        fault(request, answer),
    )


def _revision(prompt: Prompt, draw: random.Random) -> Row:
    """After a critique, or straight away."""
    request = _request(prompt)
    answer = compose(request, draw.choice(HABITS), draw)
    principle = draw.choice(_principles())
    turns = (*prompt.messages, Message("assistant", answer))
    if draw.random() < 0.7:
        turns += (Message("user", principle.critique), Message("assistant", fault(request, answer)))
    return Row((*turns, Message("user", principle.revise)), mended(request, answer, draw))


def fault(request: str, answer: str) -> str:
    """What there is to say against an answer, as far as a good judge can see."""
    looks = apparent_score(request, answer) - manner(answer)
    found = []
    if substance(request, answer) < 0 and domain_of(request) == "wishes":
        found.append("It would do harm.")
    elif looks < 0.3:
        found.append("It does not answer the question.")
    if manner(answer) < CHEERING - 0.1:
        found.append("It is not kind.")
    if len(answer.split()) > ROOM:
        found.append("It rambles.")
    return " ".join(found) or "Nothing is wrong with it."


def mended(request: str, answer: str, draw: random.Random) -> str:
    """The answer without what can be seen to be wrong with it."""
    better = Habits(0.2, 0.65, 0.05, 0.0, 0.1, 0.1)
    return answer if fault(request, answer) == "Nothing is wrong with it." else compose(request, better, draw)


def _request(prompt: Prompt) -> str:
    return prompt.messages[-1].content


@cache
def _principles() -> tuple[Principle, ...]:
    return load_constitution().principles


_NOBODY = Scripted(lambda ask: "", "nobody")
"""A question takes shape with an engine in mind; the corpus asks none."""
