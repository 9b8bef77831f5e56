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
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from ..completions.answers import LabelCoding, label_coding, pair_columns, pair_of
from ..errors import DataError
from ..prompts.load import COLUMNS
from ..prompts.rows import SKIP, BadRow, Drop, OnError, clip, for_shell, ignore, parse_rows
from ..records import HUMAN_PREFIX, Completion, Matchup, Verdict, content_id, is_label
from ..verdicts.human import LabelIndex
from .collect import Collector, CompletionRow, IdRow, PreferenceRow, PromptRow, VerdictRow
from .finding import count
from .read_run import (
    AuditInput,
    MatchupExample,
    OnRows,
    count_lines,
    counted_rows,
    example_of,
    is_run,
    label_notes,
    load_human_labels,
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
HUMAN_COLUMN: Final = re.compile(r"(human|annotator|person)_?\d+")
RENAMABLE: Final = (
    COLUMNS | ALIASES.keys() | {"first_policy", "second_policy"} | {f"human_{n}" for n in range(1, 10)}
)
"""What `--columns.OURS THEIRS` may name."""
SWAPPED: Final = {
    **dict.fromkeys(("true", "1", "yes", "swapped", "turned", "ba"), True),
    **dict.fromkeys(("false", "0", "no", "given", "ab", ""), False),
}
NO_VERDICT: Final = frozenset(
    ("", *["none", "null", "nan", "n/a", "error", "invalid", "unread", "unknown", "refused", "-1"])
)
"""What stands where a judge gave no answer."""


class Cell(NamedTuple):
    """One verdict of a row."""

    p: float | None
    """That the first column is better."""
    swapped: bool = False
    unread: str = ""


class Layout(NamedTuple):
    """What is to be done with rows that have these columns."""

    theirs: dict[str, str]
    """Their name of each of our columns."""
    rest: tuple[str, ...]
    humans: tuple[str, ...]
    one_order: str
    """The column with a verdict whose order `swapped` tells; empty where there is none."""
    both_orders: tuple[tuple[str, bool], ...]
    """Columns with a verdict each, and whether the judge saw the second column first."""
    ordered: bool
    """Whether a column says which answer the judge saw first."""


class PairRow(NamedTuple):
    """One row of a file."""

    matchup: Matchup
    verdicts: tuple[VerdictRow, ...]
    p: float | None
    """The label that the row is: that the matchup's first is better."""
    weight: float
    positions_known: bool
    ordered: bool
    """Whether positions are known from a column of their own."""


def read_source(
    source: str | Path,
    human: str | os.PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
    on_error: OnError = "stop",
    label_values: Mapping[Any, str] | None = None,
    on_rows: OnRows | None = None,
) -> AuditInput:
    """A run folder, or a file of pairs."""
    if is_run(Path(source)):
        return read_run(Path(source), human, on_rows)
    return read_file(source, human, columns, on_error, label_values, on_rows)


def read_file(
    source: str | Path,
    human: str | os.PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
    on_error: OnError = "stop",
    label_values: Mapping[Any, str] | None = None,
    on_rows: OnRows | None = None,
) -> AuditInput:
    """Every row that compares two answers, with all verdicts about them."""
    human_labels = load_human_labels(human)
    collector = Collector(human_labels)
    known, ordered, judged, no_prompt = True, False, False, 0
    rows = pair_rows(source, columns, on_error, label_values, collector.add_dropped)
    path = Path(source)
    total = count_lines(path) if path.suffix in (".jsonl", ".csv") and path.is_file() else 0
    for row in counted_rows(rows, on_rows, total):
        matchup, prompt, both = row.matchup, row.matchup.prompt, (row.matchup.first, row.matchup.second)
        answers = tuple(CompletionRow(one.id, one.text, one.policy) for one in both)
        ids = ((matchup.id, matchup.first.id, matchup.second.id),)
        collector.add(PromptRow(prompt.id, prompt.domain, prompt.stakes), answers, ids, row.verdicts)
        no_prompt += prompt.messages[0].content.startswith(NO_PROMPT)
        if row.p is not None:
            asked, first, second = (IdRow(one.id) for one in (prompt, *both))
            collector.add_label(PreferenceRow(asked, first, second, row.p, row.weight))
        if any(one.matchup_id and not is_label(one.judge) for one in row.verdicts):
            known, ordered, judged = known and row.positions_known, ordered or row.ordered, True
    sheet, notes = _repeats_merged(collector.sheet(), human_labels)
    if not len(sheet.matchups):
        raise DataError(_no_pair(source, sheet.dropped))
    if judged and known and not ordered:
        notes.append(
            "The file does not say which answer the judge saw first: it is taken to be the first column. If"
            " it was not, add a column: swapped."
        )
    if no_prompt:
        notes.append(
            f"{count(no_prompt, 'row')} had no prompts: each pair counts as a prompt of its own, though"
            " several may answer one."
        )
    sheet = replace(sheet, positions_known=known)
    return AuditInput(sheet, str(source), "file", str(human or ""), human_labels, tuple(notes))


def examples_of_file(
    source: str,
    wanted: Collection[str],
    human_labels: LabelIndex,
    columns: Mapping[str, str] | None = None,
    label_values: Mapping[Any, str] | None = None,
) -> dict[str, MatchupExample]:
    """Rows about one matchup are spread over the file: it is read to its end."""
    matchups: dict[str, Matchup] = {}
    verdicts: dict[str, list[Verdict]] = {}
    for row in pair_rows(source, columns, "drop", label_values):
        name = row.matchup.id
        if name in wanted:
            matchups.setdefault(name, row.matchup)
            verdicts.setdefault(name, []).extend(map(_verdict, row.verdicts))
    return {
        name: example_of(matchup, verdicts[name], human_labels.of(matchup))
        for name, matchup in matchups.items()
    }


def _verdict(row: VerdictRow) -> Verdict:
    names = ("judge", "matchup_id", "first_id", "second_id", "order", "p_first", "score", "unread")
    return Verdict("", **{name: getattr(row, name) for name in names})


def pair_rows(
    source: str | Path,
    columns: Mapping[str, str] | None,
    on_error: OnError,
    label_values: Mapping[Any, str] | None = None,
    dropped: Drop = ignore,
) -> Iterator[PairRow]:
    """The rows that can be used; `dropped` is called with the others."""
    coding = label_coding(source, columns, label_values, _winner_columns)

    def parse(row: dict[str, Any]) -> PairRow:
        return parse_pair(row, coding)

    return parse_rows(
        source, parse, RENAMABLE, "completions", columns=columns, on_error=on_error, dropped=dropped
    )


def parse_pair(row: dict[str, Any], coding: LabelCoding) -> PairRow:
    layout = layout_of(tuple(row))
    ours = {name: row[theirs] for name, theirs in layout.theirs.items()}
    rest = {name: row[name] for name in layout.rest}
    if isinstance(ours.get("domain"), str | int):
        rest["domain"] = ours["domain"]
    prompt, first, second, labelled = pair_of(_with_prompt(rest))
    is_chosen = labelled is not None
    matchup = Matchup.of(prompt, first, second)
    p: float | None = None
    if is_chosen:
        # The better one stands first in such a file; as a position, that would give it away.
        known = _probability(ours.get("p_first"))
        if layout.one_order == "p_first":
            layout = layout._replace(one_order="")
        p = 1.0 if known is None else known
        if second.id < first.id:
            matchup, p = matchup.swapped(), 1.0 - p
    weight = _number(ours.get("weight"))
    return PairRow(
        matchup,
        tuple(_verdicts_in(matchup.id, first, second, layout, ours, coding)),
        p,
        1.0 if weight is None else weight,
        layout.ordered or not is_chosen,
        layout.ordered,
    )


@lru_cache(256)
def layout_of(columns: tuple[str, ...]) -> Layout:
    theirs = {}
    for ours, names in ALIASES.items():
        if name := next((one for one in names if one in columns), ""):
            theirs[ours] = name
    humans = tuple(name for name in columns if HUMAN_COLUMN.fullmatch(name))
    used = {*theirs.values(), *humans}
    by_order = [
        next((f"{kind}_{order}" for kind in ("position", "winner", "p") if f"{kind}_{order}" in theirs), "")
        for order in ("given", "swapped")
    ]
    return Layout(
        theirs | {name: name for name in humans},
        tuple(name for name in columns if name not in used),
        (*(("human",) if "human" in theirs else ()), *humans),
        next((name for name in ("winner", "p_first", "better") if name in theirs), ""),
        tuple((column, column.endswith("_swapped")) for column in by_order if column),
        "swapped" in theirs or bool(by_order[1]),
    )


def _winner_columns(row: dict[str, Any]) -> list[str]:
    """The columns that name the better answer, under the names they have in the file."""
    layout = layout_of(tuple(row))
    return [
        theirs
        for ours, theirs in layout.theirs.items()
        if ours in layout.humans or ours.startswith(("winner", "position"))
    ]


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
) -> Iterator[VerdictRow]:
    """What the judge of a row said of the pair, of each answer alone, and what humans said."""
    judge, policies = str(ours.get("judge") or UNNAMED), (first.policy, second.policy)
    usd = _number(ours.get("usd")) or 0.0
    cells = list(_cells(layout, ours, policies, coding))
    for cell in cells:
        p = 1.0 - cell.p if cell.swapped and cell.p is not None else cell.p
        shown = (second.id, first.id) if cell.swapped else (first.id, second.id)
        order: Literal["given", "swapped"] = "swapped" if cell.swapped else "given"
        yield VerdictRow(judge, name, *shown, order, p, unread=cell.unread, cost=usd / len(cells))
    if "first_score" in ours and "second_score" in ours:
        for completion, value in ((first, ours["first_score"]), (second, ours["second_score"])):
            score = _number(value)
            unread, cost = "no_score" if score is None else "", 0.0 if cells else usd / 2
            yield VerdictRow(judge, "", completion.id, score=score, unread=unread, cost=cost)
    for column in layout.humans:
        cell = _cell(layout, column, ours, policies, coding)
        if cell.unread == "not_a_winner":
            raise BadRow("unknown_label", f"{column} is {clip(ours[column])}, no winner. {SKIP}")
        if cell.p is not None:
            who = HUMAN_PREFIX + ("file" if column == "human" else column)
            yield VerdictRow(who, name, first.id, second.id, p_first=cell.p)


