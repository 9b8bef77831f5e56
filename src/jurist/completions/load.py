"""Completions that exist already, as groups: one prompt and the completions to be compared.

Rows with one completion may come in any order, e.g. one file a model, one after the other: those of one
prompt become one group. So do rows about one pair that name their annotator or hold a judge's recorded reply.
All such rows are read, and kept in a temporary file, before the first is passed on; others go straight on.

Labels never decide which completion stands first: that is drawn by content, in `matchups`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby, tee
from operator import attrgetter, itemgetter
from os import PathLike
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from ..errors import DataError, SettingError, nearest
from ..prompts.load import COLUMNS, contamination_filter
from ..prompts.rows import BadRow, Drop, OnError, Source, for_shell, ignore, missing, parse_rows
from ..records import (
    FILE_LABEL,
    HUMAN_PREFIX,
    Completion,
    Dropped,
    Group,
    IdSet,
    Matchup,
    Prompt,
    Verdict,
    content_id,
    is_human,
)
from ..run import read_records
from .answers import PLAIN, label_coding, pair_columns, pair_of, several_of

Kind = Literal["completions", "pairs", "auto"]
LabelsBy = Literal["file", "human"]
Reader = Callable[[str], tuple[float | None, str]]
"""From a judge's recorded reply to the probability of the first answer as shown, or why there is none."""
Part = tuple[Group, str]
"""What one row says, and the id of its prompt or pair where other rows may say more of it."""


def load_groups(
    source: Source,
    *,
    kind: Kind = "auto",
    limit: int | None = None,
    dropped: Drop = ignore,
    columns: Mapping[str, str] | None = None,
    on_error: OnError = "stop",
    label_values: Mapping[str, str] | None = None,
    labels_by: LabelsBy = "file",
    benchmarks: Sequence[Source] = (),
    read: Reader | None = None,
    read_name: str = "reply",
) -> Iterator[Group]:
    """Every prompt with its completions, from rows of any known shape or the folder of a run, once each.

    Labels of rows are verdicts of the judge `file`; with `labels_by="human"` of `human:file`, or of
    `human:NAME` where a row has a column `who` or `annotator`. With `read`, the columns `reply` and
    `reply_swapped` hold what a judge wrote who saw the pair in the row's order, and in the other one: they
    become verdicts of the judge in the column `judge`, or of `recorded:` and `read_name`.
    """
    for what, got, known in (
        ("kind of rows", kind, ("completions", "pairs", "auto")),
        ("labels_by", labels_by, ("file", "human")),
    ):
        if got not in known:
            raise SettingError(nearest(what, got, known))

    def parse(row: dict[str, Any], where: str) -> Part:
        if kind == "completions" or (kind == "auto" and pair_columns(row) is None):
            answered = several_of(row, where)
            texts = tuple(one for one in answered.completions if one.text.strip())
            if not texts:
                raise BadRow("empty", f"{where}: no completion but empty ones")
            for _ in range(len(answered.completions) - len(texts)):
                dropped(Dropped(where, "completions", "empty"))
            return Group(answered.prompt, texts), answered.prompt.id if len(texts) < 2 else ""
        answered = pair_of(row, where, coding)
        if not all(one.text.strip() for one in answered.completions):
            raise BadRow("empty", f"{where}: a completion is empty")
        matchup = Matchup.of(answered.prompt, *answered.completions)
        who = str(row.get("who") or row.get("annotator") or "")
        said = _label(matchup, answered.p_first, labels_by, who)
        if read is not None:
            said += _recorded(row, where, matchup, read, read_name)
        group = Group(answered.prompt, answered.completions, ((0, 1),), said)
        return group, matchup.id if who or read is not None else ""

    if isinstance(source, str | PathLike) and (Path(source) / "completions.jsonl").exists():
        groups = _of_run(Path(source), dropped)
    else:
        ahead, source = tee(source) if isinstance(source, Iterator) else (source, source)
        coding = PLAIN if kind == "completions" else label_coding(ahead, columns, label_values)
        parts = parse_rows(
            source, parse, COLUMNS, "completions", columns=columns, on_error=on_error, dropped=dropped
        )
        groups = _gather(parts, dropped)
    is_clean = contamination_filter(benchmarks, dropped)
    left = -1 if limit is None else max(limit, 0)
    for group in _once(groups, dropped) if left else ():
        if is_clean(group.prompt):
            yield group
            left -= 1
            if not left:
                return


def _label(matchup: Matchup, p_first: float | None, by: LabelsBy, who: str) -> tuple[Verdict, ...]:
    if p_first is None:
        return ()
    judge = FILE_LABEL if by == "file" else HUMAN_PREFIX + (who or FILE_LABEL)
    first, second = matchup.first.id, matchup.second.id
    name = content_id("verdict", judge, who, matchup.id, first, p_first)
    return (Verdict(name, judge, matchup.id, first, second, p_first=p_first),)


