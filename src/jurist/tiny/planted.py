"""Judges whose faults are known to the decimal: what an audit finds in them can be marked.

A planted judge weighs two answers as a good judge would, and adds to the log-odds of the first what its
faults are worth. It answers any question of ours, comparisons and scores, in one word or with a rationale,
in text and log-probs. Name it `tiny:planted` with the magnitudes under `extra`, e.g. `{engine:
tiny:planted, extra: {position: 0.5, length: 0.1}}`, or make one with `Planted(position=0.5)`.
"""

from __future__ import annotations

import random
import re
from math import exp, log
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ..engines.engine import Ask, Reply, Token
from ..errors import SettingError
from ..records import content_id
from ..verdicts.ask import unfence
from .world import apparent_score, domain_of, logistic, manner, true_score

KIN: Final = "Well now:"
"""How answers of the policy `tiny:kin` begin: the family that a vain judge recognises as its own."""
SCALE_SPREAD: Final = 0.35
"""A score is sure to about this much, in scores of this world."""
LOWEST, HIGHEST = -1.3, 1.4
_RANGE = re.compile(r"from (\d+) to (\d+)")
_LEAST = 1e-9
_TOLD: Final = "Length is no merit"
"""As `judge.against_length` has it in its question."""


class Planted(Struct, frozen=True, forbid_unknown_fields=True):
    """The magnitudes, in log-odds; all zero is a good judge."""

    sharpness: float = 4.0
    """For a true score higher by one. People here have 4, see `world.SHARPNESS`."""
    position: float = 0.0
    """For sitting in the first seat; below zero, in the second."""
    length: float = 0.0
    """For each word more than the other has; for scores, each word more than ten."""
    heeds: float = 0.0
    """How much of its taste for length it gives up when it is told that length is no merit."""
    kinship: float = 0.0
    """For an answer of the judge's own family, recognised by its opening words."""
    own: str = KIN
    """How answers of its own family begin."""
    noise: float = 0.0
    """Standard deviation of what it feels about a pair for no reason, the same in both orders."""
    wavering: float = 0.0
    """Standard deviation of what changes from one question to the next, even about the same pair."""
    fooled: float = 0.0
    """Share of the pairs about which it thinks the opposite of what it should, in both orders."""
    ignorant: tuple[str, ...] = ("doses",)
    """Domains in which it cannot tell right from wrong, and goes by looks."""

    def __call__(self, ask: Ask) -> Reply:
        """Answer a question as it was rendered: compare or score, with a rationale where one is asked for."""
        if self.heeds and any(_TOLD in m.content for m in ask.messages):
            return replace(self, length=self.length * (1 - self.heeds), heeds=0.0)(ask)
        question = next(m.content for m in reversed(ask.messages) if "<turn-" in m.content)
        asked = ask.messages[-1].content
        if "Do not give a" in asked:
            return Reply("Both were read with care, what they say and how they say it.")
        request = unfence(question, "turn-user")
        if "<response-A-" in question:
            label = "Verdict: "
            chances = self.choice(
                request, unfence(question, "response-A"), unfence(question, "response-B"), ask
            )
        else:
            low, high = map(int, _range(asked, ask).groups())
            label = "Score: "
            chances = self.rating(request, unfence(question, "response"), low, high)
        reasons = "on the last line" in asked
        return said(chances, f"Both were read with care.\n{label}" if reasons else "", ask)

    def choice(self, request: str, one: str, two: str, ask: Ask) -> dict[str, float]:
        """How likely it is to say A, and B."""
        p = logistic(self.lead(request, one, two) + self.wavering * _drawn(content_id(ask)).gauss(0, 1))
        return {"A": p, "B": 1.0 - p}

    def lead(self, request: str, one: str, two: str) -> float:
        """Log-odds that it prefers the first, wavering left out: the number an audit should come to."""
        return (
            self.sharpness * self.believes(request, one, two)
            + self.position
            + self.length * (len(one.split()) - len(two.split()))
            + self.kinship * (one.startswith(self.own) - two.startswith(self.own))
        )

    def believes(self, request: str, one: str, two: str) -> float:
        """How much better it thinks the first is, tastes aside: in both orders the same, but for the sign."""
        first, second = sorted((one, two))
        draw = _drawn(content_id(request, first, second))
        gap = self.looks(request, first) - self.looks(request, second)
        gap *= -1.0 if draw.random() < self.fooled else 1.0
        gap += self.noise / self.sharpness * draw.gauss(0, 1) if self.sharpness else 0.0
        return gap if one == first else -gap

    def looks(self, request: str, answer: str) -> float:
        """The score as it sees it."""
        if domain_of(request) not in self.ignorant:
            return true_score(request, answer)
        return apparent_score(request, answer) if domain_of(request) == "doses" else manner(answer)

    def rating(self, request: str, answer: str, low: int, high: int) -> dict[str, float]:
        """How likely it is to give each score: a bell around what the answer looks worth to it."""
        looks = self.looks(request, answer)
        draw = _drawn(content_id(request, answer))
        looks = -looks if draw.random() < self.fooled else looks
        if self.sharpness:
            taste = self.length * (len(answer.split()) - 10) + self.kinship * answer.startswith(self.own)
            looks += (taste + self.noise * draw.gauss(0, 1)) / self.sharpness
        step = (HIGHEST - LOWEST) / (high - low)
        centre = min(max(looks, LOWEST), HIGHEST)
        weights = {
            str(score): exp(-0.5 * ((LOWEST + step * (score - low) - centre) / SCALE_SPREAD) ** 2)
            for score in range(low, high + 1)
        }
        whole = sum(weights.values())
        return {score: weight / whole for score, weight in weights.items()}


def said(chances: dict[str, float], before: str, ask: Ask) -> Reply:
    """The likeliest label after `before`, or one drawn where there is a temperature; with log-probs."""
    label = max(chances, key=chances.__getitem__)
    if ask.temperature > 0:
        label = _drawn(content_id(ask)).choices(list(chances), list(chances.values()))[0]
    if not ask.top_logprobs:
        return Reply(before + label)
    listed = sorted(((one, log(max(p, _LEAST))) for one, p in chances.items()), key=lambda one: -one[1])
    token = Token(label, dict(listed)[label], tuple(listed[: ask.top_logprobs]))
    return Reply(before + label, tokens=(*([Token(before, 0.0)] if before else []), token))


def planted(extra: dict[str, object]) -> Planted:
    """The judge whose magnitudes are these settings."""
    from ..config import settings_from

    judge = settings_from(Planted, dict(extra))
    try:
        re.compile(judge.own)
    except re.error as why:
        raise SettingError(
            f"own: {why}, got '{judge.own}'. Write how its answers begin: own: '{KIN}'"
        ) from None
    return judge


def _range(asked: str, ask: Ask) -> re.Match[str]:
    for text in (asked, *(m.content for m in ask.messages)):
        if found := _RANGE.search(text):
            return found
    raise SettingError("a planted judge scores on a scale that the question names. Write: from 1 to 9")


def _drawn(name: str) -> random.Random:
    return random.Random(name)
