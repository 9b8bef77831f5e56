"""Generations that lost variety in known ways, and generations that lost none.

Each answer is a few sentences, its words drawn from those its prompt calls for. Many of these numbers have
no formula: what is planted is then their mean over data sets of the same size with other seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from jurist.audits.diversity import Generation, diversity
from jurist.records import Finding

from . import Case, finding

PROMPTS, K, SETS = 100, 4, 400
LOST = ("distinct_1", "distinct_2", "distinct_3", "unique", "self_bleu", "compression", "length_spread")
SEEN = (*LOST, "cosine", "kinds", "recall", "boilerplate", "refusals")


@dataclass(frozen=True)
class Writer:
    """How a generation writes."""

    words: int = 300
    """Those it has, in all; a prompt calls for a fifth of them."""
    again: float = 0.05
    """Share of answers that are another answer to the same prompt, word for word."""
    stock: float = 0.1
    """Share of answers that end in one of three stock sentences."""
    refuses: float = 0.05
    spread: float = 4.0
    """Standard deviation of the words in an answer, which are 14 on average."""


FIRST = Writer()
NARROW = Writer(words=180, again=0.35, stock=0.35, refuses=0.25, spread=2.0)
STOCK = ("I hope this helps you.", "Please ask again soon.", "Let me know how it goes.")


def written(how: Writer, name: str, dice: np.random.Generator, topics: np.ndarray) -> Generation:
    answers = {}
    for prompt, topic in enumerate(topics):
        said: list[str] = []
        for _ in range(K):
            if said and dice.random() < how.again:
                said.append(said[0])
                continue
            length = max(4, round(dice.normal(14, how.spread)))
            words = [f"w{topic + 5 * at}" for at in dice.integers(0, how.words // 5, length)]
            text = f"{' '.join(words[: length // 2])}. {' '.join(words[length // 2 :])}."
            text = f"I'm sorry, {text}" if dice.random() < how.refuses else text
            said.append(f"{text} {STOCK[dice.integers(3)]}" if dice.random() < how.stock else text)
        answers[str(prompt)] = said
    return Generation(name, answers)


@lru_cache(maxsize=2_000)
def found(last: Writer, seed: int) -> list[Finding]:
    dice = np.random.default_rng(seed)
    topics = dice.integers(0, 5, PROMPTS)
    return diversity([written(FIRST, "start", dice, topics), written(last, "round 1", dice, topics)])


@lru_cache
def usually(last: Writer, name: str) -> float:
    """What the finding says on average."""
    values = [finding(found(last, 10_000_000 + seed), name).value for seed in range(SETS)]
    return float(np.mean([one for one in values if one is not None]))


def cases() -> list[Case]:
    same = [case(f"diversity.{name}", FIRST, "nothing has changed", 0.0) for name in SEEN]
    less = [case(f"diversity.{name}", NARROW, "fewer words, more repeats", None) for name in SEEN]
    return [*same, *less]


def case(name: str, last: Writer, about: str, planted: float | None) -> Case:
    value = usually(last, name) if planted is None else planted
    fair = last == FIRST
    return Case("diversity", name, lambda seed: finding(found(last, seed), name), value, fair, about, SETS)