def _cells(
    layout: Layout, ours: dict[str, Any], policies: tuple[str, str], coding: LabelCoding
) -> Iterator[Cell]:
    """What the judge of a row said of the pair, once for each time it was asked."""
    if layout.one_order:
        cell = _cell(layout, layout.one_order, ours, policies, coding)
        yield cell._replace(swapped=_is_swapped(ours.get("swapped")))
    for column, swapped in layout.both_orders:
        names_position = swapped and column.startswith("position")
        cell = _cell(layout, column, ours, policies[::-1] if names_position else policies, coding)
        p = 1.0 - cell.p if names_position and cell.p is not None else cell.p
        yield cell._replace(swapped=swapped, p=p)


def _cell(
    layout: Layout, column: str, ours: dict[str, Any], policies: tuple[str, str], coding: LabelCoding
) -> Cell:
    """What stands in a column; what is no winner was not read."""
    word = "" if ours[column] is None else str(ours[column]).strip()
    if word.lower() in NO_VERDICT:
        return Cell(None, unread=word.lower() or "no_verdict")
    is_probability = column.startswith("p_")
    p: float | None = None
    try:
        if is_probability:
            p = float(word)
        elif column == "better":
            p = {0: 1.0, 1: 0.0}.get(int(float(word)))
        else:
            p = coding.p_first(ours[column], layout.theirs[column], policies)
    except (BadRow, ValueError):
        pass
    if p is not None and 0.0 <= p <= 1.0:
        return Cell(p)
    return Cell(None, unread="out_of_range" if is_probability and p is not None else "not_a_winner")


