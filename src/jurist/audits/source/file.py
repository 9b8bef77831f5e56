"""Anybody's file of pairs as a sheet: a prompt and two answers a row, and what a judge or people said.

Rows about the same two answers belong together, whichever way round they stand: several judges, several
people, both orders. What the columns may be called stands in `columns.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from ...completions.answers import LabelCoding, label_coding, pair_columns, pair_of
from ...errors import DataError
from ...prompts.rows import Drop, OnError, for_shell, ignore, parse_rows
from ...records import HUMAN_PREFIX, Completion, Matchup, content_id, is_label
from ..collect import Collector, CompletionRow, IdRow, PreferenceRow, PromptRow, VerdictRow
from ..sheet import Array, Sheet
from ..words import count
from .columns import OURS, Plan, number, people_in, scores_in, share, sorted_out, winners_in, words_of
from .read import Read, Watch, nobody, people_of, watched

NAMELESS = "unnamed"
"""The judge of a file that does not name its judge."""
UNASKED: Final = "(the file has no prompts)"
"""How a prompt begins that only tells its pair from others."""


class Row(NamedTuple):
    """One row of a file."""

    matchup: Matchup
    heard: tuple[VerdictRow, ...]
    p: float | None
    """The label that the row is: how sure that the matchup's first is better."""
    weight: float
    seated: bool
    """Whether the row says, or its columns do, who sat where."""
    ordered: bool
    """Whether it says so in a column of its own."""


def read_file(
    source: str | Path,
    human: str | os.PathLike[str] | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    on_error: OnError = "stop",
    label_values: Mapping[Any, str] | None = None,
    watch: Watch = nobody,
) -> Read:
    """Every row that compares two answers, with all that was said about them."""
    people = people_of(human)
    collector = Collector(people)
    seated, ordered, judged = True, False, False
    unasked = 0
    rows = rows_of(source, columns, on_error, label_values, collector.add_dropped)
    for row in watched(rows, watch, _lines(Path(source))):
        matchup, prompt = row.matchup, row.matchup.prompt
        answers = tuple(
            CompletionRow(one.id, one.text, one.policy) for one in (matchup.first, matchup.second)
        )
        seats = ((matchup.id, matchup.first.id, matchup.second.id),)
        collector.add(PromptRow(prompt.id, prompt.domain, prompt.stakes), answers, seats, row.heard)
        unasked += prompt.messages[0].content.startswith(UNASKED)
        if row.p is not None:
            asked, first, second = (IdRow(one.id) for one in (prompt, matchup.first, matchup.second))
            collector.add_label(PreferenceRow(asked, first, second, row.p, row.weight))
        if any(one.matchup_id and not is_label(one.judge) for one in row.heard):
            seated, ordered, judged = seated and row.seated, ordered or row.ordered, True
    sheet = collector.sheet()
    if not len(sheet.matchups):
        raise DataError(_nothing(source, sheet.dropped))
    notes = []
    if judged and seated and not ordered:
        notes.append(
            "The file does not say in which order the judge saw the answers: the first is taken to have"
            " had the first seat. If it did not, add a column: swapped."
        )
    if unasked:
        notes.append(
            f"{count(unasked, 'row')} had no prompts: each pair counts as a prompt of its own, though several"
            " may have answered one."
        )
    return Read(
        _once(replace(sheet, positions_known=seated)),
        str(source),
        "file",
        str(human or ""),
        len(people),
        people.found,
        tuple(notes),
    )


def rows_of(
    source: str | Path,
    columns: Mapping[str, str] | None,
    on_error: OnError,
    label_values: Mapping[Any, str] | None = None,
    dropped: Drop = ignore,
) -> Iterator[Row]:
    """The rows that can be used; those that cannot are told to `dropped`, by name."""
    coding = label_coding(source, columns, label_values, winners_in)

    def parse(row: dict[str, Any]) -> Row:
        return row_of(row, coding)

    return parse_rows(source, parse, OURS, "completions", columns=columns, on_error=on_error, dropped=dropped)


