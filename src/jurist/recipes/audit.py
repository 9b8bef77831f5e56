"""May these labels be trained on? A run, a loop or anybody's file of pairs, looked at by every audit.

    jurist audit runs/mine --human labels.jsonl
    jurist audit pairs.parquet --columns.prompt question --fail-on alarm

Reads once, keeps no text but a sample, and asks no model. Writes `audit.json` and `report.html` into the run
folder, or beside the file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace as replace_in

from ..audits.finding import Finding
from ..errors import RunError
from ..preferences.export import QUARANTINE, read_quarantine, write_quarantine
from ..prompts.rows import OnError
from ..run import cannot_write, newest_labels, write_whole
from .lines import named

if TYPE_CHECKING:
    from ..audits.alt_test import Annotators
    from ..audits.read_run import AuditInput, MatchupExample, OnRows
    from ..audits.sheet import Sheet

EXAMPLES = 40
"""The most matchups laid open on the page."""


class Counts(Struct, frozen=True):
    """What was read."""

    prompts: int
    answers: int
    matchups: int
    verdicts: int
    """About two answers, unread ones among them."""
    scores: int
    """About one answer."""
    judges: tuple[str, ...]
    labels: int
    """To train on."""
    people: int
    labelled: int
    """Matchups that people labelled."""
    dropped: dict[str, int] = {}
    """Rows that left, by stage and reason."""


class AuditConfig(Struct, frozen=True, kw_only=True):
    """What is audited, against what, and what makes it fail."""

    source: Annotated[str, Meta(description="A run folder, or a file of pairs: JSONL, CSV, Parquet.")]
    human: Annotated[str | None, Meta(description="File of human labels: JSONL.")] = None
    out: Annotated[str | None, Meta(description="Where audit.json and report.html go.")] = None
    fail_on: Annotated[
        tuple[str, ...], Meta(description="Exit with 1 on alarm, warning, NAME or 'NAME>0.2'.")
    ] = ()
    columns: Annotated[
        dict[str, str], Meta(description="Names of the file's columns, e.g. --columns.prompt question.")
    ] = {}
    label_values: Annotated[
        dict[str | int | bool, str],
        Meta(description="What the values of the label column mean, e.g. --label_values.0 second."),
    ] = {}
    families: Annotated[str | None, Meta(description="YAML file: which models are related.")] = None
    on_error: Annotated[OnError, Meta(description="What to do with a row that is no pair.")] = "stop"
    price: Annotated[
        tuple[float, float], Meta(description="Lowest and highest price of a human label, in dollars.")
    ] = (0.5, 5.0)
    wanted: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(description="Agreement with humans that every domain must reach. Null: 0.6."),
    ] = None
    tolerated: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(description="Share of wrong labels that is tolerated. Null: 0.3."),
    ] = None
    annotators: Annotated[
        Literal["experts", "skilled", "crowd"] | Annotated[float, Meta(ge=0, lt=1)],
        Meta(description="Who labelled; or how far a judge may be behind them, e.g. 0.15 (skilled)."),
    ] = "skilled"


class Audit(Struct, frozen=True):
    """Kept as `audit.json`."""

    source: str
    kind: Literal["run", "loop", "file"]
    counts: Counts
    findings: tuple[Finding, ...]
    """The worst first."""
    notes: tuple[str, ...] = ()
    """What a reader has to know about what was read."""
    seconds: float = 0.0
    report: str = ""
    """The page."""

    def lines(self) -> Iterator[str]:
        """The answer, then the findings, the worst first."""
        from ..audits.headline import headline
        from ..audits.report.formatting import figures

        counts = self.counts
        nouns = {"prompt": counts.prompts, "matchup": counts.matchups, "verdict": counts.verdicts}
        nouns |= {"score": counts.scores, "label": counts.labels}
        about = [f"{n:,} {noun}{'s' * (n != 1)}" for noun, n in nouns.items() if n]
        about += [f"{counts.labelled:,} labelled by humans"] * bool(counts.labelled)
        yield f"{self.kind:<9}{self.source}: {', '.join(about) or 'nothing in it'}"
        _, answer, reason, _ = headline(self.findings)
        yield from named([("answer", f"{answer}. {reason}"), *(("note", one) for one in self.notes)])
        grade = ""
        for one in self.findings:
            name = f"{one.name} · {one.about}" if one.about else one.name
            advice = (" ", f"do: {one.advice}" if one.advice else "")
            if one.grade not in ("fine", "silent"):
                yield f"\n{one.grade:<9}{name}"
                yield from named([(" ", one.says), advice])
                continue
            yield from () if one.grade == grade else ("", "fine" if one.grade == "fine" else "not measured")
            grade = one.grade
            if grade == "fine":
                yield f"{'':<9}{name}: {one.says if one.value is None else figures(one)}"
            else:
                yield from named([(" ", f"{one.name}: {one.says}"), advice])
        where = self.report or f"write one with: jurist audit {quote(self.source)} --out FOLDER"
        yield f"\n{'report':<9}{where}"


def audit(
    source: str | os.PathLike[str],
    human: str | os.PathLike[str] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
    on_error: OnError = "stop",
    label_values: Mapping[Any, str] | None = None,
    families: str | Path | None = None,
    price: tuple[float, float] | None = None,
    wanted: float | None = None,
    tolerated: float | None = None,
    annotators: Annotators | float = "skilled",
    on_rows: OnRows | None = None,
) -> Audit:
    """All that can be said. `columns` are `ours: theirs`, `label_values` what numbers among the labels mean,
    `families` is a file that says which models are related, `price` what people ask for a comparison,
    `wanted` how often labels must agree with humans, `tolerated` the share of wrong labels, and `annotators`
    who labelled.
    """
    from ..audits.all import audit as of_sheet
    from ..audits.all import worst_first
    from ..audits.cost import PEOPLE
    from ..audits.finding import About
    from ..audits.next_step import about_file, about_run
    from ..audits.reading import of_people
    from ..audits.report import Page, write_report
    from ..audits.self_preference import load_families

    began = time.monotonic()
    related = load_families(families)
    read, more = _read(str(source), human, columns or {}, on_error, label_values or {}, on_rows)
    findings = worst_first(
        [
            *of_people(read.human, len(read.human_labels), read.human_labels.found),
            *of_sheet(
                read.sheet,
                families=related,
                spent=read.summary.get("usd"),
                price=price or PEOPLE,
                wanted=wanted,
                tolerated=tolerated,
                annotators=annotators,
                holds_back=read.kind == "run",
                about=About(quote(read.path), read.kind),
            ),
            *more,
        ]
    )
    placed = about_file if read.kind == "file" else about_run
    findings = [replace_in(one, advice=placed(one.advice, read.path)) for one in findings]
    folder = _folder(read, str(source), out)
    kept = Audit(
        str(source),
        read.kind,
        _counts(read),
        tuple(findings),
        read.notes,
        round(time.monotonic() - began, 2),
        str(folder / "report.html"),
    )
    examples = _examples(read, findings, columns or {}, label_values or {})
    facts = _facts(kept)
    page = Page(f"Audit of {Path(source).name}", str(source), kept.findings, facts, examples)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "audit.json", msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")
        write_report(folder / "report.html", page)
    except OSError as error:
        raise cannot_write(folder, error) from error
    if read.kind == "run":
        _hold_back(Path(source), read.sheet, wanted, str(human or ""))
    return kept


def _hold_back(folder: Path, sheet: Sheet, wanted: float | None, human: str) -> None:
    """The last step: what stops it shall not cost the audit."""
    from ..audits.ceiling import quarantine

    held = quarantine(sheet, wanted, human, read_quarantine(folder).domains)
    if held is None:
        return
    try:
        write_quarantine(folder, held)
    except OSError as error:
        raise RunError(
            f"the audit is written, but the quarantine is not: cannot write {folder / QUARANTINE}"
            f" ({(error.strerror or str(error)).lower()}). Until it can be, an export leaves out what it"
            f" did before. Look at it with: ls -ld {folder} {folder / QUARANTINE}"
        ) from error


def _read(
    source: str,
    human: str | os.PathLike[str] | None,
    columns: Mapping[str, str],
    on_error: OnError,
    label_values: Mapping[Any, str],
    on_rows: OnRows | None,
) -> tuple[AuditInput, list[Finding]]:
    """The sheet, and what only a loop has findings of."""
    from ..audits.read_file import read_source

    path = Path(source)
    if (path / "loop.json").exists():
        return _read_loop(path, human, on_rows)
    return read_source(source, human, columns, on_error, label_values, on_rows), []


def _read_loop(
    folder: Path, human: str | os.PathLike[str] | None, on_rows: OnRows | None
) -> tuple[AuditInput, list[Finding]]:
    """The labels of the last round that has some, and what became of the policies from round to round."""
    from ..audits.diversity import diversity
    from ..audits.finding import About, find
    from ..audits.findings import KINDS
    from ..audits.overoptimisation import overoptimisation
    from ..audits.read_run import read_run
    from ..audits.win_rates import length_controlled
    from .loop.compare import checkpoints, comparisons, generations

    labelled = newest_labels(folder)
    if labelled is None:
        raise RunError(
            f"no round of the loop in {folder} was labelled yet."
            f" Go on with: jurist run {folder / 'recipe.yaml'} --out {folder}"
        )
    read = read_run(labelled, human, on_rows)
    note = f"The labels are those of {labelled.relative_to(folder)}, the last round that has some."
    measures = [
        *diversity(generations(folder)),
        *overoptimisation(checkpoints(folder)),
        *length_controlled(comparisons(folder)),
    ]
    more = find(measures, KINDS, About(quote(str(folder)), "loop"))
    return replace(read, kind="loop", notes=(note, *read.notes)), more


def _folder(read: AuditInput, source: str, out: str | os.PathLike[str] | None) -> Path:
    if out is not None:
        _refuse_others_report(Path(out))
        return Path(out)
    folder = Path(source)
    if read.kind == "file":
        name = folder.name.partition(".")[0].partition(":")[0]
        return folder.with_name(f"{name}-audit") if folder.exists() else Path(f"{name}-audit")
    # A demo has a page of its own.
    taken = (folder / "report.html").exists() and not (folder / "audit.json").exists()
    return folder / "audit" if taken else folder


def _refuse_others_report(folder: Path) -> None:
    """Only a page of ours is replaced."""
    for name, ours in (("report.html", b"jurist audit"), ("audit.json", b'"findings"')):
        if (folder / name).exists() and ours not in (folder / name).read_bytes():
            raise RunError(f"{folder / name} is not an audit's. Choose another folder with: --out FOLDER")


def _counts(read: AuditInput) -> Counts:
    import numpy as np

    sheet = read.sheet
    return Counts(
        prompts=len(sheet.prompts),
        answers=len(sheet.answers),
        matchups=len(sheet.matchups),
        verdicts=len(sheet.verdicts),
        scores=len(sheet.scores),
        judges=sheet.judges,
        labels=len(sheet.labels),
        people=len(sheet.humans),
        labelled=int((~np.isnan(sheet.human_p)).sum()),
        dropped=sheet.dropped,
    )


def _facts(audit: Audit) -> tuple[tuple[str, str], ...]:
    """The page's few words on what it is about."""
    counts = audit.counts
    rows = [
        ("prompts", f"{counts.prompts:,}"),
        ("matchups", f"{counts.matchups:,}"),
        ("verdicts", f"{counts.verdicts:,}" if counts.verdicts else ""),
        ("scores", f"{counts.scores:,}" if counts.scores else ""),
        ("judges" if len(counts.judges) > 1 else "judge", ", ".join(counts.judges)),
        ("labels", f"{counts.labels:,}"),
        ("labelled by people", f"{counts.labelled:,} matchups" if counts.labelled else "none"),
        ("left out", ", ".join(f"{reason} {n:,}" for reason, n in counts.dropped.items())),
        *(("beware", note) for note in audit.notes),
    ]
    return tuple((name, said) for name, said in rows if said)


def _examples(
    read: AuditInput, findings: list[Finding], columns: Mapping[str, str], label_values: Mapping[Any, str]
) -> dict[str, MatchupExample]:
    """The matchups that findings name, each finding's first ones before any other's later ones."""
    from ..audits.read_file import examples_of_file
    from ..audits.read_run import examples_of_run

    most = max((len(one.examples) for one in findings), default=0)
    named = [one.examples[place] for place in range(most) for one in findings if place < len(one.examples)]
    wanted = list(dict.fromkeys(named))[:EXAMPLES]
    if not wanted:
        return {}
    if read.kind == "file":
        return examples_of_file(read.path, wanted, read.human_labels, columns, label_values)
    return examples_of_run(Path(read.path), wanted, read.human_labels)
