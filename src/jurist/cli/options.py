"""One mechanism for all verbs: words become settings. `help` lists and completes the same settings.

A field of a Struct is `--name`, one of a nested Struct `--part.name`; `-` and `_` are the same. A setting of
text takes its word as it is. Others are numbers, true, false, null, or a list or mapping in YAML.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Annotated, Any, Final, NamedTuple, TypeVar

from msgspec import Meta, Struct, inspect

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
        flag = has(kinds, inspect.BoolType)
        if not equals and waiting and (waiting[0] in WORDS if flag else not waiting[0].startswith("--")):
            value = waiting.popleft()
        elif not equals and kinds and not flag:
            raise SettingError(f"--{key} needs a value. Write: --{key} VALUE")
        elif not equals:
            value = "true"
        if value == "" and name in known and known[name].default != "":
            raise SettingError(f"--{key} is empty. Leave it out, or write: --{key} VALUE")
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
                return one.name + key[len(one.name) :], kinds_of(kind.value_type)
    plain = re.sub(r"\.\d+(?=\.|$)", "", name)
    kinds = known[plain].kinds if plain in known else ()
    items = [items_of(kind) for kind in kinds if isinstance(kind, LISTS)]
    return name, items[0] if items and re.search(r"\.\d+$", name) else kinds


def _read(word: str, kinds: Kinds) -> Any:
    opened = {"[": LISTS, "{": (inspect.DictType, inspect.StructType)}.get(word[:1], ())
    if opened and has(kinds, *opened, inspect.AnyType):
        return parse_yaml(word)
    choices = [kind.values[0] for kind in kinds if isinstance(kind, inspect.LiteralType)]
    if has(kinds, inspect.StrType) or any(isinstance(one, str) for one in choices):
        return None if word == "null" and has(kinds, inspect.NoneType) else word
    for kind in kinds:
        if isinstance(kind, LISTS):
            return [_read(word, items_of(kind))]
    if word in WORDS:
        return WORDS[word]
    for number in (int, float):
        with suppress(ValueError):
            return number(word)
    return word


def has(kinds: Kinds, *types: Any) -> bool:
    return any(isinstance(kind, types) for kind in kinds)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