def _recorded(
    row: dict[str, Any], where: str, matchup: Matchup, read: Reader, name: str
) -> tuple[Verdict, ...]:
    """What a judge said of this pair in another pipeline."""
    if "reply" not in row and "reply_swapped" not in row:
        ways = "Say which one holds the judge's reply with: --columns.reply ..."
        raise BadRow("no_column", f"{where}: {missing('reply', row)} {ways}")
    judge, verdicts = str(row.get("judge") or f"recorded:{name}"), []
    first, second = matchup.first.id, matchup.second.id
    for column, one, other in (("reply", first, second), ("reply_swapped", second, first)):
        if isinstance(raw := row.get(column), str) and raw.strip():
            p, unread = read(raw)
            id = content_id("verdict", judge, matchup.id, one, raw)
            verdicts.append(Verdict(id, judge, matchup.id, one, other, p_first=p, unread=unread, raw=raw))
    return tuple(verdicts)


def _gather(parts: Iterable[Part], dropped: Drop) -> Iterator[Group]:
    """Whole groups as they come, and at the end those whose rows were anywhere in the source."""
    encode, decode = msgspec.json.encode, msgspec.json.Decoder(Group).decode
    # Without a name SQLite keeps a database in memory for as long as it is small, then in a temporary file.
    with closing(sqlite3.connect("", isolation_level=None, check_same_thread=False)) as kept:
        try:
            kept.execute("PRAGMA journal_mode = OFF")
            kept.execute("CREATE TABLE parts (about TEXT, part BLOB)")
            kept.execute("BEGIN")
            for part, about in parts:
                if about:
                    kept.execute("INSERT INTO parts VALUES (?, ?)", (about, encode(part)))
                else:
                    yield _merge([part], dropped)
            rows = kept.execute(
                "SELECT min(rowid) OVER (PARTITION BY about) AS met, rowid FROM parts ORDER BY met, rowid"
            )
            for _, same in groupby(rows, key=itemgetter(0)):
                found = (kept.execute("SELECT part FROM parts WHERE rowid = ?", row[1:]) for row in same)
                yield _merge([decode(one.fetchone()[0]) for one in found], dropped)
        except sqlite3.Error as error:
            raise DataError(
                f"rows are gathered by prompt in {gettempdir()}, which cannot be used: {error}. "
                "Name another folder with: export TMPDIR=FOLDER"
            ) from error


def _merge(groups: Sequence[Group], dropped: Drop) -> Group:
    """All that several rows say of one prompt, or of one pair."""
    head = groups[0]
    if not head.pairs:
        kept, again = drop_repeated([one for group in groups for one in group.completions], "duplicate")
        for row in again:
            dropped(row)
        return Group(head.prompt, kept)
    labels: dict[str, Verdict] = {}
    asked: dict[tuple[str, str], int] = {}
    for one in (one for group in groups for one in group.labels):
        if one.id in labels:
            dropped(Dropped(head.prompt.id, "completions", "duplicate"))
            continue
        order = "swapped" if one.raw and one.first_id != head.completions[0].id else "given"
        sample = asked[one.judge, order] = asked.get((one.judge, order), -1) + 1
        if is_human(one.judge) and one.judge != HUMAN_PREFIX + FILE_LABEL:
            sample = 0  # whoever is named and labels a pair again corrects the first label
        labels[one.id] = replace(one, order=order, sample=sample)
    return replace(head, labels=tuple(labels.values()))


def drop_repeated(
    completions: Sequence[Completion], reason: str
) -> tuple[tuple[Completion, ...], list[Dropped]]:
    """Each completion once, and the others as dropped rows."""
    once: dict[str, Completion] = {}
    again = []
    for completion in completions:
        if once.setdefault(completion.id, completion) is not completion:
            again.append(Dropped(completion.id, "completions", reason))
    return tuple(once.values()), again


def _once(groups: Iterable[Group], dropped: Drop) -> Iterator[Group]:
    """Each group once. The same pair with another label is another annotator's, and stays."""
    seen = IdSet()
    for n, group in enumerate(groups):
        about = [one.id for one in group.labels] or sorted(one.id for one in group.completions)
        if not seen.add(content_id(*about)):
            dropped(Dropped(group.prompt.id, "completions", "duplicate"))
        elif group.labels and not seen.add(group.labels[0].matchup_id):
            yield replace(group, labels=tuple(replace(one, sample=n + one.sample) for one in group.labels))
        else:
            yield group


def _of_run(folder: Path, dropped: Drop) -> Iterator[Group]:
    """Every prompt of a run with its completions: both files are in the order of the prompts."""
    path = folder / "completions.jsonl"
    parts = groupby(read_records(path, Completion), key=attrgetter("prompt_id"))
    name, texts = next(parts, ("", iter(())))
    for _, same in groupby(read_records(folder / "prompts.jsonl", Prompt), key=attrgetter("id")):
        prompt = next(same)  # pairs of one prompt follow each other, and so do their completions
        if prompt.id == name:
            yield _merge([Group(prompt, tuple(texts))], dropped)
            name, texts = next(parts, ("", iter(())))
        else:
            dropped(Dropped(prompt.id, "completions", "no_completion"))
    if name:
        raise DataError(
            f"{path} holds completions of {name}, and no such prompt follows in prompts.jsonl; the files "
            f"were edited or cut. See where with: grep -n {name} {for_shell(folder)}/*.jsonl"
        )
