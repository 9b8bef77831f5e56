"""`jurist plan` and `jurist spotcheck`: how many labels people should give, and which."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..recipes.plan import Plan
    from ..recipes.spot_check import SpotCheck

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Columns = Annotated[list[str] | None, typer.Option(help="A column of a file: ours=theirs. May be repeated.")]


def plan(
    source: Annotated[
        str | None, typer.Argument(help="A run folder, or a file of pairs: plan with what was measured.")
    ] = None,
    human: Annotated[Path | None, typer.Option(help="People's labels of it: JSONL.")] = None,
    agreement: Annotated[
        float | None, typer.Option(help="How often labels agree with people. [0.75]")
    ] = None,
    margin: Annotated[float | None, typer.Option(help="Half of the interval wanted. [0.05]")] = None,
    difference: Annotated[
        float | None, typer.Option(help="By how much one of two judges is better. [0.05]")
    ] = None,
    discordance: Annotated[
        float | None, typer.Option(help="Share of pairs on which just one of the two is right. [0.2]")
    ] = None,
    first_share: Annotated[
        float | None, typer.Option(help="Share of flips that goes with the first seat. [0.6]")
    ] = None,
    error: Annotated[float | None, typer.Option(help="Wrong labels a batch may have. [0.05]")] = None,
    rho: Annotated[float | None, typer.Option(help="Correlation of judges with people.")] = None,
    judged: Annotated[int | None, typer.Option(help="Matchups that judges read; else any number.")] = None,
    per_prompt: Annotated[float | None, typer.Option(help="Matchups of each prompt. [1]")] = None,
    likeness: Annotated[
        float | None, typer.Option(help="How alike labels of one prompt are (ICC). [0]")
    ] = None,
    people: Annotated[float | None, typer.Option(help="How often each person is right. [0.85]")] = None,
    price: Annotated[float | None, typer.Option(help="US dollars a label. [1]")] = None,
    power: Annotated[float | None, typer.Option(help="How often a difference is found. [0.8]")] = None,
    columns: Columns = None,
    as_json: AsJson = False,
) -> None:
    """How many labels from people answer a question, and what they cost."""
    from ..recipes.plan import plan as make_plan
    from .summary import report

    options = {
        "agreement": agreement,
        "margin": margin,
        "difference": difference,
        "discordance": discordance,
        "first_share": first_share,
        "error": error,
        "rho": rho,
        "judged": judged,
        "per_prompt": per_prompt,
        "likeness": likeness,
        "people": people,
        "price": price,
        "power": power,
    }
    given = {name: value for name, value in options.items() if value is not None}
    found = make_plan(source, human, columns=_columns(columns), **given)
    report(found, as_json, lambda: _print_plan(found))


def spotcheck(
    source: Annotated[str, typer.Argument(help="A run folder, or a file of pairs.")],
    n: Annotated[int, typer.Option("-n", help="Labels to read.")] = 200,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to fill in.")] = Path("spot.jsonl"),
    seed: Annotated[int, typer.Option(help="Another one draws others.")] = 0,
    columns: Columns = None,
    as_json: AsJson = False,
) -> None:
    """Draw labels for people to check, of every domain and kind, each with what it stands for."""
    from ..recipes.spot_check import spot_check
    from .summary import report

    found = spot_check(source, n, out, seed=seed, columns=_columns(columns))
    report(found, as_json, lambda: _print_check(found))


def _columns(said: list[str] | None) -> dict[str, str]:
    return {ours: theirs for one in said or () for ours, _, theirs in [one.partition("=")]}


def _print_plan(found: Plan) -> None:
    from .loops import print_table

    rows = [("to", "labels", "price", "assuming")]
    for row in found.rows:
        labels = "-" if row.labels is None else f"{row.labels:,}"
        price = "-" if not row.usd else f"${row.usd:,.0f}"
        rows.append((row.question, labels, price, row.assuming))
    print_table(rows)
    if found.measured:
        names = ", ".join(
            f"{name} {value:,}" if isinstance(value, int) else f"{name} {value:.3g}"
            for name, value in found.measured.items()
        )
        print(f"measured: {names}")


def _print_check(found: SpotCheck) -> None:
    print(f"drawn    {found.drawn:,} of {found.of:,} labels, from {found.strata:,} strata")
    print(f"tells    agreement to within {found.reach:.1%}; at most {found.certifies:.1%} wrong, if none is")
    print(f"file     {found.out}")
    print("next     fill in label (first, second or tie) and who in each line, then:")
    print(f"         jurist audit {found.source} --human {found.out}")
