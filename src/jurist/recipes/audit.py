"""May these labels be trained on? A run, a loop or anybody's file of pairs, looked at by every audit.

    jurist audit runs/mine --human labels.jsonl
    jurist audit pairs.parquet --columns.prompt question --fail-on alarm

Reads once, keeps no text but a sample, and asks no model. Writes `audit.json` and `report.html` into the run
folder, or beside the file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from ..audits.finding import Finding, Measure, count, figures
from ..errors import RunError
from ..preferences.export import QUARANTINE, read_quarantine, write_quarantine
from ..prompts.rows import OnError
from ..run import cannot_write, owner_of, write_whole
from .lines import counted, named

if TYPE_CHECKING:
    from ..audits.read_run import AuditInput, MatchupExample, OnRows

EXAMPLES = 40
"""The most matchups on the page."""


class AuditCounts(Struct, frozen=True):
    """What was read. Verdicts are about two answers, unread ones among them, and scores about one."""

    prompts: int
    answers: int
    matchups: int
    verdicts: int
    scores: int
    labels: int
    """To train on."""
    humans: int
    labelled: int
    """Matchups that humans labelled."""
    judges: tuple[str, ...]
    dropped: dict[str, int] = {}
    """Rows that left, by stage and reason."""

    def words(self) -> str:
        nouns = ("prompt", "matchup", "verdict", "score", "label")
        return ", ".join(count(n, noun) for noun in nouns if (n := getattr(self, f"{noun}s")))


class AuditConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is audited, against what, and what makes it fail."""

    source: Annotated[str, Meta(description="A run folder, or a file of pairs: JSONL, CSV, Parquet.")]
    human: Annotated[str | None, Meta(description="File of human labels: JSONL or CSV.")] = None
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
    counts: AuditCounts
    findings: tuple[Finding, ...]
    """Agreement with humans, then the worst first."""
    notes: tuple[str, ...] = ()
    """What a reader has to know about what was read."""
    seconds: float = 0.0
    report: str = ""
    """The page."""

    def lines(self) -> Iterator[str]:
        """Agreement with humans, the answer, and the findings."""
        from ..audits.all import headline

        _, answer, reason, agreement = headline(self.findings)
        advice = f"do: {agreement.advice}" if agreement and agreement.advice else ""
        read = f"{self.source}: {self.counts.words()}, {self.counts.labelled:,} labelled by humans"
        rows = [("humans", agreement.says if agreement else ""), (" ", advice)]
        rows += [("answer", f"{answer}. {reason}"), (self.kind, read)]
        yield from named([*rows, *(("note", one) for one in self.notes)])
        grade, given = "", {"", advice}
        for one in self.findings:
            if one is agreement:
                continue
            name = f"{one.name} · {one.about}" if one.about else one.name
            advice = f"do: {one.advice}" if one.advice else ""
            if one.grade in ("fine", "silent"):
                if one.grade != grade:
                    yield "\nfine" if one.grade == "fine" else "\nnot measured"
                text = f"{name}: {figures(one) if one.value is not None else one.says}"
            else:
                yield f"\n{one.grade:<9}{name}: {one.reason}"
                text = one.says
            yield from named([(" ", text), (" ", "" if advice in given else advice)])
            given.add(advice)
            grade = one.grade
        where = self.report or f"write one with: jurist audit {quote(self.source)} --out FOLDER"
        yield f"\n{'report':<9}{where}"


def audit(
    source: str | os.PathLike[str],
    human: str | os.PathLike[str] | None = None,
    *,
    on_rows: OnRows | None = None,
    **settings: Any,
) -> Audit:
    """All that can be said; `settings` are those of `AuditConfig`."""
    from ..audits.advice import about_of
    from ..audits.all import audit_sheet
    from ..audits.reading import human_file
    from ..audits.report import Page, write_report
    from ..audits.self_preference import load_families

    began = time.monotonic()
    cfg = AuditConfig(source=str(source), human=str(human) if human else None, **settings)
    families = load_families(cfg.families)
    read, more = _read(cfg, on_rows)
    more += human_file(read.human, len(read.human_labels), read.human_labels.found)
    findings = audit_sheet(
        read.sheet,
        families=families,
        summary=read.summary,
        wanted=cfg.wanted,
        tolerated=cfg.tolerated,
        annotators=cfg.annotators,
        holds_back=read.kind == "run",
        more=more,
        about=about_of(
            read,
            cfg.source,
            recipe_of(Path(cfg.source), read.kind),
            cfg.columns,
            label_values=cfg.label_values,
            on_error=cfg.on_error,
        ),
    )
    folder, seconds = _folder(read, cfg), round(time.monotonic() - began, 2)
    counts, report = _counts(read), str(folder / "report.html")
    done = Audit(cfg.source, read.kind, counts, tuple(findings), read.notes, seconds, report)
    facts, examples = _facts(counts, read.notes), _examples(read, findings, cfg)
    page = Page(f"Audit of {Path(source).name}", cfg.source, done.findings, facts, examples)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "audit.json", msgspec.json.format(msgspec.json.encode(done), indent=1) + b"\n")
        write_report(folder / "report.html", page)
    except OSError as error:
        raise cannot_write(folder, error) from error
    if read.kind == "run":
        _quarantine(Path(source), read, cfg.wanted)
    return done


