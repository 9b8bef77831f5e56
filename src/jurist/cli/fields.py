"""The settings of a Struct as a help page lists them: name, default, and the words under the field."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from ..recipes.explain import fields_of_class


def settings_list(struct: type[Struct], prefix: str = "") -> list[tuple[str, str]]:
    """A row a setting; one that is a Struct of its own is shown by its fields."""
    rows = []
    told = fields_of_class(struct)
    hints = get_type_hints(struct)
    for field in fields(struct):
        if prefix == "" and field.name in ("data", "base", "out"):
            continue  # options of their own
        below = next((one for one in get_args(hints[field.name]) if _is_struct(one)), None)
        if below is not None:
            rows += settings_list(below, f"{field.name}.")
        else:
            default = None if field.default is NODEFAULT else field.default
            rows.append((f"--{prefix}{field.name}", f"{told[field.name].told}{_default(default)}".strip()))
    return rows


def _is_struct(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, Struct)


def _default(value: Any) -> str:
    if value in (None, ""):
        return ""
    return f" [{str(value).lower() if isinstance(value, bool) else value}]"
