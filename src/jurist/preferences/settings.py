"""Which pairs are kept: the settings of `pairs`, which say so without loading what decides."""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from ..errors import SettingError

Rule = Literal["best_vs_worst", "best_vs_random_lower", "worst_of_5", "rho", "all_pairs", "west_of_n"]
_RANGES: Final = {"rho": (0.0, 1.0), "sure": (0.5, 1.0), "near_duplicates": (0.0, 1.0)}


class PreferConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Which pairs of one prompt are kept, and what is dropped with a reason."""

    rule: Annotated[
        Rule,
        Meta(description="Which of several completions make a pair; pairs named in a file are all decided."),
    ] = "best_vs_worst"
    ties: Annotated[
        Literal["drop", "soft"], Meta(description="Drop an exact tie, or keep it as a row with p = 0.5.")
    ] = "drop"
    min_margin: Annotated[
        float, Meta(description="Drop pairs nearer to each other than this, on the judge's own scale.")
    ] = 0.0
    consistent_only: Annotated[
        bool, Meta(description="Drop pairs whose verdict went with the position, not with the answer.")
    ] = False
    rho: Annotated[
        float, Meta(description="Rule rho: how much of the range counts as the top and as the bottom.")
    ] = 0.0
    sure: Annotated[
        float, Meta(description="Rule west_of_n: the least probability that best beats worst.")
    ] = 0.8
    length_penalty: Annotated[
        float,
        Meta(description="b in s - b * tanh((length - median) / IQR), on scores or else on log-odds."),
    ] = 0.0
    truncated: Annotated[
        Literal["drop", "flag"], Meta(description="What becomes of a pair whose better one was cut off.")
    ] = "drop"
    refusals: Annotated[
        Literal["flag", "drop"], Meta(description="What becomes of a pair whose better one is a refusal.")
    ] = "flag"
    near_duplicates: Annotated[
        float, Meta(description="Drop pairs that share this part of their word triples; 0 keeps them all.")
    ] = 1.0
    max_length_ratio: Annotated[
        float, Meta(description="Flag pairs with one this many times as long as the other; 0 flags none.")
    ] = 3.0
    quarantine: Annotated[
        Literal["honour", "ignore"],
        Meta(description="Whether domains that the audit has quarantined stay out of exports and training."),
    ] = "honour"
    seed: Annotated[
        int | None, Meta(description="For rules that choose at random; null: the run's seed.")
    ] = None

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            if not low <= (value := getattr(self, name)) <= high:
                raise SettingError(
                    f"{name} is {value}; it lies between {low:g} and {high:g}. Write e.g. {name}: {high:g}"
                )
        for name in ("min_margin", "length_penalty"):
            if not (isfinite(value := getattr(self, name)) and value >= 0):
                raise SettingError(f"{name} is {value}; it is a number from 0 on. Write e.g. {name}: 0.1")
        if self.max_length_ratio and not self.max_length_ratio >= 1:
            said = (
                f"max_length_ratio is {self.max_length_ratio}; a longer text over a shorter one is 1 or more"
            )
            raise SettingError(f"{said}. Write e.g. max_length_ratio: 3, or 0 to flag none")
