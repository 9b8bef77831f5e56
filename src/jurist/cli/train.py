"""`jurist train sft|reward|dpo|ppo|rloo`: settings, progress and the last line; what they do is in `models/`.

All verbs have one signature, and every setting of a method is its `--key value`: this file reads the words
and the methods' settings, and loads torch only once there is something to train.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand

from ..errors import MissingExtra, RunError

train = typer.Typer(
    name="train",
    help="Learn from the labels: fine-tune, train a reward model, or a policy from preferences or a reward.",
    epilog="Every verb takes a run folder or a file, and has its own --help with all of its settings.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Method(NamedTuple):
    """What a verb stands for, by name, so that a list of verbs loads nothing."""

    trainer: str
    settings: str
    told: str
    """In the list of verbs."""
    more: str
    given: tuple[tuple[str, str], ...] = ()
    """Settings that the verb itself decides."""
    then: str = ""
    """What to type with the model."""


ANSWER = "answer with it: jurist sample --prompts FILE --policy hf:{model}"
METHODS = {
    "sft": Method(
        "sft.train_sft",
        "settings.SftConfig",
        "Learn answers by heart.",
        "The chosen ones of a run or of pairs, or a file of conversations; the loss is on the answer only.",
        then="go on from it: jurist train dpo RUN --base {model}",
    ),
    "reward": Method(
        "reward.train_reward",
        "settings.RewardConfig",
        "A reward model from preferences.",
        "Its targets are the labels' probabilities. It can then judge: jurist label --judge reward:FOLDER.",
        then="judge with it: jurist label --pairs FILE --judge reward:{model}",
    ),
    "dpo": Method(
        "dpo.train_dpo",
        "settings.DpoConfig",
        "A policy straight from preferences.",
        "By DPO, length-normalised DPO, R-DPO, SimPO or IPO, with the labels' probabilities as targets.",
        then=ANSWER,
    ),
    "ppo": Method(
        "ppo.train_ppo",
        "ppo_settings.PPOConfig",
        "A policy from a reward, held near an anchor.",
        "The reward is a reward model's folder, a live judge, a rule or your own function.",
        then=ANSWER,
    ),
    "rloo": Method(
        "ppo.train_ppo",
        "ppo_settings.PPOConfig",
        "The same without a value head.",
        "The samples of a prompt, four unless told otherwise, are each other's baseline.",
        given=(("advantage", "rloo"),),
        then=ANSWER,
    ),
}
EXTRA = ("torch", "transformers", "tokenizers", "accelerate", "peft", "safetensors", "huggingface_hub")


class Verb(TyperCommand):
    """A command that takes its method's settings as `--key value`, wherever they stand, and lists them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {name for param in self.params for name in (*param.opts, *param.secondary_opts)}
        return super().parse_args(ctx, settings_last(args, known | {"--help"}))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        from .fields import settings_list

        with formatter.section("Settings"):
            formatter.write_dl(settings_list(_settings(str(self.name))))
        formatter.write_paragraph()
        formatter.write_text("More in docs/training.md")


def settings_last(words: Iterable[str], known: set[str]) -> list[str]:
    """`--lr 1e-5` as one word behind all others: or it would be taken for the file where it comes first."""
    ours: list[str] = []
    settings: list[str] = []
    value_goes_to = ours
    for word in words:
        if not word.startswith("--"):
            if value_goes_to is settings:
                settings[-1] += f"={word}"
            else:
                ours.append(word)
            value_goes_to = ours
        elif word.partition("=")[0] in known:
            ours.append(word)
            value_goes_to = ours
        else:
            settings.append(word)
            value_goes_to = ours if "=" in word else settings
    return ours + settings


