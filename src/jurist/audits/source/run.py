"""A run folder as a sheet, whole or stopped half-way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...records import Dropped
from ...run import again, read_json, read_records, unfinished
from ...verdicts.cases import NOUNS, read_in_lockstep
from ..collect import Collector, CompletionRow, PreferenceRow, PromptRow, VerdictRow
from .read import Read, Watch, nobody, people_of, watched


def is_run(folder: Path) -> bool:
    """Whether it was begun as one; what there is in it is another question."""
    return any((folder / f"{noun}.jsonl").exists() for noun in NOUNS) or (folder / "journal.sqlite").exists()


def read_run(folder: Path, human: str | os.PathLike[str] | None = None, watch: Watch = nobody) -> Read:
    """All that was said in a run; people's labels are from a file of theirs, and from its rows."""
    absent = [f"{noun}.jsonl" for noun in NOUNS if not (folder / f"{noun}.jsonl").exists()]
    if absent:
        raise unfinished(folder, f"{folder} has no {absent[0]} yet")
    people = people_of(human)
    collector = Collector(people)
    steps = read_in_lockstep(folder, PromptRow, CompletionRow, VerdictRow)
    for prompt, answers, docket, said in watched(steps, watch, _lines(folder / "matchups.jsonl")):
        collector.add(prompt, answers, docket.matchups, said)
    notes = []
    if (folder / "preferences.jsonl").exists():
        for preference in read_records(folder / "preferences.jsonl", PreferenceRow, "preference"):
            collector.add_label(preference)
    else:
        notes.append(f"No labels were made yet. Make them with: {again(folder)}")
    if (folder / "dropped.jsonl").exists():
        for row in read_records(folder / "dropped.jsonl", Dropped):
            collector.add_dropped(row)
    facts = _summary(folder)
    if facts.get("stopped"):
        notes.insert(0, f"The run stopped before its end ({facts['stopped']}): this is about what it has.")
    elif not facts:
        notes.insert(0, "The run has no summary, so it may not be whole: this is about what it has.")
    return Read(
        collector.sheet(),
        str(folder),
        human=str(human or ""),
        labelled=len(people),
        found=people.found,
        notes=tuple(notes),
        spent=facts.get("usd"),
    )


def _summary(folder: Path) -> dict[str, Any]:
    path = folder / "summary.json"
    return read_json(path, dict[str, Any]) if path.exists() else {}


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
