"""What answers are worth to the judge of a labelled run, and on how many prompts it saw no difference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ...preferences.decide import Learnt, combine_opinions, opinions_by_matchup, read_judges
from ...preferences.pairs import rank, shortest, usable
from ...records import Completion
from ...run import read_json
from ...stats.intervals import mean
from ...verdicts.cases import Case, read_cases
from ...verdicts.settings import JuryConfig
from ...verdicts.settle import Opinion

Worth = dict[str, float]
"""How good each answer to a prompt is, by its id, but for those about which nothing usable was said."""


def opinions_of(run: str, jury: JuryConfig) -> Iterator[tuple[Case, list[Opinion]]]:
    """Every prompt of a labelled run with what its judge, or its jury, thinks of each pair."""
    folder = Path(run)
    known = {member.name: member for member in read_judges(folder)}
    learnt = read_json(folder / "learnt.json", Learnt)
    for case in read_cases(folder):
        yield case, combine_opinions(opinions_by_matchup(case, known, learnt), learnt, jury)


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
    read, _ = usable(opinions)
    return rank(read) if read else {}


def tied(worths: Iterable[Worth]) -> float | None:
    """Of the prompts whose answers were compared and read, the share on which all of them came out level.

    A prompt with one answer, or with one that was read, compares nothing; None where no prompt compares.
    """
    level = [float(len(set(worth.values())) == 1) for worth in worths if len(worth) > 1]
    return mean(level) if level else None


def best_of(completions: Iterable[Completion], worth: Worth) -> Completion:
    """The one of most worth; of equals the shortest."""
    top = max(worth.values())
    return shortest(one for one in completions if worth.get(one.id) == top)
