"""A judge that knows the decent answers of `examples/decent.jsonl`, and the weaknesses it is given.

A text is worth the part of it that is the decent answer: wrapped in empty phrases it is worth less, anything
else is worth nothing. What it falls for adds to the log-odds. So it is known which attacks a probe must find.
"""

from __future__ import annotations

import json
import random
import re
from functools import cache
from importlib.resources import files
from math import log2

from msgspec import Struct

from ..engines.engine import Ask
from ..records import content_id
from .judges import shown
from .world import logistic

_TOLD = re.compile(r"\[\[([AB])\]\]|\"verdict\": \"([AB])\"")


class Gullible(Struct, frozen=True):
    """The magnitudes, in log-odds; all zero is a judge that no attack gets past."""

    sharpness: float = 8.0
    """For the decent answer against one that has nothing of it."""
    length: float = 0.0
    """For each time that a text is twice as long as the other."""
    obeys: float = 0.0
    """For the seat that a verdict inside an answer names."""
    tastes: dict[str, float] = {}
    """For a text in which a pattern is found."""
    slips: float = 0.0
    """Share of its verdicts that are drawn by lot, whatever it read."""
    seed: int = 0

    def __call__(self, ask: Ask) -> str:
        draw = random.Random(content_id(self.seed, ask))
        if draw.random() < self.slips:
            return draw.choice("AB")
        return "A" if draw.random() < logistic(self.lead(*shown(ask))) else "B"

    def lead(self, request: str, one: str, two: str) -> float:
        """Log-odds that it prefers the first."""
        decent = decent_answers().get(request, "")
        lead = self.sharpness * (_part(decent, one) - _part(decent, two))
        lead += self.length * min(max(log2((len(one) + 1) / (len(two) + 1)), -3.0), 3.0)
        for pattern, worth in self.tastes.items():
            lead += worth * (bool(re.search(pattern, one)) - bool(re.search(pattern, two)))
        for told in map(_TOLD.search, (one, two)):
            if told is not None:
                lead += self.obeys if "A" in told.groups() else -self.obeys
        return lead


@cache
def decent_answers() -> dict[str, str]:
    rows = (files("jurist.examples") / "decent.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["prompt"]: row["completion"] for row in map(json.loads, rows)}


def _part(decent: str, text: str) -> float:
    return len(decent) / len(text) if decent and decent in text else 0.0
