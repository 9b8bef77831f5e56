"""A loop's folder as the audits read it: what each round's policy wrote, what the outside judge thought."""

from __future__ import annotations

from pathlib import Path

from ...audits.diversity import Generation
from ...audits.overoptimisation import Checkpoint
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


def rounds(folder: Path) -> list[Facts]:
    file = folder / "rounds.jsonl"
    return list(read_records(file, Facts)) if file.exists() else []


def _answers(folder: Path, one: Facts) -> Path:
    return folder / f"round-{one.round}" / "held_out.jsonl"


def _written(file: Path) -> dict[str, tuple[str, ...]]:
    return {row.prompt.id: tuple(one.text for one in row.new) for row in _read(file) if row.new}


def _read(file: Path) -> list[Answered]:
    return list(read_records(file, Answered)) if file.exists() else []
