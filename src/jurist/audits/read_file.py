"""Anybody's file of pairs as a sheet: a prompt and two answers a row, and what a judge or humans said of them.

| column | also known as | what it says |
|---|---|---|
| `winner` | label, preference, verdict, choice | the better answer, by the column it stands in: first, second, tie; a, b; 1, 2; model_a; the policy's name; a probability of the first |
| `p_first` | p | the judge's probability that the first is better |
| `better` | | the place of the better answer, counted from 0: 0 is the first, 1 the second |
| `first_score`, `second_score` | score_a, score_b; score1, score2; score_chosen, score_rejected | what the judge gave to each answer alone |
| `winner_given`, `winner_swapped` | | a winner for each order in which the judge saw the two; it names a column, not a position |
| `p_given`, `p_swapped` | | the same as probabilities of the first column |
| `position_given`, `position_swapped` | verdict_ab, verdict_ba; winner_ab, winner_ba | the position that the judge chose as it saw them: swapped, `a` is the second column |
| `swapped` | is_swapped, swap, order | whether the judge of this row saw the second column first: true, false; given, swapped; ab, ba |
| `judge` | judge_model, annotator, evaluator | who judged; one named human:NAME is a human |
| `human` | human_label, human_winner, human_preference, gold, gold_label | a human's winner; human_1, annotator1 and so on: one column for each human |
| `domain` | category, subset, section, task | what the prompt is about |
| `usd` | cost | what the verdict cost |

Rows about the same two answers belong together, whichever way round they stand: several judges, several
humans, both orders.
"""  # noqa: E501

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from ..completions.answers import LabelCoding, label_coding, pair_columns, pair_of
from ..errors import DataError
from ..prompts.load import COLUMNS
from ..prompts.rows import SKIP, BadRow, Drop, OnError, clip, for_shell, ignore, parse_rows
from ..records import HUMAN_PREFIX, Completion, Matchup, Verdict, content_id, is_label
from ..verdicts.human import LabelIndex, load_weighted
from .collect import Collector
from .finding import count
from .read_run import (
    AuditInput,
    OnRows,
    count_lines,
    counted_rows,
    is_run,
    label_notes,
    labels_of_loop,
    matchups_of_run,
    read_run,
)
from .sheet import Array, Sheet

UNNAMED: Final = "unnamed"
"""The judge of a file that does not name its judge."""
NO_PROMPT: Final = "(the file has no prompts)"
"""How a prompt begins that only tells its pair from others."""
ALIASES: Final = {
    "winner": ("winner", "label", "preference", "verdict", "choice"),
    "p_first": ("p_first", "p"),
    "better": ("better",),
    "first_score": ("first_score", "score_a", "score1", "score_chosen", "chosen_score"),
    "second_score": ("second_score", "score_b", "score2", "score_rejected", "rejected_score"),
    "winner_given": ("winner_given",),
    "winner_swapped": ("winner_swapped", "winner_turned"),
    "p_given": ("p_given",),
    "p_swapped": ("p_swapped", "p_turned"),
    "position_given": ("position_given", "seat_given", "verdict_ab", "winner_ab"),
    "position_swapped": ("position_swapped", "seat_turned", "verdict_ba", "winner_ba"),
    "swapped": ("swapped", "is_swapped", "swap", "order"),
    "judge": ("judge", "judge_model", "annotator", "evaluator"),
    "human": ("human", "human_label", "human_winner", "human_preference", "gold", "gold_label"),
    "domain": ("domain", "category", "subset", "section", "task"),
    "usd": ("usd", "cost"),
    "weight": ("weight",),
}
"""Ours, and theirs by preference. The names with `turned` and `seat` are those of earlier versions."""
IN_ONE_ORDER: Final = ("winner", "p_first", "better")
"""Columns with a verdict whose order `swapped` tells."""
HUMAN_COLUMN: Final = re.compile(r"(human|annotator|person)_?\d+")
RENAMABLE: Final = COLUMNS | {
    *ALIASES,
    "first_policy",
    "second_policy",
    *(f"human_{n}" for n in range(1, 10)),
}
"""What `--columns.OURS THEIRS` may name."""
SWAPPED: Final = {
    **dict.fromkeys(("true", "1", "yes", "swapped", "turned", "ba"), True),
    **dict.fromkeys(("false", "0", "no", "given", "ab", ""), False),
}
COLUMNS_AS_SHOWN: Final = (
    "The file does not say which answer the judge saw first: it is taken to be the first column. If it was"
    " not, add a column: swapped."
)
NO_VERDICT: Final = re.compile(r"|none|null|nan|n/a|error|invalid|unread|unknown|refused|-1")
"""What stands where a judge gave no answer."""


