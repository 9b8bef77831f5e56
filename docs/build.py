"""Makes the parts of the documentation that can be made: outputs of commands, settings, nouns, evidence.

A block between `<!-- made by: COMMAND -->` and `<!-- end -->` in README.md or docs/*.md is replaced by what
the command printed, run in an empty folder, or by what one of the makers at the end of this file says.
`make docs` runs this; CI runs it too, and fails where anything changed. So nothing made here may depend on
the machine, the clock, the width of a terminal or the version of a library.
"""

from __future__ import annotations

import ast
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml
from msgspec import NODEFAULT, Struct, inspect

from jurist.cli.app import run_command
from jurist.config import LISTS, fields_of, items_of, kinds_of
from jurist.verdicts.read import UNREAD

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "jurist"
BLOCK = re.compile(r"(<!-- made by: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
OUTPUTS = ROOT / "docs" / "outputs"
"""What commands of minutes printed, and when they are run again: `docs/build.py --slow`."""


def main() -> None:
    if "--slow" in sys.argv:
        for kept in OUTPUTS.glob("*.txt"):
            kept.unlink()
    for page in pages():
        text = page.read_text(encoding="utf-8")
        made = remade(text)
        if made != text:
            page.write_text(made, encoding="utf-8")
            print(f"made anew: {page.relative_to(ROOT)}")


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def remade(text: str) -> str:
    return BLOCK.sub(lambda block: block[1] + make(block[2]) + block[3], text)


def make(command: str) -> str:
    maker, _, argument = command.partition(" ")
    if maker in MAKERS:
        return MAKERS[maker](argument)
    return f"```text\n{printed_by(command)}```\n"


def slowly(command: str) -> str:
    """What a command of minutes printed when it was last run; after a number, only so many lines of it."""
    first, _, rest = command.partition(" ")
    shown, command = (int(first), rest) if first.isdigit() else (None, command)
    kept = OUTPUTS / f"{re.sub(r'[^a-z0-9]+', '-', command.lower()).strip('-')}.txt"
    if not kept.exists():
        if __name__ != "__main__":
            raise SystemExit(f"there is no {kept.relative_to(ROOT)} yet. Make it with: make docs")
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(printed_by(command), encoding="utf-8")
    lines = kept.read_text(encoding="utf-8").splitlines()
    return "\n".join(("```text", *lines[:shown], "```\n"))


def printed_by(command: str) -> str:
    """What `jurist ...` prints, in this process, in a fresh folder that has the shipped recipes."""
    out, err = io.StringIO(), io.StringIO()
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, COLUMNS="100"):
        (Path(folder) / "recipes").symlink_to(ROOT / "recipes")
        with chdir(folder), redirect_stdout(out), redirect_stderr(err):
            code = run_command(command.split()[1:])
    if code:
        raise SystemExit(f"{command}: exit code {code}\n{err.getvalue()}")
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def fields(argument: str) -> str:
    """A table of the fields of a Struct: `fields recipes/settings.py LabelConfig`."""
    file, name = argument.split()
    cls = getattr(import_module(f"jurist.{file.removesuffix('.py').replace('/', '.')}"), name)
    told = _words_below(SOURCE / file, name)
    rows = []
    for one in fields_of(cls).values():
        if one.name in cls.__annotations__:
            words = one.description or told.get(one.name, "")
            rows.append((f"`{one.name}`", f"`{_type(one.kinds)}`", _default(one.default), words))
    return _table(("field", "type", "default", "meaning"), rows)


def _words_below(file: Path, name: str) -> dict[str, str]:
    """The documentation of a record's fields, which stands below them."""
    body = next(
        node.body
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == name
    )
    return {
        node.target.id: " ".join(str(after.value.value).split())
        for node, after in pairwise(body)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    }


def _type(kinds: Any) -> str:
    """A type as somebody who writes YAML would say it."""
    said = []
    bounds = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    for kind in kinds:
        limits = [
            f"{word} {n}" for key, word in bounds.items() if (n := getattr(kind, key, None)) is not None
        ]
        if isinstance(kind, inspect.LiteralType):
            said.append(" | ".join(str(value) or '""' for value in kind.values))
        elif isinstance(kind, LISTS):
            said.append(f"list of {_type(items_of(kind))}")
        elif isinstance(kind, inspect.DictType):
            said.append(f"mapping to {_type(kinds_of(kind.value_type))}")
        elif isinstance(kind, inspect.StructType):
            said.append(kind.cls.__name__)
        else:
            name = type(kind).__name__.removesuffix("Type").lower().replace("none", "null")
            said.append(" ".join((name, " and ".join(limits))).strip())
    return " | ".join(said)


