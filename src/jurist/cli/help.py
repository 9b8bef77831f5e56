"""Pages of help, and completion in the shell: both list the settings that `options` reads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

from msgspec import NODEFAULT, Struct, inspect

from ..config import LISTS, Kinds, choices_of
from ..errors import SettingError
from .options import SHORT, Known, has


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
        long = f" One of: {'|'.join(choices_of(one.kinds))}." if left.endswith(" CHOICE") else ""
        text = f"{one.description}{long}{_default(one.default)}".strip()
        groups.setdefault(group, []).append((left, text))
    return groups


def _metavar(kinds: Kinds) -> str:
    if choices := "|".join(filter(None, choices_of(kinds))):
        return f" {choices}" if len(choices) < 40 else " CHOICE"
    name = ".NAME VALUE" if has(kinds, inspect.DictType) else " VALUE"
    return "" if has(kinds, inspect.BoolType) else name + " ..." * has(kinds, *LISTS)


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


SHELLS: Final = {
    "bash": (".bashrc", "complete -o default -C jurist jurist"),
    "zsh": (".zshrc", "autoload -U +X bashcompinit && bashcompinit && complete -o default -C jurist jurist"),
    "fish": (
        ".config/fish/completions/jurist.fish",
        "complete -c jurist -a '(COMP_LINE=(commandline -cp) jurist)'",
    ),
}
"""A file in the home folder and the line it needs. The shell asks `jurist` itself, as in posener/complete."""


def complete(verbs: Iterable[str], top: Iterable[str], known: Callable[[str, list[str]], Known]) -> list[str]:
    """How the line in the shell may go on: with a verb, an option, or a choice of the option before."""
    line = os.environ["COMP_LINE"]
    *words, current = line[: int(os.environ.get("COMP_POINT", len(line)))].split(" ")
    words = [word for word in words[1:] if word]
    name = " ".join(words[: 1 + (words[:1] == ["train"])])
    rest = words[1 + name.count(" ") :]
    if name in verbs:
        settings = known(name, rest)
        before = settings.get(rest[-1].lstrip("-").replace("-", "_")) if rest else None
        kinds = before.kinds if before and rest[-1].startswith("--") else ()
        found = choices_of(kinds) or [f"--{one}" for one in settings]
    else:
        prefix = f"{name} " if name else ""
        found = [one.removeprefix(prefix).split()[0] for one in verbs if one.startswith(prefix)]
        found += [] if name else [one.split()[0] for one in top]
    return [one for one in dict.fromkeys(found) if one.startswith(current)]


def install(shell: str) -> str:
    name = Path(shell).name
    if name not in SHELLS:
        raise SettingError(f"no completion for the shell '{name}'. Write: jurist --install-completion bash")
    file, line = Path.home() / SHELLS[name][0], SHELLS[name][1]
    file.parent.mkdir(parents=True, exist_ok=True)
    if line not in (file.read_text(encoding="utf-8") if file.exists() else ""):
        with file.open("a", encoding="utf-8") as lines:
            lines.write(f"{line}\n")
    return f"{name} completes jurist in new shells, by a line in {file}"
