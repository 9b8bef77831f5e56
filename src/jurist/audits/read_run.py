"""A run folder as a sheet, whole or stopped half-way; and matchups that findings point at, read again."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from ..errors import RunError
from ..preferences.decide import read_judges
from ..records import FILE_LABEL, Completion, Dropped, Matchup, Prompt, Verdict, is_label
from ..run import MARKER, again, newest_labels, owner_of, read_json, read_records, unfinished
from ..verdicts.cases import NOUNS, CaseIndex, read_in_lockstep
from ..verdicts.human import LabelIndex, load_weighted
from ..verdicts.settle import is_swapped
from .collect import Collector, CompletionRow, PreferenceRow, PromptRow, VerdictRow
from .sheet import Sheet

T = TypeVar("T")
Position = Literal["", "given", "swapped", "first", "second"]
EVERY: Final = 4096
"""Rows between two calls of `on_rows`."""


class RowsRead(Struct, frozen=True):
    """How far the reading is; a total of 0 is not known."""

    done: int
    total: int = 0


OnRows = Callable[[RowsRead], None]


@dataclass(frozen=True)
class AuditInput:
    """What was read, and what a reader of the findings has to know about it."""

    sheet: Sheet
    path: str
    kind: Literal["run", "loop", "file"] = "run"
    human: str = ""
    """The file of human labels."""
    human_labels: LabelIndex = field(default_factory=lambda: LabelIndex(()))
    """What is in it."""
    notes: tuple[str, ...] = ()
    summary: dict[str, Any] = field(default_factory=dict)
    """Of a run: its `summary.json`."""


class ExampleVerdict(Struct, frozen=True):
    """What a judge or a human said once."""

    who: str
    order: Position = ""
    """`given` or `swapped`; of a score, whose it is; empty of a human, and where it is not known."""
    p_first: float | None = None
    """That the example's first completion is better."""
    score: float | None = None
    unread: str = ""
    why: str = ""
    """The rationale."""


class MatchupExample(Struct, frozen=True):
    """One matchup to open: what was asked, the two completions, and all verdicts."""

    id: str
    prompt: str
    first: str
    second: str
    first_by: str = ""
    """Who wrote it, where that is known."""
    second_by: str = ""
    judges: tuple[ExampleVerdict, ...] = ()
    humans: tuple[ExampleVerdict, ...] = ()


def is_run(folder: Path) -> bool:
    """Whether it was begun as one; what there is in it is another question."""
    files = (MARKER, "journal.sqlite", *(f"{noun}.jsonl" for noun in NOUNS))
    return folder.is_dir() and any((folder / name).exists() for name in files)


def labels_of_loop(folder: Path) -> Path:
    """The labelling run of the last round that has one."""
    if found := newest_labels(folder):
        return found
    way_out = f"Go on with: jurist run {quote(f'{folder}/recipe.yaml')} --out {quote(str(folder))}"
    if owner := owner_of(folder):
        way_out = f"Process {owner} is working on it. Wait for it to end"
    raise RunError(f"no round of the loop in {folder} was labelled yet. {way_out}")


def read_run(
    folder: Path, human: str | os.PathLike[str] | None = None, on_rows: OnRows | None = None
) -> AuditInput:
    """All verdicts of a run, its labels, and the human labels of a file and of its rows."""
    absent = [f"{noun}.jsonl" for noun in NOUNS if not (folder / f"{noun}.jsonl").exists()]
    if absent:
        raise unfinished(folder, f"{folder} has no {absent[0]} yet")
    human_labels = LabelIndex(load_weighted(human) if human else ())
    collector = Collector(human_labels)
    rows = read_in_lockstep(folder, PromptRow, CompletionRow, VerdictRow)
    rows = counted_rows(rows, on_rows, count_lines(folder / "matchups.jsonl"))
    for prompt, completions, index, verdicts in rows:
        collector.add(prompt, completions, index.matchups, verdicts)
    decided = (folder / "preferences.jsonl").exists()
    if decided:
        for one in read_records(folder / "preferences.jsonl", PreferenceRow, "preference"):
            collector.add_label(one.prompt.id, one.chosen.id, one.rejected.id, one.p, one.weight)
    if (folder / "dropped.jsonl").exists():
        for row in read_records(folder / "dropped.jsonl", Dropped):
            collector.add_dropped(row)
    path = folder / "summary.json"
    summary = read_json(path, dict[str, Any]) if path.exists() else {}
    scales = {judge.name: judge.scale for judge in read_judges(folder) if judge.scale}
    sheet = replace(collector.sheet(), scales=scales)
    notes = (*_state_notes(folder, summary, decided), *label_notes(sheet, human_labels))
    return AuditInput(sheet, str(folder), "run", str(human or ""), human_labels, notes, summary)


