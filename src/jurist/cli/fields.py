"""The settings of a Struct as a help page lists them: name, default, and the words under the field."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

from msgspec import NODEFAULT, Struct
from msgspec.structs import fields


def settings_list(struct: type[Struct], prefix: str = "") -> list[tuple[str, str]]:
    """A row a setting; one that is a Struct of its own is shown by its fields."""
    rows = []
    told: dict[str, str] = {}
    for cls in reversed(struct.__mro__):
        told |= {name: said or told.get(name, "") for name, said in _told(cls)}
    hints = get_type_hints(struct)
    for field in fields(struct):
        if prefix == "" and field.name in ("data", "base", "out"):
            continue  # options of their own
        below = next((one for one in get_args(hints[field.name]) if _is_struct(one)), None)
        if below is not None:
            rows += settings_list(below, f"{field.name}.")
        else:
            default = None if field.default is NODEFAULT else field.default
            rows.append((f"--{prefix}{field.name}", f"{told[field.name]}{_default(default)}".strip()))
    return rows


def _is_struct(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, Struct)


def _default(value: Any) -> str:
    if value in (None, ""):
        return ""
    return f" [{str(value).lower() if isinstance(value, bool) else value}]"


def _told(cls: type) -> Iterator[tuple[str, str]]:
    """The fields of a class with the words under them, which are their documentation."""
    if not _is_struct(cls) or cls is Struct:
        return
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            said = after.value if isinstance(after, ast.Expr) else None
            words = str(said.value) if isinstance(said, ast.Constant) else ""
            yield node.target.id, " ".join(words.split())
