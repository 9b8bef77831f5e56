"""What came out of one judge's run, read back from its files as a user would."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from msgspec import Struct

from ..errors import DataError
from ..records import Dropped
from ..run import read_records
from ..verdicts.cases import read_cases
from ..verdicts.settle import settle, settle_scores
from .rows import Row


class Label(Struct, frozen=True):
    """One exported preference, with the row it was made from."""

    row: Row
    chosen: str
    rejected: str
    p: float


class Outcome(Struct, frozen=True):
    rows: list[Row]
    labels: list[Label]
    dropped: Counter[str]
    settled: list[float]
    """p of each matchup that could be settled."""
    verdicts: int
    unread: int


def read_outcome(run: Path, rows: list[Row]) -> Outcome:
    by_prompt = {row.prompt: row for row in rows}
    settled: list[float] = []
    verdicts = unread = 0
    for case in read_cases(run):
        verdicts += len(case.verdicts)
        unread += sum(bool(one.unread) for one in case.verdicts)
        for matchup in case.matchups:
            scored = any(one.kind == "pointwise" for one in case.verdicts)
            opinion = (
                settle_scores(case.verdicts, matchup, (1.0, 9.0))
                if scored
                else settle(case.verdicts, matchup)
            )
            if opinion.p_first is not None:
                settled.append(opinion.p_first)
    return Outcome(
        rows,
        [_label(line, by_prompt) for line in _exported(run)],
        Counter(row.reason for row in read_records(run / "dropped.jsonl", Dropped)),
        settled,
        verdicts,
        unread,
    )


def _exported(run: Path) -> list[dict[str, Any]]:
    files = sorted((run / "export" / "trl").rglob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def _label(line: dict[str, Any], by_prompt: dict[str, Row]) -> Label:
    prompt = line["prompt"][-1]["content"]
    row = by_prompt.get(prompt)
    if row is None:
        raise DataError(f"an exported row has a prompt that was never sent: {prompt!r}")
    return Label(row, line["chosen"][-1]["content"], line["rejected"][-1]["content"], float(line["p"]))


def mismatches(seen: Outcome) -> list[str]:
    """What has to hold whatever the judge says."""
    wrong = []
    rows, labels, dropped = len(seen.rows), len(seen.labels), seen.dropped.total()
    if rows != labels + dropped:
        wrong.append(f"{rows} rows in, but {labels} labels and {dropped} dropped")
    if any(label.chosen == label.rejected for label in seen.labels):
        wrong.append("chosen equals rejected")
    if any({label.chosen, label.rejected} != label.row.texts for label in seen.labels):
        wrong.append("a label holds a text of another row")
    if any(not 0.5 <= label.p <= 1 for label in seen.labels):
        wrong.append("a label with p outside 0.5 to 1")
    if len({label.row.prompt for label in seen.labels}) != labels:
        wrong.append("a row was labelled twice")
    return wrong
