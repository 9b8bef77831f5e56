"""What was read, with all that a reader of the findings has to know about the reading."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from msgspec import Struct

from ...verdicts.human import LabelIndex, load_weighted
from ..sheet import Sheet

T = TypeVar("T")


class Along(Struct, frozen=True):
    """How far the reading is; a total of 0 is not known."""

    done: int
    total: int = 0


Watch = Callable[[Along], None]
EVERY = 4096
"""Rows between two tellings."""


def nobody(_: Along) -> None:
    """Watches nothing."""


@dataclass(frozen=True)
class Read:
    sheet: Sheet
    path: str
    kind: Literal["run", "loop", "file"] = "run"
    human: str = ""
    """The file of people's labels, and of the matchups labelled in it: how many there are, and were found."""
    labelled: int = 0
    found: int = 0
    notes: tuple[str, ...] = ()
    """What the reader has to know, in sentences."""
    spent: float | None = None
    """Dollars in all, where the run says so: the answers were paid for as well."""


def people_of(human: str | os.PathLike[str] | None) -> LabelIndex:
    """Those of a file; a line that nobody has filled in yet is no label."""
    return LabelIndex(load_weighted(human) if human else ())


def watched(rows: Iterator[T], watch: Watch, total: int = 0) -> Iterator[T]:
    """The same rows; it is told now and then how many went by."""
    done = 0
    for done, row in enumerate(rows, 1):
        yield row
        if done % EVERY == 0:
            watch(Along(done, total))
    watch(Along(done, total))
