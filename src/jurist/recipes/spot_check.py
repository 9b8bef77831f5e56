"""Sample the labels that a human should check: a few hundred that tell of all of them.

    jurist spotcheck runs/mine -n 200 --csv --out spot.csv

Fill in `label` (first, second or tie) and `who` in each row, then `jurist audit runs/mine --human spot.csv`.
The file says nothing of judges or policies, and which answer stands first is random.

Labels are put into strata: domain, stakes, how sure the label is, and whether the longer answer won. Each
stratum gets its share by size and by how uncertain its labels are (Neyman 1934), and never fewer than a few.
A label stands for as many as its stratum has for each one sampled: estimates have to use that weight.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from io import StringIO
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from msgspec import Meta, Struct, to_builtins

from ..errors import DataError, RunError, SettingError
from ..prompts.rows import OnError
from ..records import Matchup, content_id
from ..run import write_whole
from .lines import named

if TYPE_CHECKING:
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
    label_values: Annotated[
        dict[str | int | bool, str], Meta(description="What labels mean, e.g. --label_values.0 second.")
    ] = {}
    on_error: Annotated[OnError, Meta(description="What to do with a row that is no pair.")] = "stop"


class SpotCheck(Struct, frozen=True):
    """What was sampled."""

    source: str
    out: str
    sampled: int
    of: int
    """Labels there are."""
    reading: str = ""
    """The options that say how the source is read, for the next command."""

    def lines(self) -> Iterator[str]:
        from ..stats.intervals import smallest_certified, wilson

        low, high = wilson(0.75 * self.sampled, self.sampled)  # of a share of three quarters
        below = f"the error rate is below {smallest_certified(self.sampled):.1%}"
        rows = (
            ("sampled", f"{self.sampled:,} of {self.of:,} labels"),
            ("precision", f"±{50 * (high - low):.1f} points. Without a wrong label among them, {below}"),
            ("file", self.out),
            ("next", "fill in label (first, second or tie) and who in each row, then:"),
            (" ", f"jurist audit {quote(self.source)} --human {quote(self.out)}{self.reading}"),
        )
        return named(rows, 11)


class Sample(NamedTuple):
    """In the order in which they should be read: one who stops half-way has seen a sample all the same."""

    matchup: Array
    weight: Array
    """How many labels each stands for."""


def spot_check(
    source: str | Path,
    n: int = 200,
    out: str | Path = "",
    *,
    csv: bool = False,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    label_values: Mapping[Any, str] | None = None,
    on_error: OnError = "stop",
) -> SpotCheck:
    """Write the file to be labelled."""
    from ..audits.advice import options_of
    from ..audits.read_file import matchups_of, read_source

    path = Path(out or ("spot.csv" if csv else "spot.jsonl"))
    if n < 1:
        raise SettingError(f"a spot check reads some labels, got -n {n}. Set e.g. -n 200")
    if csv and path.suffix != ".csv":
        raise SettingError(f"--csv writes a table, and {path} is no name of one. Set e.g. --out spot.csv")
    _refuse_others(path)
    read = read_source(source, columns=columns, on_error=on_error, label_values=label_values)
    sample = sample_labels(read.sheet, n, seed)
    if not len(sample.matchup):
        raise RunError(f"{source} has no label to check. See why with: jurist audit {quote(str(source))}")
    weights = dict(zip((read.sheet.matchups.id[row] for row in sample.matchup), sample.weight, strict=True))
    found = {one.id: one for one, _ in matchups_of(read, weights.keys(), columns, label_values)}
    table = path.suffix == ".csv"
    _write(path, [_row(found[name], float(weight), table) for name, weight in weights.items()], table)
    reading = options_of(columns or {}, label_values or {}, on_error)
    return SpotCheck(str(source), str(path), len(weights), round(sample.weight.sum()), reading)


def _row(matchup: Matchup, weight: float, table: bool) -> dict[str, Any]:
    from ..audits.read_run import prompt_text

    turns = matchup.prompt.messages
    text = table or (len(turns) == 1 and turns[0].role == "user")
    # At random, and the same every time: humans lean to positions too.
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
    from ..verdicts.human import escape_cell

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
    from ..verdicts.human import load_labels

    if not out.exists():
        return
    ours = b"matchup_id" in out.read_bytes()
    if not ours or any(one.p_first is not None for one in load_labels(out)):
        what = "has human labels in it" if ours else "is there and no spot check"
        raise DataError(f"{out} {what}. Choose another file with: --out FILE")


def sample_labels(sheet: Sheet, n: int, seed: int = 0) -> Sample:
    """n of the labels, or of the matchups that were read where no labels were made; the same ones of the same
    content and seed, whatever order the run was written in.
    """
    import numpy as np

    p = sheet.mean_opinion.copy()
    matchup = np.flatnonzero(~np.isnan(p))
    if len(sheet.labels):
        matchup, at = np.unique(sheet.labels.matchup, return_index=True)
        p[matchup] = sheet.labels.p[at]
    if not len(matchup):
        return Sample(matchup, p)
    p = p[matchup]
    stratum = _strata(sheet, matchup, p, n)
    sizes = np.bincount(stratum)
    unsure = np.bincount(stratum, np.minimum(p, 1 - p)) / sizes
    error = np.clip(unsure, LEAST_ERROR, 0.5)
    shares = allocate(sizes, sizes * np.sqrt(error * (1 - error)), n)
    # A random number for each that follows from its content and the seed.
    ids = (sheet.matchups.id[row].encode() for row in matchup.tolist())
    drawn = b"".join(blake2b(one, digest_size=8, key=str(seed).encode()).digest() for one in ids)
    lots = np.frombuffer(drawn, dtype=">u8").astype(np.uint64)
    order = np.lexsort((lots, stratum))
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    taken = order[place < np.repeat(shares, sizes)]
    taken = taken[np.argsort(lots[taken], kind="stable")]
    return Sample(matchup[taken], (sizes / np.maximum(shares, 1))[stratum[taken]])


def allocate(sizes: Array, spread: Array, n: int) -> Array:
    """How many of each stratum: a few of every one, then each next where it takes away the most variance
    (Neyman's shares in whole numbers, Wright 2012). `spread` is size times standard deviation.
    """
    import numpy as np

    least = np.minimum(sizes, FEWEST)
    if least.sum() > n:
        least = np.zeros_like(sizes)
    stratum = np.repeat(np.arange(len(sizes)), sizes - least)
    before = np.concatenate([np.arange(low, size) for low, size in zip(least, sizes, strict=True)])
    gain = spread[stratum] / np.sqrt(np.maximum(before, 0.5) * (before + 1))
    most = np.argsort(-gain, kind="stable")[: max(0, n - int(least.sum()))]
    return np.asarray(least + np.bincount(stratum[most], minlength=len(sizes)))


def _strata(sheet: Sheet, matchup: Array, p: Array, n: int) -> Array:
    """A number for each; the finest division of which every part can have its few."""
    import numpy as np

    prompt, chars = sheet.matchups.prompt[matchup], sheet.answers.chars
    first, second = chars[sheet.matchups.first[matchup]], chars[sheet.matchups.second[matchup]]
    gap = (first - second) / np.maximum((first + second) / 2, 1) * np.sign(p - 0.5)
    parts = (
        sheet.prompts.domain[prompt],
        sheet.prompts.high[prompt].astype(np.int64),
        np.digitize(np.maximum(p, 1 - p), CONFIDENCE),
        np.digitize(gap, (-LONGER, LONGER)),
    )
    for least, many in ((2 * FEWEST, 4), (2 * FEWEST, 3), (2 * FEWEST, 2), (FEWEST, 1)):
        kinds, stratum = np.unique(np.stack(parts[:many]), axis=1, return_inverse=True)
        if least * kinds.shape[1] <= n:
            return np.asarray(stratum).reshape(-1)
    # More domains than labels: then the sample is a plain one.
    return np.zeros(len(matchup), dtype=np.int64)
