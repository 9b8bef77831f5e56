"""Sample the labels that a human should check: a few hundred that tell of all of them.

    jurist spotcheck runs/mine -n 200 --csv --out spot.csv

Fill in `label` (first, second or tie) and `who` in each row, then `jurist audit runs/mine --human spot.csv`.
The file says nothing of judges or policies, and which answer stands first is drawn by lot.

Labels are put into strata: domain, stakes, how sure the label is, and whether the longer answer won. Each
stratum gets its share by size and by how uncertain its labels are (Neyman 1934), and never fewer than a few.
A label stands for as many as its stratum has for each one sampled: estimates have to use that weight. The
sample follows from content and seed, whatever order the run was written in.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from io import StringIO
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import numpy as np
from msgspec import Meta, Struct, to_builtins

from ..errors import DataError, RunError, SettingError
from ..records import Matchup, content_id
from ..run import write_whole
from ..verdicts.human import escape_cell, load_labels
from .lines import named

if TYPE_CHECKING:
    from ..audits.read_run import AuditInput
    from ..audits.sheet import Array, Sheet

FEWEST: Final = 2
"""Of each stratum, so that its spread can be seen."""
CONFIDENCE, LONGER = (0.6, 0.8), 0.2
"""Where strata are cut: at these confidences, and where an answer is longer by this part of the mean."""
LEAST_ERROR: Final = 0.1
"""No stratum is taken to be surer than this: judges say 1 too easily."""


class SpotcheckConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which labels are sampled for humans to check."""

    source: Annotated[str, Meta(description="A run folder, or a file of pairs.")]
    n: Annotated[int, Meta(description="Labels to sample.")] = 200
    csv: Annotated[bool, Meta(description="Write a table for a spreadsheet.")] = False
    out: Annotated[str, Meta(description="The file to fill in; by default spot.jsonl or spot.csv.")] = ""
    seed: Annotated[int, Meta(description="Seed of the sample.")] = 0
    columns: Annotated[
        dict[str, str], Meta(description="Names of the file's columns, e.g. --columns.prompt question.")
    ] = {}


class SpotCheck(Struct, frozen=True):
    """What was sampled."""

    source: str
    out: str
    sampled: int
    of: int
    """Labels there are."""
    strata: int
    margin: float
    """Half of the interval that these labels give a share of three quarters."""
    certifies: float
    """The smallest error rate they can certify: with none of them wrong."""

    def lines(self) -> Iterator[str]:
        below = f"Without a wrong label among them, the error rate is below {self.certifies:.1%}"
        rows = (
            ("sampled", f"{self.sampled:,} of {self.of:,} labels, from {self.strata:,} strata"),
            ("precision", f"±{100 * self.margin:.1f} points. {below}"),
            ("file", self.out),
            ("next", "fill in label (first, second or tie) and who in each row, then:"),
            (" ", f"jurist audit {quote(self.source)} --human {quote(self.out)}"),
        )
        return named(rows, 11)


class Sample(NamedTuple):
    """In the order in which they should be read: one who stops half-way has seen a sample all the same."""

    matchup: Array
    weight: Array
    of: int
    """How many labels there are."""
    strata: int


def spot_check(
    source: str | Path,
    n: int = 200,
    out: str | Path = "",
    *,
    csv: bool = False,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
) -> SpotCheck:
    """Write the file to be labelled."""
    from ..audits.read_file import read_source
    from ..stats.intervals import smallest_certified, wilson

    path = Path(out or ("spot.csv" if csv else "spot.jsonl"))
    if n < 1:
        raise SettingError(f"a spot check reads some labels, got -n {n}. Set e.g. -n 200")
    if csv and path.suffix != ".csv":
        raise SettingError(f"--csv writes a table, and {path} is no name of one. Set e.g. --out spot.csv")
    _refuse_others(path)
    read = read_source(source, columns=columns)
    sample = sample_labels(read.sheet, n, seed)
    taken = len(sample.matchup)
    if not taken:
        raise RunError(f"{source} has no label to check. See why with: jurist audit {quote(str(source))}")
    names = [read.sheet.matchups.id[row] for row in sample.matchup.tolist()]
    found = {one.id: one for one in _matchups(read, set(names), columns or {})}
    weights, table = sample.weight.tolist(), path.suffix == ".csv"
    _write(path, [_row(found[name], one, table) for name, one in zip(names, weights, strict=True)], table)
    low, high = wilson(0.75 * taken, taken)
    margin = round((high - low) / 2, 4)
    certified = smallest_certified(taken)
    return SpotCheck(str(source), str(path), taken, sample.of, sample.strata, margin, certified)


def _matchups(read: AuditInput, wanted: set[str], columns: Mapping[str, str]) -> Iterable[Matchup]:
    """Those wanted, with their texts: read again, since no sheet holds texts."""
    from ..audits.read_file import pair_rows
    from ..audits.read_run import matchups_of_run

    if read.kind == "file":
        return (row.matchup for row in pair_rows(read.path, columns, "drop") if row.matchup.id in wanted)
    return (matchup for matchup, _ in matchups_of_run(Path(read.path), wanted))


