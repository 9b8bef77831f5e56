"""How many requests may be under way, found out by trying; and caps a minute, where a vendor sets them.

The limit grows while all is well: doubling at first, later by its square root in a round trip. It shrinks,
at most once in a round trip, for either of two reasons. A share of the requests was turned away or timed out
that is too large to be bad luck. Or latency grew faster than the square root of the concurrency: a batching
server answers 4 times as many requests in twice the time and earns it back, but a saturated one only queues,
and never says 429. When less concurrency does not bring the latency down, it was not ours, and becomes the
new normal.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from statistics import median

from msgspec import Struct

START = 32
SHRINK = 0.7
BAD_LUCK = 0.12
"""A share of refusals up to this costs less than the throughput that shrinking would."""
INFLATED = 2.0
TOO_SHORT = 0.02
"""Latencies that differ by less than this are not worth a thought, whatever their ratio."""
ROUND = 16
"""Replies that make a round trip at the least: fewer say nothing about shares or medians."""


class Round(Struct, frozen=True):
    """What one round trip showed."""

    limit: float
    """Its mean over the round."""
    refused: float
    """Share of requests turned away or timed out."""
    latency: float
    """Median of the answered ones; 0 where there were none."""


class Adaptive:
    """The limit as a function of the rounds so far; no clock, no network."""

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.limit = float(min(START, ceiling))
        self._opening = True
        self._settling = False
        """The round holds requests sent before the last cut, which tell nothing about it."""
        self._calm: Round | None = None
        """The best round so far: what latency is like when nothing queues."""
        self._before_cut: Round | None = None
        self._latencies: list[float] = []
        self._refused = 0
        self._started_at = self.limit
        self._length = self.limit
        """Replies until this round is over."""

    def answered(self, seconds: float, busy: bool) -> None:
        """`busy`: the limit was in the way, so a higher one would have been used."""
        self._latencies.append(seconds)
        weighing_a_cut = self._settling or self._before_cut is not None
        if busy and self.limit < self.ceiling and not weighing_a_cut:
            step = 1.0 if self._opening else 1.0 / math.sqrt(self.limit)
            self.limit = min(float(self.ceiling), self.limit + step)
        self._turn()

    def refused(self) -> None:
        """A 429, a 503 or a time-out. Other failures say nothing about load."""
        self._refused += 1
        self._turn()

    def _turn(self) -> None:
        seen = len(self._latencies) + self._refused
        if seen < max(ROUND, self._length):
            return
        latency = median(self._latencies) if self._latencies else 0.0
        before = self.limit
        now = Round((self._started_at + self.limit) / 2, self._refused / seen, latency)
        self._latencies, self._refused = [], 0
        if self._settling:
            self._settling = False
        elif now.refused > BAD_LUCK:
            self._cut(max(0.5, 1.0 - now.refused))
        elif latency:
            self._weigh(now)
        self._started_at = self.limit
        self._length = before if self._settling else self.limit

    def _weigh(self, now: Round) -> None:
        before, self._before_cut = self._before_cut, None
        if before is not None and now.latency > 0.9 * before.latency:
            self._calm = None
            self.limit = max(self.limit, before.limit)
        if self._calm is None or now.latency < self._calm.latency:
            self._calm = now
        calm = self._calm
        earned = math.sqrt(max(1.0, now.limit / calm.limit))
        grown = now.latency - calm.latency
        if now.latency > calm.latency * max(INFLATED, earned) and grown > TOO_SHORT:
            if not self._opening:  # while doubling, a round's latency belongs to half its limit
                self._before_cut = now
            self._cut(SHRINK)

    def _cut(self, factor: float) -> None:
        self._opening, self._settling = False, True
        self.limit = max(1.0, self.limit * min(SHRINK, factor))


class Gate:
    """Lets calls through: those that try again first, then in the order they came."""

    def __init__(self, ceiling: int) -> None:
        self.adaptive = Adaptive(ceiling)
        self.in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed_until = 0.0

    async def enter(self, again: bool = False) -> None:
        if not self._waiting and self.in_flight < int(self.adaptive.limit) and not self._closed_until:
            self.in_flight += 1
            return
        turn = asyncio.get_running_loop().create_future()
        if again:
            self._waiting.appendleft(turn)
        else:
            self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave()  # let in and called off in the same moment
            raise

    def leave(self) -> None:
        self.in_flight -= 1
        self._let_in()

    @property
    def busy(self) -> bool:
        return bool(self._waiting) or self.in_flight >= int(self.adaptive.limit)

    def pause(self, seconds: float) -> None:
        """Nothing is sent for so long: the server asked for it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        if until > self._closed_until:
            self._closed_until = until
            loop.call_at(until, self._reopen, until)

    def fail(self, why: Exception) -> None:
        """Whoever waits is told that nothing gets through."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(why)

    def _reopen(self, until: float) -> None:
        if until >= self._closed_until:
            self._closed_until = 0.0
            self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self.in_flight < int(self.adaptive.limit) and not self._closed_until:
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)


class Bucket:
    """A cap a minute as a leaking bucket that holds one second's worth, so that no minute sees much more."""

    def __init__(self, per_minute: float) -> None:
        self._rate = per_minute / 60.0
        self._room = max(1.0, self._rate)
        self._level = self._room
        self._at = -math.inf

    def take(self, amount: float, now: float) -> float:
        """Seconds to wait before this much may be used."""
        self._refill(now)
        self._level -= amount
        return max(0.0, -self._level / self._rate)

    def give_back(self, amount: float) -> None:
        """What was reserved and not used; negative where it was not enough."""
        self._level += amount

    def _refill(self, now: float) -> None:
        if self._at > -math.inf:
            self._level = min(self._room, self._level + (now - self._at) * self._rate)
        self._at = max(now, self._at)
