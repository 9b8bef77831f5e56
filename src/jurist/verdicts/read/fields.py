"""Verdicts and scores in JSON, however broken: fenced, nested, cut off, with single quotes, with prose
around."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import msgspec

from .words import word_set

_FIELD = re.compile(
    r"""["']([^"'\\\n]{1,60})["']\s{0,8}[:=]\s{0,8}"""
    r"""(?:"([^"\\]*+(?:\\.[^"\\]*+)*+)"|'([^'\\]*+(?:\\.[^'\\]*+)*+)'|"""
    r"""(-?[0-9]{1,12}(?:\.[0-9]{1,12})?)(?![\w.]))""",
    re.DOTALL,
)
T = TypeVar("T")

_BRACE = re.compile(r"[{}]")
_MOST = 64
_FIRMEST = frozenset(("verdict", "winner", "decision", "judgment", "judgement", "score", "rating"))


class Field(NamedTuple):
    """`"key": value` with a string or a number."""

    name: str
    key: frozenset[str]
    """The words of the key, lowercased: `betterResponse` is `better`, `response`."""
    value: str
    at: int
    """Where the value starts."""


def fields(text: str) -> Iterator[Field]:
    """The fields of all JSON objects in the text, in order; of very many, the last."""
    if ":" not in text or ('"' not in text and "'" not in text):
        return
    for hit in list(_FIELD.finditer(text))[-_MOST:]:
        group = hit.lastindex or 1
        yield Field(hit[1], _words(hit[1]), hit[group], hit.start(group))


def _words(key: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key).lower()))


def deciding(text: str, found: list[tuple[Field, T]], same: Callable[[T, T], bool]) -> list[tuple[Field, T]]:
    """The field that decides, alone; two that contradict each other within one object; or nothing.

    `final` and `overall` come before all, then keys that are plainly the verdict, then those nearer the top;
    of equals the last one counts, unless both stand in the same object and disagree.
    """
    if not found:
        return []
    ranked = [(_rank(text, field), field, value) for field, value in found]
    top = max(rank for rank, _, _ in ranked)
    best = [(field, value) for rank, field, value in ranked if rank == top]
    last = best[-1]
    for other in best[:-1]:
        if not same(other[1], last[1]) and _one_object(text, other[0].at, last[0].at):
            return [other, last]
    return [last]


def _rank(text: str, field: Field) -> tuple[bool, bool, int]:
    final = "final" in field.key or "overall" in field.key
    return final, bool(field.key & _FIRMEST), -_depth(text, field.at)


def _depth(text: str, at: int) -> int:
    return text.count("{", 0, at) - text.count("}", 0, at)


def _one_object(text: str, one: int, other: int) -> bool:
    """Whether no outermost object ends between the two."""
    depth = _depth(text, one)
    for brace in _BRACE.finditer(text, one, other):
        depth += 1 if brace[0] == "{" else -1
        if depth <= 0:
            return False
    return True


_REASONS = word_set(
    """reason reasons reasoning explanation rationale analysis thought thoughts why justification feedback
    comment comments"""
)


def reasons(text: str) -> str:
    """What the object gives as its reasons."""
    for field in fields(text) if "{" in text else ():
        if field.key & _REASONS:
            return unescaped(field.value).strip()
    return ""


def unescaped(value: str) -> str:
    try:
        return msgspec.json.decode(f'"{value}"', type=str)
    except (msgspec.DecodeError, UnicodeError):
        return value
