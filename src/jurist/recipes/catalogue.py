"""The recipes in rounds, by the name under `recipe:` in their files; opened only when they are named. And a
recipe as a file to start from: every setting explained, and ready to run in the tiny world. What that needs
is set; other settings are comments with their defaults, so that a file follows them when they change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from shlex import quote
from textwrap import wrap
from typing import Any, Final

import yaml
from msgspec import Struct, to_builtins

from ..config import Setting, fields_of, read_recipe
from ..errors import MissingExtra, SettingError, nearest
from ..models.settings import Training
from ..verdicts.settings import JudgeConfig
from .loop.training import DECIDED

RECIPES: Final = {
    "rlaif": "RlaifConfig",
    "constitutional": "ConstitutionalConfig",
    "rejection": "RejectionConfig",
    "self_rewarding": "SelfRewardingConfig",
}
"""File and function, and settings."""
WIDTH: Final = 108
COLUMN: Final = 34
YOURS: Final = {
    "prompts": "prompts.jsonl",
    "policy": "Qwen/Qwen3-0.6B",
    "judge": "openai:gpt-4.1-mini",
    "compare.judge": "anthropic:claude-haiku-4-5",
    "rl.judge": "{kind: constitution, engine: 'openai:gpt-4.1-mini'}",
    "red_team": "[red_team]",
}
"""What to write for models of one's own; elsewhere the default."""


def recipe_called(name: str) -> tuple[type[Struct], Callable[..., Any]]:
    """The settings of a recipe, and what runs it."""
    if name not in RECIPES:
        raise SettingError(nearest("recipe", name, RECIPES))
    module = import_module(f"jurist.recipes.{name}")
    return getattr(module, RECIPES[name]), getattr(module, name)


def recipe_in(file: str) -> str:
    """The name of the recipe that a file is for."""
    if name := read_recipe(file).get("recipe"):
        return str(name)
    names = " | ".join(RECIPES)
    raise SettingError(f"{file} does not say which recipe it is for. Write at its top: recipe: {names}")


def shipped(name: str) -> dict[str, Any]:
    """The settings of the shipped recipe, with which it works in the tiny world."""
    # In a package they lie beside this file; in a clone they are where readers look for them.
    folders = (Path(__file__).parent / "files", Path(__file__).parents[3] / "recipes")
    return read_recipe(next(folder for folder in folders if folder.is_dir()) / f"{name}.yaml")


def need_trainers(what: str) -> None:
    """Torch and transformers are there, or it is said what to install."""
    try:
        import_module("torch")
        logging = import_module("transformers.utils.logging")
    except ModuleNotFoundError as missing:
        raise MissingExtra(what, missing.name or "torch", "train") from None
    logging.disable_progress_bar()  # ours tells more than that weights are being loaded


def write_recipe(recipe: str, file: Path) -> None:
    """Nothing that is there is written over."""
    text = commented(recipe, str(file))
    if file.exists():
        other = quote(str(file.with_name(f"my-{file.name}")))
        raise SettingError(f"{file} is there already. Choose another: jurist init {recipe} --out {other}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def commented(recipe: str, file: str) -> str:
    """The text of such a file."""
    settings, _ = recipe_called(recipe)
    lines = [
        f"# The recipe {recipe}, ready to run in the tiny world in about a minute: jurist run {quote(file)}",
        "# For models of your own, write what stands behind `yours:`. What is commented out has its default.",
        "# What all trainings have is explained at the first of them.",
    ]
    given, explained = shipped(recipe), set[str]()
    for field in fields_of(settings).values():
        lines += ["", *_setting(field, given, "", explained)]
    return "\n".join(lines) + "\n"


def _setting(field: Setting, given: dict[str, Any], prefix: str, explained: set[str]) -> Iterator[str]:
    """A line, or a mapping: what is set, then the rest."""
    name, default, indent = field.name, field.default, "  " * prefix.count(".")
    off = "" if name in given or name == "recipe" else "# "
    if not isinstance(default, Struct) or isinstance(default, JudgeConfig):
        has_yours = name in given and name not in ("out", "rounds", "recipe")
        yours = f"yours: {YOURS.get(prefix + name) or _flow(default)}. " if has_yours else ""
        yield from _line(f"{off}{indent}{name}: {_flow(given.get(name, default))}", yours + field.description)
        return
    yield from _line(f"{off}{indent}{name}:", field.description)
    inner, shared = given.get(name, {}), Training() if isinstance(default, Training) else None
    for one in sorted(fields_of(type(default)).values(), key=lambda one: one.name not in inner):
        value, known = getattr(default, one.name), shared is not None and one.name in explained
        as_above = known and one.name not in inner and value == getattr(shared, one.name)
        if not as_above and not (shared is not None and one.name in DECIDED):
            words = "" if known else one.description
            yield from _setting(Setting(one.name, (), value, words), inner, f"{prefix}{name}.", explained)
    if shared is not None:
        explained.update(shared.__struct_fields__)


def _line(setting: str, note: str) -> Iterator[str]:
    column = max(COLUMN, len(setting) + 2)
    if WIDTH - column < 30:
        yield from (f"# {line}" for line in wrap(note, WIDTH - 2))
        note = ""
    first, *rest = wrap(note, WIDTH - column - 2) or [""]
    yield f"{setting:<{column}}# {first}" if first else setting
    yield from (f"{'#':<{column + 2}}{line}" for line in rest)


def _flow(value: Any) -> str:
    """YAML in one line."""
    if isinstance(value, JudgeConfig):
        usual = to_builtins(JudgeConfig())
        value = {name: part for name, part in to_builtins(value).items() if part != usual[name]}
    if isinstance(value, float):
        return f"{value:g}" if value != int(value) else f"{value:.1f}"
    text: str = yaml.safe_dump(to_builtins(value), default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")
