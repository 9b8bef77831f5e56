"""Numbers and lines for a terminal, from which the `lines()` of all results are made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import wrap

from msgspec import Struct


class Share(Struct, frozen=True):
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%}, n = {self.n:,})"


def share(part: float, n: int) -> Share | None:
    """None where there is nothing to take a share of; a tie may count as half."""
    from ..stats.intervals import wilson

    if not n:
        return None
    low, high = wilson(part, n)
    return Share(round(part / n, 6), round(low, 6), round(high, 6), n)


def counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.items())


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def named(rows: Iterable[tuple[str, str]], width: int = 9) -> Iterator[str]:
    """A name and a text per line; long texts go on below, and rows without a text are left out."""
    for name, text in rows:
        for number, part in enumerate(wrap(text, 100 - width, break_long_words=False)):
            yield f"{name if not number else '':<{width}}{part}"


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
