"""What a run may spend: each call reserves its worst case before it leaves, and is settled when it is over.

Spending never exceeds the budget as long as no reply is billed above its own `max_tokens` and listed price;
if one is, by no more than the excess of the calls then under way. A call that does not fit waits while others
are under way. Calls that were sent and not answered keep their reservation: they may be billed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ..errors import BudgetSpent, SettingError
from ..records import Usage
from .engine import Reply


class Budget:
    """The money of one run, counted from its first start."""

    def __init__(self, cap: float | None = None, spent: float = 0.0, uncertain: float = 0.0) -> None:
        self.cap = cap
        self.spent = spent
        """Of answered calls, in US dollars."""
        self.uncertain = uncertain
        """The most that calls sent and never answered may cost."""
        self.reserved = 0.0
        """The most that the calls under way can cost."""
        self.under_way = 0
        self.calls = 0
        """Answered since this start."""
        self.cached = 0
        """Answered from the journal since this start."""
        self.lost = 0
        """Sent since this start, and neither answered nor refused."""
        self.lost_usd = 0.0
        self.spent_now = 0.0
        """Since this start."""
        self.usage = Usage()
        self.warnings: dict[str, str] = {}
        self.stopped: Exception | None = None
        self.has_room: Callable[[int], bool] = lambda under_way: True
        """Whether the disk has room for the replies of so many calls."""
        self.no_room: Callable[[], Exception] = lambda: BudgetSpent("no room")
        self.on_change: Callable[[float, int], None] = lambda reserved, under_way: None
        self.on_lost: Callable[[float], None] = lambda usd: None
        self._waiting: list[asyncio.Future[None]] = []

    def stop(self, reason: Exception) -> None:
        """Nothing more is sent. What is under way comes home."""
        self.stopped = self.stopped or reason
        self._wake()

    async def reserve(self, most: float) -> float:
        """Called just before a request leaves; waits while it does not fit and others are under way."""
        while True:
            if self.stopped is not None:
                raise self.stopped
            fits, room = self._fits(most), self.has_room(self.under_way + 1)
            if fits and room:
                self.reserved += most
                self.under_way += 1
                self.on_change(self.reserved, self.under_way)
                return most
            if not self.under_way:
                self.stop(self.no_room() if fits else self._spent(most))
                continue
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn

    def pay(self, reserved: float, replies: Sequence[Reply]) -> None:
        """The call was answered: what it cost takes the place of what was reserved."""
        self.calls += len(replies)
        for reply in replies:
            self.spent += reply.cost
            self.spent_now += reply.cost
            self.usage = self.usage + reply.usage
        self.release(reserved)

    def release(self, reserved: float) -> None:
        """The call was not sent, or was refused: it costs nothing."""
        self.under_way -= 1
        self.reserved = self.reserved - reserved if self.under_way else 0.0
        self.on_change(self.reserved, self.under_way)
        self._wake()

    def lose(self, reserved: float) -> None:
        """The call was sent and not answered: it may be billed, so its reservation stays on the books."""
        self.uncertain += reserved
        self.lost += 1
        self.lost_usd += reserved
        self.on_lost(reserved)
        self.release(reserved)

    def warn_overbilled(self, engine: str, cost: float, reserved: float) -> None:
        self.warnings.setdefault(
            engine,
            f"{engine} billed ${cost:.6f} for a call that by its max_tokens and price costs at most"
            f" ${reserved:.6f}; later calls reserve more. Check the price: --judge.engine.price.output",
        )

    def _fits(self, most: float) -> bool:
        if self.cap is None:
            return True
        committed = self.spent + self.uncertain + self.reserved
        return committed + most <= self.cap * (1 + 1e-12) and (most > 0 or committed < self.cap)

    def _spent(self, most: float) -> BudgetSpent:
        uncertain = f" and ${self.uncertain:.4f} possibly billed for lost calls" if self.uncertain else ""
        return BudgetSpent(
            f"Stopped: budget of ${self.cap:.2f} reached (${self.spent:.4f} spent{uncertain}; the next call"
            f" may cost ${most:.4f}). Answered calls are kept. To go on, run again with a higher --budget"
        )

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)


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
