"""A loop's folder as the audits read it: what each round's policy wrote, what the outside judge thought."""

from __future__ import annotations

from pathlib import Path

from ...audits.collect import Collector
from ...audits.diversity import Generation
from ...audits.overoptimisation import Checkpoint
from ...audits.seen import Heard
from ...audits.sheet import Sheet
from ...records import Completion, Matchup
from ...run import read_records
from .compare import Answered
from .stopping import Facts, checkpoint


def generations(folder: Path) -> list[Generation]:
    """The start first, where it was looked at; then round by round."""
    found = (
        [Generation("start", _written(start))]
        if (start := folder / "round-0/held_out.jsonl").exists()
        else []
    )
    for one in rounds(folder):
        if written := _written(_answers(folder, one)):
            found.append(Generation(f"round {one.round}", written, one.generation, one.synthetic))
    return found


def checkpoints(folder: Path) -> list[Checkpoint]:
    """The rounds that were compared with the start by a judge from outside."""
    found = []
    for one in rounds(folder):
        said = {row.prompt.id: row.p - 0.5 for row in _read(_answers(folder, one)) if row.p is not None}
        found.append(checkpoint(one, said))
    return [one for one in found if one is not None]


def looked(folder: Path) -> Sheet:
    """What the outside judge said of each round's answers beside those of the start."""
    collector = Collector()
    for one in rounds(folder):
        for row in _read(_answers(folder, one)):
            if row.old is None or row.p is None:
                continue
            old = Completion.of(row.prompt.id, row.old.text, "start")
            new = Completion.of(row.prompt.id, row.new[0].text, f"round {one.round}")
            name = Matchup.of(row.prompt, old, new).id
            said = Heard("the outside judge", name, old.id, new.id, p_first=1 - row.p)
            collector.add(row.prompt, (old, new), ((name, old.id, new.id),), (said,))
    return collector.sheet()


def rounds(folder: Path) -> list[Facts]:
    file = folder / "rounds.jsonl"
    return list(read_records(file, Facts)) if file.exists() else []


def _answers(folder: Path, one: Facts) -> Path:
    return folder / f"round-{one.round}" / "held_out.jsonl"


def _written(file: Path) -> dict[str, tuple[str, ...]]:
    return {row.prompt.id: tuple(one.text for one in row.new) for row in _read(file) if row.new}


def _read(file: Path) -> list[Answered]:
    return list(read_records(file, Answered)) if file.exists() else []
