"""What a run may spend: each call reserves its worst case before it leaves, and is booked when it is over.

Spending never exceeds the budget as long as no reply is billed above its own `max_tokens` and listed price;
if one is, by no more than the excess of the calls then under way. Calls that were sent and not answered keep
their reservation: they may be billed. Where there is a budget, a call leaves once its reservation is on disk,
so that the sum holds after kill -9 as well. A price per hour has no worst case: the calls under way when the
budget is reached come on top.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

from msgspec import Struct

from ..errors import BudgetSpent, SettingError
from ..journal import Journal, disk_full
from ..records import Usage
from .engine import Reply


class Reservation(Struct, frozen=True):
    """One request's place in the budget."""

    engine: str
    most: float
    """What it can cost by its length, `max_tokens` and price."""
    usd: float
    """What is set aside: more than that, where the engine billed above it before."""
    replies: int
    batch: bool = False  # on the books with its batch, which goes on when this process ends


class Budget:
    """The money of one run, counted from its first start, on the books of its journal where it has one."""

    def __init__(self, cap: float | None = None, journal: Journal | None = None) -> None:
        self.cap = cap
        self.spent = 0.0 if journal is None else journal.spent
        """Of answered calls, in US dollars."""
        self.uncertain = 0.0 if journal is None else journal.uncertain
        """The most that calls sent and never answered may cost."""
        self.reserved = 0.0
        """The most that the calls under way can cost."""
        self.under_way = self.replies_under_way = 0
        self.in_batches, self.held = 0, 0.0  # of them, in batches or waiting for one: how many, and the most
        self.batches: dict[str, str] = {}  # what to say of each that is open
        self.on_stop: list[Callable[[], None]] = []
        # Since this start: answered, answered from the journal, and sent but neither answered nor refused.
        self.calls = self.cached = self.lost = 0
        self.spent_now = self.lost_usd = 0.0
        self.usage = Usage()
        self.overbilled: dict[str, float] = {}
        """How many times over its worst case an engine has billed: later calls reserve so much more."""
        self.warnings: dict[str, str] = {}
        self.stopped: Exception | None = None
        self.stops = True
        """At the first call that does not fit; else that one is refused, and smaller ones may follow."""
        self._journal = journal
        self._changed = asyncio.Event()
        if journal is not None:
            journal.on_full = lambda: self.stop(disk_full(journal.path))

    def stop(self, reason: Exception) -> None:
        """Nothing more is sent. What is under way comes home."""
        self.stopped = self.stopped or reason
        for tell in self.on_stop:
            tell()
        self._wake()

    async def reserve(self, engine: str, most: float, replies: int = 1, batch: bool = False) -> Reservation:
        """Called just before a request leaves; waits while it does not fit and others are under way."""
        journal = self._journal
        while True:
            if self.stopped is not None:
                raise self.stopped
            usd = most * self.overbilled.get(engine, 1.0)
            has_room = journal is None or journal.has_room(self.replies_under_way + replies)
            committed = self.spent + self.uncertain + self.reserved
            room = math.inf if self.cap is None else self.cap * (1 + 1e-12)
            if has_room and committed + usd <= room and (usd > 0 or self.cap is None or committed < self.cap):
                break
            if has_room and await self.more(usd):
                continue
            if self.under_way and (self.stops or self.spent + self.uncertain + usd <= room):
                await self._changed.wait()
                continue
            reason = self.reached(usd) if has_room or journal is None else disk_full(journal.path)
            if not self.stops:
                raise reason
            self.stop(reason)
        reservation = Reservation(engine, most, usd, replies, batch)
        self.change(reservation, 1)
        if not batch and self.cap is not None and usd and journal is not None:
            try:
                await journal.committed()
                if self.stopped is not None:
                    raise self.stopped
            except BaseException:
                self.release(reservation)
                raise
        return reservation

    async def more(self, usd: float) -> bool:
        """Whether to look again, because more may be spent by now: where several processes share a budget."""
        return False

    def pay(self, reservation: Reservation, replies: Sequence[Reply]) -> None:
        """The call was answered: what it cost takes the place of what was reserved."""
        cost = sum(reply.cost for reply in replies)
        self.calls += len(replies)
        self.spent += cost
        self.spent_now += cost
        for reply in replies:
            self.usage = self.usage + reply.usage
        engine, most = reservation.engine, reservation.most
        if cost > most * 1.000001 and most:
            self.overbilled[engine] = max(self.overbilled.get(engine, 1.0), cost / most)
            self.warnings[engine] = (
                f"{engine} billed ${cost:.6f} for a call that by its max_tokens and price costs at most"
                f" ${most:.6f}; later calls reserve more. Check the price: --judge.engine.price.output"
            )
        self.release(reservation)

    def release(self, reservation: Reservation) -> None:
        """The call was not sent, or was refused: it costs nothing."""
        self.change(reservation, -1)
        self._wake()

    def lose(self, reservation: Reservation) -> None:
        """The call was sent and not answered: it may be billed, so its reservation stays on the books."""
        self.uncertain += reservation.usd
        self.lost += 1
        self.lost_usd += reservation.usd
        if self._journal is not None:
            self._journal.add_uncertain(reservation.usd)
        self.release(reservation)

    def change(self, reservation: Reservation, by: int) -> None:
        """One call more under way, or one less."""
        self.under_way += by
        self.replies_under_way += by * reservation.replies
        self.reserved = self.reserved + by * reservation.usd if self.under_way else 0.0
        if reservation.batch:
            self.in_batches += by
            self.held = self.held + by * reservation.usd if self.in_batches else 0.0
        if self._journal is not None and not reservation.batch:
            self._journal.set_open(round(self.reserved - self.held, 12), self.under_way - self.in_batches)

    def reached(self, usd: float) -> BudgetSpent:
        """Why a call that may cost so much does not leave."""
        uncertain = f" and ${self.uncertain:.4f} possibly billed for lost calls" if self.uncertain else ""
        cap = f"{self.cap:.2f}" if self.cap == round(self.cap or 0, 2) else f"{self.cap:g}"
        return BudgetSpent(
            f"Stopped: budget of ${cap} reached (${self.spent:.4f} spent{uncertain}; the next call"
            f" may cost ${usd:.4f}). Answered calls are kept. To go on, run again with a higher --budget"
        )

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def parse_money(text: str | float | None) -> float | None:
    """`5usd`, `$5`, `0.5`: US dollars. None stays None: no cap."""
    if text is None:
        return None
    try:
        amount = float(str(text).lower().replace("usd", "").replace("$", ""))
    except ValueError:
        amount = -1.0
    if not 0 < amount < float("inf"):
        raise SettingError(f"a budget is a positive amount of US dollars, got {text!r}. Write: --budget 5usd")
    return amount
