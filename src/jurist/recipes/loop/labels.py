"""What the labelling runs of a round say: answers, preferences, scores and probabilities."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

from ...errors import DataError
from ...preferences.decide import Learnt, combine_opinions, opinions_by_matchup, read_judges
from ...preferences.pairs import rank, usable
from ...records import Completion, Dropped, Preference, Prompt
from ...run import read_json, read_records
from ...stats.intervals import mean
from ...verdicts.cases import Case, read_cases
from ...verdicts.settings import JuryConfig
from ...verdicts.settle import Opinion
from ..lines import Share, share

AnswerScores = dict[str, float]
"""How good each answer to a prompt is, by its id; those without a usable verdict have none."""


class NothingToLearn(DataError):
    """The rounds before keep what they came to; a first round has nothing to fall back on."""


class LabelledRun(Struct, frozen=True):
    """A labelling run of a round; without a judge, only its completions."""

    run: str
    tied: float | None = None
    """Of the prompts with two answers or more that were read, the share on which all came out level."""
    flips: Share | None = None
    """Of the matchups read in both orders, those whose verdict followed the position."""
    usd: float = 0.0
    seconds: float = 0.0
    why_none: str = ""
    """Where there is no label: the commonest reason, and what to do."""


class DrawnAnswers(NamedTuple):
    """A prompt with all the answers that were drawn to it, one drawn twice twice."""

    prompt: Prompt
    answers: list[Completion]
    lost: str = ""
    """Why one is missing."""


def drawn_in(run: str) -> Iterator[DrawnAnswers]:
    """The prompts of a run with the answers to each, as often as each was drawn; the run keeps it once."""
    folder = Path(run)
    lost: dict[str, list[str]] = defaultdict(list)
    answers: dict[str, list[Completion]] = defaultdict(list)
    for row in read_records(folder / "dropped.jsonl", Dropped):
        lost[row.subject_id].append(row.reason)
    for one in read_records(folder / "completions.jsonl", Completion):
        answers[one.prompt_id] += [one] * (1 + lost[one.id].count("identical"))
    for prompt in read_records(folder / "prompts.jsonl", Prompt):
        yield DrawnAnswers(prompt, answers[prompt.id], *lost[prompt.id][:1])


def preferences_of(labelled: LabelledRun, flips: float) -> list[Preference]:
    """The preferences of a labelling, if its judge read the answers and found a difference between them."""
    refuse_noise(labelled, flips)
    pairs = list(read_records(Path(labelled.run) / "preferences.jsonl", Preference))
    if labelled.why_none and labelled.tied != 1:
        raise NothingToLearn(f"nothing can be learnt from {labelled.run}: {labelled.why_none}")
    if not pairs or labelled.tied == 1:
        raise all_tied(labelled.run)
    return pairs


def refuse_noise(labelled: LabelledRun, most: float) -> None:
    """A verdict that follows the position says nothing about the answers: a coin's flip rate is a half."""
    flips = labelled.flips
    if most and flips is not None and flips.low > most:
        raise NothingToLearn(
            f"{flips.value:.0%} of the {flips.n:,} matchups read in both orders followed the position and not"
            f" the answer (stop.flips is {most:g}), so nothing is learnt from them. See them with:"
            f" jurist show {labelled.run} --flips; then name another judge, or learn all the same with:"
            " --stop.flips 0"
        )


def all_tied(run: str) -> NothingToLearn:
    """Raised where all answers came out level, or every pair was dropped."""
    return NothingToLearn(
        "the judge found no difference between the answers to any prompt, so there is nothing to learn."
        " Sample answers that differ more (k, sampling.temperature), or name another judge; see this one's"
        f" verdicts with: jurist show {run}"
    )


def run_opinions(run: str, jury: JuryConfig) -> Iterator[tuple[Case, list[Opinion]]]:
    """Every prompt of a labelled run with the opinion of its judge, or its jury, about each matchup."""
    folder = Path(run)
    known = {member.name: member for member in read_judges(folder)}
    learnt = read_json(folder / "learnt.json", Learnt)
    for case in read_cases(folder):
        yield case, combine_opinions(opinions_by_matchup(case, known, learnt), learnt, jury)


def probabilities(run: str, jury: JuryConfig) -> dict[tuple[str, str], float]:
    """For each pair of completions that was read, lesser id first: the probability that it is better."""
    opinions = (one for _, some in run_opinions(run, jury) for one in usable(some)[0])
    return {(one.first_id, one.second_id): one.p_first or 0.0 for one in opinions}


def agreement_of(ours: Mapping[Any, float], theirs: Mapping[Any, float]) -> Share | None:
    """Of the pairs that both decided, those that they decided likewise."""
    both = [(ours[pair], p) for pair, p in theirs.items() if 0.5 not in (p, ours.get(pair, 0.5))]
    return share(sum((mine > 0.5) == (p > 0.5) for mine, p in both), len(both))


def scored_cases(run: str, jury: JuryConfig) -> Iterator[tuple[Case, AnswerScores]]:
    """Each prompt of a run with the scores of its answers: the means of a judge that scores them one by one,
    else how they fared in a round robin. There a single answer has no other to be worse than."""
    single = scores_singly(run)
    for case, opinions in run_opinions(run, jury):
        read, _ = usable(opinions)
        alone = {one.id: 0.5 for one in case.completions} if len(case.completions) == 1 else {}
        yield case, mean_scores(case) if single else rank(read) if read else alone


def scores_singly(run: str) -> bool:
    """By one judge, answer by answer: then scores of different prompts can be compared."""
    return [member.kind for member in read_judges(Path(run))] == ["pointwise"]


def mean_scores(case: Case) -> AnswerScores:
    """The mean of a judge's scores of each answer."""
    found: dict[str, list[float]] = {}
    for verdict in case.verdicts:
        if verdict.score is not None:
            found.setdefault(verdict.first_id, []).append(verdict.score)
    return {name: round(mean(scores), 9) for name, scores in found.items()}


def tied(all_scores: Iterable[AnswerScores]) -> float | None:
    """Of the prompts with two scored answers or more, the share on which all came out level; None of none."""
    level = [float(len(set(scores.values())) == 1) for scores in all_scores if len(scores) > 1]
    return mean(level) if level else None
