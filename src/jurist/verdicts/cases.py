"""A case: one prompt, its completions, who met whom, and all that was said.

On disk it is a few lines in each of `prompts`, `completions`, `matchups` and `verdicts`, read together, in
step, in constant memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice, zip_longest
from pathlib import Path
from typing import Protocol, TypeVar

from msgspec import Struct

from ..errors import DataError
from ..records import Completion, Matchup, Prompt, Verdict
from ..run import read_records

NOUNS = ("prompts", "completions", "matchups", "verdicts")


class Case(Struct, frozen=True):
    """Everything about one prompt."""

    prompt: Prompt
    completions: tuple[Completion, ...]
    matchups: tuple[Matchup, ...]
    verdicts: tuple[Verdict, ...]
    paired: bool = False
    """The user's file said who meets whom: each matchup is decided on its own."""


class CaseIndex(Struct, frozen=True, omit_defaults=True):
    """One line of `matchups.jsonl`: who met whom, and how many lines of the other files are this prompt's."""

    prompt_id: str
    completions: int
    verdicts: int
    matchups: tuple[tuple[str, str, str], ...]
    """Id, the completion given first, the completion given second."""
    paired: bool = False


class RecordSink(Protocol):
    def add(self, record: Struct) -> None: ...


class HasId(Protocol):
    @property
    def id(self) -> str: ...


def write_case(case: Case, writers: Mapping[str, RecordSink]) -> None:
    writers["prompts"].add(case.prompt)
    for completion in case.completions:
        writers["completions"].add(completion)
    for verdict in case.verdicts:
        writers["verdicts"].add(verdict)
    seats = tuple((one.id, one.first.id, one.second.id) for one in case.matchups)
    writers["matchups"].add(
        CaseIndex(case.prompt.id, len(case.completions), len(case.verdicts), seats, case.paired)
    )


P = TypeVar("P", bound=HasId)
C = TypeVar("C", bound=HasId)
V = TypeVar("V")


def read_cases(folder: Path) -> Iterator[Case]:
    """The cases of a run, in the order in which they were written."""
    for prompt, texts, docket, said in read_in_lockstep(folder, Prompt, Completion, Verdict):
        known = {one.id: one for one in texts}
        met = tuple(Matchup(name, prompt, known[one], known[two]) for name, one, two in docket.matchups)
        yield Case(prompt, texts, met, said, docket.paired)


def read_in_lockstep(
    folder: Path, prompt_as: type[P], completion_as: type[C], verdict_as: type[V]
) -> Iterator[tuple[P, tuple[C, ...], CaseIndex, tuple[V, ...]]]:
    """The four files read together, each line as so much of its record as is asked for."""
    completions = read_records(folder / "completions.jsonl", completion_as, "completion")
    verdicts = read_records(folder / "verdicts.jsonl", verdict_as, "verdict")
    dockets = read_records(folder / "matchups.jsonl", CaseIndex, "matchup")
    prompts = read_records(folder / "prompts.jsonl", prompt_as, "prompt")
    number = 0
    for number, (prompt, docket) in enumerate(zip_longest(prompts, dockets), 1):
        if prompt is None or docket is None:
            raise _out_of_step(folder, number)
        texts = tuple(islice(completions, docket.completions))
        said = tuple(islice(verdicts, docket.verdicts))
        known = {one.id for one in texts}
        if docket.prompt_id != prompt.id or len(said) != docket.verdicts or len(texts) != docket.completions:
            raise _out_of_step(folder, number)
        if not all(one in known and two in known for _, one, two in docket.matchups):
            raise _out_of_step(folder, number)
        yield prompt, texts, docket, said
    if next(completions, None) is not None or next(verdicts, None) is not None:
        raise _out_of_step(folder, number + 1)


def _out_of_step(folder: Path, number: int) -> DataError:
    return DataError(
        f"line {number} of {folder}/matchups.jsonl does not fit the other files; they were edited or cut."
        f" The journal is whole: make them again with: jurist label --recipe {folder}/recipe.yaml"
    )
