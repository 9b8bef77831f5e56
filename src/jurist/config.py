"""Settings: one Struct is the YAML recipe, the `--key.sub value` options, the help page and the Python
signature. A key that no Struct has is refused with its nearest neighbour: a misspelt setting costs a run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import NODEFAULT, Struct, inspect

from .errors import SettingError, nearest

_S = TypeVar("_S", bound=Struct)
Kinds = tuple[Any, ...]  # the alternatives of a type, as msgspec.inspect has them
LISTS = (inspect.ListType, inspect.VarTupleType, inspect.TupleType)


class Setting(NamedTuple):
    """A setting as help pages, `init` and the docs show it."""

    name: str
    kinds: Kinds
    default: Any
    description: str


@cache
def fields_of(cls: type[Struct]) -> dict[str, Setting]:
    """The settings of a Struct. Where a subclass changes only a default, its base's description stays."""
    found: dict[str, Setting] = {}
    for base in cls.__mro__[cls.__mro__.index(Struct) - 1 :: -1]:
        info: Any = inspect.type_info(base)
        for field in info.fields:
            text = (getattr(field.type, "extra_json_schema", None) or {}).get("description")
            text = text or (found[field.name].description if field.name in found else "")
            default = field.default if field.default_factory is NODEFAULT else field.default_factory()
            found[field.name] = Setting(field.name, kinds_of(field.type), default, text)
    return found


def settings_of(cls: type[Struct], given: Any = None, prefix: str = "") -> Iterator[Setting]:
    """The same with those of nested Structs; `given` has other defaults."""
    for one in fields_of(cls).values():
        default = getattr(given, one.name, one.default)
        yield one._replace(name=prefix + one.name, default=default)
        if inner := struct_in(one.kinds):
            part = default if isinstance(default, inner) else None
            yield from settings_of(inner, part, f"{prefix}{one.name}.")


def kinds_of(info: Any) -> Kinds:
    info = getattr(info, "type", info)
    return info.types if isinstance(info, inspect.UnionType) else (info,)


def items_of(info: Any) -> Kinds:
    """The kinds of a list's items."""
    return kinds_of(info.item_types[0] if isinstance(info, inspect.TupleType) else info.item_type)


def struct_in(kinds: Kinds) -> type[Struct] | None:
    return next((one.cls for one in kinds if isinstance(one, inspect.StructType)), None)


def choices_of(kinds: Kinds) -> list[str]:
    return [str(one) for kind in kinds for one in getattr(kind, "values", ())]


def load_settings(
    cls: type[_S],
    recipe: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    see: str = "jurist label --help",
    **given: Any,
) -> _S:
    """Defaults, then the recipe, then what is `given`, then overrides by dotted name: the later one wins."""
    given = {key: value for key, value in given.items() if value is not None}
    tree = _for_policy(read_recipe(recipe), {**given, **(overrides or {})}) if recipe else {}
    tree.update(given)
    known = {one.name: one for one in settings_of(cls)}
    for key in sorted(overrides or {}, key=lambda key: key.count(".")):
        tree = _put(tree, key.split("."), (overrides or {})[key], known, "", key)
    return settings_from(cls, tree, see)


