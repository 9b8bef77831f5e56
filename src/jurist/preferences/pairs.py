"""From opinions to preferences: which pairs of one prompt are trained on.

Every opinion ends as a preference or as a dropped row with its reason, and only pairs that a judge was asked about
become preferences, so each has its evidence. The rules:

| rule | chosen and rejected | from |
|---|---|---|
| best_vs_worst | the best and the worst | Self-Rewarding, Yuan 2024 |
| best_vs_random_lower | the best and a random one below it | Tulu 3, Lambert 2024 |
| worst_of_5 | the best and the worst of five random others | Xiao 2025, "sweet spot" |
| rho | the shortest near the top and the longest near the bottom | Meta-Rewarding, Wu 2024 |
| west_of_n | best and worst, where the judge is sure enough of them | West-of-N, Pace 2024 |
| all_pairs | every pair | InstructGPT, Ouyang 2022 |

`west_of_n` keeps a pair when P(best beats worst) reaches `sure`. The paper takes a quantile over the whole set
instead, which needs a second pass over it; read the quantile off the card and set `sure` to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal

from msgspec import Struct

from ..completions.matchups import same_words
from ..errors import SettingError
from ..records import Completion, Dropped, Preference, Prompt, content_id
from ..verdicts.opinion import Opinion
from .hygiene import is_refusal, is_truncated, near_duplicates
from .ranking import length_terms, strengths, without_length

Rule = Literal["best_vs_worst", "best_vs_random_lower", "worst_of_5", "rho", "all_pairs", "west_of_n"]


class PreferConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How opinions become preferences."""

    rule: Rule = "best_vs_worst"
    ties: Literal["drop", "soft"] = "drop"
    """An exact tie leaves by name, or stays as a row with p = 0.5."""
    min_margin: float = 0.0
    """Pairs nearer to each other than this, on the judge's own scale, leave by name."""
    consistent_only: bool = False
    """Pairs whose verdict turned with the seats leave by name."""
    rho: float = 0.0
    """How much of the range of scores counts as the top and as the bottom, for the rule `rho`."""
    sure: float = 0.8
    """The probability that best beats worst which the rule `west_of_n` asks for."""
    length_penalty: float = 0.0
    """b in s - b * tanh((length - median) / IQR); scores, or log-odds where there are none."""
    truncated: Literal["drop", "flag"] = "drop"
    """What becomes of a pair whose better one was cut off; a rejected one that was cut off is only flagged."""
    refusals: Literal["flag", "drop"] = "flag"
    """What becomes of a pair whose better one is a refusal; drop them only where nothing should be declined."""
    near_duplicates: float = 1.0
    """Pairs that share this part of their word triples leave by name; 0 keeps them all."""
    max_length_ratio: float = 3.0
    """Pairs with one this many times as long as the other are flagged `length_gap`; 0 flags none."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            if not low <= getattr(self, name) <= high:
                raise SettingError(
                    f"{name} is {getattr(self, name)}; it lies between {low} and {high}. Write e.g. {name}: {low}"
                )


_RANGES = (
    ("rho", 0.0, 1.0),
    ("sure", 0.5, 1.0),
    ("near_duplicates", 0.0, 1.0),
    ("min_margin", 0.0, float("inf")),
    ("length_penalty", 0.0, float("inf")),
    ("max_length_ratio", 0.0, float("inf")),
)


class _Pair(Struct, frozen=True):
    """An opinion told from the better one's side."""

    opinion: Opinion
    chosen: Completion
    rejected: Completion
    p: float
    margin: float
    flags: tuple[str, ...]


def choose(
    prompt: Prompt,
    completions: Sequence[Completion],
    opinions: Sequence[Opinion],
    cfg: PreferConfig,
    judge: str = "",
) -> tuple[list[Preference], list[Dropped]]:
    """The preferences of one prompt. Preferences and dropped rows are as many as opinions."""
    dropped: list[Dropped] = []
    read = _read(completions, opinions, dropped)
    terms = length_terms(completions) if cfg.length_penalty and read else {}
    worth, told = _weighed(read, terms, cfg)
    by_id = {c.id: c for c in completions}
    pairs: list[_Pair] = []
    for opinion, p, margin in told:
        one, other = by_id[opinion.first_id], by_id[opinion.second_id]
        pair = _from_the_better_side(opinion, one, other, p, margin, worth, cfg)
        reason = _reason_to_drop(pair, cfg)
        if reason:
            dropped.append(_dropped(opinion, reason))
        else:
            pairs.append(pair)
    taken, why = _selected(pairs, worth, prompt, cfg)
    preferences = []
    for pair in pairs:
        if pair is taken or taken is None and cfg.rule == "all_pairs":
            preferences.append(_preference(prompt, pair, cfg, judge or pair.opinion.judge))
        else:
            dropped.append(_dropped(pair.opinion, why if pair is not taken else "below_threshold"))
    return preferences, dropped
