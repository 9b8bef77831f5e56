"""Keys and values that grow in place: by itself, a cache copies all of them for every token written."""

from __future__ import annotations

from typing import Any, Final

import torch.nn.functional as F
from torch import Tensor
from transformers.cache_utils import DynamicLayer

MORE: Final = 64
"""Tokens for which room is made at a time, or half as many as there are."""


class Roomy(DynamicLayer):
    """A layer's keys and values, and room behind them."""

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self._whole = [layer.keys, layer.values]
        self._show(layer.keys.shape[-2])

    def _show(self, length: int) -> None:
        self.keys, self.values = (one[:, :, :length] for one in self._whole)

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        before = self.keys.shape[-2]
        after = before + keys.shape[-2]
        lacking = after - self._whole[0].shape[-2]
        if lacking > 0:
            room = lacking + max(MORE, before // 2)
            self._whole = [F.pad(one, (0, 0, 0, room)) for one in self._whole]
        for whole, new in zip(self._whole, (keys, values), strict=True):
            whole[:, :, before:after] = new
        self._show(after)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        length = self.keys.shape[-2]
        self._whole = [one.index_select(0, beam_idx) for one in self._whole]
        self._show(length)


def make_room(cache: Any) -> None:
    """Let plain layers grow in place; those with a window or a rule of their own stay as they are."""
    for number, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and layer.is_initialized:
            cache.layers[number] = Roomy(layer)
