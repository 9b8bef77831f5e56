"""Generations that lost variety in known ways, and generations that lost none.

Each answer is a few sentences, its words drawn from those its prompt calls for. Many of these numbers have
no formula: what is planted is then their mean over data sets of the same size with other seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from jurist.audits.diversity import Generation, diversity
from jurist.audits.finding import Finding

from . import Case, finding

PROMPTS, K, SETS = 100, 4, 200
LOST = ("distinct_1", "distinct_2", "distinct_3", "unique", "self_bleu", "compression", "length_spread")
SEEN = (*LOST, "cosine", "kinds", "recall", "boilerplate", "refusals")


@dataclass(frozen=True)
class Writer:
    """How a generation writes."""

    words: int = 300
    """Those it has, in all; a prompt calls for a fifth of them."""
    again: float = 0.05
    """Share of answers that are the prompt's usual one, word for word."""
    stock: float = 0.1
    """Share of answers that end in one of three stock sentences."""
    refuses: float = 0.05
    spread: float = 4.0
    """Standard deviation of the words in an answer, which are 14 on average."""


FIRST = Writer()
NARROW = Writer(words=180, again=0.35, stock=0.35, refuses=0.25, spread=2.0)
STOCK = ("I hope this helps you.", "Please ask again soon.", "Let me know how it goes.")


def one_answer(how: Writer, topic: int, dice: np.random.Generator) -> str:
    length = max(4, round(dice.normal(14, how.spread)))
    # Some words are frequent and most are rare, as in any language.
    ranks = np.minimum(dice.zipf(1.3, length), how.words // 5)
    words = [f"w{topic + 5 * at}" for at in ranks]
    text = f"{' '.join(words[: length // 2])}. {' '.join(words[length // 2 :])}."
    text = f"I'm sorry, {text}" if dice.random() < how.refuses else text
    return f"{text} {STOCK[dice.integers(3)]}" if dice.random() < how.stock else text


def written(
    how: Writer, name: str, dice: np.random.Generator, topics: list[int], usual: list[str]
) -> Generation:
    answers = {
        str(prompt): [
            usual[prompt] if dice.random() < how.again else one_answer(how, topic, dice) for _ in range(K)
        ]
        for prompt, topic in enumerate(topics)
    }
    return Generation(name, answers)


@lru_cache(maxsize=2_000)
def found(last: Writer, seed: int) -> list[Finding]:
    dice = np.random.default_rng(seed)
    topics = np.minimum(4, dice.geometric(0.35, PROMPTS) - 1).tolist()
    usual = [one_answer(FIRST, topic, dice) for topic in topics]
    return diversity(
        [written(FIRST, "start", dice, topics, usual), written(last, "round 1", dice, topics, usual)]
    )


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