def learn(
    ctx: typer.Context,
    data: Annotated[
        str | None, typer.Argument(help="A run folder, or a file of rows as TRL reads them.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Where to start: a checkpoint's folder or its name on the hub.")
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="Where model and metrics go; in the run when left out.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", "-r", help="YAML file with the settings.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    from msgspec.structs import replace

    from ..config import load_settings
    from ..models.settings import check
    from .progress import progress

    verb = str(ctx.info_name)
    method = METHODS[verb]
    named: dict[str, Any] = {"data": data, "base": base, "out": out, **dict(method.given)}
    cfg = load_settings(_settings(verb), recipe, list(ctx.args), see=f"jurist train {verb} --help", **named)
    check(cfg, verb)
    if not cfg.out:
        cfg = replace(cfg, out=str(beside(cfg.data) / verb))
    with progress("json" if as_json else None) as watch:
        folder = _train(verb, cfg, watch)
    report(verb, folder, method.then.format(model=folder), as_json)


for _name, _method in METHODS.items():
    train.command(
        _name,
        cls=Verb,
        help=f"{_method.told} {_method.more}",
        short_help=_method.told,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(learn)


def _settings(verb: str) -> Any:
    return _named(METHODS[verb].settings)


def _trainer(verb: str) -> Any:
    return _named(METHODS[verb].trainer)


def _named(path: str) -> Any:
    module, _, name = path.partition(".")
    return getattr(import_module(f"jurist.models.{module}"), name)


def _train(verb: str, cfg: Any, watch: Callable[[Any], None]) -> Path:
    """The trained model's folder. What torch and its family raise gets a line of ours here, and only here."""
    try:
        folder: Path = _trainer(verb)(cfg, watch=watch)
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in EXTRA:
            raise
        raise MissingExtra("training", package, "train") from None
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        raise RunError(
            f"the GPU's memory does not hold {cfg.tokens:,} token slots at once."
            f" Set: --tokens {max(1, cfg.tokens // 4)}, and if that is not enough --checkpointing true"
        ) from None
    return folder


def beside(data: str) -> Path:
    """A run's models lie in the run; a file's beside it, those of a set on the hub here."""
    if data.startswith("hub:"):
        return Path(data.rpartition("/")[2].partition(":")[0])
    path = Path(data)
    if path.is_dir():
        return path / "models"
    name = path.name.partition(".")[0]
    return path.with_name(name if name and name != path.name else f"{path.name}-models")


def report(verb: str, folder: Path, then: str, as_json: bool) -> None:
    """What it came to, from `training.json`."""
    from ..recipes.loop.several import is_first
    from .progress import numbers as line_of

    if not is_first():
        return
    facts = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    if as_json:
        print(json.dumps({"model": str(folder), **facts}))
        return
    lost = ", ".join(f"{reason} {n:,}" for reason, n in facts["dropped"].items())
    steps = f"{facts['steps']:,} step{'s'[: facts['steps'] > 1]}"
    by_reward = verb in ("ppo", "rloo")
    lines = {
        "learnt": "" if by_reward else f"{facts['rows']:,} rows in {steps}",
        "asked": f"{facts['rows']:,} prompts in {steps}" if by_reward else "",
        "reward": rewarded(folder.parent / "metrics.jsonl") if by_reward else "",
        "dropped": lost,
        "level": level(facts.get("compare_nothing", 0)),
        "last step": line_of(facts["metrics"]),
        "held out": line_of(facts["held_out"]) + f" ({facts['held_out'].get('rows', 0):,} rows)",
        "model": str(folder),
    }
    for name, said in lines.items():
        if said and (name != "held out" or facts["held_out"]):
            print(f"{name:<12} {said}")
    print(then)


def rewarded(metrics: Path) -> str:
    """What the answers earned in the first step and in the last, whether or not that is better."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    scored = [line for line in lines if line.get("completions")]
    if not scored:
        return "no answer was given one"
    earned = [f"{line['reward']:.4g} in step {line['step']:,}" for line in (scored[0], scored[-1])]
    drawn = sum(line["completions"] for line in scored)
    return (
        f"{' -> '.join(dict.fromkeys(earned))}"
        f" (n = {scored[-1]['completions']:,.0f} answers a step, {drawn:,.0f} in all)"
    )


def level(rows: int) -> str:
    return f"{rows:,} of the rows compare nothing: p is 0.5, or both answers are the same" if rows else ""
