"""What one generation of a policy wrote, and several of them cut to the same shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from msgspec import Struct

from ..sheet import Sheet

PROMPTS = 400
"""Prompts that are looked at; more of them cost time and move no finding."""


class Generation(Struct, frozen=True):
    """A policy at one time, by its answers."""

    name: str
    """`start`, `round 3`."""
    answers: Mapping[str, Sequence[str]]
    """The texts, by the prompt's id."""
    generation: int | None = None
    """How many models lie between it and people; None: nobody knows."""
    synthetic: float | None = None
    """Share of the rows it learnt from that models wrote."""


@dataclass(frozen=True)
class Even:
    """Several generations, each with as many answers to the same prompts: like is compared with like."""

    texts: list[list[list[str]]]
    """By generation, prompt and answer."""
    prompts: int
    k: int


def even(generations: Sequence[Generation]) -> Even:
    """The prompts that all of them answered, each as often as four fifths of the prompts allow."""
    common = [name for name in generations[0].answers if all(name in one.answers for one in generations)]
    counts = np.array([min(len(one.answers[name]) for one in generations) for name in common], dtype=int)
    k = int(np.quantile(counts, 0.2, method="lower")) if len(counts) else 0
    k = k or min(1, int(counts.max(initial=0)))
    names = [name for name, count in zip(common, counts, strict=True) if k and count >= k][:PROMPTS]
    return Even([[list(one.answers[name][:k]) for name in names] for one in generations], len(names), k)


def of_sheet(sheet: Sheet) -> list[Generation]:
    """The policies of a run, each with the answers whose texts were kept."""
    found: dict[int, dict[str, list[str]]] = {}
    for row, text in sheet.texts.items():
        prompt = sheet.prompts.id[int(sheet.answers.prompt[row])]
        found.setdefault(int(sheet.answers.policy[row]), {}).setdefault(prompt, []).append(text)
    return [Generation(sheet.policies[policy], answers) for policy, answers in sorted(found.items())]
