"""What the fields of a settings Struct are for, read from the words that stand below them in its source.

The documentation's tables and the recipes that `jurist init` writes are both made from this.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

BOUNDS: Final = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


class Field(NamedTuple):
    """A field as its source has it."""

    name: str
    type: str
    default: str
    told: str


def fields_of(file: Path, name: str) -> list[Field]:
    """Those that the class of this name has of its own."""
    tree = _parsed(file)
    struct = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return list(_documented(struct, dict(_aliases(tree, file.parent))))


def fields_of_class(cls: type[Any]) -> dict[str, Field]:
    """Those of a class and its bases, the nearest one's words first."""
    found: dict[str, Field] = {}
    for one in reversed(cls.__mro__):
        file = inspect.getsourcefile(one) if one.__module__.startswith("jurist") else None
        for field in fields_of(Path(file), one.__name__) if file else ():
            told = field.told or (found[field.name].told if field.name in found else "")
            found[field.name] = field._replace(told=told)
    return found


@cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _aliases(tree: ast.Module, folder: Path) -> Iterator[tuple[str, ast.expr]]:
    """Names that the file and those beside it give to types, such as `Rule = Literal[...]`."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            beside = folder / f"{node.module}.py"
            if beside.exists():
                yield from _aliases(_parsed(beside), folder)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value


def _documented(struct: ast.ClassDef, aliases: dict[str, ast.expr]) -> Iterator[Field]:
    for node, after in zip(struct.body, [*struct.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        told = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            told = " ".join(str(after.value.value).split())
        default = "" if node.value is None else ast.unparse(node.value)
        yield Field(node.target.id, _type(node.annotation, aliases), default, told)


def _type(annotation: ast.expr, aliases: dict[str, ast.expr]) -> str:
    """A type as a reader of YAML would say it: aliases spelt out, bounds in words, a choice as its values."""

    class Plain(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> Any:
            return self.visit(aliases[node.id]) if node.id in aliases else node

        def visit_Subscript(self, node: ast.Subscript) -> Any:
            self.generic_visit(node)
            head = ast.unparse(node.value)
            if head == "Literal":
                values = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                return ast.Name(" | ".join(map(_value, values)))
            if head == "Annotated" and isinstance(node.slice, ast.Tuple):
                return ast.Name(f"{ast.unparse(node.slice.elts[0])} {_bound(node.slice.elts[1])}")
            return node

    return ast.unparse(Plain().visit(annotation))


def _value(node: ast.expr) -> str:
    said = ast.literal_eval(node)
    return str(said) if said != "" else '""'


def _bound(meta: ast.expr) -> str:
    assert isinstance(meta, ast.Call)
    return " and ".join(f"{BOUNDS[str(one.arg)]} {ast.unparse(one.value)}" for one in meta.keywords)
