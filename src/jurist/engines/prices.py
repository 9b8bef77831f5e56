"""What a call costs: by the million tokens, or by the hour of a machine of one's own."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

import msgspec
from msgspec import Struct

from ..records import Usage

_DATED = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2}|latest)$")
"""gpt-4o-2024-08-06, claude-sonnet-4-20250514: a model with its date costs what the model costs."""


class Price(Struct, frozen=True, forbid_unknown_fields=True):
    """US dollars; either a million tokens or an hour."""

    input: float = 0.0
    output: float = 0.0
    cached: float | None = None
    """Input that came from a prefix cache; the same as `input` where nothing else is said."""
    gpu_hour: float | None = None
    """The machine's price an hour, shared over the calls under way."""

    def __post_init__(self) -> None:
        amounts = [self.input, self.output, self.cached or 0.0, self.gpu_hour or 0.0]
        if min(amounts) < 0:
            raise ValueError(f"a price cannot be negative, got {min(amounts):g}")
        if self.gpu_hour is not None and (self.input or self.output or self.cached):
            raise ValueError("a price is either per token (input, output) or gpu_hour, not both")


class PriceList(Struct):
    """`prices.yaml`."""

    as_of: str
    models: dict[str, Price]


@cache
def price_list() -> PriceList:
    import yaml

    text = files(__package__).joinpath("prices.yaml").read_text(encoding="utf-8")
    return msgspec.convert(yaml.safe_load(text), PriceList)


def known_price(name: str) -> Price | None:
    """The list price of an engine by its name, dated snapshots included; None: we were never told."""
    models = price_list().models
    return models.get(name) or models.get(_DATED.sub("", name))


def cost_of(usage: Usage, price: Price | None, seconds: float = 0.0) -> float:
    """US dollars. `seconds` is the call's share of the machine's time, for a price by the hour."""
    if price is None:
        return 0.0
    if price.gpu_hour is not None:
        return price.gpu_hour * seconds / 3600.0
    cached = price.input if price.cached is None else price.cached
    fresh = max(0, usage.tokens_in - usage.cached_in)
    return (fresh * price.input + usage.cached_in * cached + usage.tokens_out * price.output) / 1e6


class SharedTime:
    """Wall time in which anything was under way, shared evenly over what was: the shares add up to it."""

    def __init__(self) -> None:
        self._share = 0.0
        self._at = 0.0
        self._under_way = 0

    def enter(self, now: float) -> float:
        """A reading to hand back to `leave`."""
        self._move(now)
        self._under_way += 1
        return self._share

    def leave(self, now: float, entered: float) -> float:
        """The seconds that fell to this one."""
        self._move(now)
        self._under_way -= 1
        return self._share - entered

    def _move(self, now: float) -> None:
        if self._under_way:
            self._share += (now - self._at) / self._under_way
        self._at = now
