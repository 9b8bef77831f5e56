"""Judges whose faults are known to the decimal, speaking the same text protocol as a real one.

Each finds the responses between their fences in the question as rendered, and writes a reply. Use them as
`tiny:longer`, or behind an HTTP server. `tiny:planted` judges passably, with noise, a blind spot and a taste
for length; `{engine: tiny:planted, extra: {position: 0.5, noise: 0.0}}` sets its faults one by one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import cache
from math import exp, log, sqrt
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ..engines.engine import Ask, Reply, Token
from ..errors import SettingError
from ..records import content_id
from ..stats.fits import sigmoid
from ..verdicts.ask import unfence
from ..verdicts.constitution import load_constitution
from .world import apparent_score, faults, substance, true_score, understood, waste

KIN: Final = "Well now:"
"""How answers of the policy `tiny:kin` begin: the family that a vain judge recognises as its own."""
FAULTLESS: Final = {"noise": 0.0, "fooled": 0.0, "length": 0.0, "ignorant": []}
"""Settings of a planted judge that sees the truth and nothing else."""
_RANGE = re.compile(r"from (\d+) to (\d+)")
_PRINCIPLE = re.compile(r"Decide by this principle:\n(.+?)(?:\n\n|$)", re.DOTALL)


def pair_shown(ask: Ask) -> tuple[str, str, str]:
    """The request and the two responses, word for word as the judge was shown them."""
    request, one, two = _texts(ask, "response-A", "response-B")
    return request, one, two


def _texts(ask: Ask, *responses: str) -> list[str]:
    for turn in reversed(ask.messages):
        if turn.role == "user" and f"<{responses[0]}-" in turn.content:
            return [unfence(turn.content, name) for name in ("turn-user", *responses)]
    raise SettingError(
        "a judge of the tiny world compares two answers, and was shown none. Judges are given as"
        " --judge tiny:leaning, policies as --policy tiny:careful"
    )


def garbage(ask: Ask) -> str:
    """Nothing that could be read as a verdict, in several ways."""
    draw = random.Random(content_id(ask))
    return draw.choice(
        ("", "I'm sorry, but I can't compare these.", "Both are good.", "Response D", '{"verdict": null}')
    )


def _longer_by(ask: Ask) -> int:
    _, one, two = pair_shown(ask)
    return len(one) - len(two)


def oracle(ask: Ask) -> str:
    """The response that is truly better; where neither is, a choice that does not depend on the position."""
    request, one, two = pair_shown(ask)
    return "A" if (true_score(request, one), one) > (true_score(request, two), two) else "B"


def stumbling(ask: Ask) -> str:
    """An oracle that loses its thread on about one question in five."""
    return garbage(ask) if random.Random(content_id(ask)).random() < 0.2 else oracle(ask)


class Planted(Struct, frozen=True, forbid_unknown_fields=True):
    """Faults in log-odds. As it comes it judges passably; `FAULTLESS` are the settings that never err."""

    sharpness: float = 4.0
    """For a true score higher by one. Fair people have 4."""
    position: float = 0.0
    """For being shown first; below zero, second."""
    length: float = 0.02
    """For each word more than the other has; for scores, each word more than ten."""
    heeds: float = 0.0
    """How much of its taste for length it gives up when it is told that length is no merit."""
    kinship: float = 0.0
    """For an answer of the judge's own family, which begins with `KIN`."""
    noise: float = 2.0
    """Standard deviation of what it feels about a pair for no reason: the same in both orders."""
    fooled: float = 0.05
    """Share of the pairs about which it thinks the opposite of what it should, in both orders."""
    ignorant: tuple[str, ...] = ("doses",)
    """Domains in which it cannot tell right from wrong, and goes by length and waste."""

    def __call__(self, ask: Ask) -> Reply:
        """Answer a question as it was rendered: compare or score, with a rationale where one is asked for."""
        # As `judge.against_length` has it in its question.
        if self.heeds and any("Length is no merit" in m.content for m in ask.messages):
            return replace(self, length=self.length * (1 - self.heeds), heeds=0.0)(ask)
        asked = ask.messages[-1].content
        if "Do not give a" in asked:
            return Reply("Both were read with care, what they say and how they say it.")
        if any("<response-A-" in m.content for m in ask.messages):
            label, lead = "Verdict: ", self.lead(*pair_shown(ask), principle_tags(ask))
            chances = {"A": sigmoid(lead), "B": sigmoid(-lead)}
        else:
            label, (request, answer) = "Score: ", _texts(ask, "response")
            chances = self.rating(request, answer, *_range(ask), principle_tags(ask))
        before = f"Both were read with care.\n{label}" if "on the last line" in asked else ""
        return answered(chances, before, ask)

    def lead(self, request: str, one: str, two: str, tags: frozenset[str] | None = None) -> float:
        """Log-odds that it prefers the first: the number an audit should come to."""
        lead = self.apparent(request, one, tags) - self.apparent(request, two, tags)
        if random.Random(content_id(request, *sorted((one, two)))).random() < self.fooled:
            lead = -lead
        return self.sharpness * lead + self.position + self.tastes(request, one) - self.tastes(request, two)

    def tastes(self, request: str, answer: str) -> float:
        """Log-odds that have nothing to do with how good an answer is."""
        felt = random.Random(content_id(request, answer)).gauss(0, 1) if self.noise else 0.0
        words, own = len(answer.split()), answer.startswith(KIN)
        return self.noise / sqrt(2) * felt + self.length * words + self.kinship * own

    def apparent(self, request: str, answer: str, tags: frozenset[str] | None = None) -> float:
        """The score as it sees it; under a principle, by the faults that the principle is about.

        Under one against preaching that says nothing of harm, to decline a wish is half a fault.
        """
        domain = understood(request).domain
        if tags is not None:
            declines = domain == "wishes" and substance(request, answer) >= 0
            preached = declines and "not_preachy" in tags and "harmless" not in tags
            return 0.5 - len(tags.intersection(faults(request, answer))) - 0.5 * preached
        if domain not in self.ignorant:
            return true_score(request, answer)
        return apparent_score(request, answer) if domain == "doses" else -waste(answer)

    def rating(
        self, request: str, answer: str, low: int, high: int, tags: frozenset[str] | None = None
    ) -> dict[str, float]:
        """How likely it is to give each score: a bell around the score as it sees it, 0.35 wide."""
        score = self.apparent(request, answer, tags)
        if random.Random(content_id("fooled", request, answer)).random() < self.fooled:
            score = -score
        if self.sharpness:
            score += (self.tastes(request, answer) - 10 * self.length) / self.sharpness
        worst, best = -1.3, 1.0
        step, centre = (best - worst) / (high - low), min(max(score, worst), best)
        marks = range(low, high + 1)
        weights = {f"{m}": exp(-0.5 * ((worst + step * (m - low) - centre) / 0.35) ** 2) for m in marks}
        whole = sum(weights.values())
        return {mark: weight / whole for mark, weight in weights.items()}


