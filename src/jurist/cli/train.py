"""`jurist train sft|reward|dpo`: settings, progress and the last line; what they do is in `models/`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import MissingExtra

train = typer.Typer(
    name="train",
    help="Learn from the labels: fine-tune, train a reward model, or a policy from preferences.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_MORE = (
    "Every setting can be given as --key value, e.g. --batch 32 --lora.r 16. What they are: docs/training.md"
)
_OPEN = {"allow_extra_args": True, "ignore_unknown_options": True}

Data = Annotated[str, typer.Argument(help="A run folder, or a file of rows as TRL reads them.")]
Base = Annotated[
    str | None, typer.Option(help="Where to start: a checkpoint's folder or its name on the hub.")
]
Out = Annotated[str | None, typer.Option("--out", "-o", help="Where model and metrics go.")]
Recipe = Annotated[Path | None, typer.Option("--recipe", "-r", help="YAML file with the settings.")]
Lr = Annotated[float | None, typer.Option(help="The learning rate at its height.")]
Epochs = Annotated[float | None, typer.Option(help="How often each row is seen.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


@train.command(context_settings=_OPEN, epilog=_MORE)
def sft(
    ctx: typer.Context,
    data: Data,
    base: Base = None,
    out: Out = None,
    recipe: Recipe = None,
    lr: Lr = None,
    epochs: Epochs = None,
    as_json: AsJson = False,
) -> None:
    """Learn answers: the chosen ones of a run, or a file of conversations; the loss is on the answer only."""
    _train(ctx, "sft", "SftConfig")


@train.command(context_settings=_OPEN, epilog=_MORE)
def reward(
    ctx: typer.Context,
    data: Data,
    base: Base = None,
    out: Out = None,
    recipe: Recipe = None,
    lr: Lr = None,
    epochs: Epochs = None,
    as_json: AsJson = False,
) -> None:
    """Train a reward model on preferences with soft labels; it can then judge: --judge reward:FOLDER."""
    _train(ctx, "reward", "RewardConfig")


@train.command(context_settings=_OPEN, epilog=_MORE)
def dpo(
    ctx: typer.Context,
    data: Data,
    base: Base = None,
    out: Out = None,
    recipe: Recipe = None,
    lr: Lr = None,
    epochs: Epochs = None,
    as_json: AsJson = False,
) -> None:
    """Train a policy straight from preferences: DPO, length-normalised, R-DPO, SimPO or IPO."""
    _train(ctx, "dpo", "DpoConfig")


def _train(ctx: typer.Context, verb: str, settings: str) -> None:
    """Settings from recipe, options and `--key value` words; then the trainer of that name."""
    trainer, cls = _load(verb, settings)
    from ..config import load_settings

    given = {name: value for name, value in ctx.params.items() if value is not None}
    recipe, as_json = given.pop("recipe", None), given.pop("as_json")
    if "out" not in given and recipe is None and not _names_out(ctx.args):
        given["out"] = str(_beside(given["data"]) / verb)
    cfg = load_settings(cls, recipe, list(ctx.args), **given)
    with progress() as watch:
        folder = trainer(cfg, watch=watch)
    _report(verb, folder, as_json)


def _load(verb: str, settings: str) -> tuple[Callable[..., Path], Any]:
    from importlib import import_module

    try:
        module = import_module(f"jurist.models.{verb}")
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("jurist"):
            raise
        raise MissingExtra("training", missing.name or "torch", "train") from None
    return getattr(module, f"train_{verb}"), getattr(import_module("jurist.models.settings"), settings)


def _names_out(words: list[str]) -> bool:
    return any(word == "--out" or word.startswith("--out=") for word in words)


def _beside(data: str) -> Path:
    """A run's models lie in the run; a file's beside it."""
    path = Path(data)
    return path / "models" if path.is_dir() else path.with_suffix("")


def _report(verb: str, folder: Path, as_json: bool) -> None:
    import json

    if os.environ.get("RANK", "0") != "0":
        return  # one of several processes: the first one speaks
    facts = json.loads((folder / "training.json").read_text())
    if as_json:
        print(json.dumps({"model": str(folder), **facts}))
        return
    numbers = " · ".join(f"{name} {value:.4g}" for name, value in facts["metrics"].items())
    lost = ", ".join(f"{n} {reason}" for reason, n in facts["dropped"].items())
    print(
        f"{verb}: {facts['rows']:,} rows, {facts['steps']:,} steps" + (f" (dropped: {lost})" if lost else "")
    )
    print(f"last step: {numbers}")
    print(f"model: {folder}")
    if verb == "reward":
        print(f"judge with it: jurist label --pairs FILE --judge reward:{folder}")


@contextmanager
def progress() -> Iterator[Callable[[Any], None]]:
    """A live line in a terminal, a plain one now and then elsewhere; on stderr."""
    if not sys.stderr.isatty():
        yield _now_and_then(10.0)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), BarColumn(bar_width=24), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("loading", total=None)
        yield lambda one: bar.update(task, completed=one.step, total=one.steps, description=line(one))


def line(now: Any) -> str:
    """One line for a person."""
    minutes, seconds = divmod(round(now.seconds_left), 60)
    numbers = " · ".join(
        f"{name} {now.metrics[name]:.4g}" for name in ("loss", "right") if name in now.metrics
    )
    return f"step {now.step:,} of {now.steps:,} · {minutes}:{seconds:02} left · {numbers}"


def _now_and_then(seconds: float) -> Callable[[Any], None]:
    shown = time.monotonic()

    def watch(now: Any) -> None:
        nonlocal shown
        if time.monotonic() - shown >= seconds or now.step == now.steps:
            shown = time.monotonic()
            print(line(now), file=sys.stderr, flush=True)

    return watch
