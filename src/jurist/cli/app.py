"""The verbs, as typer reads them. What they do is in the files beside this one and in `recipes/`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from .audit import audit
from .plan import plan, spotcheck
from .probe import probe
from .train import train

_MORE = (
    "Every key of a recipe can be given as --key.sub value: --judge.reason true --prefer.ties soft"
    " --labels labels.jsonl. What they are: docs/settings.md"
)

app = typer.Typer(
    name="jurist",
    help="Preference data you can trust from AI judges, and the models trained on it.",
    epilog=_MORE,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(train)
_OPEN = {"allow_extra_args": True, "ignore_unknown_options": True}
app.command(context_settings=_OPEN)(audit)
app.command()(plan)
app.command()(spotcheck)

Recipe = Annotated[Path | None, typer.Option("--recipe", "-r", help="YAML file with the settings.")]
Out = Annotated[str | None, typer.Option("--out", "-o", help="The run folder.")]
Prompts = Annotated[str | None, typer.Option(help="Prompts: JSONL, JSON, CSV, Parquet or hub:owner/name.")]
Completions = Annotated[str | None, typer.Option(help="Prompts with ready-made completions.")]
Pairs = Annotated[str | None, typer.Option(help="Prompts with two completions each.")]
Policy = Annotated[
    list[str] | None,
    typer.Option(
        "--policy", help="Who writes completions, e.g. vllm:MODEL@http://host:8000/v1. May be repeated."
    ),
]
Judge = Annotated[
    list[str] | None, typer.Option(help="Who judges, e.g. openai:gpt-5-mini. Several make a jury.")
]
Budget = Annotated[str | None, typer.Option(help="The most the run may cost, e.g. 5usd.")]
Limit = Annotated[int | None, typer.Option(help="Read only this many rows.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
K = Annotated[int | None, typer.Option("-k", help="Completions per prompt.")]
Seed = Annotated[int | None, typer.Option(help="Decides every draw that is not the model's.")]
SharedJournal = Annotated[str | None, typer.Option("--journal", help="A journal shared with other runs.")]


def main() -> None:
    """The command line, from its words to its exit code."""
    from .ending import run_command

    sys.exit(run_command(typer.main.get_command(app), sys.argv[1:]))


@app.command(context_settings=_OPEN, epilog=_MORE)
def label(
    ctx: typer.Context,
    recipe: Recipe = None,
    out: Out = None,
    prompts: Prompts = None,
    completions: Completions = None,
    pairs: Pairs = None,
    policy: Policy = None,
    judge: Judge = None,
    budget: Budget = None,
    limit: Limit = None,
    k: K = None,
    seed: Seed = None,
    journal: SharedJournal = None,
    as_json: AsJson = False,
) -> None:
    """Judge completions and decide which to train on: prompts in, preference pairs out."""
    from ..recipes.label import label as run_label

    _work(run_label, _settings(ctx), as_json)


@app.command(context_settings=_OPEN, epilog=_MORE)
def sample(
    ctx: typer.Context,
    recipe: Recipe = None,
    out: Out = None,
    prompts: Prompts = None,
    policy: Policy = None,
    budget: Budget = None,
    limit: Limit = None,
    k: K = None,
    seed: Seed = None,
    journal: SharedJournal = None,
    as_json: AsJson = False,
) -> None:
    """Only write completions: k for each prompt, from one policy or a weighted mixture."""
    from ..recipes.label import sample as run_sample

    _work(run_sample, _settings(ctx), as_json)


@app.command(context_settings=_OPEN, epilog=_MORE)
def estimate(
    ctx: typer.Context,
    recipe: Recipe = None,
    out: Out = None,
    prompts: Prompts = None,
    completions: Completions = None,
    pairs: Pairs = None,
    policy: Policy = None,
    judge: Judge = None,
    budget: Budget = None,
    limit: Limit = None,
    k: K = None,
    seed: Seed = None,
    journal: SharedJournal = None,
    as_json: AsJson = False,
) -> None:
    """Price the same job as `label` would run, before a call is made."""
    from ..recipes.estimate import estimate as run_estimate
    from .summary import print_estimate, report

    found = run_estimate(_settings(ctx))
    report(found, as_json, lambda: print_estimate(found))


@app.command(context_settings=_OPEN, epilog=_MORE)
def export(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", help="trl, kto, sft, openrlhf, jsonl ... May be repeated."),
    ] = None,
    push_to: Annotated[str, typer.Option(help="Also push to this data set on the hub: owner/name.")] = "",
    as_json: AsJson = False,
) -> None:
    """Decide again from the verdicts of a run, with any --prefer.* setting changed, and write the files."""
    from ..recipes.export import export as run_export
    from .summary import print_summary, report

    summary = run_export(run, tuple(formats or ()), list(ctx.args), push_to=push_to)
    report(summary, as_json, lambda: print_summary(summary, run))


@app.command()
def show(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    unread: Annotated[bool, typer.Option("--unread", help="Matchups with an unread reply.")] = False,
    flips: Annotated[
        bool, typer.Option("--flips", help="Matchups where the verdict followed the seat.")
    ] = False,
    pair: Annotated[str, typer.Option(help="The one whose id, or whose label's id, starts so.")] = "",
    limit: Annotated[int, typer.Option(help="At most this many.")] = 10,
    full: Annotated[bool, typer.Option("--full", help="Do not cut long texts.")] = False,
    as_json: AsJson = False,
) -> None:
    """What a run came to, or the evidence behind its labels."""
    from .show import show as print_evidence

    print_evidence(run, unread=unread, flips=flips, pair=pair, limit=limit, full=full, as_json=as_json)


@app.command(context_settings=_OPEN, epilog=_MORE)
def run(
    ctx: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="YAML file with the settings; `jurist init` writes one.")],
    out: Annotated[str | None, typer.Option("--out", "-o", help="The loop's folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """A recipe from its first round to its last: sample, judge, train, compare. Typed again, it goes on."""
    from .loops import run_recipe

    run_recipe(recipe, list(ctx.args), out, as_json)


@app.command()
def init(
    recipe: Annotated[
        str, typer.Argument(help="rlaif, constitutional, rejection or self_rewarding.")
    ] = "rlaif",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file; RECIPE.yaml by default.")] = None,
) -> None:
    """Write a recipe with every setting explained, ready to run in the tiny world."""
    from .loops import write_recipe

    write_recipe(recipe, out or Path(f"{recipe}.yaml"))


@app.command()
def selftest(
    rows: Annotated[int, typer.Option(help="Pairs for each judge.")] = 60,
    keep: Annotated[Path | None, typer.Option(help="Keep the runs in this folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send judges whose answers are known through the whole pipeline over HTTP, and check what comes out."""
    from ..selftest import run_selftest
    from .summary import print_selftest, report

    result = run_selftest(rows, keep)
    report(result, as_json, lambda: print_selftest(result))
    if not result.passed:
        raise typer.Exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The demo's folder.")] = Path("runs/demo"),
    as_json: AsJson = False,
) -> None:
    """RLAIF from labels to trained policies in a tiny world, and a page about it: no key, no network."""
    from .loops import run_demo

    run_demo(out, as_json)


app.command(context_settings=_OPEN, epilog=_MORE)(probe)


def _work(recipe: Callable[..., Any], cfg: Any, as_json: bool) -> None:
    """A run as it goes, what it came to, and how it ended."""
    from .ending import ended
    from .progress import progress
    from .summary import print_summary, report

    with progress("json" if as_json else None) as watch:
        summary = recipe(cfg, watch)
    report(summary, as_json, lambda: print_summary(summary, Path(cfg.out)))
    ended(summary)


def _settings(ctx: typer.Context) -> Any:
    """The recipe with the named options and every `--key.sub value` on top."""
    from ..recipes.settings import label_settings

    given = {name: value for name, value in ctx.params.items() if value not in (None, [], ())}
    recipe = given.pop("recipe", None)
    given.pop("as_json")
    if "policy" in given:
        given["policies"] = given.pop("policy")
    if len(given.get("judge", ())) == 1:
        (given["judge"],) = given["judge"]
    return label_settings(recipe, list(ctx.args), **given)