def _has(kind: Any, bound: str) -> bool:
    return getattr(kind, bound, None) is not None


def _default(value: Any) -> str:
    if value is NODEFAULT:
        return ""
    return "as below" if isinstance(value, Struct) else f"`{json.dumps(value)}`"


def table(argument: str) -> str:
    """The table in a module's docstring: `table prompts/load.py`."""
    told = ast.get_docstring(ast.parse((SOURCE / argument).read_text(encoding="utf-8"))) or ""
    return "".join(f"{line}\n" for line in told.splitlines() if line.startswith("|"))


def verb(name: str) -> str:
    """What `jurist VERB --help` says; a verb with the settings of `label` refers to it."""
    page = printed_by(f"jurist {name} --help")
    if name in ("estimate", "sample"):
        return f"```text\n{page.partition('Options:')[0].rstrip()}\n```\n\nOptions: as of [label](#label).\n"
    return f"```text\n{page}```\n"


def unread(_: str) -> str:
    """Why a verdict can be unread, from the list the reader and the engines choose from."""
    return _table(("reason", "meaning"), ((f"`{name}`", told) for name, told in UNREAD.items()))


def evidence(_: str) -> str:
    """One row a claim, from `evidence/*.json`; what was changed in it, from `experiments/changes.yaml`."""
    changes = yaml.safe_load((ROOT / "experiments" / "changes.yaml").read_text(encoding="utf-8"))
    rows = []
    for path in sorted((ROOT / "evidence").glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        width = "" if found["low"] is None else f" ({_number(found['low'])} to {_number(found['high'])})"
        holds = "yes" if found["holds"] else "**no**"
        measured = f"{_number(found['value'])}{width}"
        null = _null(found.get("null") or "-")
        changed = changes.pop(found["claim"], "")
        bar = found["bar"] + (f". Changed after a miss: {changed}" if changed else "")
        rows.append((f"`{found['claim']}`", measured, null, bar, holds, f"`{found['command']}`"))
    if changes:
        raise SystemExit(f"experiments/changes.yaml names claims without evidence: {', '.join(changes)}")
    return _table(("claim", "measured", "null", "bar", "holds", "made again with"), rows)


def scaling(part: str) -> str:
    """Costs and times from the evidence about clusters: `scaling costs`, `scaling times`."""
    kept = ("ray_million", "ray_linear", "scale_model")
    million, linear, model = (
        json.loads((ROOT / "evidence" / f"{name}.json").read_text(encoding="utf-8")) for name in kept
    )
    if part == "times":
        rows = [[str(cell) for cell in row] for row in model["table"]]
        return _table(tuple(model["columns"]), rows)
    us, mb, peak = million["cpu_us_per_row"], model["mb_per_million"], million["peak_mb"]
    one, four = (f"{linear['by_nodes'][nodes]['before']:.1f} s" for nodes in "14")
    actors = us["actor 0"] + us["actor 1"]
    rows = [
        ("an actor's processor time", f"{actors:.0f} s"),
        ("the driver's while blocks are at work", f"{us['driver']:.0f} s"),
        ("the driver's afterwards: files, deciding, export", f"{us['driver in all'] - us['driver']:.0f} s"),
        ("memory of the driver, of an actor", f"{peak['driver']} MB, {peak['actor 0']} MB"),
        *((f"`{name}`", f"{size:,} MB") for name, size in mb.items() if size),
        ("rows measured", f"{million['null']['rows']:,}"),
        ("start of a job on one node, on four", f"{one}, {four}"),
        ("reports that one ledger answers", f"{model['ledger_messages_a_second']:,} a second"),
    ]
    return _table(("a million comparisons", "cost"), rows)


def _null(found: str | dict[str, Any]) -> str:
    """What had to be beaten, with what it came to; of several values the first and the last."""
    if isinstance(found, str):
        return found
    parts = []
    for name, value in found.items():
        ends = [value[0], value[-1]] if isinstance(value, list) else [value]
        parts.append(f"{name.replace('_', ' ')}: {' to '.join(map(_number, ends))}")
    return "; ".join(parts)


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, int) else f"{value:.4g}"


def _table(heads: tuple[str, ...], rows: Any) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in lines)


MAKERS: dict[str, Callable[[str], str]] = {
    "fields": fields,
    "table": table,
    "verb": verb,
    "unread": unread,
    "evidence": evidence,
    "scaling": scaling,
    "slowly": slowly,
}

if __name__ == "__main__":
    main()
