"""A recipe as a file to start from: every setting with what it is for, and ready to run in the tiny world.

What the tiny world needs is set, and beside it stands what to write for models of one's own. The other
settings are there as comments with their defaults, so that a file keeps to them when they change.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any, Final

from msgspec import NODEFAULT, Struct, to_builtins
from msgspec.structs import FieldInfo, fields

from ..models.settings import Training
from ..verdicts.settings import JudgeConfig
from .catalogue import recipe_called, shipped
from .explain import fields_of_class
from .loop.training import DECIDED

WIDTH: Final = 108
_COLUMN: Final = 34
_JUDGE: Final = JudgeConfig()
YOURS: Final = {
    "prompts": "prompts.jsonl",
    "policy": "Qwen/Qwen3-0.6B",
    "judge": "openai:gpt-4.1-mini",
    "compare.judge": "anthropic:claude-haiku-4-5",
    "rl.judge": "{kind: constitution, engine: 'openai:gpt-4.1-mini'}",
    "red_team": "[red_team]",
}
"""What to write for models of one's own; for what is not here, the default."""
_NAMES: Final = {
    "rlaif": "RLAIF",
    "constitutional": "Constitutional AI",
    "rejection": "Rejection sampling",
    "self_rewarding": "Self-rewarding language models",
}


def commented(recipe: str, file: str) -> str:
    """The text of such a file."""
    settings, _ = recipe_called(recipe)
    head = [
        f"{_NAMES[recipe]}, ready to run in the tiny world, where all of it takes a minute:",
        "",
        f"  jurist run {file}",
        "",
        "For models of your own, put in what stands behind `yours:` on the lines that have it. What is",
        "commented out has its default. A judge may be a name or a mapping: docs/judges.md",
    ]
    lines = [f"# {line}".rstrip() for line in head]
    told, said, given = fields_of_class(settings), set[str](), shipped(recipe)
    for field in fields(settings):
        note = told[field.name].told if field.name in told else ""
        lines += ["", *(f"# {line}" for line in textwrap.wrap(note, WIDTH - 2))]
        lines += _lines(field, given, "", "", said)
    return "\n".join(lines) + "\n"


def _lines(field: FieldInfo, given: dict[str, Any], path: str, note: str, said: set[str]) -> Iterator[str]:
    """One setting: a line, or a mapping of its own."""
    name, default = field.name, _default(field)
    where, indent = f"{path}{name}", "  " * path.count(".")
    if isinstance(default, Struct) and not isinstance(default, JudgeConfig):
        yield f"{indent}{name}:" if name in given else f"# {indent}{name}:"
        yield from _section(default, given.get(name, {}), where, said)
    elif name in given or name == "recipe":
        yours = YOURS.get(where) or _flow(default)
        hint = "" if name in ("recipe", "out", "rounds") else f"yours: {yours}"
        yield from _line(f"{indent}{name}: {_flow(given.get(name, default))}", hint, note)
    else:
        yield from _line(f"# {indent}{name}: {_flow(default)}", "", note)


def _section(default: Struct, given: dict[str, Any], path: str, said: set[str]) -> Iterator[str]:
    """The settings of a part: those that are set, then the others. What all trainings have is told once."""
    told = fields_of_class(type(default))
    training = isinstance(default, Training)
    again = training and "training" in said
    for field in sorted(fields(type(default)), key=lambda one: one.name not in given):
        shared = training and getattr(Training(), field.name, NODEFAULT) == getattr(default, field.name)
        if (training and field.name in DECIDED) or (again and shared and field.name not in given):
            continue
        known = again and field.name in Training.__struct_fields__
        note = told[field.name].told if field.name in told and not known else ""
        # A part's default is what the whole says, which may differ from the part's own.
        mine = FieldInfo(field.name, field.encode_name, field.type, default=getattr(default, field.name))
        yield from _lines(mine, given, f"{path}.", note, said)
    if again:
        yield f"# {'  ' * (path.count('.') + 1)}and what all trainings have, as above"
    if training:
        said.add("training")


def _default(field: FieldInfo) -> Any:
    return field.default_factory() if field.default_factory is not NODEFAULT else field.default


def _line(setting: str, hint: str, note: str) -> Iterator[str]:
    if hint and len(setting) + len(hint) + 4 > WIDTH:
        yield f"# {hint}"
        hint = ""
    column = max(_COLUMN, len(setting) + 2)
    first, *rest = textwrap.wrap(". ".join(filter(None, (hint, note))), max(WIDTH - column - 2, 30)) or [""]
    yield f"{setting:<{column}}# {first}" if first else setting
    yield from (f"{'#':<{column + 2}}{line}" for line in rest)


def _flow(value: Any) -> str:
    """YAML in one line."""
    import yaml

    if isinstance(value, JudgeConfig):
        given = {name: part for name, part in to_builtins(value).items() if part != getattr(_JUDGE, name)}
        return _flow(given)
    if isinstance(value, float):
        return f"{value:g}" if value != int(value) else f"{value:.1f}"
    text: str = yaml.safe_dump(to_builtins(value), default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")
