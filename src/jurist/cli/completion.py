"""Completion in the shell. The shell asks `jurist` itself, with the line in COMP_LINE (posener/complete)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from msgspec import inspect

from ..errors import SettingError
from .options import Known

SHELLS: Final = {
    "bash": (".bashrc", "complete -o default -C jurist jurist"),
    "zsh": (".zshrc", "autoload -U +X bashcompinit && bashcompinit && complete -o default -C jurist jurist"),
    "fish": (
        ".config/fish/completions/jurist.fish",
        "complete -c jurist -a '(COMP_LINE=(commandline -cp) jurist)'",
    ),
}
"""A file in the home folder, and the line that it needs."""


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
        choices = [
            str(value) for kind in kinds if isinstance(kind, inspect.LiteralType) for value in kind.values
        ]
        found = choices or [f"--{one}" for one in settings]
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
