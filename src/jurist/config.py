"""Settings: a YAML recipe and `--key.sub value` on the command line, made into one typed Struct.

A key nobody knows is refused with its nearest neighbour, at any depth: a misspelt setting that is silently
ignored costs a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from .errors import SettingError, nearest

S = TypeVar("S", bound=msgspec.Struct)
FullForm = Callable[[str, str], dict[str, Any]]
"""From a key and the short form found there to the mapping it stands for."""
SEE = "jurist label --help"
"""Where the settings are listed, unless somebody knows better."""


def names_engine(_: str, text: str) -> dict[str, Any]:
    """`engine: openai:x` followed by `--engine.rpm`: the text was the engine's name."""
    return {"engine": text}


def load_settings(
    cls: type[S],
    recipe: str | Path | None = None,
    overrides: Sequence[str] = (),
    full: FullForm = names_engine,
    see: str = SEE,
    **given: Any,
) -> S:
    """Defaults, then the recipe, then what was `given` by name, then overrides: the later one wins."""
    tree = read_recipe(recipe) if recipe else {}
    tree.update({key: value for key, value in given.items() if value is not None})
    for path, value in parse_overrides(overrides):
        put(tree, path, value, full)
    return settings_from(cls, tree, see)


def read_recipe(path: str | Path) -> dict[str, Any]:
    import yaml

    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingError(f"there is no recipe at {path}. Look with: ls {Path(path).parent}") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise SettingError(
            f"the recipe {path} cannot be read: {reason}. Open it with: $EDITOR {path}"
        ) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise SettingError(
            f"the recipe {path} holds a {type(tree).__name__}, not `key: value` lines."
            f" Open it with: $EDITOR {path}"
        )
    return tree


def parse_overrides(words: Iterable[str]) -> list[tuple[list[str], Any]]:
    """`--judge.reason true --seed=3 --export.card` as paths and YAML values; a bare flag is true."""
    import yaml

    found: list[tuple[list[str], Any]] = []
    waiting: str | None = None
    for word in [*words, "--"]:
        if not word.startswith("--"):
            if waiting is None:
                raise SettingError(f"'{word}' follows no --key; write --key {word}")
            found.append((waiting.split("."), _scalar(yaml, waiting, word)))
            waiting = None
            continue
        if waiting is not None:
            found.append((waiting.split("."), True))
        waiting, equals, value = word[2:].partition("=")
        if equals:
            found.append((waiting.split("."), _scalar(yaml, waiting, value)))
            waiting = None
        elif not waiting:
            waiting = None
    return [([part.replace("-", "_") for part in path], value) for path, value in found]


def _scalar(yaml: Any, key: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise SettingError(f"--{key} got {text!r}, which is not YAML; quote it: --{key} '\"...\"'") from None


def put(tree: dict[str, Any], path: Sequence[str], value: Any, full: FullForm = names_engine) -> None:
    """Set `tree[a][b] = value`, making mappings on the way; digits index into lists."""
    here: Any = tree
    name = ""
    for part, after in pairwise(path):
        if isinstance(here, list):
            place: Any = _index(here, part, path)
        else:
            place = name = part
        below = here[place] if isinstance(here, list) else here.get(place)
        if isinstance(below, str):
            below = [below] if after.isdigit() else full(name, below)
        elif not isinstance(below, dict | list):
            below = {}
        here[place] = below
        here = below
    here[_index(here, path[-1], path) if isinstance(here, list) else path[-1]] = value


def _index(items: list[Any], part: str, path: Sequence[str]) -> int:
    if not part.isdigit() or int(part) >= len(items):
        raise SettingError(
            f"--{'.'.join(path)}: '{part}' is no place in a list of {len(items)}, which count from 0."
            f" Write --{path[0]}.0"
        )
    return int(part)


def settings_from(cls: type[S], tree: dict[str, Any], see: str = SEE) -> S:
    """The typed settings, or a SettingError that names the key, the value and the way out."""
    refuse_unknown(inspect.type_info(cls), tree, "")
    try:
        return msgspec.convert(tree, cls, strict=False)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        key = where.strip("`").removeprefix("$").lstrip(".") or "the settings"
        got = _value_at(tree, key)
        a_list = what.startswith("Expected `array") and isinstance(got, str)
        way_out = f"Write it as a list: --{key} '[{got}]'" if a_list else f"See: {see}"
        raise SettingError(f"{key}: {_lower(what)}, got {got!r}. {way_out}") from None


def refuse_unknown(info: inspect.Type, value: Any, path: str) -> None:
    """Walk settings and their types side by side; msgspec alone would not say which key was meant."""
    if isinstance(info, inspect.LiteralType) and isinstance(value, str) and value not in info.values:
        raise SettingError(nearest(f"{path}", value, [str(one) for one in info.values]))
    if isinstance(info, inspect.UnionType):
        structs = [one for one in info.types if isinstance(one, inspect.StructType | inspect.ListType)]
        fitting = [one for one in structs if isinstance(value, list) == isinstance(one, inspect.ListType)]
        if len(fitting) == 1:
            refuse_unknown(fitting[0], value, path)
    elif isinstance(info, inspect.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field for field in info.fields}
        for key, below in value.items():
            if key not in fields:
                raise SettingError(
                    nearest(f"setting under '{path}'" if path else "setting", str(key), fields)
                )
            refuse_unknown(fields[key].type, below, f"{path}.{key}".lstrip("."))
    elif isinstance(info, inspect.ListType | inspect.VarTupleType) and isinstance(value, list | tuple):
        for index, below in enumerate(value):
            refuse_unknown(info.item_type, below, f"{path}[{index}]")


def _value_at(tree: Any, key: str) -> Any:
    for part in key.replace("[", ".").replace("]", "").split("."):
        if isinstance(tree, dict) and part in tree:
            tree = tree[part]
        elif isinstance(tree, list) and part.isdigit() and int(part) < len(tree):
            tree = tree[int(part)]
    return tree


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def dump_yaml(settings: msgspec.Struct) -> str:
    """The settings as they were resolved, ready to be run again."""
    import yaml

    return yaml.safe_dump(msgspec.to_builtins(settings), sort_keys=False, allow_unicode=True, width=110)


def parse_money(text: str | float | None) -> float | None:
    """`5usd`, `$5`, `0.5`: US dollars. None stays None: no cap."""
    if text is None or isinstance(text, int | float):
        amount = text
    else:
        bare = text.strip().lower().removeprefix("$").removesuffix("usd").removesuffix("$").strip()
        try:
            amount = float(bare)
        except ValueError:
            raise SettingError(
                f"the budget {text!r} is not an amount in US dollars; write --budget 5usd"
            ) from None
    if amount is not None and not 0 < amount < float("inf"):
        raise SettingError(f"the budget has to be more than nothing, got {text!r}; write --budget 5usd")
    return amount