def _for_policy(tree: dict[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's settings; those under `tiny` count only in the tiny world, before the others."""
    tiny, policy = tree.pop("tiny", {}), changed.get("policy", tree.get("policy"))
    there = policy == "tiny" or str(changed.get("prompts", "")).startswith("tiny:")
    return _merged(tree, tiny) if there else tree


def _merged(tree: Any, over: Any) -> Any:
    if not (isinstance(tree, dict) and isinstance(over, dict)):
        return over
    return {**tree, **{key: _merged(tree.get(key), value) for key, value in over.items()}}


def read_recipe(path: str | Path) -> dict[str, Any]:
    look = f"Open it with: $EDITOR {quote(str(path))}"
    try:
        tree = parse_yaml(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        folder = quote(str(Path(path).parent))
        raise SettingError(f"there is no recipe at {path}. Look with: ls {folder}") from None
    except (SettingError, UnicodeDecodeError, OSError) as error:
        raise SettingError(f"cannot read the recipe {path}: {error}. {look}") from None
    if not isinstance(tree, dict | None):
        raise SettingError(f"the recipe {path} is a {type(tree).__name__}, not `key: value` lines. {look}")
    return tree or {}


def parse_yaml(text: str) -> Any:
    """YAML whose keys are text as written, each of them once."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            for key in (key for key in keys if keys.count(key) > 1):
                raise SettingError(f"the key '{key}' is there twice")
            self.flatten_mapping(node)
            return {key.value: self.construct_object(value, deep=True) for key, value in node.value}

    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise SettingError(f"not YAML: {' '.join(str(error).split())}") from None


def _put(here: Any, path: list[str], value: Any, known: Mapping[str, Setting], at: str, key: str) -> Any:
    """`here`, the setting called `at`, with the value at that path below it."""
    if not path:
        return value
    part, rest = path[0], path[1:]
    setting = known.get(at, Setting(at, (), None, ""))
    if here is None and isinstance(setting.default, Struct):  # the rest of it stays as help pages show it
        here = msgspec.to_builtins(setting.default)
    if isinstance(here, str):
        cls: Any = struct_in(setting.kinds)  # by `from_word`, or the first field
        first = next(iter(fields_of(cls))) if cls else "engine"
        whole = cls.from_word(here) if hasattr(cls, "from_word") else {first: here}
        here = [here] if part.isdigit() else whole
    if isinstance(here, list | tuple):
        if not part.isdigit() and len(here) == 1:
            part, rest = "0", path
        if not part.isdigit() or int(part) >= len(here):
            name = key.removesuffix("." + ".".join(path))
            raise SettingError(f"--{key}: there are {len(here)}, counted from 0. Say which: --{name}.0")
        i = int(part)
        return [*here[:i], _put(here[i], rest, value, known, at, key), *here[i + 1 :]]
    if any(getattr(kind, "value_type", None) == inspect.StrType() for kind in setting.kinds):
        part, rest = ".".join(path), []  # a name of the user's, dots and all
    tree = here if isinstance(here, dict) else {}
    return {**tree, part: _put(tree.get(part), rest, value, known, f"{at}.{part}".lstrip("."), key)}


def settings_from(cls: type[_S], tree: dict[str, Any], see: str = "jurist label --help") -> _S:
    """The typed settings, or a SettingError that names the key, the value and the way out."""
    try:
        return msgspec.convert(tree, cls, strict=False)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        raise SettingError(f"{_explain(cls, tree, what, where.strip('`$').lstrip('.'))} See: {see}") from None


def _explain(cls: type[Struct], tree: Any, what: str, key: str) -> str:
    known = {one.name: one for one in settings_of(cls)}
    name = re.sub(r"\[[^]]*\]", "", key)
    if unknown := re.search(r"unknown field `(.*)`", what):
        return _unknown(known, name, unknown[1])
    for part in re.findall(r"[^.\[\]]+", key):
        tree = tree[int(part) if isinstance(tree, list | tuple) else part]
    one = known.get(name, Setting(name, (), None, ""))
    if isinstance(tree, str) and (choices := choices_of(one.kinds)):
        return nearest(key, tree, choices)
    what = re.sub(r"`|, got `\w+`$", "", what)
    for theirs, ours in (("object", "mapping"), ("array", "list"), (" |", " or")):
        what = what.replace(theirs, ours)
    return f"{key or 'settings'}: {what[:1].lower()}{what[1:]}, got {tree!r}. {one.description}".rstrip()


def _unknown(known: Mapping[str, Setting], path: str, key: str) -> str:
    """The nearest name there, a setting elsewhere that is called so, or one that is about it."""
    prefix = f"{path}." if path else ""
    here = [name for name in known if name.startswith(prefix) and "." not in name.removeprefix(prefix)]
    close = get_close_matches(prefix + key, here, n=1) or [name for name in known if name.endswith(f".{key}")]
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    about = [] if close else [one for one in known.values() if key in one.description.lower()]
    hint += f" There is --{about[0].name}: {about[0].description}" if about else ""
    return f"no setting called '{prefix}{key}'.{hint}"


def dump_yaml(settings: Struct) -> str:
    """The settings as they were resolved, ready to be run again."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # in C, where PyYAML was built with it
    tree = msgspec.to_builtins(settings)
    return str(yaml.dump(tree, Dumper=dumper, sort_keys=False, allow_unicode=True, width=110))
