"""Does a JSON value follow a JSON schema? The everyday part of the standard, and a refusal of the rest.

A keyword that is silently skipped would pass what it was written to stop, so an unknown one is an error.
"""

from __future__ import annotations

import re
from typing import Any, Final

from ..errors import SettingError, nearest

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
_CHECKED: Final = {
    "type", "enum", "const", "anyOf", "properties", "required", "additionalProperties", "items", "minItems",
    "maxItems", "minLength", "maxLength", "pattern", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum",
}  # fmt: skip
_SAID_ONLY: Final = {"$schema", "$id", "title", "description", "default", "examples"}


def check_schema(schema: Any, where: str) -> None:
    """Refuse a schema that asks for what we do not check."""
    if not isinstance(schema, dict):
        raise SettingError(
            f'the JSON schema in {where} is {schema!r}, not an object. Start with: {{"type": "object"}}'
        )
    for key in schema:
        if key not in _CHECKED | _SAID_ONLY:
            raise SettingError(f"{where}: {nearest('JSON schema keyword', key, _CHECKED)}")
    for name in types_of(schema):
        if name not in _TYPES:
            raise SettingError(f"{where}: {nearest('JSON type', str(name), _TYPES)}")
    below = [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]
    below += [schema[key] for key in ("items", "additionalProperties") if isinstance(schema.get(key), dict)]
    for one in below:
        check_schema(one, where)


def types_of(schema: dict[str, Any]) -> list[str]:
    named = schema.get("type", [])
    return [named] if isinstance(named, str) else list(named)


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether the value follows the schema."""
    named = types_of(schema)
    return (
        (not named or any(_is(value, name) for name in named))
        and ("enum" not in schema or any(_same(value, one) for one in schema["enum"]))
        and ("const" not in schema or _same(value, schema["const"]))
        and ("anyOf" not in schema or any(fits(value, one) for one in schema["anyOf"]))
        and (not isinstance(value, dict) or _fits_object(value, schema))
        and (not isinstance(value, list) or _fits_array(value, schema))
        and (not isinstance(value, str) or _fits_string(value, schema))
        and (isinstance(value, bool) or not isinstance(value, int | float) or _fits_number(value, schema))
    )


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name]) or (
        name == "integer" and isinstance(value, float) and value.is_integer()
    )


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _fits_object(value: dict[str, Any], schema: dict[str, Any]) -> bool:
    known, other = schema.get("properties", {}), schema.get("additionalProperties", True)
    if not all(name in value for name in schema.get("required", [])):
        return False
    for name, one in value.items():
        rule = known.get(name, other)
        if rule is False or (isinstance(rule, dict) and not fits(one, rule)):
            return False
    return True


def _fits_array(value: list[Any], schema: dict[str, Any]) -> bool:
    long_enough = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
    return long_enough and all(fits(one, schema.get("items", {})) for one in value)


def _fits_string(value: str, schema: dict[str, Any]) -> bool:
    long_enough = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
    return long_enough and re.search(schema.get("pattern", ""), value) is not None


def _fits_number(value: float, schema: dict[str, Any]) -> bool:
    return bool(
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
        and not ("exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"])
        and not ("exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"])
    )
