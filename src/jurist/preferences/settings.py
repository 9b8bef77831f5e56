"""How opinions become preferences."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ..errors import SettingError

Rule = Literal["best_vs_worst", "best_vs_random_lower", "worst_of_5", "rho", "all_pairs", "west_of_n"]


class PreferConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Which pairs of one prompt are kept, and what is left out by name."""

    rule: Rule = "best_vs_worst"
    """Which pairs of several completions are trained on; pairs that a file names are all decided."""
    ties: Literal["drop", "soft"] = "drop"
    """An exact tie leaves by name, or stays as a row with p = 0.5."""
    min_margin: float = 0.0
    """Pairs nearer to each other than this, on the judge's own scale, leave by name."""
    consistent_only: bool = False
    """Pairs whose verdict turned with the seats leave by name."""
    rho: float = 0.0
    """How much of the range counts as the top and as the bottom, for the rule `rho`."""
    sure: float = 0.8
    """The probability that best beats worst which the rule `west_of_n` asks for."""
    length_penalty: float = 0.0
    """b in s - b * tanh((length - median) / IQR); on scores, or on log-odds where there are none."""
    truncated: Literal["drop", "flag"] = "drop"
    """What becomes of a pair whose better one was cut off; a worse one that was cut off is only flagged."""
    refusals: Literal["flag", "drop"] = "flag"
    """What becomes of a pair whose better one is a refusal; drop only where nothing should be declined."""
    near_duplicates: float = 1.0
    """Pairs that share this part of their word triples leave by name; 0 keeps them all."""
    max_length_ratio: float = 3.0
    """Pairs with one this many times as long as the other are flagged `length_gap`; 0 flags none."""
    quarantine: Literal["honour", "ignore"] = "honour"
    """Whether domains that the audit has quarantined stay out of what is exported and trained on."""
    seed: int | None = None
    """For the rules that draw; the run's seed when empty."""

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise SettingError(
                    f"{name} is {value}; it lies between {low} and {high}. Write e.g. {name}: {low}"
                )


_RANGES = (
    ("rho", 0.0, 1.0),
    ("sure", 0.5, 1.0),
    ("near_duplicates", 0.0, 1.0),
    ("min_margin", 0.0, float("inf")),
    ("length_penalty", 0.0, float("inf")),
    ("max_length_ratio", 0.0, float("inf")),
)
