"""Completions that exist already, as groups: one prompt and the completions to be compared.

Rows with one completion may come in any order, e.g. one file a model, one after the other: those of one
prompt become one group. So do rows about one pair that name their annotator or hold a judge's recorded reply.
All such rows are read, and kept in a temporary file, before the first is passed on; others go straight on.

Labels never decide which completion stands first: that is drawn by content, in `matchups`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, tee
from operator import attrgetter
from os import PathLike
from pathlib import Path
from tempfile import SpooledTemporaryFile, gettempdir
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from ..errors import DataError, SettingError, nearest
from ..prompts.load import COLUMNS, contamination_filter
from ..prompts.rows import BadRow, Drop, OnError, Source, for_shell, ignore, missing, parse_rows
from ..records import (
    FILE_LABEL,
    HUMAN_PREFIX,
    RECORDED_PREFIX,
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
from .answers import PLAIN, LabelCoding, label_coding, pair_columns, pair_of, several_of

Kind = Literal["completions", "pairs", "auto"]
KINDS = ("completions", "pairs", "auto")
LabelsBy = Literal["file", "human"]
Reader = Callable[[str], tuple[float | None, str]]
"""From a judge's recorded reply to the probability of the first answer as shown, or why there is none."""
_decode = msgspec.msgpack.Decoder(tuple[str, list[Group]]).decode
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
    label_values: Mapping[Any, str] | None = None,
    labels_by: LabelsBy = "file",
    benchmarks: Sequence[Source] = (),
    read: Reader | None = None,
    read_name: str = "reply",
) -> Iterator[Group]:
    """Every prompt with its completions, from rows of any known shape or the folder of a run, once each.

    Labels of rows are verdicts of the judge `file`; with `labels_by="human"` of `human:file`, or of
    `human:NAME` where a row has a column `who` or `annotator`. With `read`, the columns `reply` and
    `reply_swapped` hold what a judge wrote who saw the pair in the row's order, and in the other one: they
    become verdicts of the judge `recorded:NAME`; its name is in the column `judge`, or is `read_name`.
    """
    for what, got, known in (("kind of rows", kind, KINDS), ("labels_by", labels_by, ("file", "human"))):
        if got not in known:
            raise SettingError(nearest(what, got, known))
    left = -1 if limit is None else max(limit, 0)
    if not left:
        return
    if isinstance(source, str | PathLike) and (Path(source) / "completions.jsonl").exists():
        groups = _of_run(Path(source), dropped)
    else:
        ahead, source = tee(source) if isinstance(source, Iterator) else (source, source)
        coding = PLAIN if kind == "completions" else label_coding(ahead, columns, label_values)
        del ahead  # with which a generator's rows would all be kept
        parse = _Shape(kind, coding, labels_by, read, read_name, dropped).part
        parts = parse_rows(
            source, parse, COLUMNS, "completions", columns=columns, on_error=on_error, dropped=dropped
        )
        groups = _gather(parts, dropped)
    is_clean = contamination_filter(benchmarks, dropped)
    for group in _once(groups, dropped):
        if is_clean(group.prompt):
            yield group
            left -= 1
            if not left:
                return


class _Shape(NamedTuple):
    """How rows become groups, or parts of groups."""

    kind: Kind
    coding: LabelCoding
    labels_by: LabelsBy
    read: Reader | None
    read_name: str
    dropped: Drop

    def part(self, row: dict[str, Any], where: str) -> Part:
        if self.kind == "completions" or (self.kind == "auto" and pair_columns(row) is None):
            answered = several_of(row, where)
            texts = [one for one in answered.completions if one.text and not one.text.isspace()]
            if not texts:
                raise BadRow("empty", f"{where}: no completion but empty ones")
            for _ in range(len(answered.completions) - len(texts)):
                self.dropped(Dropped(where, "completions", "empty"))
            if len(texts) == 1:
                return Group(answered.prompt, (texts[0],)), answered.prompt.id
            return Group(answered.prompt, drop_repeated(texts, "duplicate", self.dropped)), ""
        answered = pair_of(row, where, self.coding)
        if any(not one.text or one.text.isspace() for one in answered.completions):
            raise BadRow("empty", f"{where}: a completion is empty")
        if answered.p_first is None and self.read is None:
            return Group(answered.prompt, answered.completions, ((0, 1),)), ""
        matchup = Matchup.of(answered.prompt, *answered.completions)
        who = str(row.get("who") or row.get("annotator") or "")
        said = self._label(matchup, answered.p_first, who)
        if self.read is not None:
            said += self._recorded(row, where, matchup, self.read)
        group = Group(answered.prompt, answered.completions, ((0, 1),), said)
        return group, matchup.id if who or self.read is not None else ""

    def _label(self, matchup: Matchup, p_first: float | None, who: str) -> tuple[Verdict, ...]:
        if p_first is None:
            return ()
        judge = FILE_LABEL if self.labels_by == "file" else HUMAN_PREFIX + (who or FILE_LABEL)
        first, second = matchup.first.id, matchup.second.id
        # the same label has the same name whichever way round its row has the pair
        p = round(p_first if first < second else 1.0 - p_first, 9)
        name = content_id("verdict", judge, who, matchup.id, p)
        return (Verdict(name, judge, matchup.id, first, second, p_first=p_first),)

    def _recorded(
        self, row: dict[str, Any], where: str, matchup: Matchup, read: Reader
    ) -> tuple[Verdict, ...]:
        """What a judge said of this pair in another pipeline."""
        if "reply" not in row and "reply_swapped" not in row:
            ways = "Say which one holds the judge's reply with: --columns.reply ..."
            raise BadRow("no_column", f"{where}: {missing('reply', row)} {ways}")
        judge, verdicts = RECORDED_PREFIX + str(row.get("judge") or self.read_name), []
        first, second = matchup.first.id, matchup.second.id
        for column, one, other in (("reply", first, second), ("reply_swapped", second, first)):
            if isinstance(raw := row.get(column), str) and raw.strip():
                p, unread = read(raw)
                id = content_id("verdict", judge, matchup.id, one, raw)
                verdicts.append(Verdict(id, judge, matchup.id, one, other, p_first=p, unread=unread, raw=raw))
        return tuple(verdicts)


