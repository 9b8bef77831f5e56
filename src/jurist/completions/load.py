"""Completions, sampled from policies or from files, as groups of one prompt; and which of them meet.

Rows with one completion may come in any order, and so may rows about one pair that name their annotator or
hold a judge's reply: they are all gathered in a temporary file before the first is passed on. Others go
straight on. Labels never decide which completion stands first: that is drawn by content, in `matchups`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate, combinations, groupby, islice, tee
from operator import attrgetter, itemgetter
from os import PathLike
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import asdict, replace

from ..engines.engine import Ask, Engine, Reply
from ..errors import CallFailed, CallRefused, DataError, SettingError, nearest
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
    Sampling,
    Verdict,
    content_id,
    is_human,
)
from ..run import read_records
from .answers import PLAIN, label_coding, pair_columns, pair_of, several_of

_Kind = Literal["completions", "pairs", "auto"]
Reader = Callable[[str], tuple[float | None, str]]
"""From a judge's recorded reply to the probability of the first answer as shown, or why there is none."""
Part = tuple[Group, str]
"""What one row says, and the id of its prompt or pair where other rows may say more of it."""
SCHEMES: Final = ("all", "chain", "star", "random:3")
Policies = Sequence[tuple[Engine, float]]
"""Who answers, and how often each is asked, relative to the others."""
_PLAIN: Final = Sampling()


async def sample_completions(
    prompt: Prompt, policies: Policies, k: int, sampling: Sampling = _PLAIN, seed: int = 0
) -> tuple[list[Completion], list[Dropped]]:
    """k answers to one prompt. Completions and dropped rows are k together.

    Which policy writes which sample, and with which seed, follows from the prompt's id and `seed`, so the
    same call again asks the same questions.
    """
    whole = sum(weight for _, weight in policies)
    edges = [*accumulate(weight / whole for _, weight in policies[:-1])]
    samples: dict[int, list[int]] = {}
    for i in range(k):
        who = bisect(edges, _number("policy", prompt.id, i, seed) / 2**32)
        samples.setdefault(who, []).append(i)
    parts = await asyncio.gather(
        *(_sample_one(policies[who][0], prompt, some, sampling, seed) for who, some in samples.items()),
        return_exceptions=True,  # what the others answer is paid for, and comes home first
    )
    found: list[Completion | Dropped] = []
    for part in parts:
        if isinstance(part, BaseException):
            raise part
        found += part
    dropped = [one for one in found if isinstance(one, Dropped)]
    completions = (one for one in found if isinstance(one, Completion))
    return list(drop_repeated(completions, "identical", dropped.append)), dropped


async def _sample_one(
    engine: Engine, prompt: Prompt, which: list[int], sampling: Sampling, seed: int
) -> list[Completion | Dropped]:
    """All samples of one policy: in one reading of the prompt where the engine can, else one call each."""
    first = seed if sampling.seed is None else sampling.seed
    weights = engine.name.rpartition("#")[2]  # of a checkpoint in this process, wherever its folder is
    # some engines take 31 bits only
    how = replace(sampling, seed=_number("draw", prompt.id, weights, which[0], first) >> 1)
    replies: list[Reply] = []
    reason = "failed"
    try:
        replies = await engine.samples(Ask(prompt.messages, sample=which[0], **asdict(how)), len(which))
        why = f"{len(replies)} of {len(which)} samples came"
    except (CallFailed, CallRefused) as error:
        reason, why = "refused" if isinstance(error, CallRefused) else "failed", str(error)
    lost = Dropped(prompt.id, "completions", reason, f"{engine.name}: {why}")
    found: list[Completion | Dropped] = [lost] * (len(which) - len(replies))
    for reply in replies:
        if reply.text.strip():
            tokens = reply.usage.tokens_out or len(reply.tokens) or None
            made = {"sampling": how, "finish": reply.finish, "tokens": tokens}
            found.append(Completion.of(prompt.id, reply.text, engine.name, **made))
        else:
            reason = "refused" if reply.finish == "refused" else "empty"
            why = f"{engine.name}: finish={reply.finish}"
            found.append(Dropped(prompt.id, "completions", reason, why))
    return found


