"""One mechanism for all verbs: words become settings, and pages of help list them.

A field of a Struct is `--name`, one of a nested Struct `--part.name`; `-` and `_` are the same. A setting of
text takes its word as it is. Others are numbers, true, false, null, or a list or mapping in YAML.
"""

from __future__ import annotations

import re
import shutil
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from textwrap import wrap
from typing import Annotated, Any, Final, NamedTuple, TypeVar

from msgspec import Meta, Struct, inspect

from .. import config
from ..config import LISTS, Kinds, Setting
from ..errors import SettingError

_S = TypeVar("_S", bound=Struct)
Known = Mapping[str, Setting]
SHORT: Final = {"-o": "out", "-r": "recipe", "-f": "format", "-h": "help", "-k": "k", "-n": "n"}
_WORDS: Final = {"true": True, "yes": True, "false": False, "no": False, "null": None}


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

    def load(self, cls: type[_S], **given: Any) -> _S:
        return config.load_settings(cls, self.recipe, self.given, f"jurist {self.verb} --help", **given)


def known_settings(*structs: type[Struct]) -> Known:
    """By dotted name; where two Structs have the same one, the last's."""
    return {one.name: one for cls in structs for one in config.settings_of(cls)}


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
        key, equals, typed = word[2:].partition("=")
        name, kinds = _locate(key, known)
        flag, value = has(kinds, inspect.BoolType), typed if equals else None
        if not equals and waiting and (waiting[0] in _WORDS if flag else not waiting[0].startswith("--")):
            value = waiting.popleft()
        elif not equals and (flag or not kinds):
            value = "true"
        if value is None or (value == "" and name in known and known[name].default != ""):
            raise SettingError(f"--{key} needs a value. Write: --{key} VALUE")
        read = _read(value, kinds)
        if name in found and has(kinds, *LISTS):
            read = [*_as_list(found[name]), *_as_list(read)]
        found[name] = read
    return found, free


def _locate(key: str, known: Known) -> tuple[str, Kinds]:
    """The setting's dotted name, and what it can be: nothing where nobody knows it."""
    name = key.replace("-", "_")
    for one in known.values():
        for kind in one.kinds:
            if isinstance(kind, inspect.DictType) and name.startswith(f"{one.name}."):
                return one.name + key[len(one.name) :], config.kinds_of(kind.value_type)
    plain = re.sub(r"\.\d+(?=\.|$)", "", name)
    kinds = known[plain].kinds if plain in known else ()
    items = [config.items_of(kind) for kind in kinds if isinstance(kind, LISTS)]
    return name, items[0] if items and re.search(r"\.\d+$", name) else kinds


def _read(word: str, kinds: Kinds) -> Any:
    opened = {"[": LISTS, "{": (inspect.DictType, inspect.StructType)}.get(word[:1], ())
    if opened and has(kinds, *opened, inspect.AnyType):
        return config.parse_yaml(word)
    choices = [kind.values[0] for kind in kinds if isinstance(kind, inspect.LiteralType)]
    if has(kinds, inspect.StrType) or any(isinstance(one, str) for one in choices):
        return None if word == "null" and has(kinds, inspect.NoneType) else word
    for kind in kinds:
        if isinstance(kind, LISTS):
            return [_read(word, config.items_of(kind))]
    if word in _WORDS:
        return _WORDS[word]
    for number in (int, float):
        with suppress(ValueError):
            return number(word)
    return word


def has(kinds: Kinds, *types: Any) -> bool:
    return any(isinstance(kind, types) for kind in kinds)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def help_rows(known: Known, argument: str = "") -> dict[str, list[tuple[str, str]]]:
    """The argument and the options, by nested Struct: how they are written, and what they are."""
    groups: dict[str, list[tuple[str, str]]] = {"Argument": [], "Options": []}
    shorts = {name: letter for letter, name in SHORT.items()}
    for one in known.values():
        if all(isinstance(kind, inspect.StructType | inspect.NoneType) for kind in one.kinds):
            continue  # its own fields are the options
        value, text = _value_of(one.kinds), one.description
        if value == " CHOICE":
            text += f" One of: {'|'.join(config.choices_of(one.kinds))}."
        text = f"{text}{_default(one.default)}".strip()
        if one.name == argument:
            groups["Argument"].append((one.name.upper(), text))
        else:
            short = f"{shorts[one.name]}, " if one.name in shorts else ""
            group = one.name.rpartition(".")[0] or "Options"
            groups.setdefault(group, []).append((f"{short}--{one.name}{value}", text))
    return groups


def _value_of(kinds: Kinds) -> str:
    """What follows an option, as a page of help shows it."""
    if choices := "|".join(filter(None, config.choices_of(kinds))):
        return f" {choices}" if len(choices) < 40 else " CHOICE"
    name = ".NAME VALUE" if has(kinds, inspect.DictType) else " VALUE"
    return "" if has(kinds, inspect.BoolType) else name + " ..." * has(kinds, *LISTS)


def _default(value: Any) -> str:
    if value is False or value in ("", ()) or not isinstance(value, int | float | str | tuple):
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
            start, indent = f"  {left:<{column - 2}}", " " * column
            if len(left) > column - 4:
                lines.append(start)
                start = indent
            lines += wrap(right, width, initial_indent=start, subsequent_indent=indent) or [start.rstrip()]
    return "\n".join(lines)
