"""A case: one prompt, its completions, which of them met, and every verdict.

On disk it is a few lines in each of `prompts`, `completions`, `matchups` and `verdicts`, read together in
constant memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from itertools import islice, zip_longest
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

from msgspec import Struct

from ..errors import DataError
from ..records import Completion, Matchup, Prompt, Verdict
from ..run import Writer, read_records

NOUNS = ("prompts", "completions", "matchups", "verdicts")


class Case(Struct, frozen=True):
    """Everything about one prompt."""

    prompt: Prompt
    completions: tuple[Completion, ...]
    matchups: tuple[Matchup, ...]
    verdicts: tuple[Verdict, ...]
    paired: bool = False
    """The user's file said which two meet: each matchup is decided on its own."""


class CaseIndex(Struct, frozen=True, omit_defaults=True):
    """One line of `matchups.jsonl`: who met, and how many lines of the other files are this prompt's."""

    prompt_id: str
    completions: int
    verdicts: int
    matchups: tuple[tuple[str, str, str], ...]
    """Id, the completion given first, the completion given second."""
    paired: bool = False


P = TypeVar("P", bound=Any)
C = TypeVar("C", bound=Any)
_V = TypeVar("_V")


def key_of(name: str) -> int:
    """64 bits that stand for an id in an array, the same in every process."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


def write_case(case: Case, writers: Mapping[str, Writer]) -> None:
    writers["prompts"].add(case.prompt)
    for completion in case.completions:
        writers["completions"].add(completion)
    for verdict in case.verdicts:
        writers["verdicts"].add(verdict)
    met = tuple((one.id, one.first.id, one.second.id) for one in case.matchups)
    writers["matchups"].add(
        CaseIndex(case.prompt.id, len(case.completions), len(case.verdicts), met, case.paired)
    )


def read_cases(folder: Path) -> Iterator[Case]:
    """The cases of a run, in the order in which they were written."""
    for prompt, texts, index, verdicts in read_in_lockstep(folder, Prompt, Completion, Verdict):
        known = {one.id: one for one in texts}
        matchups = tuple(Matchup(name, prompt, known[one], known[two]) for name, one, two in index.matchups)
        yield Case(prompt, texts, matchups, verdicts, index.paired)


def read_in_lockstep(
    folder: Path, prompt_as: type[P], completion_as: type[C], verdict_as: type[_V]
) -> Iterator[tuple[P, tuple[C, ...], CaseIndex, tuple[_V, ...]]]:
    """The four files read together, each line as so much of its record as is asked for."""
    all_completions = read_records(folder / "completions.jsonl", completion_as, "completion")
    all_verdicts = read_records(folder / "verdicts.jsonl", verdict_as, "verdict")
    indexes = read_records(folder / "matchups.jsonl", CaseIndex, "matchup")
    prompts = read_records(folder / "prompts.jsonl", prompt_as, "prompt")
    number = 0
    for number, (prompt, index) in enumerate(zip_longest(prompts, indexes), 1):
        if prompt is None or index is None:
            raise _out_of_step(folder, number)
        completions = tuple(islice(all_completions, index.completions))
        verdicts = tuple(islice(all_verdicts, index.verdicts))
        met = {name for _, *two in index.matchups for name in two}
        complete = len(completions) == index.completions and len(verdicts) == index.verdicts
        if index.prompt_id != prompt.id or not complete or not met <= {one.id for one in completions}:
            raise _out_of_step(folder, number)
        yield prompt, completions, index, verdicts
    if next(all_completions, None) is not None or next(all_verdicts, None) is not None:
        raise _out_of_step(folder, number + 1)


def _out_of_step(folder: Path, number: int) -> DataError:
    return DataError(
        f"line {number} of {folder}/matchups.jsonl does not fit the other files; they were edited or cut. The"
        f" journal is whole: make them again with: jurist label --recipe {quote(f'{folder}/recipe.yaml')}"
    )