def _number(*parts: object) -> int:
    """32 even bits that follow from these parts alone."""
    return int.from_bytes(_hash(repr(parts), 4))


def load_groups(
    source: Source,
    *,
    kind: _Kind = "auto",
    limit: int | None = None,
    dropped: Drop = ignore,
    columns: Mapping[str, str] | None = None,
    on_error: OnError = "stop",
    label_values: Mapping[Any, str] | None = None,
    labels_by: Literal["file", "human"] = "file",
    benchmarks: Sequence[Source] = (),
    read: Reader | None = None,
    read_name: str = "reply",
) -> Iterator[Group]:
    """Every prompt with its completions, from rows of any known shape or the folder of a run, once each.

    Labels of rows are verdicts of the judge `file`; with `labels_by="human"` of `human:file`, or of
    `human:NAME` where a row has a column `who` or `annotator`. With `read`, the columns `reply` and
    `reply_swapped` become verdicts of the judge `recorded:NAME`, by the column `judge` or `read_name`.
    """

    def parse(row: dict[str, Any]) -> Part:
        if kind == "completions" or (kind == "auto" and pair_columns(row) is None):
            return _several(row, dropped)
        prompt, first, second, p = pair_of(row, coding)
        if not first.text.strip() or not second.text.strip():
            raise BadRow("empty", "a completion is empty")
        group = Group(prompt, (first, second), ((0, 1),))
        if p is None and read is None:
            return group, ""
        matchup = Matchup.of(prompt, first, second)
        who = str(row.get("who") or row.get("annotator") or "")
        judge = FILE_LABEL if labels_by == "file" else HUMAN_PREFIX + (who or FILE_LABEL)
        said = [] if p is None else [_label(matchup, p, judge, who)]
        if read is not None:
            said += _recorded(row, matchup, read, read_name)
        return replace(group, labels=tuple(said)), matchup.id if who or read is not None else ""

    if isinstance(source, str | PathLike) and (Path(source) / "completions.jsonl").exists():
        groups = _of_run(Path(source), dropped)
    else:
        ahead, source = tee(source) if isinstance(source, Iterator) else (source, source)
        coding = PLAIN if kind == "completions" else label_coding(ahead, columns, label_values)
        del ahead  # with which a generator's rows would all be kept
        how: dict[str, Any] = {"columns": columns, "on_error": on_error, "dropped": dropped}
        groups = _gather(parse_rows(source, parse, COLUMNS, "completions", **how), dropped)
    is_clean = contamination_filter(benchmarks, dropped)
    kept = (group for group in _once(groups, dropped) if is_clean(group.prompt))
    yield from islice(kept, limit)


def _several(row: dict[str, Any], dropped: Drop) -> Part:
    """The completions of one row; those of a prompt that has only one here may go on in another."""
    prompt, completions = several_of(row)
    texts = [one for one in completions if one.text.strip()]
    if not texts:
        raise BadRow("empty", "no completion but empty ones")
    for one in completions:
        if not one.text.strip():
            dropped(Dropped(one.id, "completions", "empty"))
    return Group(prompt, drop_repeated(texts, "duplicate", dropped)), prompt.id if len(texts) == 1 else ""


def _label(matchup: Matchup, p_first: float, judge: str, who: str) -> Verdict:
    first, second = matchup.first.id, matchup.second.id
    # the same label has the same name whichever way round its row has the pair
    p = round(p_first if first < second else 1.0 - p_first, 9)
    name = content_id("verdict", judge, who, matchup.id, p)
    return Verdict(name, judge, matchup.id, first, second, p_first=p_first)


def _recorded(row: dict[str, Any], matchup: Matchup, read: Reader, read_name: str) -> Iterator[Verdict]:
    """What a judge said of this pair in another pipeline."""
    if "reply" not in row and "reply_swapped" not in row:
        raise BadRow("no_column", f"{missing('reply', row)} Say which it is with: --columns.reply ...")
    judge = RECORDED_PREFIX + str(row.get("judge") or read_name)
    first, second = matchup.first.id, matchup.second.id
    for column, one, other in (("reply", first, second), ("reply_swapped", second, first)):
        if isinstance(raw := row.get(column), str) and raw.strip():
            p, unread = read(raw)
            name = content_id("verdict", judge, matchup.id, one, raw)
            yield Verdict(name, judge, matchup.id, one, other, p_first=p, unread=unread, raw=raw)


