"""Whom the best answer to a prompt is chosen among: what was drawn, the reference, the best so far.

The best so far stands again beside the new ones, so that the best of a round is the best of all rounds,
whichever kind of judge decides; a judge that scores is not asked about it twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from ...completions.load import same_words
from ...preferences.pairs import is_refusal
from ...records import Completion, Dropped, Prompt
from ...run import read_records
from .labelling import Sampled
from .rounds import Round, Target

REFERENCE = "human:reference"
"""Who wrote the answer that a prompt came with."""


class CandidateConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Which answers may be chosen. One that was cut off never is."""

    reference: Annotated[bool, Meta(description="The prompt's reference answer is a candidate too.")] = True
    longest: Annotated[int, Meta(ge=0, description="Most characters of a candidate; 0: no limit.")] = 0
    refusals: Annotated[
        Literal["keep", "drop"], Meta(description="What to do with candidates that are refusals.")
    ] = "keep"


class Candidates(Struct, frozen=True):
    """A folder with prompts, completions and dropped rows, to be judged."""

    folder: str

    @property
    def path(self) -> Path:
        return Path(self.folder)


def candidates(
    prompt: Prompt, drawn: Sequence[Completion], best: Completion | None, cfg: CandidateConfig
) -> tuple[list[Completion], list[Dropped]]:
    """Those that may be chosen, each text once; the others by name."""
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
    return kept, dropped


def _unfit(one: Completion, kept: Sequence[Completion], cfg: CandidateConfig) -> str:
    """Why an answer may not be chosen; empty when it may."""
    if any(same_words(one.text, other.text) for other in kept):
        return "identical"
    if one.finish == "length":
        return "truncated"
    if cfg.longest and len(one.text) > cfg.longest:
        return "too_long"
    return "refusal" if cfg.refusals == "drop" and is_refusal(one.text) else ""


def gather(round: Round, wrote: Sampled, best: Mapping[str, Target], cfg: CandidateConfig) -> Candidates:
    """The candidates of every prompt of the round, as a folder that can be judged."""
    nouns = [f"candidates/{noun}" for noun in ("prompts", "completions", "dropped")]

    def work() -> Candidates:
        with round.writing(*nouns) as (asked, answers, gone):
            for prompt, drawn in written(Path(wrote.run)):
                standing = best[prompt.id][1] if prompt.id in best else None
                kept, lost = candidates(prompt, drawn, standing, cfg)
                if kept:
                    asked.add(prompt)
                else:
                    lost.append(Dropped(prompt.id, "completions", "nobody_left"))
                for one in kept:
                    answers.add(one)
                for row in lost:
                    gone.add(row)
        return Candidates(str(round.path / "candidates"))

    return round.loop.once(round.number, "candidates", Candidates, work)


def some_of(round: Round, run: str, n: int) -> Candidates:
    """The first prompts of a run that have two answers or more, with all their answers."""

    def work() -> Candidates:
        rows = [(prompt, drawn) for prompt, drawn in written(Path(run)) if len(drawn) > 1][:n]
        with round.writing("watched/prompts", "watched/completions") as (asked, answers):
            for prompt, drawn in rows:
                asked.add(prompt)
                for one in drawn:
                    answers.add(one)
        return Candidates(str(round.path / "watched"))

    return round.loop.once(round.number, "watched", Candidates, work)


def written(run: Path) -> Iterator[tuple[Prompt, list[Completion]]]:
    """The prompts of a run with what was written for each; none, where every draw failed."""
    parts = groupby(read_records(run / "completions.jsonl", Completion), key=attrgetter("prompt_id"))
    name, drawn = next(parts, ("", iter(())))
    for prompt in read_records(run / "prompts.jsonl", Prompt):
        if prompt.id == name:
            yield prompt, list(drawn)
            name, drawn = next(parts, ("", iter(())))
        else:
            yield prompt, []