def row_of(row: dict[str, Any], coding: LabelCoding) -> Row:
    plan, rest, said = sorted_out(row)
    prompt, first, second, labelled = pair_of(_asked(rest))
    chosen = labelled is not None
    policies = first.policy, second.policy
    matchup = Matchup.of(prompt, first, second)
    p: float | None = None
    if chosen:
        # The better one stands first in such a file: as seats, that would tell on it.
        known = share(said.get("p_first"))
        if plan.one_order == "p_first":
            plan = plan._replace(one_order="")
        p = 1.0 if known is None else known
        if second.id < first.id:
            matchup, p = matchup.swapped(), 1.0 - p
    weight = number(said.get("weight"))
    return Row(
        matchup,
        tuple(_heard(matchup.id, first, second, plan, said, policies, coding)),
        p,
        1.0 if weight is None else weight,
        plan.ordered or not chosen,
        plan.ordered,
    )


def _asked(row: dict[str, Any]) -> dict[str, Any]:
    """With a prompt of its own where a pair of texts is all there is: no column left could be one."""
    seats = pair_columns(row)
    ours = {*(seats or ()), "policy", "domain", "id"}
    if seats is None or any(isinstance(row[name], str | list | dict) for name in row.keys() - ours):
        return row
    texts = [row[seats[0]], row[seats[1]]]
    if not all(isinstance(text, str) and not text.startswith("\n\nHuman:") for text in texts):
        return row
    return {**row, "prompt": f"{UNASKED} {content_id('unasked', sorted(texts))[:12]}"}


def _heard(
    name: str,
    first: Completion,
    second: Completion,
    plan: Plan,
    said: dict[str, Any],
    policies: tuple[str, str],
    coding: LabelCoding,
) -> Iterator[VerdictRow]:
    judge = str(said.get("judge") or NAMELESS)
    usd = (number(said["usd"]) or 0.0) if "usd" in said else 0.0
    words = list(words_of(plan, said, policies, coding))
    for word in words:
        seats = (second.id, first.id) if word.turned else (first.id, second.id)
        p = 1.0 - word.p if word.turned and word.p is not None else word.p
        yield VerdictRow(
            judge,
            name,
            *seats,
            "swapped" if word.turned else "given",
            p,
            unread=word.unread,
            cost=usd / len(words),
        )
    if words:
        usd = 0.0
    for completion, score in zip((first, second), scores_in(said) or (), strict=False):
        unread = "no_score" if score is None else ""
        yield VerdictRow(judge, "", completion.id, score=score, unread=unread, cost=usd / 2)
    for who, p in people_in(plan, said, policies, coding):
        yield VerdictRow(HUMAN_PREFIX + who, name, first.id, second.id, p_first=p)


def _once(sheet: Sheet) -> Sheet:
    """Each person and each label once a matchup, the last one counting."""
    rows = max(len(sheet.matchups), 1)
    said, labels = sheet.human, sheet.labels
    spoke = _last(said.who.astype(np.int64) * rows + said.matchup)
    decided = _last(labels.matchup)
    return replace(
        sheet,
        human=replace(
            said,
            who=said.who[spoke],
            matchup=said.matchup[spoke],
            p=said.p[spoke],
            weight=said.weight[spoke],
        ),
        labels=replace(
            labels, matchup=labels.matchup[decided], p=labels.p[decided], weight=labels.weight[decided]
        ),
    )


def _last(names: Array) -> Array:
    """The rows at which each name stands for the last time."""
    _, place = np.unique(names[::-1], return_index=True)
    rows: Array = np.sort(len(names) - 1 - place)
    return rows


def _nothing(source: str | Path, dropped: Mapping[str, int]) -> str:
    out = ", ".join(f"{reason} {n:,}" for reason, n in dropped.items())
    look = f"Look at it with: head -n 3 {for_shell(source)}"
    return f"{source} has no pair of answers{out and f'; left out: {out}'}. {look}"


def _lines(path: Path) -> int:
    """Rows of a file that has one a line; of others it is not known before they are read."""
    if path.suffix not in (".jsonl", ".csv") or not path.is_file():
        return 0
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
