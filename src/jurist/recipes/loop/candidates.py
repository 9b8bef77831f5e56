"""Answers to choose among, what they scored, and which is the best.

The best so far stands again beside the new ones, so that the best of a round is the best of all rounds,
whichever kind of judge decides; a judge that scores is not asked about it twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from ...completions.load import same_words
from ...preferences.decide import Learnt, combine_opinions, opinions_by_matchup, read_judges
from ...preferences.pairs import is_refusal, rank, shortest, usable
from ...records import Completion, Dropped, Prompt
from ...run import read_json
from ...stats.intervals import mean
from ...verdicts.cases import Case, read_cases
from ...verdicts.settings import JuryConfig
from ...verdicts.settle import Opinion

REFERENCE = "human:reference"
"""Who wrote the answer that a prompt came with."""
AnswerScores = dict[str, float]
"""How good each answer to a prompt is, by its id; those without a usable verdict have none."""


class CandidateConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Which answers may be chosen. One that was cut off never is."""

    reference: Annotated[bool, Meta(description="The prompt's reference answer is a candidate too.")] = True
    longest: Annotated[int, Meta(ge=0, description="Most characters of a candidate; 0: no limit.")] = 0
    refusals: Annotated[
        Literal["keep", "drop"], Meta(description="What to do with candidates that are refusals.")
    ] = "keep"


def candidates(
    prompt: Prompt, drawn: Sequence[Completion], best: Completion | None, cfg: CandidateConfig
) -> tuple[list[Completion], list[Dropped]]:
    """Those that may be chosen, each text once; the others with a reason."""
    known = [best] if best is not None else []
    if cfg.reference and prompt.reference:
        known.append(Completion.of(prompt.id, prompt.reference, REFERENCE))
    kept: list[Completion] = []
    dropped: list[Dropped] = []
    for one in (*known, *drawn):
        if reason := _unfit(one, kept, cfg):
            dropped.append(Dropped(one.id, "completions", reason))
        else:
            kept.append(one)
    return kept, dropped if kept else [*dropped, Dropped(prompt.id, "completions", "nobody_left")]


def _unfit(one: Completion, kept: Sequence[Completion], cfg: CandidateConfig) -> str:
    """Why an answer may not be chosen; empty when it may."""
    if any(same_words(one.text, other.text) for other in kept):
        return "identical"
    if one.finish == "length":
        return "truncated"
    if cfg.longest and len(one.text) > cfg.longest:
        return "too_long"
    return "refusal" if cfg.refusals == "drop" and is_refusal(one.text) else ""


def opinions_of(run: str, jury: JuryConfig) -> Iterator[tuple[Case, list[Opinion]]]:
    """Every prompt of a labelled run with the opinion of its judge, or its jury, about each matchup."""
    folder = Path(run)
    known = {member.name: member for member in read_judges(folder)}
    learnt = read_json(folder / "learnt.json", Learnt)
    for case in read_cases(folder):
        yield case, combine_opinions(opinions_by_matchup(case, known, learnt), learnt, jury)


def mean_scores(case: Case) -> AnswerScores:
    """The mean of a judge's scores of each answer."""
    found: dict[str, list[float]] = {}
    for verdict in case.verdicts:
        if verdict.score is not None:
            found.setdefault(verdict.first_id, []).append(verdict.score)
    return {name: round(mean(scores), 9) for name, scores in found.items()}


def ranking(case: Case, opinions: Sequence[Opinion]) -> AnswerScores:
    """Round robin: the ranking of those that met. A single answer has no other to be worse than."""
    if len(case.completions) == 1:
        return {case.completions[0].id: 0.5}
    read, _ = usable(opinions)
    return rank(read) if read else {}


def tied(all_scores: Iterable[AnswerScores]) -> float | None:
    """Of the prompts with two scored answers or more, the share on which all came out level; None of none."""
    level = [float(len(set(scores.values())) == 1) for scores in all_scores if len(scores) > 1]
    return mean(level) if level else None


def best_of(completions: Iterable[Completion], scores: Mapping[str, float]) -> Completion:
    """The one that scored highest; of equals the shortest."""
    top = max(scores.values())
    return shortest(one for one in completions if scores.get(one.id) == top)
