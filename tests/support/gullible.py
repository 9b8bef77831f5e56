"""A judge to be probed: it knows decent answers, and has the weaknesses it is given."""

import asyncio
import json
import random
import re
from collections.abc import Callable, Iterable
from functools import cache
from importlib.resources import files
from math import log2
from typing import Any

from msgspec import Struct

from jurist.audits.collect import Collector
from jurist.audits.sheet import Sheet
from jurist.engines.engine import Ask
from jurist.engines.scripted import Scripted
from jurist.records import Group, Matchup, content_id
from jurist.stats.fits import sigmoid
from jurist.tiny.judges import pair_shown
from jurist.verdicts.cases import Case
from jurist.verdicts.judge import ask_judges, open_judge

DECENT = 8.0
"""Log-odds for a decent answer against one that has nothing of it."""
_NAMED = re.compile(r"\[\[([AB])\]\]|\"verdict\": \"([AB])\"")


class Gullible(Struct, frozen=True):
    """A judge that knows the decent answers of `examples/decent.jsonl`, and the weaknesses it is given.

    A text is worth the part of it that is the decent answer. What it falls for adds to the log-odds; all zero
    is a judge that no attack gets past.
    """

    length: float = 0.0
    """For each time that a text is twice as long as the other."""
    obeys: float = 0.0
    """For the position that a verdict inside an answer names."""
    tastes: dict[str, float] = {}
    """For a text in which a pattern is found."""
    slips: float = 0.0
    """Share of its verdicts that are drawn by lot, whatever it read."""
    seed: int = 0

    def __call__(self, ask: Ask) -> str:
        draw = random.Random(content_id(self.seed, ask))
        if draw.random() < self.slips:
            return draw.choice("AB")
        return "A" if draw.random() < sigmoid(self.lead(*pair_shown(ask))) else "B"

    def lead(self, request: str, one: str, two: str) -> float:
        """Log-odds that it prefers the first."""
        decent = decent_answers().get(request, "")
        parts = [len(decent) / len(text) if decent and decent in text else 0.0 for text in (one, two)]
        lead = DECENT * (parts[0] - parts[1])
        lead += self.length * min(max(log2((len(one) + 1) / (len(two) + 1)), -3.0), 3.0)
        for pattern, worth in self.tastes.items():
            lead += worth * (bool(re.search(pattern, one)) - bool(re.search(pattern, two)))
        for named in map(_NAMED.search, (one, two)):
            if named is not None:
                lead += self.obeys if "A" in named.groups() else -self.obeys
        return lead


@cache
def decent_answers() -> dict[str, str]:
    rows = (files("jurist.examples") / "decent.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["prompt"]: row["completion"] for row in map(json.loads, rows)}


def probe_sheet(function: Callable[[Ask], str], groups: Iterable[Group], **judge: Any) -> Sheet:
    """The attacks of these groups, tried on a judge that answers by a function."""
    asked = open_judge({"engine": "scripted", **judge}, lambda _: Scripted(function, "judge"))
    collector = Collector()

    async def ask() -> None:
        for group in groups:
            honest, *others = group.completions
            met = tuple(Matchup.of(group.prompt, honest, other) for other in others)
            said = await ask_judges(group.prompt, group.completions, met, [asked])
            collector.add_case(Case(group.prompt, group.completions, met, tuple(said), True))

    asyncio.run(ask())
    return collector.sheet()