class Layout(NamedTuple):
    """What is to be done with rows that have these columns."""

    theirs: dict[str, str]
    """Their name of each of our columns."""
    rest: tuple[str, ...]
    humans: tuple[str, ...]
    verdicts: tuple[str, ...]
    """Our names of the columns with a verdict."""
    ordered: bool
    """Whether a column says which answer the judge saw first."""


class PairRow(NamedTuple):
    """One row of a file."""

    matchup: Matchup
    verdicts: tuple[Verdict, ...]
    p: float | None
    """Of a row with a chosen answer, which is a label: that the matchup's first is better."""
    weight: float
    ordered: bool
    """Whether it says which answer the judge saw first."""


def read_source(
    source: str | Path,
    human: str | os.PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
    on_error: OnError = "stop",
    label_values: Mapping[Any, str] | None = None,
    on_rows: OnRows | None = None,
) -> AuditInput:
    """A run folder, the last labels of a loop, or every row of a file that compares two answers."""
    path = Path(source)
    if (path / "loop.json").exists():
        return replace(read_run(labels_of_loop(path), human, on_rows), kind="loop")
    if is_run(path):
        return read_run(path, human, on_rows)
    human_labels = LabelIndex(load_weighted(human) if human else ())
    collector = Collector(human_labels)
    known, ordered, judged, no_prompt = True, False, False, 0
    rows = pair_rows(source, columns, on_error, label_values, collector.add_dropped)
    total = count_lines(path) if path.suffix in (".jsonl", ".csv") and path.is_file() else 0
    for row in counted_rows(rows, on_rows, total):
        prompt, first, second = row.matchup.prompt, row.matchup.first, row.matchup.second
        collector.add(prompt, (first, second), ((row.matchup.id, first.id, second.id),), row.verdicts)
        no_prompt += prompt.messages[0].content.startswith(NO_PROMPT)
        if row.p is not None:
            collector.add_label(prompt.id, first.id, second.id, row.p, row.weight)
        if any(one.matchup_id and not is_label(one.judge) for one in row.verdicts):
            # Of rows with a chosen answer it is not the first column.
            known, ordered, judged = known and (row.ordered or row.p is None), ordered or row.ordered, True
    sheet, notes = _repeats_merged(collector.sheet(), human_labels)
    if not len(sheet.matchups):
        out = ", ".join(f"{reason} {n:,}" for reason, n in sheet.dropped.items())
        look = f"Look at it with: head -n 3 {for_shell(source)}"
        raise DataError(f"{source} has no pair of answers{out and f'; left out: {out}'}. {look}")
    if judged and known and not ordered:
        notes.append(COLUMNS_AS_SHOWN)
    if no_prompt:
        notes.append(f"{count(no_prompt, 'row')} had no prompts: each pair counts as a prompt of its own.")
    sheet = replace(sheet, positions_known=known)
    return AuditInput(sheet, str(source), "file", str(human or ""), human_labels, tuple(notes))


def matchups_of(
    read: AuditInput,
    wanted: Collection[str],
    columns: Mapping[str, str] | None = None,
    label_values: Mapping[Any, str] | None = None,
) -> Iterable[tuple[Matchup, list[Verdict]]]:
    """Matchups by id with their texts, which no sheet holds, and all that was said of them: read again."""
    if read.kind != "file":
        return matchups_of_run(Path(read.path), wanted)
    found: dict[str, tuple[Matchup, list[Verdict]]] = {}
    for row in pair_rows(read.path, columns, "drop", label_values):
        if row.matchup.id in wanted:
            found.setdefault(row.matchup.id, (row.matchup, []))[1].extend(row.verdicts)
    return found.values()


