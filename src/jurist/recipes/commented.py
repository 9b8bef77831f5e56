"""A recipe as a file to start from: every setting explained, and ready to run in the tiny world. What that
needs is set; other settings are comments with their defaults, so that a file follows them when they change.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from textwrap import wrap
from typing import Any, Final

import yaml
from msgspec import Struct, to_builtins

from ..config import Setting, fields_of
from ..errors import SettingError
from ..models.settings import Training
from ..verdicts.settings import JudgeConfig
from .catalogue import recipe_called, shipped
from .loop.training import DECIDED

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
    ]
    given, told = shipped(recipe), set[str]()
    for field in fields_of(settings).values():
        lines += ["", *_setting(field, given, "", told)]
    return "\n".join(lines) + "\n"


def _setting(field: Setting, given: dict[str, Any], prefix: str, told: set[str]) -> Iterator[str]:
    """A line, or a mapping: what is set, then the rest. What all trainings share is `told` once."""
    name, default, indent = field.name, field.default, "  " * prefix.count(".")
    off = "" if name in given or name == "recipe" else "# "
    if not isinstance(default, Struct) or isinstance(default, JudgeConfig):
        has_yours = name in given and name not in ("out", "rounds", "recipe")
        yours = f"yours: {YOURS.get(prefix + name) or _flow(default)}. " if has_yours else ""
        yield from _line(f"{off}{indent}{name}: {_flow(given.get(name, default))}", yours + field.description)
        return
    yield from _line(f"{off}{indent}{name}:", field.description)
    inner, training, before = given.get(name, {}), isinstance(default, Training), "shared" in told
    for one in sorted(fields_of(type(default)).values(), key=lambda one: one.name not in inner):
        value = getattr(default, one.name)
        shared = training and one.name in Training.__struct_fields__
        as_above = before and shared and value == getattr(Training(), one.name) and one.name not in inner
        if not as_above and not (training and one.name in DECIDED):
            words = "" if shared and before else one.description
            yield from _setting(Setting(one.name, (), value, words), inner, f"{prefix}{name}.", told)
    if training:
        yield from [f"# {indent}  and what all trainings have, as above"] if before else []
        told.add("shared")


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
