"""Rows of tokens as a tree: what several of them start with stands in it once.

The branches lie one behind the other, each before those that grow from it, so that everything below a
branch is one stretch of slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

Row = list[int]
WORTH_SHARING: Final = 6
"""What a token costs, in tokens that attend to one more branch: less is saved by a shorter branch."""


class Branch:
    """A stretch of tokens that follow one another."""

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end
        self.last = end
        """Where what grows from it ends."""


class Tree:
    """All tokens, each with its place in the text; the branches; and the branches that make up each row."""

    def __init__(self, rows: Sequence[Row], first_place: int = 0) -> None:
        self.ids: list[int] = []
        self.places: list[int] = []
        self.branches: list[Branch] = []
        self.paths: list[tuple[Branch, ...]] = [()] * len(rows)
        order = sorted(range(len(rows)), key=rows.__getitem__)
        alike = [0, *(shared_length(rows[one], rows[other]) for one, other in pairwise(order))]

        def grow(low: int, high: int, depth: int, path: tuple[Branch, ...]) -> None:
            """The rows from low to high, which are alike and written down up to `depth`."""
            row = rows[order[low]]
            shared = min(alike[low + 1 : high], default=len(row))
            alone = high - low == 1
            cuts = [low, *(at for at in range(low + 1, high) if alike[at] == shared), high]
            above = sum(len(rows[at]) - shared for at in order[low:high])
            saved = (shared - depth) * (high - low - 1)
            if shared > depth and (alone or WORTH_SHARING * saved >= above):
                path = (*path, self._write(row[depth:shared], first_place + depth))
                depth = shared
            if alone:
                self.paths[order[low]] = path
                return
            for start, end in pairwise(cuts):
                grow(start, end, depth, path)
            for branch in path[-1:]:
                branch.last = len(self.ids)

        grow(0, len(rows), 0, ())

    def _write(self, ids: Row, place: int) -> Branch:
        branch = Branch(len(self.ids), len(self.ids) + len(ids))
        self.branches.append(branch)
        self.ids += ids
        self.places += range(place, place + len(ids))
        return branch

    @property
    def trunk(self) -> int:
        """How many tokens all rows start with."""
        first = self.branches[0]
        return first.end if first.last == len(self.ids) else 0


def shared_length(one: Row, other: Row) -> int:
    """For how many tokens both are the same, by halving: lists compare quickly, single tokens do not."""
    most = min(len(one), len(other))
    if one[:most] == other[:most]:
        return most
    same = 0
    while most - same > 1:
        half = (same + most) // 2
        if one[same:half] == other[same:half]:
            same = half
        else:
            most = half
    return same
