"""From values to places: an axis whose ends are round numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        """How far along the axis a value lies, 0 to 1."""
        return (value - self.low) / (self.high - self.low)

    @property
    def step(self) -> float:
        return self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else 1.0


def scale_of(values: Sequence[float], wanted: int = 4, *, zero: bool = False) -> Scale:
    """About `wanted` steps of 1, 2 or 5 times a power of ten around these values, and around 0 for `zero`."""
    finite = [one for one in values if math.isfinite(one)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-12 * max(1.0, abs(high)):
        room = abs(high) / 2 or 1.0
        low, high = (low, low + room) if zero else (low - room, high + room)
    step = _round_step((high - low) / wanted)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Scale(first * step, last * step, tuple(n * step for n in range(first, last + 1)))


def _round_step(size: float) -> float:
    power: float = 10.0 ** math.floor(math.log10(size))
    return next(power * one for one in (1, 2, 5, 10) if size <= power * one * 1.0000001)
