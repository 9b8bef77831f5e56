"""Lines for a terminal, from which the `lines()` of all results are made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap


def named(rows: Iterable[tuple[str, str]], width: int = 9) -> Iterator[str]:
    """A name and a text per line; long texts go on below, and rows without a text are left out."""
    for name, text in rows:
        for number, part in enumerate(wrap(text, 100 - width, break_long_words=False)):
            yield f"{name if not number else '':<{width}}{part}"


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
