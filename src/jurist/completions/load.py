"""Completions that exist already, as groups: one prompt and the completions to be compared.

Labels that come with a file are verdicts of the judge `human:file`. They never decide who sits where: seats
are drawn by content in `matchups`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from ..errors import DataError, SettingError, nearest
from ..prompts.load import OnError, check_on_error, leave_out, rename_columns
from ..prompts.rows import BadRow, Source, ignore, read_rows
from ..records import Completion, Dropped, Group, IdSet, Matchup, Prompt, Verdict, content_id
from ..run import read_records
from .answers import Answered, pair_columns, pair_of, several_of

Kind = Literal["completions", "pairs", "auto"]
FILE_JUDGE = "human:file"


def load_groups(
    source: Source,
    *,
    kind: Kind = "auto",
    limit: int | None = None,
    dropped: Callable[[Dropped], None] = ignore,
    columns: Mapping[str, str] | None = None,
    on_error: OnError = "stop",
) -> Iterator[Group]:
    """Every prompt with its completions, from a file of any known shape or the folder of a run, once each."""
    check_on_error(on_error)
    if kind not in ("completions", "pairs", "auto"):
        raise SettingError(nearest("kind of rows", kind, ("completions", "pairs", "auto")))
    left = -1 if limit is None else max(limit, 0)
    if not left:
        return
    if isinstance(source, str | Path) and (Path(source) / "completions.jsonl").exists():
        groups = _of_run(Path(source), dropped)
    else:
        groups = _gathered(_answered(source, kind, dropped, columns or {}, on_error), dropped)
    for group in _new(groups, dropped):
        yield group
        left -= 1
        if not left:
            return


def _of_run(folder: Path, dropped: Callable[[Dropped], None]) -> Iterator[Group]:
    """Every prompt of a run with its completions: both files are in the order of the prompts."""
    path = folder / "completions.jsonl"
    parts = groupby(read_records(path, Completion), key=attrgetter("prompt_id"))
    name, texts = next(parts, ("", iter(())))
    for _, same in groupby(read_records(folder / "prompts.jsonl", Prompt), key=attrgetter("id")):
        prompt = next(same)  # pairs of one prompt follow each other, and so do their completions
        if prompt.id == name:
            yield _group(prompt, list(texts), dropped)
            name, texts = next(parts, ("", iter(())))
        else:
            dropped(Dropped(prompt.id, "completions", "no_completion"))
    if name:
        raise DataError(
            f"{path} holds completions of {name}, and no such prompt follows in prompts.jsonl; the files "
            f"were edited or cut. See where with: grep -n {name} {folder}/*.jsonl"
        )


def _answered(
    source: Source,
    kind: Kind,
    dropped: Callable[[Dropped], None],
    columns: Mapping[str, str],
    on_error: OnError,
) -> Iterator[Answered]:
    for where, raw in read_rows(source):
        try:
            row: dict[str, Any] = rename_columns(raw, columns, where)
            is_pair = kind == "pairs" or (kind == "auto" and pair_columns(row) is not None)
            yield pair_of(row, where) if is_pair else several_of(row, where)
        except BadRow as bad:
            leave_out(bad, where, "completions", on_error, dropped)


def _gathered(rows: Iterator[Answered], dropped: Callable[[Dropped], None]) -> Iterator[Group]:
    """Rows that follow each other and hold one completion each of the same prompt become one group."""
    prompt: Prompt | None = None
    held: list[Completion] = []
    for row in rows:
        alone = len(row.completions) == 1
        if prompt is not None and alone and row.prompt.id == prompt.id:
            held.extend(row.completions)
            continue
        if prompt is not None:
            yield _group(prompt, held, dropped)
            prompt = None
        if alone:
            prompt, held = row.prompt, list(row.completions)
        elif row.is_pair:
            yield _pair(row)
        else:
            yield _group(row.prompt, row.completions, dropped)
    if prompt is not None:
        yield _group(prompt, held, dropped)


def _group(
    prompt: Prompt, completions: list[Completion] | tuple[Completion, ...], dropped: Callable[[Dropped], None]
) -> Group:
    kept, again = drop_repeated(completions)
    for row in again:
        dropped(row)
    return Group(prompt, kept)


def drop_repeated(
    completions: list[Completion] | tuple[Completion, ...],
) -> tuple[tuple[Completion, ...], list[Dropped]]:
    """Each completion once; the others by name."""
    once: dict[str, Completion] = {}
    again: list[Dropped] = []
    for completion in completions:
        if once.setdefault(completion.id, completion) is not completion:
            again.append(Dropped(completion.id, "completions", "identical"))
    return tuple(once.values()), again


def _pair(row: Answered) -> Group:
    if row.p_first is None:
        return Group(row.prompt, row.completions, ((0, 1),))
    first, second = row.completions
    matchup = Matchup.of(row.prompt, first, second)
    said = Verdict(
        id=content_id("verdict", FILE_JUDGE, matchup.id, first.id, row.p_first),
        judge=FILE_JUDGE,
        matchup_id=matchup.id,
        first_id=first.id,
        second_id=second.id,
        p_first=row.p_first,
    )
    return Group(row.prompt, row.completions, ((0, 1),), (said,))


def _new(groups: Iterator[Group], dropped: Callable[[Dropped], None]) -> Iterator[Group]:
    """Each group once. The same pair with another label is another person's word, and stays."""
    seen = IdSet()
    for group in groups:
        if group.labels:
            name = group.labels[0].id
        else:
            name = content_id(*sorted(c.id for c in group.completions))
        if seen.add(name):
            yield group
        else:
            dropped(Dropped(group.prompt.id, "completions", "duplicate"))
