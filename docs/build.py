"""Makes the parts of the documentation that can be made: outputs of commands, settings, nouns, evidence.

A block between `<!-- made by: COMMAND -->` and `<!-- end -->` in README.md or docs/*.md is replaced by what
the command printed, run in an empty folder. `make docs` runs this; CI runs it too, and fails where anything
changed.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "jurist"
BLOCK = re.compile(r"(<!-- made by: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)

# What changes from one machine or run to the next is written as it was on the day the page was first made.
NOISE = (
    (re.compile(r"\b\d+\.\d s\b"), "1.0 s"),
    (re.compile(r"^(time\s+)[\d:]+$", re.MULTILINE), r"\g<1>0:01"),
    (re.compile(r"0\.\d\d s$", re.MULTILINE), "0.00 s"),
)


def main() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text(encoding="utf-8")
        made = BLOCK.sub(lambda block: block[1] + make(block[2]) + block[3], text)
        if made != text:
            page.write_text(made, encoding="utf-8")
            print(f"made anew: {page.relative_to(ROOT)}")


def make(command: str) -> str:
    maker, _, argument = command.partition(" ")
    if maker in MAKERS:
        return MAKERS[maker](argument)
    return f"```text\n{printed_by(command)}```\n"


def printed_by(commands: str) -> str:
    """What these commands print in a fresh folder; of several, joined by `&&`, the last one's output."""
    bin_folder = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
    env |= {"TERM": "dumb", "NO_COLOR": "1"}
    shown = ""
    with tempfile.TemporaryDirectory() as folder:
        for command in commands.split(" && "):
            done = subprocess.run(shlex.split(command), cwd=folder, env=env, capture_output=True, text=True)
            shown = done.stdout if done.returncode in (0, 1) else done.stderr
    for pattern, instead in NOISE:
        shown = pattern.sub(instead, shown)
    return "\n".join(line.rstrip() for line in shown.splitlines()) + "\n"


def fields(argument: str) -> str:
    """A table of the fields of a Struct: `fields recipes/settings.py LabelConfig`."""
    file, name = argument.split()
    tree = ast.parse((SOURCE / file).read_text(encoding="utf-8"))
    struct = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    rows = ["| field | type | default | meaning |", "| --- | --- | --- | --- |"]
    rows += [
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in _documented(struct)
    ]
    return "\n".join(rows) + "\n"


def _documented(struct: ast.ClassDef) -> Iterator[tuple[str, str, str, str]]:
    for node, after in zip(struct.body, [*struct.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        told = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            told = " ".join(str(after.value.value).split())
        default = "" if node.value is None else f"`{ast.unparse(node.value)}`"
        yield f"`{node.target.id}`", f"`{ast.unparse(node.annotation)}`", default, told


def evidence(_: str) -> str:
    """One row a claim, from `evidence/*.json`."""
    rows = ["| claim | measured | bar | holds | made again with |", "| --- | --- | --- | --- | --- |"]
    for path in sorted((ROOT / "evidence").glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        width = "" if found["low"] is None else f" ({_number(found['low'])} to {_number(found['high'])})"
        measured = f"{_number(found['value'])}{width}"
        holds = "yes" if found["holds"] else "**no**"
        rows.append(f"| `{found['claim']}` | {measured} | {found['bar']} | {holds} | `{found['command']}` |")
    return "\n".join(rows) + "\n"


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, int) else f"{value:.4g}"


def source(argument: str) -> str:
    """A file of the repository, word for word: `source recipes/label.yaml`."""
    path = ROOT / argument
    return f"```{path.suffix[1:]}\n{path.read_text(encoding='utf-8')}```\n"


MAKERS: dict[str, Callable[[str], str]] = {"fields": fields, "evidence": evidence, "source": source}

if __name__ == "__main__":
    main()
