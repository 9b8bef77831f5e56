"""Sampling from a model in this process: each prompt is read once for all its samples.

Every completion has random numbers of its own, made from the seed and from which draw it is: the same
completions come out however prompts are split over batches, processes and resumptions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from msgspec import Struct
from torch import Tensor

from ..engines.local.forward import read_padded
from ..engines.local.sampler import write
from ..records import content_id


class Drawn(Struct, frozen=True):
    """One completion, in tokens; the end token is among them when the model wrote it."""

    prompt: int
    """Index among the prompts that were given."""
    sample: int
    ids: list[int]
    finish: str
    """`stop`, or `length` when it was cut off."""


OnEnd = Callable[[Drawn], None]


class _Drawing:
    """One completion being written."""

    top_p = 1.0

    def __init__(
        self,
        place: int,
        sample: int,
        temperature: float,
        luck: list[float],
        ends: Sequence[int],
        ended: OnEnd,
    ) -> None:
        self.temperature = temperature
        self.luck = iter(luck).__next__
        self._place, self._sample, self._most = place, sample, len(luck)
        self._ids: list[int] = []
        self._ends, self._ended = ends, ended

    def take(self, token: int, logits_V: Tensor) -> bool:
        self._ids.append(token)
        stops = token in self._ends
        if not stops and len(self._ids) < self._most:
            return True
        self._ended(Drawn(self._place, self._sample, self._ids, "stop" if stops else "length"))
        return False


@torch.no_grad()
def draw(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    samples: int,
    max_tokens: int,
    end_ids: Sequence[int],
    keys: Sequence[str],
    temperature: float = 1.0,
    rows_at_once: int = 256,
    on_end: OnEnd = lambda drawn: None,
) -> list[Drawn]:
    """`samples` completions of each prompt, in order; `on_end` hears of each as soon as it is whole.

    `keys` names each prompt's draws: the same key, the same random numbers.
    """
    drawn: dict[tuple[int, int], Drawn] = {}

    def ended(one: Drawn) -> None:
        drawn[one.prompt, one.sample] = one
        on_end(one)

    def drawing(place: int, sample: int) -> _Drawing:
        luck = _luck(keys[place], sample, max_tokens)
        return _Drawing(place, sample, temperature, luck, end_ids, ended)

    was_training = model.training
    model.eval()
    try:
        for batch in _batches(prompts, max(1, rows_at_once // samples)):
            context = read_padded(model, [list(prompts[place]) for place in batch])
            write(model, context, [[drawing(place, sample) for sample in range(samples)] for place in batch])
    finally:
        model.train(was_training)
    return [drawn[place, sample] for place in range(len(prompts)) for sample in range(samples)]


def _batches(prompts: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Prompts of like length together: the shorter ones are padded to the longest."""
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _luck(key: str, sample: int, count: int) -> list[float]:
    """This completion's own random numbers, one a token."""
    seed = int(content_id("draw", key, sample)[:15], 16)
    generator = torch.Generator().manual_seed(seed)
    return list(torch.rand(count, dtype=torch.float64, generator=generator).tolist())
