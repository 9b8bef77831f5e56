"""Which of the pairs of one prompt is trained on. A rule is a function and a line in `RULES`.

| rule | chosen and rejected | from |
|---|---|---|
| best_vs_worst | the best and the worst | Self-Rewarding, Yuan 2024 (2401.10020) |
| best_vs_random_lower | the best and a random one below it | Tulu 3, Lambert 2024 (2411.15124) |
| worst_of_5 | the best and the worst of five random others | Xiao 2025 (2502.16825) |
| rho | the shortest near the top, the longest near the bottom | Meta-Rewarding, Wu 2024 (2407.19594) |
| west_of_n | best and worst, where the judge is sure of them | West-of-N, Pace 2024 (2401.12086) |
| all_pairs | every pair | InstructGPT, Ouyang 2022 (2203.02155) |

`west_of_n` keeps a pair when P(best beats worst) reaches `sure`. The paper sets that bar at a quantile of the
whole set, which takes a second pass: read it off the histogram on the card and set `sure` to it. It also asks
for a quantile of likelihood under the policy, which a judge cannot tell us; that half is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from ..records import Completion
from ..verdicts.settle import Opinion
from .settings import PreferConfig


class Compared(Struct, frozen=True):
    """An opinion told from the better one's side."""

    opinion: Opinion
    chosen: Completion
    rejected: Completion
    p: float
    margin: float
    flags: tuple[str, ...] = ()


Worth = Mapping[str, float]
Lot = Callable[[str], bytes]
"""A random order of completions that follows from the seed and the prompt."""
Picked = tuple[Compared, bool]
"""The pair, and whether a tie had to be broken to find it."""


def best_vs_worst(pairs: Sequence[Compared], worth: Worth, cfg: PreferConfig, lot: Lot) -> Picked:
    """The widest pair. Of equally good ones the shortest is chosen, so that a tie does not teach length."""
    mine, tied = _of_the_best(pairs, worth)
    return _worst(mine, worth, tied)


def best_vs_random_lower(pairs: Sequence[Compared], worth: Worth, cfg: PreferConfig, lot: Lot) -> Picked:
    mine, tied = _of_the_best(pairs, worth)
    lower = [pair for pair in mine if worth[pair.rejected.id] < worth[pair.chosen.id]] or mine
    return min(lower, key=lambda pair: lot(pair.rejected.id)), tied


def worst_of_5(pairs: Sequence[Compared], worth: Worth, cfg: PreferConfig, lot: Lot) -> Picked:
    """With many samples the very worst is a strange text; the worst of five is a likely mistake."""
    mine, tied = _of_the_best(pairs, worth)
    return _worst(sorted(mine, key=lambda pair: lot(pair.rejected.id))[:5], worth, tied)


def rho(pairs: Sequence[Compared], worth: Worth, cfg: PreferConfig, lot: Lot) -> Picked:
    """Chosen within rho of the top, rejected within rho of the bottom, and the lengths opposed."""
    top = max(worth[pair.chosen.id] for pair in pairs)
    bottom = min(worth[pair.rejected.id] for pair in pairs)
    room = cfg.rho * (top - bottom) + 1e-9
    mine = [pair for pair in pairs if worth[pair.chosen.id] >= top - room]
    mine = [pair for pair in mine if worth[pair.rejected.id] <= bottom + room] or _of_the_best(pairs, worth)[
        0
    ]
    return min(
        mine, key=lambda pair: (len(pair.chosen.text), -len(pair.rejected.text), pair.opinion.matchup_id)
    ), False


RULES: dict[str, Callable[[Sequence[Compared], Worth, PreferConfig, Lot], Picked]] = {
    "best_vs_worst": best_vs_worst,
    "best_vs_random_lower": best_vs_random_lower,
    "worst_of_5": worst_of_5,
    "rho": rho,
    "west_of_n": best_vs_worst,
}


def _of_the_best(pairs: Sequence[Compared], worth: Worth) -> tuple[list[Compared], bool]:
    """The pairs of the best completion that won any: all the choices there are for its rejected."""
    top = max(worth[pair.chosen.id] for pair in pairs)
    tops = {pair.chosen.id: pair.chosen for pair in pairs if worth[pair.chosen.id] == top}
    best = shortest(tops.values())
    return [pair for pair in pairs if pair.chosen.id == best.id], len(tops) > 1


def _worst(pairs: Sequence[Compared], worth: Worth, tied: bool) -> Picked:
    low = min(worth[pair.rejected.id] for pair in pairs)
    lowest = [pair for pair in pairs if worth[pair.rejected.id] == low]
    return min(lowest, key=lambda pair: pair.rejected.id), tied or len(lowest) > 1


def shortest(completions: Iterable[Completion]) -> Completion:
    """How ties for the best are broken."""
    return min(completions, key=lambda c: (len(c.text), c.id))