def _gather(parts: Iterable[Part], dropped: Drop) -> Iterator[Group]:
    """Whole groups as they come, and at the end those whose rows were anywhere in the source."""
    try:
        with SpooledTemporaryFile(1 << 23) as file:
            spool = _Spool(file)
            for group, about in parts:
                if about:
                    spool.add(group, about)
                else:
                    yield group
            yield from (_merge(groups, dropped) for groups in spool)
    except OSError as error:
        raise DataError(
            f"rows are gathered by prompt in {gettempdir()}, which cannot be used: {error.strerror}. "
            "Name another folder with: export TMPDIR=FOLDER"
        ) from error


class _Spool:
    """Parts of groups in a file. In memory are 18 bytes for each prompt, and more where one comes again."""

    def __init__(self, file: Any) -> None:
        self._file, self._starts, self._seen = file, array("Q"), IdSet()
        self._again: dict[str, list[int]] = {}
        self._about, self._held = "", list[Group]()
        """What the last rows were about, which follow each other and are written together."""

    def add(self, group: Group, about: str) -> None:
        if about != self._about:
            self._write()
            self._about, self._held = about, []
        self._held.append(group)

    def _write(self) -> None:
        if self._held:
            start, data = self._file.tell(), msgspec.msgpack.encode((self._about, self._held))
            self._file.write(len(data).to_bytes(8, "big") + data)
            if self._seen.add(self._about):
                self._starts.append(start)
            else:
                self._again.setdefault(self._about, []).append(start)

    def _read(self, start: int) -> tuple[str, list[Group]]:
        self._file.seek(start)
        size = int.from_bytes(self._file.read(8), "big")
        return _decode(self._file.read(size))

    def __iter__(self) -> Iterator[list[Group]]:
        self._write()
        for start in self._starts:
            about, groups = self._read(start)
            for later in self._again.pop(about, ()):
                groups += self._read(later)[1]
            yield groups
        for starts in self._again.values():  # IdSet took their id for another one
            yield [group for start in starts for group in self._read(start)[1]]


def _merge(groups: Sequence[Group], dropped: Drop) -> Group:
    """All that several rows say of one prompt, or of one pair."""
    head = groups[0]
    if not head.pairs:
        texts = (one for group in groups for one in group.completions)
        return Group(head.prompt, drop_repeated(texts, "duplicate", dropped))
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


def drop_repeated(completions: Iterable[Completion], reason: str, dropped: Drop) -> tuple[Completion, ...]:
    """Each completion once; the others are dropped."""
    once: dict[str, Completion] = {}
    for completion in completions:
        if once.setdefault(completion.id, completion) is not completion:
            dropped(Dropped(completion.id, "completions", reason))
    return tuple(once.values())


def _once(groups: Iterable[Group], dropped: Drop) -> Iterator[Group]:
    """Each group once. The same pair with another label is another annotator's, and stays."""
    seen = IdSet()
    for n, group in enumerate(groups):
        about = [one.id for one in group.labels] or sorted(one.id for one in group.completions)
        if not seen.add(about[0] if len(about) == 1 else content_id(*about)):
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
            yield Group(prompt, drop_repeated(texts, "duplicate", dropped))
            name, texts = next(parts, ("", iter(())))
        else:
            dropped(Dropped(prompt.id, "completions", "no_completion"))
    if name:
        raise DataError(
            f"{path} holds completions of {name}, and no such prompt follows in prompts.jsonl; the files "
            f"were edited or cut. See where with: grep -n {name} {for_shell(folder)}/*.jsonl"
        )
