"""What a round's answers are worth in the eyes of a judge: its scores, or a ranking of its pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from ...preferences.decide import Learnt, read_members, settled
from ...preferences.pairs import ranked, readable
from ...run import read_json
from ...stats import mean, sigmoid
from ...verdicts.cases import Case, read_cases
from ...verdicts.judge import judge_config
from ...verdicts.jury import JuryConfig
from ...verdicts.opinion import Opinion
from .candidates import Candidates
from .rounds import Round
from .settings import JudgeSpec

SCORING = ("pointwise", "reward", "exact", "numeric", "regex", "json_schema")
"""Kinds of judges that say how good one answer is."""
Worth = dict[str, float]
"""How good each answer to a prompt is, by its id."""


class Rated(Struct, frozen=True):
    """A labelled run, and how its scores are read."""

    run: str
    jury: JuryConfig
    scored: bool
    """By one judge, answer by answer: what it says of one prompt can be compared with another's."""
    bounds: tuple[float, float] | None
    """Of the scores; None for those of a reward model, which have none."""

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
    members = read_members(Path(labelled.run))
    scored = len(members) == 1 and members[0].kind == "pointwise"
    bounds: tuple[float, float] | None = (0.0, 1.0)
    if not isinstance(judge, tuple):
        one = judge_config(judge)
        kind = one.kind.partition(":")[0]
        bounds = one.bounds if kind == "pointwise" else None if kind == "reward" else bounds
    return Rated(labelled.run, jury, scored, bounds)


def opinions_of(run: str, jury: JuryConfig) -> Iterator[tuple[Case, list[Opinion]]]:
    """Every prompt of a labelled run with what its judge, or its jury, thinks of each pair."""
    folder = Path(run)
    known = {member.name: member for member in read_members(folder)}
    learnt = read_json(folder / "learnt.json", Learnt)
    for case in read_cases(folder):
        yield case, settled(case, known, learnt, jury)


def scores_of(case: Case) -> Worth:
    """The mean of a judge's scores of each answer."""
    found: dict[str, list[float]] = {}
    for verdict in case.verdicts:
        if verdict.score is not None:
            found.setdefault(verdict.first_id, []).append(verdict.score)
    return {name: round(mean(scores), 9) for name, scores in found.items()}


def ranking(case: Case, opinions: Sequence[Opinion]) -> Worth:
    """Round robin: the ranking of those who met. Who is alone has nobody to be worse than."""
    if len(case.completions) == 1:
        return {case.completions[0].id: 0.5}
    read, _ = readable(opinions, {one.id: one for one in case.completions})
    return ranked(read) if read else {}
