"""Verdicts and scores in JSON, however broken: fenced, nested, cut off, with single quotes, with prose around."""

from __future__ import annotations

import re
from collections.abc import Iterator

_FIELD = re.compile(
    r"""["']([^"'\\\n]{1,60})["']\s{0,8}[:=]\s{0,8}(?:"((?:[^"\\]|\\.){0,300})"|'((?:[^'\\]|\\.){0,300})'|"""
    r"""(-?[0-9]{1,12}(?:\.[0-9]{1,12})?)(?![\w.]))"""
)
_WORDS = re.compile(r"[^\W\d_]+")
_MOST = 64


def fields(text: str) -> Iterator[tuple[frozenset[str], str, int]]:
    """Every `"key": value` with a short string or a number: the words of its key, the value, where the value starts."""
    if ":" not in text or ('"' not in text and "'" not in text):
        return
    hits = list(_FIELD.finditer(text))
    for hit in hits[-_MOST:]:
        group = hit.lastindex or 1
        key = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", hit[1]).lower()
        yield frozenset(_WORDS.findall(key)), hit[group], hit.start(group)
