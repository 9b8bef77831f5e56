"""Sampling from a model in this process: each prompt is read once for all its samples.

The prompts go through the model once, their keys and values are repeated along the batch, and the samples
are written token by token; a row leaves the batch when it ends. Every completion has random numbers of its
own, made from the seed and from which draw it is: the same completions come out however prompts are split
over batches, processes and resumptions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache as once
from typing import Any, Final

import torch
import torch.nn.functional as F
from msgspec import Struct
from torch import Tensor

from ..records import content_id

COMPACT_AT: Final = 0.75
"""When this share of the rows is left, the others are taken out of the cache."""


class Drawn(Struct, frozen=True):
    """One completion, in tokens; the end token is among them when the model wrote it."""

    prompt: int
    """Index among the prompts that were given."""
    sample: int
    ids: list[int]
    finish: str
    """`stop`, or `length` when it was cut off."""


OnEnd = Callable[[Drawn], None]


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

    was_training = model.training
    model.eval()
    try:
        for batch in _batches(prompts, max(1, rows_at_once // samples)):
            _draw_batch(model, prompts, batch, samples, max_tokens, end_ids, keys, temperature, ended)
    finally:
        model.train(was_training)
    return [drawn[place, sample] for place in range(len(prompts)) for sample in range(samples)]


def _batches(prompts: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Prompts of like length together: the shorter ones are padded to the longest."""
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _draw_batch(
    model: Any,
    prompts: Sequence[Sequence[int]],
    batch: list[int],
    samples: int,
    max_tokens: int,
    end_ids: Sequence[int],
    keys: Sequence[str],
    temperature: float,
    ended: OnEnd,
) -> None:
    device = next(model.parameters()).device
    ids_BT, mask_BT = _left_padded([prompts[place] for place in batch], device)
    position_BT = (mask_BT.cumsum(-1) - 1).clamp(min=0)
    out = model(
        input_ids=ids_BT,
        attention_mask=mask_BT,
        position_ids=position_BT,
        use_cache=True,
        logits_to_keep=1,
    )
    cache, logits_RV = out.past_key_values, out.logits[:, -1].repeat_interleave(samples, 0)
    cache.batch_repeat_interleave(samples)
    make_room(cache, max_tokens)
    mask_RT = mask_BT.repeat_interleave(samples, 0)
    next_R = position_BT[:, -1].repeat_interleave(samples, 0) + 1
    rows = [(place, sample) for place in batch for sample in range(samples)]
    luck_RT = torch.stack([_luck(keys[place], sample, max_tokens) for place, sample in rows]).to(device)
    written: list[list[int]] = [[] for _ in rows]
    alive = list(range(len(rows)))
    """Which row each line of the batch is; a finished one stays, unread, until the next compaction."""
    finished: set[int] = set()
    stops = set(end_ids)

    for step in range(max_tokens):
        token_R = _pick(logits_RV, luck_RT[alive, step], temperature)
        for row, token in zip(alive, token_R.tolist(), strict=True):
            if row in finished:
                continue
            written[row].append(token)
            if token in stops or step + 1 == max_tokens:
                finished.add(row)
                ended(Drawn(*rows[row], written[row], "stop" if token in stops else "length"))
        left = [line for line, row in enumerate(alive) if row not in finished]
        if not left:
            return
        if len(left) <= COMPACT_AT * len(alive):
            kept = torch.tensor(left, device=device)
            cache.batch_select_indices(kept)
            token_R, mask_RT, next_R = token_R[kept], mask_RT[kept], next_R[kept]
            alive = [alive[line] for line in left]
        mask_RT = torch.cat([mask_RT, mask_RT.new_ones(len(alive), 1)], 1)
        out = model(
            input_ids=token_R[:, None],
            attention_mask=mask_RT,
            position_ids=next_R[:, None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache, logits_RV, next_R = out.past_key_values, out.logits[:, -1], next_R + 1


def make_room(cache: Any, tokens: int) -> None:
    """Let keys and values grow in place; by itself, a layer copies all of them for every token."""
    for number, layer in enumerate(cache.layers):
        if type(layer) is roomy().__base__:
            cache.layers[number] = roomy()(layer, tokens)


@once
def roomy() -> Any:
    from transformers.cache_utils import DynamicLayer

    class Roomy(DynamicLayer):
        """A layer's keys and values, and room for more behind them."""

        def __init__(self, layer: Any, tokens: int) -> None:
            super().__init__()
            self.lazy_initialization(layer.keys, layer.values)
            self._whole = [F.pad(one, (0, 0, 0, tokens)) for one in (layer.keys, layer.values)]
            self._show(layer.keys.shape[-2])

        def _show(self, length: int) -> None:
            self.keys, self.values = (one[:, :, :length] for one in self._whole)

        def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
            before = self.keys.shape[-2]
            after = before + keys.shape[-2]
            for whole, new in zip(self._whole, (keys, values), strict=True):
                whole[:, :, before:after] = new
            self._show(after)
            return self.keys, self.values

        def batch_select_indices(self, indices: Tensor) -> None:
            length = self.keys.shape[-2]
            self._whole = [one[indices] for one in self._whole]
            self._show(length)

    return Roomy


def _pick(logits_RV: Tensor, luck_R: Tensor, temperature: float) -> Tensor:
    """The token under which each row's random number falls; the likeliest at temperature 0."""
    if temperature == 0:
        return logits_RV.argmax(-1)
    # In double: over a vocabulary of 150,000 the rounding of float32 would make tokens that cannot be drawn.
    reach_RV = torch.softmax(logits_RV.float() / temperature, -1).double().cumsum(-1)
    under_R1 = luck_R[:, None] * reach_RV[:, -1:]
    return torch.searchsorted(reach_RV, under_R1, right=True).squeeze(-1).clamp(max=logits_RV.shape[-1] - 1)


def _luck(key: str, sample: int, count: int) -> Tensor:
    """This completion's own random numbers, one a token."""
    seed = int(content_id("draw", key, sample)[:15], 16)
    return torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _left_padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Generation goes on from the right edge, so the padding stands on the left; its id is never read."""
    width = max(map(len, rows))
    ids_BT = torch.zeros(len(rows), width, dtype=torch.long)
    mask_BT = torch.zeros(len(rows), width, dtype=torch.long)
    for line, row in enumerate(rows):
        ids_BT[line, width - len(row) :] = torch.tensor(row)
        mask_BT[line, width - len(row) :] = 1
    return ids_BT.to(device), mask_BT.to(device)
