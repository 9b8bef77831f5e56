"""A job on Ray: the driver reads the rows and hands out blocks; actors label them; a ledger keeps the books.

A block whose actor is lost goes to another, which finds the answers so far in the block's own journal. The
driver alone writes to the run's folder and journal; what it leaves when killed, the next start takes up.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from itertools import islice
from math import ceil
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from ..engines.engine import Engine
from ..errors import BudgetSpent, EngineDown, Interrupted, RunError
from ..prompts.rows import require
from ..run import Run
from .blocks import Row, pack, put_together, take_in
from .ledger import Ledger, Stop, Tally, add_up
from .worker import Ended, Job, Work, Worker, error_of, stop_of

LOOK_EVERY = 0.3
MOST_LOSSES = 20
"""A block that loses so many actors is what ends them."""
TIME_TO_GIVE_UP = 10.0
"""Seconds in which an actor that is told to give up its calls writes down which those were."""
STOPS = (BudgetSpent, EngineDown, Interrupted, RunError)
if TYPE_CHECKING:
    Progress = Any  # a `RunProgress`, which is of a higher floor
Block = tuple[int, bytes]


def connect(cluster: str) -> Any:
    """Ray, started here or joined; signals are ours, so this comes before they are set."""
    ray = require("ray", "a job on a cluster", "ray")
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        where = cluster if "://" in cluster else None
        try:
            ray.init(where, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
            raise RunError(f"no cluster at {cluster} ({error}). See whether it is up: ray status") from None
    return ray


async def label_on_cluster(
    on: Any,
    rows: Iterator[Row],
    work: Work,
    run: Run,
    progress: Progress,
    telling: Callable[[], AbstractAsyncContextManager[None]],
) -> None:
    """Blocks of these rows, each labelled by an actor with `work`, put together in the run."""
    driver = Driver(on, rows, work, run, progress)
    async with telling():
        await driver.drive()
    ended = [driver.folder(number) for number in sorted(driver.ended)]
    put_together(run, ended)
    shutil.rmtree(run.path / "blocks")


class Driver:
    """One start of a job."""

    def __init__(self, on: Any, rows: Iterator[Row], work: Work, run: Run, progress: Progress) -> None:
        self._ray = connect(on.cluster)
        self._rows, self._run, self._progress = rows, run, progress
        self._size = on.block
        engines: list[Engine] = [one.engine for one in progress.engines]
        computing = any(one.in_process for one in engines)
        there = self._ray.cluster_resources()
        cards = there.get("GPU", 0.0)
        gpus = on.gpus or (1.0 if computing and cards else 0.0)
        fits = int(cards / gpus) if gpus else int(there.get("CPU", 1))
        # The calls that an engine may have under way are divided, and an actor has one at least.
        allowed = min(
            (one.concurrency for one in progress.engines if not one.engine.in_process), default=fits
        )
        blocks = ceil(progress.total / on.block) if progress.total else fits
        self._actors = max(1, min(on.actors or fits, allowed, blocks))
        self._folder = run.path.resolve() / "blocks" / token_hex(4)
        self._folder.mkdir(parents=True)
        before = self._folder / "before.sqlite"
        run.journal.copy_to(before)
        budget = progress.budget
        self._job = Job(self._folder, before, work, os.getcwd(), budget.cap is not None)
        self._books = budget.spent, budget.uncertain, run.journal.uncertain_calls
        ledger = self._ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Ledger)
        self._ledger = ledger.remote(
            str(self._folder / "ledger.json"), budget.cap, budget.spent + budget.uncertain
        )
        self._worker = self._ray.remote(num_cpus=0 if gpus else 1, num_gpus=gpus)(Worker)
        self._alive: list[Any] = []
        self._numbers = iter(range(1 << 60))
        self._again: deque[Block] = deque()
        """Blocks that lost their actor."""
        self._losses: dict[int, int] = {}
        self._under_way: set[int] = set()
        self.ended: set[int] = set()
        self._done = Tally()
        self._needed = 0.0
        """Dollars of the call that the budget had no room for."""

    def folder(self, block: int) -> Path:
        return self._folder / f"{block:06d}"

    async def drive(self) -> None:
        """Every block once; or, after a stop, what the actors had under way."""
        slots = [asyncio.create_task(self._serve()) for _ in range(self._actors)]
        look = asyncio.create_task(self._look())
        try:
            while not self._over():
                ended, _ = await asyncio.wait([*slots, look], timeout=LOOK_EVERY / 3)
                for one in ended:
                    one.result()
            if self._again or self._fill():  # it was stopped while no block was under way
                self._progress.stopped = self._stopped
        except asyncio.CancelledError:
            await self._give_up()
            raise
        finally:
            for task in (*slots, look):
                task.cancel()
            await asyncio.gather(*slots, look, return_exceptions=True)
            for actor in (*self._alive, self._ledger):
                self._ray.kill(actor)
            for path in sorted(self._folder.glob("*/journal.sqlite")):
                await asyncio.to_thread(take_in, self._run, path.parent)
            self._count([])
            if isinstance(self._progress.stopped, BudgetSpent):
                self._progress.stopped = self._progress.budget.reached(self._needed)

    def _over(self) -> bool:
        """Whether nothing is under way and nothing is left to be done."""
        return not self._under_way and bool(self._stopped or not (self._again or self._fill()))

    @property
    def _stopped(self) -> Exception | None:
        reason: Exception | None = self._progress.stopped or self._progress.budget.stopped
        return reason

    def _fill(self) -> bool:
        """Read one block ahead; whether there is one."""
        if rows := list(islice(self._rows, self._size)):
            self._again.append((next(self._numbers), pack(rows)))
        return bool(rows)

    async def _serve(self) -> None:
        """One actor after another, each for as long as it lives, for one block after another."""
        while True:
            actor = self._worker.remote(self._job, self._ledger)
            self._alive.append(actor)
            try:
                await actor.ready.remote()  # where the cluster has no room for it, this waits for some
                while await self._label(actor, await self._next()):
                    pass
            except self._ray.exceptions.RayActorError:
                await asyncio.sleep(LOOK_EVERY)
            finally:
                self._alive.remove(actor)
                self._ray.kill(actor)

    async def _next(self) -> Block:
        """A block to label. Where there is none, one of another's may come back."""
        while self._stopped or not (self._again or self._fill()):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_EVERY / 3)
        block = self._again.popleft()
        self._under_way.add(block[0])
        return block

    async def _label(self, actor: Any, block: Block) -> bool:
        """Have a block labelled; whether the actor is still there."""
        number, rows = block
        try:
            ended: Ended = await actor.label.remote(number, rows)
        except self._ray.exceptions.RayActorError as error:
            self._losses[number] = self._losses.get(number, 0) + 1
            if self._losses[number] > MOST_LOSSES:
                raise RunError(
                    f"block {number} lost {MOST_LOSSES} actors, the last so: {error}. Smaller blocks need"
                    " less memory: --on.block 100"
                ) from None
            await self._ledger.lose.remote(number)
            self._again.appendleft(block)
            self._under_way.discard(number)
            return False
        await self._ledger.end.remote(number, ended.tally.spent + ended.tally.uncertain)
        new = await asyncio.to_thread(take_in, self._run, self.folder(number))
        self._progress.budget.calls += new
        self._done = add_up(self._done, ended.tally)
        for engine, (retries, latencies) in zip(self._progress.engines, ended.engines, strict=False):
            engine.engine.add_seen(retries, latencies)
        self._progress.budget.warnings |= {text: text for text in ended.warnings}
        self.ended.add(number)
        self._under_way.discard(number)
        self._stop(ended.stopped)
        return True

    async def _look(self) -> None:
        """What the blocks come to, for the line of progress; and a stop, for all."""
        while True:
            reason = stop_of(self._stopped)
            live, stop = await self._ledger.look.remote(reason)
            self._count(live)
            self._stop(stop)
            await asyncio.sleep(LOOK_EVERY)

    def _stop(self, stop: Stop | None) -> None:
        """The first reason counts; one that is no way for a run to end is raised."""
        if stop is None or self._progress.stopped is not None:
            return
        error = self._progress.budget.stopped or error_of(stop)
        if isinstance(error, BudgetSpent):
            self._needed = float(stop[1])
        if not isinstance(error, STOPS):
            raise error
        self._progress.stopped = error

    def _count(self, live: Sequence[Tally]) -> None:
        """The run's progress, from its journal, the blocks that have ended and those at work."""
        progress, journal, all_of = self._progress, self._run.journal, self._done
        for one in live:
            all_of = add_up(all_of, one)
        budget, (spent, uncertain, uncertain_calls) = progress.budget, self._books
        budget.spent = max(journal.spent, spent + all_of.spent)
        budget.uncertain = max(journal.uncertain, uncertain + all_of.uncertain)
        budget.spent_now = budget.spent - spent
        budget.cached, budget.usage, budget.under_way = all_of.cached, all_of.usage, all_of.under_way
        budget.lost, budget.lost_usd = (
            journal.uncertain_calls - uncertain_calls,
            journal.uncertain - uncertain,
        )
        progress.counts, progress.rows = all_of.counts, all_of.counts.prompts
        progress.ended = all_of.rows

    async def _give_up(self) -> None:
        """The calls under way are written down as lost, by actors that can still do so."""
        told = [actor.abandon.remote() for actor in self._alive]
        with suppress(Exception):
            async with asyncio.timeout(TIME_TO_GIVE_UP):
                await asyncio.gather(*told, return_exceptions=True)
                while self._under_way:  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_EVERY)
