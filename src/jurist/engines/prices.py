"""What a call costs: per million tokens, or per hour of a machine of one's own."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from ..records import Usage

Dollars = Annotated[float, Meta(ge=0)]


class Price(Struct, frozen=True, forbid_unknown_fields=True):
    """US dollars, per million tokens or per hour."""

    input: Annotated[float, Meta(ge=0, description="Dollars per million input tokens.")] = 0.0
    output: Annotated[float, Meta(ge=0, description="Dollars per million output tokens.")] = 0.0
    cached: Annotated[Dollars | None, Meta(description="Dollars per million cached ones; null: input.")] = (
        None
    )
    gpu_hour: Annotated[Dollars | None, Meta(description="Dollars an hour, instead of by tokens.")] = None
    long_from: Annotated[int, Meta(ge=0, description="Prompts of more tokens are long; 0: one tier.")] = 0
    long_input: Annotated[float, Meta(ge=0, description="Per million input tokens of a long prompt.")] = 0.0
    long_output: Annotated[float, Meta(ge=0, description="Per million output tokens after a long one.")] = 0.0

    def __post_init__(self) -> None:
        if self.gpu_hour is not None and (self.input or self.output or self.cached):
            raise ValueError("a price is either per token (input, output) or gpu_hour, not both")


def listed_price(vendor: str, model: str) -> Price | None:
    """The list price of a vendor's model, by the offline list of `genai-prices`; None where it has none."""
    # Loading the list takes 0.4 CPU-seconds: only for vendors that are paid.
    from genai_prices import Usage as Tokens
    from genai_prices import calc_price

    provider = {"gemini": "google"}.get(vendor, vendor)
    try:
        found = calc_price(Tokens(input_tokens=1), model, provider_id=provider).model_price
    except LookupError:
        return None
    (read, long_read, start), (written, long_written, _) = _tiers(found.input_mtok), _tiers(found.output_mtok)
    cached = None if found.cache_read_mtok is None else _tiers(found.cache_read_mtok)[0]
    if not start:
        return Price(read, written, cached)
    return Price(read, written, cached, long_from=start, long_input=long_read, long_output=long_written)


def _tiers(price: Any) -> tuple[float, float, int]:
    """Dollars in the first tier, in the last one, and where the second begins (0: there is none)."""
    if price is None:
        return 0.0, 0.0, 0
    if not hasattr(price, "base"):
        return float(price), float(price), 0
    dearest = max([price.base, *(tier.price for tier in price.tiers)])
    return float(price.base), float(dearest), price.tiers[0].start if price.tiers else 0


def cost_of(usage: Usage, price: Price | None, seconds: float = 0.0) -> float:
    """US dollars. `seconds` is the call's share of the machine's time, for a price per hour."""
    if price is None:
        return 0.0
    if price.gpu_hour is not None:
        return price.gpu_hour * seconds / 3600.0
    is_long = bool(price.long_from) and usage.tokens_in > price.long_from
    read, written = (price.long_input, price.long_output) if is_long else (price.input, price.output)
    cached = read if price.cached is None else price.cached
    if is_long and price.cached is not None and price.input:
        cached *= read / price.input  # the list's long tiers raise both alike
    fresh = max(0, usage.tokens_in - usage.cached_in)
    return (fresh * read + usage.cached_in * cached + usage.tokens_out * written) / 1e6


def most_it_costs(price: Price | None, tokens_in: int, tokens_out: int) -> float:
    """The dearest that so many tokens can be; nothing for a price per hour, which grows with time alone."""
    if price is None:
        return 0.0
    read = max(price.input, price.cached or 0.0, price.long_input)
    return (tokens_in * read + tokens_out * max(price.output, price.long_output)) / 1e6


class SharedTime:
    """Wall time in which anything was under way, shared evenly over what was: the shares add up to it."""

    def __init__(self) -> None:
        self._share = self._at = 0.0
        self._under_way = 0

    def change(self, now: float, by: int) -> float:
        """One more is under way, or one less; its share is the difference of what this returns."""
        self._share += (now - self._at) / max(1, self._under_way)
        self._at, self._under_way = now, self._under_way + by
        return self._share