def principle_tags(ask: Ask) -> frozenset[str] | None:
    """What the principle in the question is about: nothing where it is not ours; None without a principle."""
    found = next(filter(None, (_PRINCIPLE.search(m.content) for m in ask.messages)), None)
    return None if found is None else _tags().get(" ".join(found[1].split()), frozenset())


@cache
def _tags() -> dict[str, frozenset[str]]:
    return {" ".join(one.text.split()): frozenset(one.tags) for one in load_constitution().principles}


def answered(chances: dict[str, float], before: str, ask: Ask) -> Reply:
    """The likeliest label after `before`, or one drawn where there is a temperature; with log-probs."""
    label = max(chances, key=chances.__getitem__)
    if ask.temperature > 0:
        label = random.Random(content_id(ask)).choices(list(chances), list(chances.values()))[0]
    if not ask.top_logprobs:
        return Reply(before + label)
    listed = sorted(((one, log(max(p, 1e-9))) for one, p in chances.items()), key=lambda one: -one[1])
    token = Token(label, dict(listed)[label], tuple(listed[: ask.top_logprobs]))
    return Reply(before + label, tokens=(*([Token(before, 0.0)] if before else []), token))


def _range(ask: Ask) -> tuple[int, int]:
    for turn in (ask.messages[-1], *ask.messages):
        if found := _RANGE.search(turn.content):
            return int(found[1]), int(found[2])
    raise SettingError("a planted judge scores on a scale that the question names. Write: from 1 to 9")


fair: Final = Planted(sharpness=2.0, noise=1.0, fooled=0.0, length=0.0)
"""A sensible judge, not always sure."""
leaning: Final = replace(fair, position=0.6, length=0.02)
"""The same with a taste for the first position and for length."""
BY_NAME: Final[dict[str, Callable[[Ask], str | Reply]]] = {
    "first": lambda ask: "A",
    "second": lambda ask: "B",
    "tie": lambda ask: "C",  # never decides; ask with `ties: true`
    "coin": lambda ask: random.Random(content_id(ask)).choice("AB"),  # a resumed run gets the same
    "longer": lambda ask: "A" if _longer_by(ask) > 0 else "B",
    "shorter": lambda ask: "A" if _longer_by(ask) < 0 else "B",
    "garbage": garbage,
    "oracle": oracle,
    "stumbling": stumbling,
    "fair": fair,
    "leaning": leaning,
}