def _row(matchup: Matchup, weight: float, table: bool) -> dict[str, Any]:
    from ..audits.read_run import prompt_text

    turns = matchup.prompt.messages
    text = table or (len(turns) == 1 and turns[0].role == "user")
    # By lot, and the same lot every time: humans lean to positions too.
    shown = matchup.swapped() if int(content_id("position", matchup.id)[:2], 16) % 2 else matchup
    return {
        "label": "",
        "who": "",
        "why": "",
        "prompt": prompt_text(matchup.prompt) if text else to_builtins(turns),
        "first": shown.first.text,
        "second": shown.second.text,
        "domain": matchup.prompt.domain,
        "stakes": matchup.prompt.stakes,
        # A bare number may become a date, or lose its point, in a spreadsheet of another country.
        "weight": f"{weight:.6f} labels" if table else round(weight, 6),
        "matchup_id": matchup.id,
        "first_id": shown.first.id,
        "second_id": shown.second.id,
    }


def _write(path: Path, rows: Sequence[dict[str, Any]], table: bool) -> None:
    text = StringIO(newline="")
    if table:
        cells = csv.DictWriter(text, rows[0])
        cells.writeheader()
        cells.writerows({name: escape_cell(value) for name, value in row.items()} for row in rows)
    else:
        text.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The mark in front of a table tells Excel that it is UTF-8.
        write_whole(path, text.getvalue().encode("utf-8-sig" if table else "utf-8"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"cannot write {path} ({reason}). Choose another file with: --out FILE") from error


def _refuse_others(out: Path) -> None:
    """Neither labels nor a file of something else is written over."""
    if not out.exists():
        return
    what = "has human labels in it" if b"matchup_id" in out.read_bytes() else "is there and no spot check"
    if what.startswith("is") or any(one.p_first is not None for one in load_labels(out)):
        raise DataError(f"{out} {what}. Choose another file with: --out FILE")


def sample_labels(sheet: Sheet, n: int, seed: int = 0) -> Sample:
    """n of the labels, or of the matchups that were read where no labels were made."""
    matchup, p = _decided(sheet)
    if not len(matchup):
        return Sample(matchup, p, 0, 0)
    stratum = _strata(sheet, matchup, p, n)
    sizes = np.bincount(stratum)
    unsure = np.bincount(stratum, np.minimum(p, 1 - p)) / sizes
    error = np.clip(unsure, LEAST_ERROR, 0.5)
    shares, lots = allocate(sizes, sizes * np.sqrt(error * (1 - error)), n), _lots(sheet, matchup, seed)
    order = np.lexsort((lots, stratum))
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    taken = order[place < np.repeat(shares, sizes)]
    taken = taken[np.argsort(lots[taken], kind="stable")]
    weight = (sizes / np.maximum(shares, 1))[stratum[taken]]
    return Sample(matchup[taken], weight, len(matchup), len(sizes))


def allocate(sizes: Array, wanted: Array, n: int) -> Array:
    """How many of each stratum: a few of every one, the rest in proportion, no more than there are."""
    n = min(n, int(sizes.sum()))
    least = np.minimum(sizes, FEWEST)
    if least.sum() > n:
        least = np.zeros_like(sizes)
    given = least.astype(float)
    open_ = given < sizes
    while open_.any() and given.sum() < n - 1e-9:
        more = np.where(open_, wanted, 0.0)
        given = np.minimum(sizes, given + (n - given.sum()) * more / more.sum())
        open_ = given < sizes - 1e-12
    whole = np.floor(given + 1e-9).astype(np.int64)
    short = n - int(whole.sum())
    rest = np.where(whole < sizes, given - whole, -1.0)
    whole[np.argsort(-rest, kind="stable")[:short]] += 1
    return whole


def _decided(sheet: Sheet) -> tuple[Array, Array]:
    if len(sheet.labels):
        matchup, at = np.unique(sheet.labels.matchup, return_index=True)
        return matchup, sheet.labels.p[at]
    p = sheet.mean_opinion
    read = np.flatnonzero(~np.isnan(p))
    return read, p[read]


def _strata(sheet: Sheet, matchup: Array, p: Array, n: int) -> Array:
    """A number for each; the finest division of which every part can have its few."""
    prompt, chars = sheet.matchups.prompt[matchup], sheet.answers.chars
    first, second = chars[sheet.matchups.first[matchup]], chars[sheet.matchups.second[matchup]]
    gap = (first - second) / np.maximum((first + second) / 2, 1) * np.sign(p - 0.5)
    parts = (
        sheet.prompts.domain[prompt],
        sheet.prompts.high[prompt].astype(np.int64),
        np.digitize(np.maximum(p, 1 - p), CONFIDENCE),
        np.digitize(gap, (-LONGER, LONGER)),
    )
    nothing = stratum = np.zeros(len(matchup), dtype=np.int64)
    for many in range(len(parts), 0, -1):
        name = nothing
        for part in parts[:many]:
            name = name * (int(part.max()) + 1) + part
        kinds, stratum = np.unique(name, return_inverse=True)
        if 2 * FEWEST * len(kinds) <= n:
            return stratum
    # More domains than labels: then the sample is a plain one.
    return stratum if len(kinds) * FEWEST <= n else nothing


def _lots(sheet: Sheet, matchup: Array, seed: int) -> Array:
    """A random number for each that follows from its content and the seed."""
    ids, salt = sheet.matchups.id, str(seed).encode()
    made = (blake2b(ids[one].encode(), digest_size=8, key=salt).digest() for one in matchup.tolist())
    return np.frombuffer(b"".join(made), dtype=">u8").astype(np.uint64)
