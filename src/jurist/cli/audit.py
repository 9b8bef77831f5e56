"""`jurist audit`: what may be wrong with the labels, the worst first; and a gate for pipelines."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from msgspec import Meta, Struct

from ..config import load_settings

if TYPE_CHECKING:
    from ..recipes.audit import Audit
    from ..records import Finding

WIDTH = 100


class AuditConfig(Struct, frozen=True, kw_only=True):
    """What may be said about an audit; the words for each are its option's."""

    columns: dict[str, str] = {}
    label_values: dict[str, str] = {}
    on_error: Literal["stop", "drop"] = "stop"
    price: tuple[float, float] = (0.5, 5.0)
    wanted: Annotated[float, Meta(ge=0, le=1)] = 0.6
    people_are: Literal["experts", "skilled", "crowd"] = "skilled"


def audit(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="A run folder, or a file of pairs: JSONL, CSV, Parquet.")],
    human: Annotated[Path | None, typer.Option(help="People's labels: JSONL.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where audit.json and report.html go.")
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(help="alarm, warning, NAME or 'NAME>0.2': then exit with 1. May be repeated."),
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option(help="A column of a file: ours=theirs. May be repeated.")
    ] = None,
    label_values: Annotated[
        list[str] | None,
        typer.Option("--label_values", help="What a label means, e.g. 0=second. May be repeated."),
    ] = None,
    families: Annotated[
        Path | None, typer.Option(help="Which models are related: YAML, before ours.")
    ] = None,
    on_error: Annotated[
        str | None, typer.Option("--on_error", help="A row that is no pair: stop, or drop by name. [stop]")
    ] = None,
    price: Annotated[
        str | None,
        typer.Option(help="US dollars that people ask for a comparison, from and to. ['[0.5, 5]']"),
    ] = None,
    wanted: Annotated[
        str | None,
        typer.Option(help="How often labels of a domain must agree with people, or be quarantined. [0.6]"),
    ] = None,
    people_are: Annotated[
        str | None,
        typer.Option("--people_are", help="How good they are: experts, skilled or crowd. [skilled]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """What may be wrong with the labels of a run or of anybody's file, with figures and what to do."""
    from ..recipes.audit import audit as run_audit
    from ..recipes.gate import reasons_to_fail
    from .ending import say
    from .progress import progress
    from .summary import report

    given = {"on_error": on_error, "price": price, "wanted": wanted, "people_are": people_are}
    for name, pairs in (("columns", columns), ("label_values", label_values)):
        parts = (one.partition("=") for one in pairs or ())
        given |= {f"{name}.{ours}": theirs for ours, _, theirs in parts}
    words = [word for name, value in given.items() if value is not None for word in (f"--{name}", value)]
    cfg = load_settings(AuditConfig, None, [*words, *ctx.args], see="jurist audit --help")
    with progress("json" if as_json else None) as watch:
        found = run_audit(
            source,
            human,
            out=out,
            columns=cfg.columns,
            on_error=cfg.on_error,
            label_values=cfg.label_values,
            families=families,
            price=cfg.price,
            wanted=cfg.wanted,
            people_are=cfg.people_are,
            watch=watch,
        )
    report(found, as_json, lambda: print_audit(found))
    if reasons := reasons_to_fail(found.findings, fail_on or ()):
        raise typer.Exit(say(f"failed on {'; '.join(reasons)}", 1))


def print_audit(found: Audit) -> None:
    from ..audits.words import count

    counts = found.counts
    about = [
        count(n, name)
        for n, name in (
            (counts.prompts, "prompt"),
            (counts.matchups, "matchup"),
            (counts.verdicts, "verdict"),
            (counts.scores, "score"),
            (counts.labels, "label"),
        )
        if n
    ]
    about += [f"{counts.labelled:,} labelled by people"] if counts.labelled else []
    print(f"{found.kind:<9}{found.source}: {', '.join(about) or 'nothing in it'}")
    from ..audits.report.words import answer

    _, short, why = answer(found.findings)
    print(fill(f"{short} {why}", WIDTH, initial_indent=f"{'answer':<9}", subsequent_indent=" " * 9))
    for note in found.notes:
        print(fill(note, WIDTH, initial_indent=f"{'beware':<9}", subsequent_indent=" " * 9))
    for one in found.findings:
        if one.grade not in ("fine", "silent"):
            print(f"\n{one.grade:<9}{_name(one)}")
            _block(one.says, one.advice)
    fine = [one for one in found.findings if one.grade == "fine"]
    if fine:
        print("\nfine")
        for one in fine:
            print(f"{' ' * 9}{_name(one)}: {_figures(one)}")
    quiet = [one for one in found.findings if one.grade == "silent"]
    if quiet:
        print("\nnot measured")
        for one in quiet:
            _block(f"{one.name}: {one.says}", one.advice)
    print(f"\n{'report':<9}{found.report}")


def _name(one: Finding) -> str:
    return f"{one.name} · {one.about}" if one.about else one.name


def _figures(one: Finding) -> str:
    from ..audits.report.words import figures

    return one.says if one.value is None else figures(one)


def _block(says: str, advice: str) -> None:
    for words, start in ((says, " " * 9), (advice, f"{' ' * 9}do: ")):
        if words:
            print(fill(words, WIDTH, initial_indent=start, subsequent_indent=" " * 9, break_long_words=False))
