"""The actor that labels blocks: each is a run in a folder of its own, paid from a budget that all share."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct

from ..engines.budget import Budget
from ..engines.engine import Engine
from ..errors import Interrupted, JuristError, MissingExtra, RunError
from ..journal import Journal
from ..run import Run
from .blocks import InputRow, unpack, wait_until_free
from .ledger import Tally

REPORT_EVERY = 0.5
REPORTS_A_SECOND = 500
"""The most that all actors together send to the ledger."""
ASK_AGAIN = 0.2
"""Seconds after which a budget that was refused more asks again."""
Work = Callable[[Sequence[InputRow], Run, Budget, list[Engine], Callable[[Any], None]], Awaitable[Any]]
"""Labels rows into a run and returns its progress."""
Lease = Callable[[float, float, bool], Awaitable[tuple[float, Exception | None]]]


class Job(Struct, frozen=True):
    """What every actor of a job has to know."""

    folder: Path
    """Of the blocks."""
    before: Path
    """A copy of the run's journal as it was when the job began."""
    work: Work
    cwd: str
    capped: bool


class Ended(Struct):
    """What an actor says when it is through with a block."""

    tally: Tally
    stopped: Exception | None = None
    """Why it ended before its rows did."""
    engines: list[tuple[dict[str, int], list[float]]] = []
    """Retries and latencies, for each engine in the order in which they are opened."""
    warnings: list[str] = []


class LeasedBudget(Budget):
    """The part of a shared budget that one block may spend: grows by what the ledger grants."""

    def __init__(self, journal: Journal, lease: Lease, capped: bool) -> None:
        super().__init__(None, journal)
        self.cap = self.committed if capped else None
        self._lease, self._asking, self._ask_at = lease, asyncio.Lock(), 0.0

    @property
    def committed(self) -> float:
        return self.spent + self.uncertain + self.reserved

    async def more(self, usd: float) -> bool:
        if self.cap is None:
            return False
        async with self._asking:
            committed, now = self.committed, time.monotonic()
            if self.stopped is not None or (committed + usd <= self.cap and committed < self.cap):
                return True  # whoever asked before got enough
            if now < self._ask_at:
                if not self.under_way:
                    await asyncio.sleep(self._ask_at - now)
                return not self.under_way
            # Nothing more leaves until the answer is there: a refusal takes back what is not committed.
            self.cap = committed
            self.cap, stop = await self._lease(committed, usd, not self.under_way)
            if stop is not None:
                self.stop(stop)
            elif self.cap <= committed:
                self._ask_at = time.monotonic() + ASK_AGAIN
            self._wake()
            return self.cap > committed or not self.under_way


class Worker:
    """One process of a job. It takes one block at a time, and keeps its engines from block to block."""

    def __init__(self, job: Job, ledger: Any) -> None:
        if Path(job.cwd).is_dir():  # where templates and the user's own modules are, if that is shared too
            os.chdir(job.cwd)
            sys.path.insert(0, job.cwd)
        self._job, self._ledger = job, ledger
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._engines: list[Engine] = []
        self._working: asyncio.Task[Any] | None = None

    async def ready(self) -> None:
        """Answered once the process is up."""

    async def abandon(self) -> None:
        """Give up the calls under way."""
        if self._working is not None:
            self._working.cancel()

    async def label(self, block: int, packed: bytes) -> Ended:
        folder = self._job.folder / f"{block:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(wait_until_free, folder)  # the process that had it before
        with Run(folder, before=self._job.before) as run:
            lease = partial(self._ledger.lease.remote, block)
            budget = LeasedBudget(run.journal, lease, self._job.capped)
            await self._ledger.begin.remote(block, budget.committed)
            self._seen: Any = None
            over = asyncio.Event()
            reporting = asyncio.create_task(self._report(block, budget, over))
            try:
                work = self._job.work(unpack(packed), run, budget, self._engines, self._see)
                self._working = asyncio.ensure_future(work)
                self._seen = await self._working
                stopped = self._seen.stopped
            except asyncio.CancelledError:
                stopped = Interrupted("given up")
            except JuristError as error:  # one made of more than its message cannot travel
                stopped = RunError(str(error)) if isinstance(error, MissingExtra) else error
            finally:
                self._working = None
                over.set()
                await reporting
        seen = [one.hand_over() for one in self._engines]
        warnings = [*budget.warnings.values(), *getattr(getattr(self._seen, "engines", None), "warnings", ())]
        return Ended(self._tally(budget), stopped, seen, warnings)

    def _see(self, progress: Any) -> None:
        self._seen = progress

    async def _report(self, block: int, budget: Budget, over: asyncio.Event) -> None:
        """Say how far it is, and learn how many share the rate limits and whether to stop."""
        while not over.is_set():
            workers, stop = await self._ledger.report.remote(self._name, block, self._tally(budget))
            for engine in self._engines:
                engine.share(workers)
            if stop is not None and budget.stopped is None:
                budget.stop(stop)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(REPORT_EVERY, workers / REPORTS_A_SECOND)):
                    await over.wait()

    def _tally(self, budget: Budget) -> Tally:
        seen = self._seen
        tally = Tally(under_way=budget.under_way, cached=budget.cached, usage=budget.usage)
        tally.spent, tally.uncertain = budget.spent, budget.uncertain
        if seen is not None:
            tally.rows, tally.counts = max(seen.rows, seen.ended), seen.counts
        return tally
