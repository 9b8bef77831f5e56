"""Draw the labels that a person should read: a few hundred that tell of all of them.

    jurist spotcheck runs/mine -n 200 --out spot.jsonl

Fill in `label` (first, second or tie) in each line, then `jurist audit runs/mine --human spot.jsonl`. The
file says nothing of what judges thought, nor who wrote what, and the two answers are seated by lot.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from ..errors import DataError, RunError, SettingError
from ..records import Matchup, content_id
from .lines import named

if TYPE_CHECKING:
    from ..audits.read_run import AuditInput


class SpotcheckConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which labels are sampled for humans to check."""

    source: Annotated[str, Meta(description="A run folder, or a file of pairs.")]
    n: Annotated[int, Meta(description="Labels to sample.")] = 200
    out: Annotated[str, Meta(description="The file to fill in.")] = "spot.jsonl"
    seed: Annotated[int, Meta(description="Seed of the sample.")] = 0
    columns: Annotated[
        dict[str, str], Meta(description="Names of the file's columns, e.g. --columns.prompt question.")
    ] = {}


class SpotCheck(Struct, frozen=True):
    """What was sampled."""

    source: str
    out: str
    drawn: int
    of: int
    """Labels there are."""
    strata: int
    reach: float
    """Half of the interval that these labels give a share of three quarters."""
    certifies: float
    """The smallest error rate they can certify: with none of them wrong."""

    def lines(self) -> Iterator[str]:
        below = f"Without a wrong label among them, the error rate is below {self.certifies:.1%}"
        rows = (
            ("sampled", f"{self.drawn:,} of {self.of:,} labels, from {self.strata:,} strata"),
            ("precision", f"±{100 * self.reach:.1f} points. {below}"),
            ("file", self.out),
            ("next", "fill in label (first, second or tie) and who in each line, then:"),
            (" ", f"jurist audit {quote(self.source)} --human {quote(self.out)}"),
        )
        return named(rows, 11)


def spot_check(
    source: str | Path,
    n: int = 200,
    out: str | Path = "spot.jsonl",
    *,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
) -> SpotCheck:
    """Write the file to be labelled."""
    from ..audits.read_file import read_source
    from ..audits.spot_check import draw
    from ..stats.intervals import smallest_certified, wilson

    if n < 1:
        raise SettingError(f"a spot check reads some labels, got -n {n}. Set e.g. -n 200")
    _refuse_others(Path(out))
    read = read_source(source, columns=columns)
    drawn = draw(read.sheet, n, seed)
    taken = len(drawn.matchup)
    if not taken:
        raise RunError(f"{source} has no label to check. See why with: jurist audit {source}")
    names = [read.sheet.matchups.id[row] for row in drawn.matchup.tolist()]
    found = {one.id: one for one in _matchups(read, set(names), columns or {})}
    rows = (_row(found[name], weight) for name, weight in zip(names, drawn.weight.tolist(), strict=True))
    _write(Path(out), rows)
    low, high = wilson(0.75 * taken, taken)
    reach = (high - low) / 2
    return SpotCheck(
        str(source), str(out), taken, drawn.of, drawn.strata, round(reach, 4), smallest_certified(taken)
    )


def _matchups(read: AuditInput, wanted: set[str], columns: Mapping[str, str]) -> Iterator[Matchup]:
    """Those wanted, with their texts: read again, since no sheet holds texts."""
    from ..audits.read_file import pair_rows
    from ..audits.read_run import matchups_of_run

    if read.kind == "file":
        yield from (row.matchup for row in pair_rows(read.path, columns, "drop") if row.matchup.id in wanted)
    else:
        yield from (matchup for matchup, _ in matchups_of_run(Path(read.path), wanted))


def _row(matchup: Matchup, weight: float) -> dict[str, Any]:
    turns = matchup.prompt.messages
    lone = len(turns) == 1 and turns[0].role == "user"
    # By lot, and the same lot every time: people lean to seats too.
    shown = matchup.swapped() if int(content_id("seat", matchup.id)[:2], 16) % 2 else matchup
    return {
        "label": "",
        "who": "",
        "why": "",
        "prompt": turns[0].content if lone else [{"role": t.role, "content": t.content} for t in turns],
        "first": shown.first.text,
        "second": shown.second.text,
        "domain": matchup.prompt.domain,
        "stakes": matchup.prompt.stakes,
        "weight": round(weight, 6),
        "matchup_id": matchup.id,
        "first_id": shown.first.id,
        "second_id": shown.second.id,
    }


def _write(out: Path, rows: Iterator[dict[str, Any]]) -> None:
    draft = out.with_name(f".{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("w", encoding="utf-8") as file:
            for row in rows:
                print(json.dumps(row, ensure_ascii=False), file=file)
        draft.replace(out)
    except OSError as error:
        raise DataError(
            f"cannot write {out} ({(error.strerror or str(error)).lower()})."
            " Choose another file with: --out FILE"
        ) from error


def _refuse_others(out: Path) -> None:
    """Neither labels nor a file of something else is written over."""
    from ..verdicts.human import load_labels

    if not out.exists():
        return
    with out.open("rb") as file:
        ours = b'"matchup_id"' in file.read(1_000_000)
    if not ours:
        raise DataError(f"{out} is there and no spot check. Choose another file with: --out FILE")
    if any(one.p_first is not None for one in load_labels(out)):
        raise DataError(f"{out} has human labels in it. Choose another file with: --out FILE")