def _number(value: Any) -> float | None:
    if value is None or (isinstance(value, str) and value.strip().lower() in NO_VERDICT):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise BadRow("not_a_number", f"{clip(value)} is no number. {SKIP}") from None
    return found if math.isfinite(found) else None


def _probability(value: Any) -> float | None:
    p = _number(value)
    if p is not None and not 0.0 <= p <= 1.0:
        raise BadRow("out_of_range", f"p_first is {clip(value)}; a probability is between 0 and 1. {SKIP}")
    return p


def _is_swapped(value: Any) -> bool:
    word = "" if value is None else str(value).strip().lower()
    if word not in SWAPPED:
        raise BadRow("unknown_order", f"swapped is {clip(value)}; it is true or false. {SKIP}")
    return SWAPPED[word]


def _repeats_merged(sheet: Sheet, human_labels: LabelIndex) -> tuple[Sheet, list[str]]:
    """Each annotator and each label once a matchup, the last one counting; and notes about what repeats."""
    n = max(len(sheet.matchups), 1)
    verdicts, human, labels = sheet.verdicts, sheet.human, sheet.labels
    asked = (verdicts.judge.astype(np.int64) * n + verdicts.matchup) * 2 + verdicts.swapped
    repeats = len(asked) - len(np.unique(asked))
    kept, decided = _last(human.who.astype(np.int64) * n + human.matchup), _last(labels.matchup)
    notes = []
    if repeats:
        notes.append(
            f"Rows that repeat a verdict of the same judge on the same pair in the same order: {repeats:,}."
            " They count as samples, and are averaged."
        )
    if len(decided) < len(labels):
        notes.append(f"Labels that repeat a pair: {len(labels) - len(decided):,}. The last one counts.")
    notes += label_notes(sheet, human_labels, len(human) - len(kept))
    columns = {name: getattr(human, name)[kept] for name in ("who", "matchup", "p", "weight")}
    by_label = {name: getattr(labels, name)[decided] for name in ("matchup", "p", "weight")}
    return replace(sheet, human=replace(human, **columns), labels=replace(labels, **by_label)), notes


def _last(names: Array) -> Array:
    """The rows at which each name stands for the last time."""
    _, place = np.unique(names[::-1], return_index=True)
    rows: Array = np.sort(len(names) - 1 - place)
    return rows


def _no_pair(source: str | Path, dropped: Mapping[str, int]) -> str:
    out = ", ".join(f"{reason} {n:,}" for reason, n in dropped.items())
    look = f"Look at it with: head -n 3 {for_shell(source)}"
    return f"{source} has no pair of answers{out and f'; left out: {out}'}. {look}"
