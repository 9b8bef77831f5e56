"""Answers to choose among, what they scored, and which is the best.

The best so far stands again beside the new ones, so that the best of a round is the best of all rounds,
whichever kind of judge decides; a judge that scores is not asked about it twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from ...completions.load import same_words
from ...preferences.decide import read_judges
from ...preferences.pairs import is_refusal
from ...records import Completion, Dropped, Prompt
from ...stats.fits import sigmoid
from ...verdicts.cases import Case
from ...verdicts.judge import judge_config
from ...verdicts.settings import JuryConfig
from .labels import (
    AnswerScores,
    LabelledRun,
    PromptAnswer,
    drawn_in,
    mean_scores,
    ranking,
    refuse_noise,
    run_opinions,
)
from .round import Round
from .settings import JudgeSpec

REFERENCE = "human:reference"
"""Who wrote the answer that a prompt came with."""


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


def gather(round: Round, drawn: str, best: Mapping[str, PromptAnswer], cfg: CandidateConfig) -> str:
    """The candidates of every prompt of the round, as a folder that can be judged."""
    lost: list[Dropped] = []

    def rows() -> Iterator[tuple[Prompt, list[Completion]]]:
        for prompt, answers, _ in drawn_in(drawn):
            kept, gone = candidates(prompt, answers, best[prompt.id][1] if prompt.id in best else None, cfg)
            lost.extend(gone)
            if kept:
                yield prompt, kept

    folder = round.write_answers("candidates", rows())
    round.write("candidates/dropped", lost)
    return folder


class ScoredRun(NamedTuple):
    """A labelled run, and how its scores are read."""

    labelled: LabelledRun
    jury: JuryConfig
    pointwise: bool
    """By one judge, answer by answer: scores of different prompts can be compared."""
    bounds: tuple[float, float] | None
    """Of the scores; None for those of a reward model, which have none."""

    def scores(self) -> Iterator[tuple[Case, AnswerScores]]:
        """Each prompt with the scores of its answers."""
        for case, opinions in run_opinions(self.labelled.run, self.jury):
            yield case, mean_scores(case) if self.pointwise else ranking(case, opinions)

    def to_unit(self, score: float) -> float:
        """A score on a scale from 0 to 1."""
        if self.bounds is None:
            return sigmoid(score)
        low, high = self.bounds
        return (score - low) / (high - low)


def score(round: Round, answers: str, judge: JudgeSpec, jury: JuryConfig, step: str) -> ScoredRun:
    """The candidates of a round, scored by this judge."""
    labelled = round.judge(step, judge, completions=answers, jury=jury)
    refuse_noise(labelled, round.loop.cfg.stop.flips)
    members = read_judges(Path(labelled.run))
    bounds: tuple[float, float] | None = (0.0, 1.0)
    if not isinstance(judge, tuple):
        one = judge_config(judge)
        kind = one.kind.partition(":")[0]
        bounds = one.bounds if kind in ("pointwise", "additive") else None if kind == "reward" else bounds
    return ScoredRun(labelled, jury, len(members) == 1 and members[0].kind == "pointwise", bounds)