def _quarantine(folder: Path, read: AuditInput, wanted: float | None) -> None:
    """The last step: what stops it shall not cost the audit."""
    from ..audits.ceiling import quarantine

    quarantined = quarantine(read.sheet, wanted, read.human, read_quarantine(folder).domains)
    try:
        if quarantined is not None:
            write_quarantine(folder, quarantined)
    except OSError as error:
        raise RunError(
            f"the audit is written, but the quarantine is not ({(error.strerror or str(error)).lower()}):"
            f" exports leave out what they did. Look at it with: ls -l {quote(str(folder / QUARANTINE))}"
        ) from error


def _read(cfg: AuditConfig, on_rows: OnRows | None) -> tuple[AuditInput, list[Measure]]:
    """What there is, and what is measured of loops only: how the policies changed from round to round."""
    from ..audits.read_file import read_source

    read = read_source(cfg.source, cfg.human, cfg.columns, cfg.on_error, cfg.label_values, on_rows)
    if read.kind != "loop":
        return read, []
    from ..audits.diversity import diversity
    from ..audits.overoptimisation import overoptimisation
    from ..audits.win_rates import length_controlled
    from .loop.compare import checkpoints, comparisons, generations

    folder = Path(cfg.source)
    note = f"The labels are those of {Path(read.path).relative_to(folder)}, the last round that has some."
    if owner := owner_of(folder):
        note += f" Process {owner} is working on the loop."
    more = [*diversity(generations(folder)), *overoptimisation(checkpoints(folder))]
    return replace(read, notes=(note, *read.notes)), more + length_controlled(comparisons(folder))


def recipe_of(source: Path, kind: str) -> type[Struct] | None:
    """The settings that the recipe in a folder has; None where there is none."""
    from .catalogue import recipe_called, recipe_in
    from .settings import LabelConfig

    recipe = source / "recipe.yaml"
    if kind == "file" or not recipe.exists():
        return None
    return LabelConfig if kind == "run" else recipe_called(recipe_in(str(recipe)))[0]


def _folder(read: AuditInput, cfg: AuditConfig) -> Path:
    """Where audit.json and report.html go; only a page of ours is replaced."""
    folder = Path(cfg.out if cfg.out is not None else cfg.source)
    if cfg.out is not None:
        for name, ours in (("report.html", b"jurist audit"), ("audit.json", b'"findings"')):
            if (folder / name).exists() and ours not in (folder / name).read_bytes():
                raise RunError(f"{folder / name} is not an audit's. Choose another folder with: --out FOLDER")
        return folder
    if read.kind == "file":
        name = folder.name.partition(".")[0].partition(":")[0]
        return folder.with_name(f"{name}-audit") if folder.exists() else Path(f"{name}-audit")
    # A demo has a page of its own.
    taken = (folder / "report.html").exists() and not (folder / "audit.json").exists()
    return folder / "audit" if taken else folder


def _counts(read: AuditInput) -> AuditCounts:
    sheet, nouns = read.sheet, ("prompts", "answers", "matchups", "verdicts", "scores", "labels", "humans")
    sizes = {noun: len(getattr(sheet, noun)) for noun in nouns}
    labelled = int((sheet.human_p == sheet.human_p).sum())
    return AuditCounts(judges=sheet.judges, labelled=labelled, dropped=sheet.dropped, **sizes)


def _facts(counts: AuditCounts, notes: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """What the page says of what it is about."""
    rows = (
        ("read", counts.words()),
        ("judges" if len(counts.judges) > 1 else "judge", ", ".join(counts.judges)),
        ("labelled by humans", count(counts.labelled, "matchup") if counts.labelled else "none"),
        ("left out", counted(counts.dropped)),
        *(("note", note) for note in notes),
    )
    return tuple((name, text) for name, text in rows if text)


def _examples(read: AuditInput, findings: list[Finding], cfg: AuditConfig) -> dict[str, MatchupExample]:
    """The matchups that findings name, each finding's first ones before any other's later ones."""
    from ..audits.read_file import matchups_of
    from ..audits.read_run import example_of

    most = max((len(one.examples) for one in findings), default=0)
    ids = [one.examples[place] for place in range(most) for one in findings if place < len(one.examples)]
    wanted = list(dict.fromkeys(ids))[:EXAMPLES]
    found = matchups_of(read, wanted, cfg.columns, cfg.label_values) if wanted else ()
    return {one.id: example_of(one, said, read.human_labels.of(one)) for one, said in found}