def _state_notes(folder: Path, summary: dict[str, Any], decided: bool) -> Iterator[str]:
    if owner := owner_of(folder):
        yield f"Process {owner} is working on this run: this is about what an earlier start has left."
    elif summary.get("stopped"):
        yield f"The run stopped before its end ({summary['stopped']}): this is about what it has."
    elif not summary:
        yield "The run has no summary, so it may not be whole: this is about what it has."
    if not decided:
        yield f"No labels were made yet. Make them with: `{again(folder)}`"


def label_notes(sheet: Sheet, human_labels: LabelIndex, more_repeated: int = 0) -> Iterator[str]:
    """What is not as plain as it looks about the human labels."""
    if repeated := human_labels.repeated + more_repeated:
        yield f"Human labels by the same annotator of the same pair: {repeated:,}. The last one counts."
    if FILE_LABEL in sheet.humans:
        yield "Labels that came with the rows count as human labels here."


def counted_rows(rows: Iterable[T], on_rows: OnRows | None, total: int = 0) -> Iterator[T]:
    """The same rows; `on_rows` is called now and then."""
    done = 0
    for done, row in enumerate(rows, 1):
        yield row
        if on_rows and done % EVERY == 0:
            on_rows(RowsRead(done, total))
    if on_rows:
        on_rows(RowsRead(done, total))


def count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def matchups_of_run(folder: Path, wanted: Collection[str]) -> Iterator[tuple[Matchup, list[Verdict]]]:
    """These matchups, with the verdicts about their prompt. Lines of other prompts are not decoded."""
    left = set(wanted)
    index_of = msgspec.json.Decoder(CaseIndex).decode
    files = {noun: (folder / f"{noun}.jsonl").open("rb") for noun in NOUNS}
    try:
        for line, asked in zip(files["matchups"], files["prompts"], strict=False):
            index = index_of(line)
            texts = islice(files["completions"], index.completions)
            lines = islice(files["verdicts"], index.verdicts)
            if left.isdisjoint(name for name, _, _ in index.matchups):
                deque(texts, maxlen=0)
                deque(lines, maxlen=0)
                continue
            prompt = msgspec.json.decode(asked, type=Prompt)
            known = {one.id: one for one in (msgspec.json.decode(text, type=Completion) for text in texts)}
            verdicts = [msgspec.json.decode(one, type=Verdict) for one in lines]
            for name, first, second in index.matchups:
                if name in left:
                    left.remove(name)
                    yield Matchup(name, prompt, known[first], known[second]), verdicts
            if not left:
                break
    finally:
        for file in files.values():
            file.close()


def example_of(matchup: Matchup, verdicts: Iterable[Verdict], more: Iterable[Verdict] = ()) -> MatchupExample:
    """Verdicts about anything else are left out."""
    judges, humans = list[ExampleVerdict](), list[ExampleVerdict]()
    for one in (*verdicts, *more):
        if one.matchup_id in ("", matchup.id) and (shown := _example_verdict(one, matchup)):
            (humans if is_label(one.judge) else judges).append(shown)
    return MatchupExample(
        matchup.id,
        prompt_text(matchup.prompt),
        matchup.first.text,
        matchup.second.text,
        matchup.first.policy,
        matchup.second.policy,
        tuple(judges),
        tuple(humans),
    )


def prompt_text(prompt: Prompt) -> str:
    """As one text; of a conversation, who said what."""
    turns = prompt.messages
    return turns[0].content if len(turns) == 1 else "\n\n".join(f"{one.role}: {one.content}" for one in turns)


def _example_verdict(one: Verdict, matchup: Matchup) -> ExampleVerdict | None:
    ids, p = (matchup.first.id, matchup.second.id), one.p_first
    order: Position = ""
    if one.kind == "pointwise":
        if one.first_id not in ids:
            return None
        order = "first" if one.first_id == ids[0] else "second"
    elif one.first_id:
        if {one.first_id, one.second_id} != set(ids):
            return None
        swapped = is_swapped(one, matchup)
        order = "" if is_label(one.judge) else "swapped" if swapped else "given"
        p = 1 - p if swapped and p is not None else p
    return ExampleVerdict(one.judge, order, p, one.score, one.unread, one.rationale)
