"""What a round's answers are worth in the eyes of a judge: its scores, or a ranking of its pairs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from ...preferences.decide import read_judges
from ...stats.fits import sigmoid
from ...verdicts.cases import Case
from ...verdicts.judge import judge_config
from ...verdicts.settings import JuryConfig
from .candidates import Candidates
from .lessons import refuse_seats
from .rounds import Round
from .settings import JudgeSpec
from .worth import Worth, opinions_of, ranking, scores_of

SCORING = ("pointwise", "additive", "reward", "exact", "numeric", "regex", "json_schema")
"""Kinds of judges that say how good one answer is."""


class Rated(Struct, frozen=True):
    """A labelled run, and how its scores are read."""

    run: str
    jury: JuryConfig
    scored: bool
    """By one judge, answer by answer: what it says of one prompt can be compared with another's."""
    bounds: tuple[float, float] | None
    """Of the scores; None for those of a reward model, which have none."""
    flips: float | None
    """Of the matchups read in both orders, the share whose verdict followed the seat."""

    def worths(self) -> Iterator[tuple[Case, Worth]]:
        """Each prompt with the worth of its answers; those nothing usable was said about have none."""
        for case, opinions in opinions_of(self.run, self.jury):
            yield case, scores_of(case) if self.scored else ranking(case, opinions)

    def share(self, score: float) -> float:
        """A score on a scale from 0 to 1."""
        if self.bounds is None:
            return sigmoid(score)
        low, high = self.bounds
        return (score - low) / (high - low)


def rated(round: Round, among: Candidates, judge: JudgeSpec, jury: JuryConfig, step: str) -> Rated:
    """The candidates of a round as this judge sees them."""
    labelled = round.judge(among.path, judge, jury=jury, step=step)
    refuse_seats(labelled, round.loop.cfg.stop)
    members = read_judges(Path(labelled.run))
    scored = len(members) == 1 and members[0].kind == "pointwise"
    bounds: tuple[float, float] | None = (0.0, 1.0)
    if not isinstance(judge, tuple):
        one = judge_config(judge)
        kind = one.kind.partition(":")[0]
        bounds = one.bounds if kind in ("pointwise", "additive") else None if kind == "reward" else bounds
    flips = labelled.flips.value if labelled.flips else None
    return Rated(labelled.run, jury, scored, bounds, flips)