def pair_rows(
    source: str | Path,
    columns: Mapping[str, str] | None,
    on_error: OnError,
    label_values: Mapping[Any, str] | None = None,
    dropped: Drop = ignore,
) -> Iterator[PairRow]:
    """The rows that can be used; `dropped` is called with the others."""
    parse = partial(parse_pair, coding=label_coding(source, columns, label_values, _winner_columns))
    how: dict[str, Any] = {"columns": columns, "on_error": on_error, "dropped": dropped}
    return parse_rows(source, parse, RENAMABLE, "completions", **how)


def parse_pair(row: dict[str, Any], coding: LabelCoding) -> PairRow:
    layout = layout_of(tuple(row))
    ours = {name: row[theirs] for name, theirs in layout.theirs.items()}
    rest = {name: row[name] for name in layout.rest}
    if isinstance(ours.get("domain"), str | int):
        rest["domain"] = ours["domain"]
    prompt, first, second, chosen = pair_of(_with_prompt(rest))
    matchup, p = Matchup.of(prompt, first, second), None
    if chosen is not None:
        known = _number(ours.get("p_first"), most=1.0)
        layout = layout._replace(verdicts=tuple(name for name in layout.verdicts if name != "p_first"))
        p = 1.0 if known is None else known
        # The better one stands first in such a file; as a position, that would give it away.
        if second.id < first.id:
            matchup, p = matchup.swapped(), 1.0 - p
    verdicts = tuple(_verdicts_in(matchup.id, first, second, layout, ours, coding))
    weight = _number(ours.get("weight"))
    return PairRow(matchup, verdicts, p, 1.0 if weight is None else weight, layout.ordered)


@lru_cache(256)
def layout_of(columns: tuple[str, ...]) -> Layout:
    theirs = {}
    for ours, names in ALIASES.items():
        if name := next((one for one in names if one in columns), ""):
            theirs[ours] = name
    humans = tuple(name for name in columns if HUMAN_COLUMN.fullmatch(name))
    # Of several ways to say the same the first one counts.
    ways = (
        IN_ONE_ORDER,
        ("position_given", "winner_given", "p_given"),
        ("position_swapped", "winner_swapped", "p_swapped"),
    )
    return Layout(
        theirs | {name: name for name in humans},
        tuple(name for name in columns if name not in {*theirs.values(), *humans}),
        (*(("human",) if "human" in theirs else ()), *humans),
        tuple(name for way in ways if (name := next((one for one in way if one in theirs), ""))),
        "swapped" in theirs or any(name in theirs for name in ways[2]),
    )


def _winner_columns(row: dict[str, Any]) -> list[str]:
    """The columns that name the better answer, under the names they have in the file."""
    layout = layout_of(tuple(row))
    named = (one for one in layout.theirs if one in layout.humans or one.startswith(("winner", "position")))
    return [layout.theirs[one] for one in named]


def _with_prompt(row: dict[str, Any]) -> dict[str, Any]:
    """With a prompt of its own where a pair of texts is all there is: no column left could be one."""
    pair = pair_columns(row)
    ours = {*(pair or ()), "policy", "domain", "id"}
    if pair is None or any(isinstance(row[name], str | list | dict) for name in row.keys() - ours):
        return row
    texts = [row[pair[0]], row[pair[1]]]
    if not all(isinstance(text, str) and not text.startswith("\n\nHuman:") for text in texts):
        return row
    return {**row, "prompt": f"{NO_PROMPT} {content_id('unasked', sorted(texts))[:12]}"}


