"""Which rows go through the model together, and in which form: an estimate of what each way costs.

The unit is a token through a layer, whose own cost grows with the width of the model faster than the others.
The constants were fitted to 12 shapes of 16 to 2,000 prompt tokens and 2 to 8 answers on one CPU core; there,
the form with the least estimate was within 7 % of the quickest. `make bench-train` measures some shapes
again; with a single short prompt, where all forms cost little, the estimate can be a third off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from .batch import Example

Form = Literal["mask", "cache", "repeat", "concat", "pack"]
PAIR, COPY, UNREAD = 0.11, 8.0, 0.85
"""What a query with a key, a prompt token's keys copied, and the last layer for nobody cost."""
PASS, PASS_ON_GPU = 3e6, 4096.0
"""What one more pass costs: on a CPU, by the square of the width; on a GPU, a guess that was not measured."""
MOST_TOGETHER = 64


class Model(NamedTuple):
    """What of a model decides."""

    width: int
    layers: int
    on_cpu: bool

    @property
    def a_pass(self) -> float:
        return PASS / self.width**2 if self.on_cpu else PASS_ON_GPU


class Shape(NamedTuple):
    """What of rows decides: how many they are, and the longest of each kind."""

    rows: int
    answers: int
    prompt: int
    answer: int
    tail: int
    """All answers of a row."""
    single: int
    """A prompt with one answer."""
    whole: int
    """A prompt with all its answers."""

    def joined(self, other: Shape) -> Shape:
        longest = (max(one, another) for one, another in zip(self[2:], other[2:], strict=True))
        return Shape(self.rows + other.rows, self.answers + other.answers, *longest)


def shape_of(example: Example) -> Shape:
    prompt, lengths = len(example.prompt_ids), [len(answer) for answer in example.answers]
    longest, tail = max(lengths), sum(lengths)
    return Shape(1, len(lengths), prompt, longest, tail, prompt + longest, prompt + tail)


def slots(form: Form, at: Shape) -> int:
    """Tokens of these rows that go through the layers, padding counted."""
    if form in ("concat", "pack"):
        return at.answers * at.single
    if form == "repeat":
        return at.rows * (at.prompt - 1) + at.answers * (1 + at.answer)
    return at.rows * at.whole


def cost(form: Form, at: Shape, model: Model) -> float:
    """What a form costs for these rows, every row padded to the longest."""
    pair = PAIR / model.width
    if form == "concat":
        return at.answers * at.single * (1 + pair * at.single / 2)
    if form == "mask":
        return at.rows * at.whole * (1 + pair * at.whole)
    prompt = at.prompt - 1
    first = at.rows * prompt * (1 - UNREAD / model.layers) * (1 + pair * prompt / 2) + model.a_pass
    if form == "cache":
        return first + at.rows * (1 + at.tail) * (1 + pair * (prompt + 1 + at.tail))
    copies = COPY / model.width * at.answers * prompt
    return first + copies + at.answers * (1 + at.answer) * (1 + pair * (prompt + 1 + at.answer))


def cheapest(forms: Sequence[Form], at: Shape, model: Model) -> tuple[float, Form]:
    return min((cost(form, at, model), form) for form in forms)


def divided(forms: Sequence[Form], examples: Sequence[Example], model: Model) -> list[tuple[Form, list[int]]]:
    """The rows in batches of like length, each with its form, such that all together cost least.

    Each batch costs a pass, and each longer row in it padding for all others.
    """
    order = sorted(range(len(examples)), key=lambda row: examples[row].length)
    shapes = [shape_of(examples[row]) for row in order]
    ways: list[tuple[float, int, Any]] = [(0.0, 0, None)]
    for end in range(1, len(order) + 1):
        at, found = shapes[end - 1], []
        for start in range(end - 1, max(-1, end - 1 - MOST_TOGETHER), -1):
            at = at if start == end - 1 else at.joined(shapes[start])
            price, form = cheapest(forms, at, model)
            found.append((ways[start][0] + price + model.a_pass, start, form))
        ways.append(min(found))
    parts, end = [], len(order)
    while end:
        _, start, form = ways[end]
        parts.append((form, order[start:end]))
        end = start
    return parts
