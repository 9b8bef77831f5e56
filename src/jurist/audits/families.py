"""Which models are related: a judge likes answers that sound like its own, and relatives sound alike.

A family is told from a model's name by a table, `families.yaml`; a file of the user's own goes before it.
A model that no pattern knows is a family of its own, under its name: the same engine as policy and as judge
is found even so.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from ..errors import SettingError

PEOPLE: Final = "people"
_PEOPLE = re.compile(r"^(human|person|people)\b", re.IGNORECASE)
_ADDRESS = re.compile(r"@https?://.*$")


class Families:
    """Patterns in the order in which they are tried."""

    def __init__(self, table: dict[str, list[str]]) -> None:
        self._table = [(family, _compiled(family, some)) for family, some in table.items()]

    def of_policy(self, name: str) -> str:
        """Of who wrote an answer; empty where nobody is named."""
        if not name or _PEOPLE.match(name):
            return PEOPLE if name else ""
        return self._of(name)

    def of_judge(self, name: str) -> str:
        """Of a judge, whose name is how it asks, its engine, and a code for its settings."""
        how, _, engine = name.partition(":")
        return self._of(engine.rpartition("#")[0] or engine or how)

    def _of(self, engine: str) -> str:
        model = _ADDRESS.sub("", engine)
        for family, pattern in self._table:
            if pattern.search(model):
                return family
        return model.lower()


@cache
def our_families() -> Families:
    return Families(_read(files(__package__).joinpath("families.yaml").read_text(encoding="utf-8")))


def load_families(path: str | Path | None) -> Families:
    """Ours; with the user's own before them where there is a file."""
    if path is None:
        return our_families()
    file = Path(path)
    if not file.is_file():
        raise SettingError(f"there is no file of families at {path}. Look with: ls {file.parent}")
    theirs = _read(file.read_text(encoding="utf-8"), str(path))
    ours = _read(files(__package__).joinpath("families.yaml").read_text(encoding="utf-8"))
    return Families({**theirs, **{name: some for name, some in ours.items() if name not in theirs}})


def _read(text: str, where: str = "families.yaml") -> dict[str, list[str]]:
    import yaml

    try:
        tree: Any = yaml.safe_load(text)
    except yaml.YAMLError as why:
        raise SettingError(f"{where} is no YAML: {' '.join(str(why).split())}. {_EXAMPLE}") from None
    if not isinstance(tree, dict):
        raise SettingError(f"{where} names no families, got {type(tree).__name__}. {_EXAMPLE}")
    table = {str(family): [some] if isinstance(some, str) else some for family, some in tree.items()}
    for family, some in table.items():
        if not isinstance(some, list) or not all(isinstance(one, str) and one for one in some) or not some:
            raise SettingError(f"family '{family}' in {where} has patterns {some!r}. {_EXAMPLE}")
    return table


def _compiled(family: str, some: list[str]) -> re.Pattern[str]:
    try:
        return re.compile("|".join(f"(?:{one})" for one in some), re.IGNORECASE)
    except re.error as why:
        raise SettingError(f"a pattern of family '{family}' cannot be read: {why}. {_EXAMPLE}") from None


_EXAMPLE: Final = "Write a line like: acme: ['acme-', 'coyote']"
