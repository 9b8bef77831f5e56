"""What we decided to train on: pairs, targets, their hygiene, export and card. Here are its settings."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Rule = Literal["best_vs_worst", "best_vs_random_lower", "worst_of_5", "rho", "all_pairs", "west_of_n"]
DropOrFlag = Literal["drop", "flag"]


class PreferConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Which pairs of one prompt are kept, and what is dropped with a reason."""

    rule: Annotated[Rule, Meta(description="Which of several completions make a pair.")] = "best_vs_worst"
    ties: Annotated[Literal["drop", "soft"], Meta(description="Drop ties, or keep them: p = 0.5.")] = "drop"
    min_margin: Annotated[float, Meta(ge=0, description="Drop pairs nearer than this (judge's scale).")] = 0.0
    consistent_only: Annotated[bool, Meta(description="Drop pairs whose verdict followed position.")] = False
    rho: Annotated[float, Meta(ge=0, le=1, description="Rule rho: share of the range near either end.")] = 0.0
    sure: Annotated[float, Meta(ge=0.5, le=1, description="Rule west_of_n: least P(best beats worst).")] = 0.8
    length_penalty: Annotated[
        float,
        Meta(ge=0, description="b in s - b * tanh((length - median) / IQR), on scores or else on log-odds."),
    ] = 0.0
    truncated: Annotated[DropOrFlag, Meta(description="Pairs whose chosen answer was cut off.")] = "drop"
    refusals: Annotated[DropOrFlag, Meta(description="Pairs whose chosen answer is a refusal.")] = "flag"
    near_duplicates: Annotated[
        float, Meta(ge=0, le=1, description="Drop pairs that share this part of their word triples; 0: none.")
    ] = 1.0
    max_length_ratio: Annotated[
        float, Meta(ge=0, description="Flag pairs with one this many times as long as the other; 0: none.")
    ] = 3.0
    quarantine: Annotated[
        Literal["honour", "ignore"],
        Meta(description="Whether domains that the audit has quarantined stay out of exports and training."),
    ] = "honour"
    seed: Annotated[int | None, Meta(description="For rules with chance; null: the run's seed.")] = None
