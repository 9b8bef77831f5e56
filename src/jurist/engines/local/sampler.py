"""Writing token by token, many rows at a time, each with random numbers of its own.

What is written follows from the prompt and those numbers, not from the rows beside it. (Rounding may:
in float32 another batch moves a log-prob by about 1e-6, which tells where two tokens are equally
likely, or a random number falls between them.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from .forward import Context
from .roomy import make_room

COMPACT_AT: Final = 0.75
"""When this share of the rows is left, the others are taken out of the cache."""


class Draw(Protocol):
    """One text being written."""

    temperature: float
    top_p: float

    def luck(self) -> float:
        """The next of its random numbers, from 0 to 1."""
        ...

    def take(self, token: int, logits_V: Tensor) -> bool:
        """One more token; whether it goes on."""
        ...


def write(
    model: Any,
    context: Context,
    draws: Sequence[Sequence[Draw]],
    wanted: Callable[[], bool] = lambda: True,
) -> None:
    """All draws of all rows that were read; `wanted` is asked at each token whether anybody still waits."""
    cache, mask_BT, at_B, logits_BV = context
    device = logits_BV.device
    origin = [row for row, some in enumerate(draws) for _ in some]
    writing = [draw for some in draws for draw in some]
    if len(origin) > len(draws):
        which = torch.tensor(origin, device=device)
        cache.reorder_cache(which)
        mask_BT, at_B, logits_BV = mask_BT[which], at_B[which], logits_BV[which]
    make_room(cache)
    over: set[Draw] = set()
    """A text that is finished stays in its line, unread, until the lines are closed up."""
    while wanted():
        said = next_tokens(logits_BV.float(), writing)
        for line, (draw, token) in enumerate(zip(writing, said, strict=True)):
            if draw not in over and not draw.take(token, logits_BV[line]):
                over.add(draw)
        going = [line for line, draw in enumerate(writing) if draw not in over]
        if not going:
            return
        if len(going) <= COMPACT_AT * len(writing):
            which = torch.tensor(going, device=device)
            cache.reorder_cache(which)
            mask_BT, at_B = mask_BT[which], at_B[which]
            writing, said = [writing[line] for line in going], [said[line] for line in going]
        mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(writing), 1)], 1)
        out = model(
            input_ids=torch.tensor(said, device=device)[:, None],
            attention_mask=mask_BT,
            position_ids=at_B[:, None],
            cache=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache, logits_BV, at_B = out.past_key_values, out.logits[:, -1], at_B + 1


def next_tokens(logits_BV: Tensor, writing: Sequence[Draw]) -> list[int]:
    """Each row's likeliest token at temperature 0, else the one under which its random number falls."""
    best = logits_BV.argmax(-1)
    warm = [row for row, draw in enumerate(writing) if draw.temperature > 0]
    if not warm:
        return list(best.tolist())
    heat = torch.tensor([writing[row].temperature for row in warm], device=best.device)
    # In double: over a vocabulary of 150,000 the rounding of float32 would make tokens that cannot be drawn.
    probs = (logits_BV[warm] / heat[:, None]).softmax(-1).double()
    for place, row in enumerate(warm):
        if writing[row].top_p < 1:
            probs[place] = nucleus(probs[place], writing[row].top_p)
    heap = probs.cumsum(-1)
    points = torch.tensor([[writing[row].luck()] for row in warm], dtype=heap.dtype, device=heap.device)
    # Right of the point: a token without probability is never hit.
    drawn = torch.searchsorted(heap, points * heap[:, -1:], right=True).clamp(max=heap.shape[1] - 1)
    best[warm] = drawn[:, 0]
    return list(best.tolist())


def nucleus(probs_V: Tensor, top_p: float) -> Tensor:
    """The likeliest tokens that together reach `top_p`; the others get nothing."""
    ordered, which = probs_V.sort(descending=True)
    kept = torch.where(ordered.cumsum(0) - ordered < top_p, ordered, 0.0)
    return torch.zeros_like(probs_V).scatter(0, which, kept)