def _gather(parts: Iterable[Part], dropped: Drop) -> Iterator[Group]:
    """Whole groups as they come, and at the end those whose rows were anywhere in the source."""
    encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Group).decode
    try:
        # A database without a name lies in a temporary file; a generator may be closed by another thread.
        with closing(sqlite3.connect("", isolation_level=None, check_same_thread=False)) as spool:
            spool.execute("CREATE TABLE parts (about, said)")
            spool.execute("BEGIN")
            for group, about in parts:
                if about:
                    spool.execute("INSERT INTO parts VALUES (?, ?)", (about, encode(group)))
                else:
                    yield group
            by_first_row = "SELECT * FROM parts ORDER BY min(rowid) OVER (PARTITION BY about), rowid"
            for _, same in groupby(spool.execute(by_first_row), key=itemgetter(0)):
                yield _merge([decode(said) for _, said in same], dropped)
    except sqlite3.Error as error:
        what = f"rows cannot be gathered in {gettempdir()} ({error})"
        raise DataError(f"{what}. Name another folder with: export TMPDIR=FOLDER") from error


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
        where = f"See where with: grep -n {name} {for_shell(folder)}/*.jsonl"
        raise DataError(f"{path} holds completions of {name}, whose prompt does not follow. {where}")


def matchups(group: Group, scheme: str = "all", seed: int = 0) -> tuple[list[Matchup], list[Dropped]]:
    """The matchups of one prompt; which of the two is first follows from their content, not from the file.

    A scheme is `all`, `chain` (each with the next), `star` (the first with each other) or `random:N`; a group
    may name its own pairs. Equal texts never meet.
    """
    found: list[Matchup] = []
    dropped: list[Dropped] = []
    if (k := len(group.completions)) < 2:
        return found, [Dropped(group.prompt.id, "completions", "too_few", f"{k} of them")]
    for i, j in group.pairs or _pairs_by(scheme, group.completions, seed):
        one, other = sorted((group.completions[i], group.completions[j]), key=lambda c: c.id)
        matchup = Matchup.of(group.prompt, one, other)
        if same_words(one.text, other.text):
            dropped.append(Dropped(matchup.id, "completions", "identical"))
        else:
            found.append(matchup.swapped() if _hash(f"seat {seed} {matchup.id}", 1)[0] & 1 else matchup)
    return found, dropped


def same_words(one: str, other: str) -> bool:
    """Equal but for white space."""
    if one == other:
        return True
    # most texts part within their first words; splitting all of both would be the dearest step of a matchup
    return one.split(None, 8)[:8] == other.split(None, 8)[:8] and one.split() == other.split()


def _pairs_by(scheme: str, completions: tuple[Completion, ...], seed: int) -> list[tuple[int, int]]:
    kind, n = parse_scheme(scheme)
    k = len(completions)
    if kind == "chain":
        return [(i, i + 1) for i in range(k - 1)]
    if kind == "star":
        return [(0, i) for i in range(1, k)]
    everyone = list(combinations(range(k), 2))

    def chance(pair: tuple[int, int]) -> bytes:
        return _hash(f"draw {seed} {' '.join(sorted(completions[i].id for i in pair))}", 8)

    return everyone if kind == "all" else sorted(everyone, key=chance)[:n]


def _hash(text: str, size: int) -> bytes:
    """Chance that follows from the text. Another text would move positions, and ask old runs anew."""
    return blake2b(text.encode(), digest_size=size).digest()


@lru_cache
def parse_scheme(scheme: str) -> tuple[str, int]:
    """A scheme's name and, of `random:N`, its number."""
    kind, _, count = scheme.partition(":")
    if scheme in SCHEMES[:3]:
        return scheme, 0
    if kind == "random" and count.isdigit() and int(count) > 0:
        return kind, int(count)
    raise SettingError(nearest("scheme of matchups", scheme, SCHEMES))
