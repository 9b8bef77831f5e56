"""One mechanism for all verbs: words become settings, and settings a page of help.

A field of a Struct is `--name`, one of a nested Struct `--part.name`; `-` and `_` are the same. A setting of
text takes its word as it is. Others are numbers, true, false, null, or a list or mapping in YAML.
"""

from __future__ import annotations

import re
import shutil
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from textwrap import wrap
from typing import Annotated, Any, Final, NamedTuple, TypeVar

from msgspec import NODEFAULT, Meta, Struct, inspect

from ..config import LISTS, Kinds, Setting, items_of, kinds_of, load_settings, parse_yaml, settings_of
from ..errors import SettingError

S = TypeVar("S", bound=Struct)
Known = Mapping[str, Setting]
SHORT: Final = {"-o": "out", "-r": "recipe", "-f": "format", "-h": "help", "-k": "k", "-n": "n"}
WORDS: Final = {"true": True, "yes": True, "false": False, "no": False, "null": None}


class Common(Struct):
    """Options of every verb."""

    json: Annotated[bool, Meta(description="Print JSON, for machines.")] = False
    help: Annotated[bool, Meta(description="Show this page.")] = False


class Recipe(Struct):
    """An option of the verbs whose settings may come from a file."""

    recipe: Annotated[str | None, Meta(description="YAML file with settings; options change them.")] = None


class Typed(NamedTuple):
    """What was typed after a verb."""

    verb: str
    cls: Any
    given: dict[str, Any]
    """By dotted name."""
    recipe: str | None
    as_json: bool

    def load(self, cls: type[S], **given: Any) -> S:
        return load_settings(cls, self.recipe, self.given, f"jurist {self.verb} --help", **given)


def known_settings(*structs: type[Struct]) -> Known:
    """By dotted name; where two Structs have the same one, the last's."""
    return {one.name: one for cls in structs for one in settings_of(cls)}


def parse(words: Iterable[str], known: Known) -> tuple[dict[str, Any], list[str]]:
    """Values by dotted name, and the words of no option. Repeated, an option collects into a list."""
    waiting, found, free = deque(words), dict[str, Any](), list[str]()
    while waiting:
        word = waiting.popleft()
        if word[:2] in SHORT:
            word = f"--{SHORT[word[:2]]}" + (f"={word[2:].removeprefix('=')}" if word[2:] else "")
        if not word.startswith("--"):
            free.append(word)
            continue
        key, equals, value = word[2:].partition("=")
        name, kinds = _locate(key, known)
        flag = _has(kinds, inspect.BoolType)
        if not equals and waiting and (waiting[0] in WORDS if flag else not waiting[0].startswith("--")):
            value = waiting.popleft()
        elif not equals and kinds and not flag:
            raise SettingError(f"--{key} needs a value. Write: --{key} VALUE")
        elif not equals:
            value = "true"
        if value == "" and name in known and known[name].default != "":
            raise SettingError(f"--{key} is empty. Leave it out, or write: --{key} VALUE")
        read = _read(value, kinds)
        if name in found and _has(kinds, *LISTS):
            read = [*_as_list(found[name]), *_as_list(read)]
        found[name] = read
    return found, free


def _locate(key: str, known: Known) -> tuple[str, Kinds]:
    """The setting's dotted name, and what it can be: nothing where nobody knows it."""
    name = key.replace("-", "_")
    for one in known.values():
        for kind in one.kinds:
            if isinstance(kind, inspect.DictType) and name.startswith(f"{one.name}."):
                return one.name + key[len(one.name) :], kinds_of(kind.value_type)
    plain = re.sub(r"\.\d+(?=\.|$)", "", name)
    kinds = known[plain].kinds if plain in known else ()
    items = [items_of(kind) for kind in kinds if isinstance(kind, LISTS)]
    return name, items[0] if items and name[-1].isdigit() else kinds


def _read(word: str, kinds: Kinds) -> Any:
    opened = {"[": LISTS, "{": (inspect.DictType, inspect.StructType)}.get(word[:1], ())
    if opened and _has(kinds, *opened, inspect.AnyType):
        return parse_yaml(word)
    choices = [kind.values[0] for kind in kinds if isinstance(kind, inspect.LiteralType)]
    if _has(kinds, inspect.StrType) or any(isinstance(one, str) for one in choices):
        return None if word == "null" and _has(kinds, inspect.NoneType) else word
    for kind in kinds:
        if isinstance(kind, LISTS):
            return [_read(word, items_of(kind))]
    if word in WORDS:
        return WORDS[word]
    for number in (int, float):
        with suppress(ValueError):
            return number(word)
    return word


def _has(kinds: Kinds, *types: Any) -> bool:
    return any(isinstance(kind, types) for kind in kinds)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def help_rows(known: Known, arguments: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Arguments, options, and the options of each nested Struct: how they are written, and what they are."""
    groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for one in known.values():
        group, left = one.name.rpartition(".")[0] or "Options", f"--{one.name}{_metavar(one.kinds)}"
        if one.name in arguments:
            group, left = "Arguments", one.name.upper()
        elif all(isinstance(kind, inspect.StructType | inspect.NoneType) for kind in one.kinds):
            continue  # its own fields are the options
        else:
            left = "".join(f"{letter}, " for letter, name in SHORT.items() if name == one.name) + left
        long = f" One of: {_choices(one.kinds[0])}." if left.endswith(" CHOICE") else ""
        text = f"{one.description}{long}{_default(one.default)}".strip()
        groups.setdefault(group, []).append((left, text))
    return groups


def _metavar(kinds: Kinds) -> str:
    shown = more = ""
    for kind in reversed(kinds):
        if isinstance(kind, inspect.LiteralType):
            shown = f" {_choices(kind)}" if len(_choices(kind)) < 40 else " CHOICE"
        elif isinstance(kind, inspect.DictType):
            shown = f".NAME{_metavar(kinds_of(kind.value_type)) or ' VALUE'}"
        elif isinstance(kind, LISTS):
            shown, more = shown or _metavar(items_of(kind)), " ..."
        elif isinstance(kind, inspect.StrType | inspect.IntType | inspect.FloatType):
            shown = {"StrType": " TEXT", "IntType": " INT", "FloatType": " FLOAT"}[type(kind).__name__]
    return shown + more


def _choices(kind: Any) -> str:
    return "|".join(str(value) for value in kind.values if value != "")


def _default(value: Any) -> str:
    if (
        value is NODEFAULT
        or value is None
        or value is False
        or value in ("", (), {})
        or isinstance(value, Struct)
    ):
        return ""
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
    return f" [{value:g}]" if isinstance(value, float) else f" [{text}]"


def page(usage: str, text: str, groups: Mapping[str, Collection[tuple[str, str]]]) -> str:
    """A page of help, as wide as the terminal."""
    width = min(shutil.get_terminal_size().columns, 110)
    lines = [f"Usage: jurist {usage}", "", *wrap(text, width)]
    for heading, rows in groups.items():
        lines += ["", f"{heading}:"] if rows else []
        column = min(max((len(left) for left, _ in rows), default=0), 34) + 4
        for left, right in rows:
            first, *more = wrap(right, width - column) or [""]
            lines += [f"  {left}"] if len(left) > column - 4 else []
            lines.append(f"  {left if len(left) <= column - 4 else '':<{column - 2}}{first}".rstrip())
            lines += [" " * column + part for part in more]
    return "\n".join(lines)
