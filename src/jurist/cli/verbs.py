"""What the verbs do: settings in, a recipe called, its result printed, an exit code out.

Recipes are imported inside the functions, so that a verb loads only what it needs.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

from ..errors import SettingError
from ..preferences import PreferConfig
from ..recipes.lines import counted, named
from ..recipes.settings import label_settings
from ..verdicts.settings import JudgeConfig, JuryConfig
from .exits import FAILED, print_result, report, say
from .options import Recipe, Typed, help_rows, known_settings, page, parse
from .progress import progress

SAMPLE: Final = "jurist sample --prompts FILE --policy hf:{}"
TRAINERS: Final = {
    "sft": "jurist train dpo RUN --base {}",
    "reward": "jurist label --pairs FILE --judge reward:{}",
    "dpo": SAMPLE,
    "ppo": SAMPLE,
    "rloo": SAMPLE,
}
"""What to type with the model of each method."""
METRICS: Final = ("loss", "accuracy", "reward", "kl_sequence", "tokens", "failed")


class ExportConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can change after the last verdict."""

    run: Annotated[str, Meta(description="The run folder.")]
    format: Annotated[tuple[str, ...], Meta(description="Formats to write, e.g. trl, kto, jsonl.")] = ()
    push_to: Annotated[str, Meta(description="Also push to this data set on the hub: owner/name.")] = ""
    labels: Annotated[str | None, Meta(description="Labels to compare the judges with, or given.")] = None
    held_out: Annotated[float, Meta(ge=0, lt=1, description="Share of prompts in the test split.")] = 0.0
    force: Annotated[bool, Meta(description="Export although a judge is no better than chance.")] = False
    jury: Annotated[JuryConfig, Meta(description="How several opinions become one.")] = JuryConfig()
    prefer: Annotated[PreferConfig, Meta(description="Which pairs are kept.")] = PreferConfig()


class ProbeConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    judge: Annotated[str | JudgeConfig, Meta(description="Who is attacked, e.g. openai:gpt-5-mini.")]
    prompts: Annotated[str | None, Meta(description="Prompts with a good answer each; null: ours.")] = None
    out: Annotated[str, Meta(description="The run folder.")] = "probe"
    budget: Annotated[str | float | None, Meta(description="The most it may cost, e.g. 1usd.")] = None
    journal: Annotated[str | None, Meta(description="A journal shared with other runs.")] = None


class InitConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    recipe: Annotated[str, Meta(description="rlaif, constitutional, rejection or self_rewarding.")] = "rlaif"
    out: Annotated[str | None, Meta(description="The file; by default RECIPE.yaml.")] = None


class SelftestConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    rows: Annotated[int, Meta(ge=1, description="Pairs per judge.")] = 60


class DemoConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    out: Annotated[str, Meta(description="The demo's folder.")] = "runs/demo"


def _watched(typed: Typed, work: Callable[..., Any], *given: Any) -> int:
    """Work that tells how far it is, and its result printed."""
    with progress() as watch:
        found = work(*given, watch)
    return report(typed.as_json, found)


def do_label(typed: Typed) -> int:
    """The verbs that take a labelling job."""
    from ..recipes.estimate import estimate
    from ..recipes.label import label, sample

    cfg = label_settings(typed.recipe, typed.given)
    if typed.verb == "estimate":
        return report(typed.as_json, estimate(cfg))
    return _watched(typed, sample if typed.verb == "sample" else label, cfg)


do_estimate = do_sample = do_label


def do_export(typed: Typed) -> int:
    from ..recipes.label import export

    cfg = typed.load(ExportConfig)
    changes = {key: value for key, value in typed.given.items() if key not in ("run", "format", "push_to")}
    return report(typed.as_json, export(cfg.run, cfg.format, changes, push_to=cfg.push_to))


def do_audit(typed: Typed) -> int:
    from ..audits.all import reasons_to_fail
    from ..recipes.audit import AuditConfig, audit

    cfg = typed.load(AuditConfig)
    others = ("source", "out", "fail_on")
    given = {name: getattr(cfg, name) for name in cfg.__struct_fields__ if name not in others}
    # Nothing is written beside a user's own file unasked.
    unasked = not cfg.out and not Path(cfg.source).is_dir()
    with TemporaryDirectory() as nowhere, progress() as watch:
        out = nowhere if unasked else cfg.out
        found = audit(cfg.source, out=out, on_rows=watch, **given)
    print_result(typed.as_json, replace(found, report="") if unasked else found)
    reasons = reasons_to_fail(found.findings, cfg.fail_on)
    return say(f"failed on {'; '.join(reasons)}", FAILED) if reasons else 0


def do_probe(typed: Typed) -> int:
    from ..recipes.probe import probe, probe_settings

    cfg = typed.load(ProbeConfig)
    changes = {key: value for key, value in typed.given.items() if key not in ("prompts", "out")}
    options = [f"--{key} {quote(str(value))}" for key, value in typed.given.items() if key != "out"]
    work = partial(probe, again=" ".join(("jurist probe", *options, "--out NEW")))
    return _watched(typed, work, probe_settings(cfg.out, changes), cfg.prompts)


def do_serve(typed: Typed) -> int:
    from ..serve.server import ServeConfig, serve_judge

    return serve_judge(typed.load(ServeConfig))


def do_plan(typed: Typed) -> int:
    from ..recipes.plan import PlanConfig, plan

    cfg, given = typed.load(PlanConfig), {name.partition(".")[0] for name in typed.given}
    return report(typed.as_json, plan(**{name: getattr(cfg, name) for name in given}))


