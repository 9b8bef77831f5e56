"""Attention over a tree of rows: every token sees its own branch up to itself, and all branches below it.

The rows lie unpadded in one row, so everything but attention is computed once a token. Each branch
attends to itself in a batch with those of like length; then everything that grows from a branch
attends to it at once. What a token saw in several places is weighed together by how much there was to
see (the log of the sum that a softmax divides by), which is exactly the softmax over all of it.
Nothing is masked or copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import torch
from torch import Tensor
from transformers import AttentionInterface

from .tree import Branch, Tree

NAME: Final = "jurist_tree"
HAS_KERNEL: Final = frozenset({"cpu"})
"""Where one call gives attention and what its softmax divides by."""
_LIKE: Final = 0.75
"""A branch shorter than this share of the longest is put into another batch: padding costs attention too."""

Layers = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer: `1 H T D`."""


class Plan:
    """How one pass over a tree goes; keys and values are left in `layers`."""

    def __init__(self, tree: Tree, past: Layers, device: torch.device) -> None:
        self.past, self.layers = past, Layers()
        self.grown = [one for one in tree.branches if one.last > one.end]
        self.slots_BL: list[Tensor] = []
        """The slots of branches of like length; the shorter ones say their last slot again."""
        back = [0] * len(tree.ids)
        before = 0
        for some in of_like_length(tree.branches):
            width = some[0].end - some[0].start
            slots = [[min(one.start + at, one.end - 1) for at in range(width)] for one in some]
            self.slots_BL.append(torch.tensor(slots, device=device))
            for number, one in enumerate(some):
                at = before + number * width
                back[one.start : one.end] = range(at, at + one.end - one.start)
            before += width * len(some)
        self.back_T = torch.tensor(back, device=device)


def of_like_length(branches: Sequence[Branch]) -> list[list[Branch]]:
    found: list[list[Branch]] = []
    for one in sorted(branches, key=lambda one: one.start - one.end):
        length = one.end - one.start
        if found and length >= _LIKE * (found[-1][0].end - found[-1][0].start):
            found[-1].append(one)
        else:
            found.append([one])
    return found


_current: ContextVar[Plan] = ContextVar("plan")
"""Of this thread: each engine has one of its own, and a policy and its judge may be at work at once."""


@contextmanager
def attending(model: Any, plan: Plan) -> Iterator[None]:
    """Passes of this model go by the plan."""
    config = model.config
    usual = config._attn_implementation
    config._attn_implementation = NAME
    before = _current.set(plan)
    try:
        yield
    finally:
        _current.reset(before)
        config._attn_implementation = usual


def tree_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Any,
    scaling: float | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    plan = _current.get()
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    plan.layers.append((key, value))
    times = query.shape[1] // key.shape[1]
    if times > 1:
        key, value = key.repeat_interleave(times, 1), value.repeat_interleave(times, 1)
    out, total = _own(query, key, value, plan, scale)
    for one in plan.grown:
        here, above = slice(one.start, one.end), slice(one.end, one.last)
        _add(out, total, query, key[:, :, here], value[:, :, here], above, scale)
    if plan.past:
        keys, values = plan.past[len(plan.layers) - 1]
        if times > 1:
            keys, values = keys.repeat_interleave(times, 1), values.repeat_interleave(times, 1)
        _add(out, total, query, keys, values, slice(None), scale)
    return out.transpose(1, 2), None


AttentionInterface.register(NAME, tree_attention)


def _own(query: Tensor, key: Tensor, value: Tensor, plan: Plan, scale: float) -> tuple[Tensor, Tensor]:
    """What each token sees of its own branch."""
    heads, width = query.shape[1], query.shape[-1]
    flat = [part[0].transpose(0, 1) for part in (query, key, value)]
    outs, totals = [], []
    for slots_BL in plan.slots_BL:
        q, k, v = (part[slots_BL].transpose(1, 2) for part in flat)
        out, total = _attention(q, k, v, scale, causal=True)
        outs.append(out.transpose(1, 2).reshape(-1, heads, width))
        totals.append(total.transpose(1, 2).reshape(-1, heads))
    out_THD, total_TH = torch.cat(outs)[plan.back_T], torch.cat(totals)[plan.back_T]
    return out_THD.transpose(0, 1)[None], total_TH.transpose(0, 1)[None]


def _add(
    out: Tensor, total: Tensor, query: Tensor, key: Tensor, value: Tensor, who: slice, scale: float
) -> None:
    """These tokens see these keys too."""
    more, of_more = _attention(query[:, :, who], key, value, scale, causal=False)
    so_far = total[:, :, who]
    out[:, :, who].lerp_(more, (of_more - so_far).sigmoid()[..., None].to(more.dtype))
    so_far.copy_(torch.logaddexp(so_far, of_more))


def _attention(
    query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool
) -> tuple[Tensor, Tensor]:
    """Attention, and the log of what its softmax divides by."""
    if query.device.type in HAS_KERNEL:
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        out, total = flash(query, key, value, 0.0, causal, scale=scale)
        return out, total
    score_BHQK = (query @ key.transpose(-1, -2)).float() * scale
    if causal:
        length = query.shape[2]
        later = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)
        score_BHQK.masked_fill_(later, -torch.inf)
    total_BHQ = score_BHQK.logsumexp(-1)
    return (score_BHQK - total_BHQ[..., None]).exp().to(value.dtype) @ value, total_BHQ
