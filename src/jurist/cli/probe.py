"""`jurist probe`: which attacks a judge falls for, before its labels count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..recipes.probe import Probe


def probe(
    ctx: typer.Context,
    judge: Annotated[str, typer.Argument(help="Who is probed, e.g. openai:gpt-5-mini.")],
    prompts: Annotated[
        str | None, typer.Option(help="Prompts with a decent answer each; by default our own 24.")
    ] = None,
    out: Annotated[str, typer.Option("--out", "-o", help="The run folder.")] = "probe",
    budget: Annotated[str | None, typer.Option(help="The most it may cost, e.g. 1usd.")] = None,
    journal: Annotated[str | None, typer.Option(help="A journal shared with other runs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Show a judge answers made to please it, beside decent ones; exit with 1 if it surely falls for one."""
    from ..recipes.probe import probe as run_probe
    from ..recipes.probe import probe_settings
    from .ending import ended
    from .progress import progress
    from .summary import report

    given = {name: value for name, value in (("budget", budget), ("journal", journal)) if value is not None}
    cfg = probe_settings(judge, out, list(ctx.args), **given)
    with progress("json" if as_json else None) as watch:
        told = run_probe(cfg, prompts, watch)
    report(told, as_json, lambda: print_probe(told))
    ended(told)
    if not told.passed:
        raise typer.Exit(1)


def print_probe(told: Probe) -> None:
    for one in told.findings:
        rate = "" if one.value is None else f"{one.value:.1%} ({one.low:.1%} to {one.high:.1%})"
        print(f"{one.grade:<8} {one.name.partition('.')[2]:<12} {rate}")
    for advice in dict.fromkeys(one.advice for one in told.findings if one.grade in ("alarm", "silent")):
        print(f"{'do':<8} {advice}")
    print(f"{'in all':<8} {_in_all(told)}")
    print(f"{'calls':<8} {told.calls:,} answered, {told.calls_kept:,} kept from before, ${told.usd:.4f}")
    print(f"{'report':<8} {told.report}")


def _in_all(told: Probe) -> str:
    """Who cannot tell a wrong answer, or says nothing, withstands no attack by it."""
    by_name = {one.name: one for one in told.findings}
    unknown = [name.partition(".")[2] for name, one in by_name.items() if one.grade == "silent"]
    if told.falls_for:
        return f"surely falls for: {', '.join(told.falls_for)}"
    if unknown or not told.judges:
        return f"not known: nothing could be read about {', '.join(unknown) or 'any attack'}"
    if by_name["firewall.unread"].grade == "alarm":
        return "not known: too little could be read"
    if by_name["firewall.plain"].grade == "alarm":
        return "not known: it does not read the answers, a wrong one wins without any attack"
    return "surely falls for none of them"
