"""Reading prompts: what many of them share is read once.

`read` takes rows of tokens and gives the cache after each and what the model would say next. Rows that
start alike (instructions, the conversation shown to a judge, both orders of a matchup) have that part
computed once: first what all of them share, kept for the batches to come, then what neighbours share, then
the rest of each. Where a model does not attend to all that came before (sliding windows, recurrent layers),
each row is read whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

Row = list[int]

WORTH_SHARING: Final = 16
"""Tokens; a pass of its own for fewer costs more than it saves."""


class Context(NamedTuple):
    """Rows that have been read. Slots of the cache that hold no token of a row are masked for that row."""

    cache: Any
    mask_BT: Tensor
    length_B: Tensor
    logits_BV: Tensor | None
    """What comes next; None for a part of a prompt."""


class Reader:
    """Reads rows with one model, and remembers the beginning that they share."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.device = model.device
        self.shares = sees_everything(model)
        self._kept: tuple[list[int], Context] | None = None
        self._last: list[int] = []

    @torch.inference_mode()
    def read(self, rows: Sequence[Row]) -> Context:
        """Every row read to its end, in the order given."""
        if not self.shares:
            return self.extend(None, rows, [0] * len(rows))
        start = self._start(rows)
        past, used = (start[1], len(start[0])) if start else (None, 0)
        rests = [row[used:] for row in rows]
        groups = neighbours(rests)
        saved = sum((len(members) - 1) * shared for members, shared in groups)
        if saved < max(WORTH_SHARING, sum(map(len, rests)) // 5) or min(map(len, rests)) < 2:
            return self.extend(past, rests, [0] * len(rows))
        heads = [rests[members[0]][:shared] for members, shared in groups]
        middle = self.extend(past, heads, [0] * len(groups), whole=False)
        order = [row for members, _ in groups for row in members]
        origin = [group for group, (members, _) in enumerate(groups) for _ in members]
        tails = [rests[row][len(heads[group]) :] for row, group in zip(order, origin, strict=True)]
        end = self.extend(middle, tails, origin)
        return chosen(end, torch.tensor(sorted(range(len(order)), key=order.__getitem__), device=self.device))

    @torch.inference_mode()
    def extend(
        self,
        past: Context | None,
        rows: Sequence[Row],
        origin: Sequence[int],
        whole: bool = True,
        last: int = 1,
    ) -> Context:
        """Read on: row i continues row `origin[i]` of what is past. `whole`: say what comes next after the
        last token, or after each of the `last` ones."""
        longest = max(map(len, rows))
        # Padded on the left, so that what comes next stands at the end of every row.
        ids_BT = torch.tensor([[0] * (longest - len(row)) + row for row in rows], device=self.device)
        mask_BT = torch.tensor(
            [[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=self.device
        )
        at_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
        length_B = mask_BT.sum(1)
        cache = DynamicCache(config=self.model.config)
        if past is not None:
            which = torch.tensor(origin, device=self.device)
            cache = continued(past.cache, which)
            at_BT = at_BT + past.length_B[which, None]
            length_B = length_B + past.length_B[which]
            mask_BT = torch.cat([past.mask_BT[which], mask_BT], 1)
        inputs = {
            "attention_mask": mask_BT,
            "position_ids": at_BT,
            "past_key_values": cache,
            "use_cache": True,
        }
        if not whole:
            self.model.base_model(input_ids=ids_BT, **inputs)
            return Context(cache, mask_BT, length_B, None)
        logits = self.model(input_ids=ids_BT, logits_to_keep=last, **inputs).logits
        return Context(cache, mask_BT, length_B, logits[:, -1] if last == 1 else logits[:, -last:])

    def _start(self, rows: Sequence[Row]) -> tuple[list[int], Context] | None:
        """What all rows, and the one read before them, start with; every row keeps a token of its own."""
        kept = self._kept
        if kept is None or not all(
            len(row) > len(kept[0]) and row[: len(kept[0])] == kept[0] for row in rows
        ):
            known = [*rows, self._last] if self._last else list(rows)
            shared = shared_start(known)
            shared = shared[: min(map(len, rows)) - 1]
            kept = None
            if len(known) > 1 and len(shared) >= WORTH_SHARING:
                kept = shared, self.extend(None, [shared], [0], whole=False)
        self._kept, self._last = kept, list(rows[-1])
        return kept


def neighbours(rows: Sequence[Row]) -> list[tuple[list[int], int]]:
    """Rows in groups that start alike: the members, and for how many tokens. Each keeps one of its own."""
    order = sorted(range(len(rows)), key=lambda row: rows[row])
    groups: list[tuple[list[int], int]] = []
    for row in order:
        if groups:
            members, shared = groups[-1]
            alike = len(shared_start([rows[members[-1]], rows[row]]))
            alike = min(alike, shared, len(rows[row]) - 1)
            if alike >= WORTH_SHARING and 2 * alike >= shared:
                groups[-1] = ([*members, row], alike)
                continue
        groups.append(([row], len(rows[row]) - 1))
    return groups


def shared_start(rows: Sequence[Row]) -> Row:
    """What all of these start with: what the first and the last of them in order start with."""
    first, last = min(rows), max(rows)
    for at, (one, other) in enumerate(zip(first, last, strict=False)):
        if one != other:
            return first[:at]
    return first


def sees_everything(model: Any) -> bool:
    """Whether each token attends to all before it: only then may a beginning be computed apart."""
    try:
        layers = DynamicCache(config=model.config).layers
    except (TypeError, ValueError, AttributeError):
        return False
    return all(type(layer) is DynamicLayer for layer in layers)


def continued(cache: Any, which: Tensor) -> Any:
    """A cache whose row i goes on from row `which[i]`; the old one stays as it is."""
    new = DynamicCache()
    for number, layer in enumerate(cache.layers):
        one = layer.keys.shape[0] == 1
        keys, values = (
            part.expand(len(which), -1, -1, -1) if one else part.index_select(0, which)
            for part in (layer.keys, layer.values)
        )
        new.update(keys, values, number)
    return new


def chosen(context: Context, which: Tensor) -> Context:
    """These rows of it, in this order; a row may come more than once. The old cache is used up."""
    context.cache.reorder_cache(which)
    logits = None if context.logits_BV is None else context.logits_BV[which]
    return Context(context.cache, context.mask_BT[which], context.length_B[which], logits)
