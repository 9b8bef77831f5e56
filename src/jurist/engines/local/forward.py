"""Reading prompts: what many of them share is computed once.

Rows that start alike (instructions, the conversation shown to a judge, the answer in the first seat)
are read as one tree, in one pass (`tree`, `attend`). What all of them start with is kept for the rows
to come. Where a model cannot do that (sliding windows, recurrent layers, attention of its own), each
row is read whole, padded; which of the two is found out once, by comparing them on a small example.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from .attend import Layers, Plan, attending
from .tree import Row, Tree, shared_length

WORTH_KEEPING: Final = 16
"""Tokens of a shared beginning for which it is looked up again."""
ALIKE: Final = 1e-4
ALIKE_IN_HALVES: Final = 3e-2
"""How far logits may differ between the two ways, for their size: rounding, and no more."""


class Context(NamedTuple):
    """Rows that have been read. Slots of the cache that hold no token of a row are masked for that row."""

    cache: Any
    mask_BT: Tensor
    length_B: Tensor
    logits_BV: Tensor
    """What comes next."""


class Reader:
    """Reads rows with one model, and remembers the beginning that they shared."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.device = model.device
        self._kept: Row = []
        self._past: Layers = []
        self.shares = True
        self.shares = self._can_share()

    @torch.inference_mode()
    def ahead(self, rows: Sequence[Row]) -> Tensor:
        """What comes next after each row: logits, `B V`."""
        if not self.shares:
            return read_padded(self.model, rows).logits_BV
        return self._read_tree(rows)[0]

    @torch.inference_mode()
    def read(self, rows: Sequence[Row]) -> Context:
        """The same, ready to be written on."""
        if not self.shares:
            return read_padded(self.model, rows)
        logits_BV, tree, plan, past = self._read_tree(rows)
        before = past[0][0].shape[2] if past else 0
        paths = [[*range(before), *_slots(path, before)] for path in tree.paths]
        ids_BT, mask_BT = left_padded(paths, self.device)
        cache = DynamicCache()
        for number, (key, value) in enumerate(plan.layers):
            if past:
                key, value = (torch.cat(pair, 2) for pair in zip(past[number], (key, value), strict=True))
            rows_of = (part[0][:, ids_BT].transpose(0, 1).contiguous() for part in (key, value))
            cache.update(*rows_of, number)
        return Context(cache, mask_BT, mask_BT.sum(1), logits_BV)

    def _read_tree(self, rows: Sequence[Row]) -> tuple[Tensor, Tree, Plan, Layers]:
        start = self._start(rows)
        past: Layers = [(key[:, :, :start], value[:, :, :start]) for key, value in self._past if start]
        tree = Tree([row[start:] for row in rows], start)
        plan = Plan(tree, past, self.device)
        ends = torch.tensor([path[-1].end - 1 for path in tree.paths], device=self.device)
        with attending(self.model, plan):
            logits_1BV = self.model(
                input_ids=torch.tensor([tree.ids], device=self.device),
                position_ids=torch.tensor([tree.places], device=self.device),
                use_cache=False,
                logits_to_keep=ends,
            ).logits
        self._keep(rows[0][: start + tree.trunk], past, plan.layers)
        return logits_1BV[0], tree, plan, past

    def _start(self, rows: Sequence[Row]) -> int:
        """For how many tokens all rows start with what is kept; each has one of its own after them."""
        first, last = min(rows), max(rows)
        alike = min(shared_length(self._kept, row) for row in (first, last))
        alike = min(alike, min(map(len, rows)) - 1)
        return alike if alike >= WORTH_KEEPING else 0

    def _keep(self, beginning: Row, past: Layers, layers: Layers) -> None:
        """What these rows all started with, unless that is too little to be worth it."""
        if len(beginning) < WORTH_KEEPING or beginning == self._kept:
            return
        start = past[0][0].shape[2] if past else 0
        self._kept, self._past = beginning, []
        for number, layer in enumerate(layers):
            before = past[number] if past else [part[:, :, :0] for part in layer]
            key, value = (
                torch.cat([old, new[:, :, : len(beginning) - start]], 2)
                for old, new in zip(before, layer, strict=True)
            )
            self._past.append((key, value))

    @torch.inference_mode()
    def _alone(self, rows: Sequence[Row]) -> Tensor:
        return torch.cat([read_padded(self.model, [row]).logits_BV for row in rows]).float()

    def _can_share(self) -> bool:
        """Whether this model says over a tree what it says over each row alone."""
        if not sees_everything(self.model) or self.model.config.get_text_config().vocab_size < 48:
            return False
        rows = [[*range(20), *more] for more in ([30, 31], [*range(20, 40), 7], [*range(20, 40), 9, 10])]
        try:
            self.ahead(rows)
            over_tree = torch.cat([self.ahead(rows), self.read(rows).logits_BV]).float()
            alone = self._alone(rows * 2)
        except Exception:  # whatever it is that a model of somebody else's cannot do
            return False
        finally:
            self._kept, self._past = [], []
        tolerance = ALIKE if self.model.dtype == torch.float32 else ALIKE_IN_HALVES
        return float((over_tree - alone).norm()) <= tolerance * float(alone.norm())


def sees_everything(model: Any) -> bool:
    """Whether each token attends to all before it: only then may a beginning be computed apart."""
    try:
        layers = DynamicCache(config=model.config).layers
    except (TypeError, ValueError, AttributeError):
        return False
    return all(type(layer) is DynamicLayer for layer in layers)


def _slots(path: Any, before: int) -> list[int]:
    return [before + slot for branch in path for slot in range(branch.start, branch.end)]


def read_padded(model: Any, rows: Sequence[Row]) -> Context:
    """Each row read whole, padded on the left, so that what comes next stands at the end of every row."""
    ids_BT, mask_BT = left_padded(rows, next(model.parameters()).device)
    out = model(
        input_ids=ids_BT,
        attention_mask=mask_BT,
        position_ids=(mask_BT.cumsum(1) - 1).clamp(min=0),
        use_cache=True,
        logits_to_keep=1,
    )
    return Context(out.past_key_values, mask_BT, mask_BT.sum(1), out.logits[:, -1])


def left_padded(rows: Sequence[Row], device: Any) -> tuple[Tensor, Tensor]:
    """The rows as a block, and where in it their tokens stand."""
    width = max(map(len, rows))
    ids = [[0] * (width - len(row)) + row for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