def do_spotcheck(typed: Typed) -> int:
    from ..recipes.spot_check import SpotcheckConfig, spot_check

    cfg = typed.load(SpotcheckConfig)
    given = {name: getattr(cfg, name) for name in ("csv", "seed", "columns", "label_values", "on_error")}
    return report(typed.as_json, spot_check(cfg.source, cfg.n, cfg.out, **given))


def do_selftest(typed: Typed) -> int:
    from ..selftest import run_selftest

    return report(typed.as_json, run_selftest(typed.load(SelftestConfig).rows))


def do_init(typed: Typed) -> int:
    """The shipped recipe as a file to start from, and below it every setting explained."""
    from ..recipes.catalogue import recipe_called, shipped_file

    cfg = typed.load(InitConfig)
    file, known = Path(cfg.out or f"{cfg.recipe}.yaml"), known_settings(recipe_called(cfg.recipe)[0])
    if file.exists():
        other = quote(str(file.with_name(f"my-{file.name}")))
        raise SettingError(f"{file} is there already. Choose another: jurist init {cfg.recipe} --out {other}")
    run = f"run {quote(str(file))}"
    text = shipped_file(cfg.recipe).read_text(encoding="utf-8")
    text = text.replace(f"run recipes/{cfg.recipe}.yaml", run)
    explained = page(f"{run} [OPTIONS]", "Every setting, to be typed or written above.", help_rows(known))
    text += "\n" + "".join(f"# {line}".rstrip() + "\n" for line in explained.splitlines())
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    print(f"wrote {file}, with every setting explained. Run it with: jurist {run}")
    return 0


def loop_config(words: list[str]) -> type[Struct]:
    """The settings of the recipe that is typed, or what all recipes have."""
    from ..recipes.catalogue import recipe_called, recipe_in
    from ..recipes.loop.settings import LoopConfig

    given, free = parse(words, known_settings(LoopConfig, Recipe))
    file = given.get("recipe") or "".join(free[:1])
    return recipe_called(recipe_in(file))[0] if file else LoopConfig


def do_run(typed: Typed) -> int:
    """Of several processes only the first prints."""
    from ..recipes.catalogue import need_trainers, recipe_called, recipe_in
    from ..recipes.loop.folder import is_first

    if typed.recipe is None:
        raise SettingError("jurist run needs a recipe. Write one with: jurist init rlaif")
    name = recipe_in(typed.recipe)
    cfg: Any = typed._replace(verb=f"run {typed.recipe}").load(typed.cls)
    need_trainers(f"the recipe {name}")
    recipe = recipe_called(name)[1]
    if is_first():
        return _watched(typed, recipe, cfg)
    print(f"process {os.environ['RANK']} takes part in the trainings of {cfg.out}", file=sys.stderr)
    recipe(cfg)
    return 0


def do_demo(typed: Typed) -> int:
    from ..recipes.catalogue import need_trainers
    from ..recipes.demo import demo, demo_settings

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SettingError("the demo is for one process. Start it with: jurist demo")
    need_trainers("the demo")
    return _watched(typed, demo, demo_settings(Path(typed.load(DemoConfig).out)))


def do_train(typed: Typed) -> int:
    """A finished run is recognised before torch is loaded. Of several processes only the first prints."""
    from ..models.checkpoint import fingerprint, finished_model
    from ..models.settings import check_training
    from ..recipes.catalogue import need_trainers
    from ..recipes.loop.folder import is_first

    method = typed.verb.partition(" ")[2]
    cfg: Any = typed.load(typed.cls, advantage="rloo" if method == "rloo" else None)
    check_training(cfg)
    need_trainers("training")
    cfg = cfg if cfg.out else replace(cfg, out=str(models_beside(cfg.data) / method))
    name = "ppo" if method == "rloo" else method
    folder = finished_model(Path(cfg.out), fingerprint(cfg))
    if folder is not None:
        print("this training was finished before: nothing is done again", file=sys.stderr)
    else:
        trainer = getattr(import_module(f"jurist.models.{name}"), f"train_{name}")
        with progress() as on_progress:
            folder = trainer(cfg, on_progress=on_progress)
    if is_first():
        facts = {"model": str(folder), **json.loads((folder / "training.json").read_text(encoding="utf-8"))}
        print_result(typed.as_json, facts, _training_lines(method, facts))
    return 0


def models_beside(data: str) -> Path:
    """Models of a run lie in the run, those of a file beside it, those of a set on the hub here."""
    if data.startswith("hub:"):
        return Path(data.rpartition("/")[2].partition(":")[0])
    path = Path(data)
    if path.is_dir():
        return path / "models"
    name = path.name.partition(".")[0]
    return path.with_name(name if name and name != path.name else f"{path.name}-models")


def _training_lines(method: str, facts: dict[str, Any]) -> Iterator[str]:
    """What a training came to, from `training.json` and the model's folder."""

    def numbers(metrics: dict[str, float]) -> str:
        return " · ".join(f"{name} {metrics[name]:.4g}" for name in METRICS if name in metrics)

    steps = f"{facts['steps']:,} step{'s' * (facts['steps'] != 1)}"
    rows = "prompts" if method in ("ppo", "rloo") else "rows"
    equal, held_out = facts.get("compare_nothing", 0), facts["held_out"]
    return named(
        (
            ("trained", f"{facts['rows']:,} {rows} in {steps}"),
            ("dropped", counted(facts["dropped"])),
            ("equal", f"{equal:,} rows: p is 0.5, or both answers are the same" if equal else ""),
            ("last step", numbers(facts["metrics"])),
            ("held out", f"{numbers(held_out)} ({held_out.get('rows', 0):,} rows)" if held_out else ""),
            ("model", facts["model"]),
            ("next", TRAINERS[method].format(quote(facts["model"]))),
        ),
        11,
    )
