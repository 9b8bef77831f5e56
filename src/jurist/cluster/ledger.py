"""One budget, one share of each rate limit and one count for all actors of a job.

What the blocks at work may spend, what the ended ones have, and what was spent before never come to more than
the cap. Every amount is a total, not a difference, so a message may be delivered twice; what was granted is
in a file before it is used, so a ledger that is lost comes back with the same books.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from ..errors import BudgetSpent
from ..preferences.decide import Counts
from ..records import Usage
from ..run import write_whole

HEARD_WITHIN = 5.0
"""Seconds without word from an actor after which its share of the rate limits goes to the others."""
PARTS = 4
"""An actor is granted at most one part in so many of its fair share of what is left."""


class Tally(Struct):
    """What a block has come to so far; tallies can be added up."""

    rows: int = 0
    under_way: int = 0
    cached: int = 0
    spent: float = 0.0
    uncertain: float = 0.0
    usage: Usage = Usage()
    counts: Counts = field(default_factory=Counts)


def add_up(one: Any, other: Any) -> Any:
    """Two of a kind as one: numbers are added, in records field by field and in dictionaries key by key."""
    if isinstance(one, Struct):
        names = one.__struct_fields__
        return type(one)(**{name: add_up(getattr(one, name), getattr(other, name)) for name in names})
    if isinstance(one, dict):
        summed = {key: add_up(one[key], other[key]) for key in one if key in other}
        both = {**one, **other, **summed}
        return Counter(both) if isinstance(one, Counter) else both
    return one + other


class Books(Struct):
    """What is on disk."""

    allowed: dict[int, float] = {}
    """The most that each block at work may have spent, lost and under way."""
    lost: set[int] = set()
    """Those whose actor is gone: nobody waits for them, and what they were allowed may have been spent."""
    ended: float = 0.0
    """What the finished blocks have spent or lost."""


class Ledger:
    """The actor; without Ray it is a class like any other."""

    def __init__(self, path: str, cap: float | None, before: float) -> None:
        """`before`: what earlier starts of the run have spent or lost."""
        self._path, self._cap, self._before = Path(path), cap, before
        self._books = Books()
        if self._path.exists():
            self._books = msgspec.json.decode(self._path.read_bytes(), type=Books)
        self._live: dict[int, Tally] = {}
        self._idle: set[int] = set()
        """Blocks with nothing under way that wait for money."""
        self._heard: dict[str, float] = {}
        self._stop: Exception | None = None

    def begin(self, block: int, committed: float) -> None:
        """An actor takes a block up; what earlier tries of it have spent or lost stays on the books."""
        self._books.allowed[block] = committed
        self._books.lost.discard(block)
        self._write()

    def lease(self, block: int, committed: float, usd: float, idle: bool) -> tuple[float, Exception | None]:
        """What a block may spend in all. It has committed so much, and its next call may cost `usd`; where
        that does not fit, it keeps no more than it has committed, and may ask again.
        """
        books, cap = self._books, self._cap
        if cap is None:
            return float("inf"), self._stop
        others = sum(most for other, most in books.allowed.items() if other != block)
        left = cap * (1 + 1e-12) - self._before - books.ended - others - committed
        if self._stop is None and usd <= left and left > 0:
            granted = max(usd, left / (PARTS * self.workers))
            self._idle.discard(block)
        else:
            granted = 0.0
            self._idle |= {block} if idle else set()
            # A block that is not idle may give something back.
            if self._stop is None and self._idle >= books.allowed.keys() - books.lost:
                self._stop = BudgetSpent(usd)  # the driver knows what to say
        books.allowed[block] = committed + granted
        self._write()
        return committed + granted, self._stop

    def report(self, actor: str, block: int, tally: Tally) -> tuple[int, Exception | None]:
        """How far a block is; how many actors share the rate limits, and whether to stop."""
        self._heard[actor] = time.monotonic()
        self._live[block] = tally
        return self.workers, self._stop

    def end(self, block: int, committed: float) -> None:
        """A block is finished, and gives back what it has not spent."""
        self._forget(block)
        if self._books.allowed.pop(block, None) is not None:
            self._books.ended += committed
            self._write()

    def lose(self, block: int) -> None:
        """Its actor is gone."""
        self._forget(block)
        if block in self._books.allowed:
            self._books.lost.add(block)
            self._write()

    def look(self, stop: Exception | None = None) -> tuple[list[Tally], Exception | None]:
        """What the blocks at work have come to; `stop`, once given, goes to all actors."""
        self._stop = self._stop or stop
        return list(self._live.values()), self._stop

    @property
    def workers(self) -> int:
        now = time.monotonic()
        self._heard = {name: at for name, at in self._heard.items() if now - at < HEARD_WITHIN}
        return max(1, len(self._heard))

    def _forget(self, block: int) -> None:
        self._live.pop(block, None)
        self._idle.discard(block)

    def _write(self) -> None:
        if self._cap is not None:
            write_whole(self._path, msgspec.json.encode(self._books))