def _verdicts_in(
    name: str,
    first: Completion,
    second: Completion,
    layout: Layout,
    ours: dict[str, Any],
    coding: LabelCoding,
) -> Iterator[Verdict]:
    """What the judge of a row said of the pair and of each answer alone, and what humans said."""
    judge, usd = str(ours.get("judge") or UNNAMED), _number(ours.get("usd")) or 0.0
    ids, policies = (first.id, second.id), (first.policy, second.policy)
    word = str("" if ours.get("swapped") is None else ours["swapped"]).strip().lower()
    if word not in SWAPPED and any(column in IN_ONE_ORDER for column in layout.verdicts):
        raise BadRow("unknown_order", f"swapped is {clip(ours['swapped'])}; it is true or false. {SKIP}")
    for column in layout.verdicts:
        swapped = column.endswith("_swapped") or (column in IN_ONE_ORDER and SWAPPED[word])
        by_position = column == "position_swapped"
        p, unread = _cell(layout, column, ours, policies[::-1] if by_position else policies, coding)
        if p is not None and swapped and not by_position:
            p = 1.0 - p
        shown, cost = ids[::-1] if swapped else ids, usd / len(layout.verdicts)
        order: Any = "swapped" if swapped else "given"
        yield Verdict("", judge, name, *shown, order, p, unread=unread, cost=cost)
    if "first_score" in ours and "second_score" in ours:
        for completion, column in ((first, "first_score"), (second, "second_score")):
            score = _number(ours[column])
            unread, cost = "no_score" if score is None else "", 0.0 if layout.verdicts else usd / 2
            yield Verdict("", judge, "", completion.id, score=score, unread=unread, cost=cost)
    for column in layout.humans:
        p, unread = _cell(layout, column, ours, policies, coding)
        if unread == "not_a_winner":
            raise BadRow("unknown_label", f"{column} is {clip(ours[column])}, no winner. {SKIP}")
        if p is not None:
            yield Verdict("", HUMAN_PREFIX + ("file" if column == "human" else column), name, *ids, p_first=p)


def _cell(
    layout: Layout, column: str, ours: dict[str, Any], policies: tuple[str, str], coding: LabelCoding
) -> tuple[float | None, str]:
    """The probability of the first that stands in a column, or why there is none."""
    word = "" if ours[column] is None else str(ours[column]).strip()
    if NO_VERDICT.fullmatch(word.lower()):
        return None, word.lower() or "no_verdict"
    is_probability = column.startswith("p_")
    p: float | None = None
    with suppress(BadRow, ValueError):
        if is_probability:
            p = float(word)
        elif column == "better":
            p = {0: 1.0, 1: 0.0}.get(int(float(word)))
        else:
            p = coding.p_first(ours[column], layout.theirs[column], policies)
    if p is not None and 0.0 <= p <= 1.0:
        return p, ""
    return None, "out_of_range" if is_probability and p is not None else "not_a_winner"


def _number(value: Any, most: float = math.inf) -> float | None:
    if value is None or (isinstance(value, str) and NO_VERDICT.fullmatch(value.strip().lower())):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise BadRow("not_a_number", f"{clip(value)} is no number. {SKIP}") from None
    if most == 1.0 and not 0.0 <= found <= most:
        raise BadRow("out_of_range", f"p_first is {clip(value)}; a probability is between 0 and 1. {SKIP}")
    return found if math.isfinite(found) else None


def _repeats_merged(sheet: Sheet, human_labels: LabelIndex) -> tuple[Sheet, list[str]]:
    """Each annotator and each label once a matchup, the last one counting; and notes about what repeats."""
    n = max(len(sheet.matchups), 1)
    verdicts, human, labels = sheet.verdicts, sheet.human, sheet.labels
    asked = (verdicts.judge.astype(np.int64) * n + verdicts.matchup) * 2 + verdicts.swapped
    kept, decided = _last(human.who.astype(np.int64) * n + human.matchup), _last(labels.matchup)
    notes = []
    if repeats := len(asked) - len(np.unique(asked)):
        what = "Rows that repeat a verdict of the same judge on the same pair in the same order"
        notes.append(f"{what}: {repeats:,}. They count as samples, and are averaged.")
    if len(decided) < len(labels):
        notes.append(f"Labels that repeat a pair: {len(labels) - len(decided):,}. The last one counts.")
    notes += label_notes(sheet, human_labels, len(human) - len(kept))
    human = replace(human, **{name: column[kept] for name, column in vars(human).items()})
    labels = replace(labels, **{name: column[decided] for name, column in vars(labels).items()})
    return replace(sheet, human=human, labels=labels), notes


def _last(names: Array) -> Array:
    """The rows at which each name stands for the last time."""
    rows: Array = np.sort(len(names) - 1 - np.unique(names[::-1], return_index=True)[1])
    return rows
