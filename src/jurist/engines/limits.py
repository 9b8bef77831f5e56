"""How many requests may be under way, found out by trying; and caps per minute, where a vendor sets them.

The limit starts at 4 and doubles each round trip while the median latency does not grow with it. After that
it rises slowly, and shrinks where too many requests were turned away or timed out, or where latency grew
faster than the square root of the concurrency: a batching server earns that back, a saturated one queues.
When less concurrency does not bring the latency down, it was not ours, and becomes the new normal.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from statistics import median

START = 4
SHRINK = 0.7
BAD_LUCK = 0.12
"""A share of refusals up to this costs less than the throughput that shrinking would."""
GROWN = 1.6
"""Twice as many requests under way still pay when they raise the latency by less than this."""
_ALIKE = 1.1
"""Latencies that differ by less than this factor are equal."""
INFLATED = 2.0
TOO_SHORT = 0.02
"""Nor do latencies count as grown that differ by less than these seconds."""
NO_ROUND = (math.inf, 0.0)
ROUND = 16
"""Replies in a round at the least, once the limit is found: fewer say nothing about shares or medians."""


class AdaptiveLimit:
    """The limit as a function of the replies so far; no clock, no network."""

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.limit = float(min(START, ceiling))
        self._doubling = True
        self._changed_at = -math.inf
        """Requests sent before the last jump say nothing about the limit since."""
        self._latencies: list[float] = []
        self._refused = 0
        self._calm = NO_ROUND
        """Latency and limit of the best round so far: what it is like when nothing queues."""
        self._before_cut: tuple[float, float] | None = None
        self._limits = 0.0
        """Sum of the limits under which the round's replies were sent."""
        self._last = 0.0
        """Latency of the round before the last doubling."""

    def answered(self, seconds: float, sent: float, now: float, busy: bool, limit: float) -> None:
        """`busy`: a higher limit would have been used. `limit`: the one when it was sent."""
        if sent < self._changed_at:
            return
        self._latencies.append(seconds)
        self._limits += limit
        if not self._doubling and self._before_cut is None and busy:
            self.limit = min(float(self.ceiling), self.limit + 1.0 / math.sqrt(self.limit))
        self._end_round(now, busy)

    def refused(self, sent: float, now: float) -> None:
        """A 429, a 503 or a time-out. Other failures say nothing about load."""
        if sent >= self._changed_at:
            self._refused += 1
            self._end_round(now, True)

    def _end_round(self, now: float, busy: bool) -> None:
        seen = len(self._latencies) + self._refused
        # After a doubling, half of what may be under way was sent since.
        if seen < (max(START, self.limit / 2) if self._doubling else max(ROUND, self.limit)):
            return
        share = self._refused / seen
        latency = median(self._latencies) if self._latencies else 0.0
        limit = self._limits / len(self._latencies) if self._latencies else self.limit
        self._latencies, self._limits, self._refused = [], 0.0, 0
        if share > BAD_LUCK:
            self._cut(now, max(0.5, 1.0 - share))
        elif self._doubling:
            self._double(latency, now, busy)
        else:
            self._compare(latency, limit, now)

    def _double(self, latency: float, now: float, busy: bool) -> None:
        before, self._last = self._last or latency, latency
        self._note_calm(latency, self.limit)
        if latency > max(before * GROWN, before + TOO_SHORT):
            self._doubling, self._changed_at = False, now
            self.limit = max(1.0, self.limit / 2)
        elif busy and self.limit < self.ceiling:
            self.limit, self._changed_at = min(float(self.ceiling), 2 * self.limit), now

    def _compare(self, latency: float, limit: float, now: float) -> None:
        """Shrink where latency grew more than concurrency earns; take a cut back that did not help."""
        before, self._before_cut = self._before_cut, None
        if before is not None and latency > before[0] * (1.0 + limit / before[1]) / 2:
            self._calm = NO_ROUND
            self.limit = max(self.limit, before[1])
        calm, at = self._note_calm(latency, limit)
        earned = math.sqrt(max(1.0, limit / at))
        if latency > calm * max(INFLATED, earned) and latency - calm > TOO_SHORT:
            self._before_cut = (latency, limit)
            self.limit = min(self.limit, limit)
            self._cut(now, SHRINK)

    def _note_calm(self, latency: float, limit: float) -> tuple[float, float]:
        """The lowest latency so far, and the highest limit that still had about that."""
        calm, at = self._calm
        if latency < calm / _ALIKE:
            calm, at = latency, limit
        elif latency <= calm * _ALIKE:
            calm, at = min(latency, calm), max(limit, at)
        self._calm = calm, at
        return calm, at

    def _cut(self, now: float, factor: float) -> None:
        self._doubling, self._changed_at = False, now
        self.limit = max(1.0, self.limit * min(SHRINK, factor))


class Gate:
    """Lets calls through: those that try again first, then in the order they came."""

    def __init__(self, ceiling: int) -> None:
        self.adaptive = AdaptiveLimit(ceiling)
        self.in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._pauses = 0

    async def enter(self, again: bool = False) -> None:
        if not self._waiting and self.in_flight < int(self.adaptive.limit) and not self._pauses:
            self.in_flight += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.appendleft(turn) if again else self._waiting.append(turn)
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
        self._pauses += 1
        asyncio.get_running_loop().call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._pauses -= 1
        self._let_in()

    def fail(self, why: Exception) -> None:
        """Raise this in everyone who waits."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(why)

    def _let_in(self) -> None:
        while self._waiting and self.in_flight < int(self.adaptive.limit) and not self._pauses:
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)


class Bucket:
    """A cap a minute as a leaking bucket that holds one second's worth, so that no minute sees much more."""

    def __init__(self, per_minute: float) -> None:
        self.change(per_minute)
        self._level = self._room
        self._at = -math.inf

    def change(self, per_minute: float) -> None:
        self._rate = per_minute / 60.0
        self._room = max(1.0, self._rate)

    def take(self, amount: float, now: float) -> float:
        """Seconds to wait before this much may be used."""
        if self._at > -math.inf:
            self._level = min(self._room, self._level + (now - self._at) * self._rate)
        self._at = max(now, self._at)
        self._level -= amount
        return max(0.0, -self._level / self._rate)

    def give_back(self, amount: float) -> None:
        """What was reserved and not used; negative where it was not enough."""
        self._level += amount
