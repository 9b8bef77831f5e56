"""A job on Ray: the driver reads the rows and hands out blocks; actors label them; a ledger keeps the books.

A block whose actor is lost goes to another, which finds the answers so far in the block's own journal. The
driver alone writes to the run's folder and journal; what it leaves when killed, the next start takes up.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import reduce
from itertools import count, islice
from math import ceil
from pathlib import Path
from secrets import token_hex
from socket import create_connection
from typing import Any
from warnings import catch_warnings

from ..errors import BudgetSpent, EngineDown, Interrupted, RunError, SettingError
from ..prompts.rows import require
from ..run import Run
from .blocks import InputRow, pack, put_together, take_in
from .ledger import Ledger, Tally, add_up
from .worker import Ended, Job, Work, Worker

LOOK_EVERY = 0.3
MOST_LOSSES = 20
"""A block that loses so many actors is what ends them."""
TIME_TO_GIVE_UP = 10.0
"""Seconds in which an actor that is told to give up its calls writes down which those were."""
STOPS = (BudgetSpent, EngineDown, Interrupted, RunError)
Block = tuple[int, bytes]


def connect(cluster: str) -> Any:
    """Ray, started here or joined; signals are ours, so this comes before they are set."""
    ray = require("ray", "a job on a cluster", "ray")
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        where = cluster if "://" in cluster else os.environ.get("RAY_ADDRESS")
        host, _, port = (where or "").rpartition(":")
        try:
            if port.isdigit() and "://" not in host:  # where nobody listens Ray waits for ten minutes
                create_connection((host, int(port)), 10).close()
            with catch_warnings(action="ignore"):
                ray.init(where, log_to_driver=False, logging_level=logging.CRITICAL)
        except (OSError, RuntimeError, ValueError) as error:
            token = "If it asks for a token: export RAY_AUTH_MODE=token; else look with: ray status"
            raise RunError(f"no cluster at {where or cluster} ({error}). {token}") from None
    return ray


class Driver:
    """One start of a job: its rows in blocks, labelled by actors with `work`, put together in the run."""

    def __init__(self, on: Any, rows: Iterator[InputRow], work: Work, run: Run, progress: Any) -> None:
        if any(one.engine.batched for one in progress.engines):
            raise SettingError("no batches on a cluster. Leave out --on, or add: --judge.engine.batch false")
        self._ray = connect(on.cluster)
        self._rows, self._run, self._progress, self._size = rows, run, progress, on.block
        there = self._ray.cluster_resources()
        cards, servers = there.get("GPU", 0.0), [one for one in progress.engines if not one.engine.in_process]
        gpus = on.gpus or (1.0 if cards and len(servers) < len([*progress.engines]) else 0.0)
        fits = int(cards / gpus) if gpus else int(there.get("CPU", 1))
        # The calls that an engine may have under way are divided, and an actor has one at least.
        most = [one.concurrency for one in servers]
        most += [ceil(progress.total / on.block)] if progress.total else []
        self._actors = max(1, min([on.actors or fits, *most]))
        self._folder = run.path.resolve() / "blocks" / token_hex(8)
        self._folder.mkdir(parents=True)
        run.journal.copy_to(before := self._folder / "before.sqlite")
        budget = progress.budget
        self._books = budget.spent, budget.uncertain, run.journal.uncertain_calls
        self._job = Job(self._folder, before, work, os.getcwd(), budget.cap is not None)
        remote, books = self._ray.remote, str(self._folder / "ledger.json")
        ledger = remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Ledger)
        self._ledger = ledger.remote(books, budget.cap, budget.spent + budget.uncertain)
        self._worker = remote(num_cpus=0 if gpus else 1, num_gpus=gpus)(Worker)
        self._alive: list[Any] = []
        self._numbers = count()
        self._again: deque[Block] = deque()  # read, and not under way
        self._losses: Counter[int | None] = Counter()
        self._under_way: set[int] = set()
        self._ended: set[int] = set()
        self._done = Tally()
        self._fault: Exception | None = None

    def _block(self, block: int) -> Path:
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
            if self._fault is not None:
                raise self._fault
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
                self._progress.budget.calls += await asyncio.to_thread(take_in, self._run, path.parent)
            self._count([])
            stopped = self._progress.stopped
            if isinstance(stopped, BudgetSpent):  # what the next call may cost
                self._progress.stopped = self._progress.budget.reached(float(str(stopped)))
        put_together(self._run, map(self._block, sorted(self._ended)))
        shutil.rmtree(self._folder.parent)

    def _over(self) -> bool:
        """Whether nothing is under way and nothing is left to be done."""
        return not self._under_way and bool(self._stopped or not (self._again or self._fill()))

    @property
    def _stopped(self) -> Any:
        return self._fault or self._progress.stopped or self._progress.budget.stopped

    def _fill(self) -> bool:
        """Read one block ahead; whether there is one."""
        try:
            rows = list(islice(self._rows, self._size))
        except Exception as error:  # what is under way goes its way
            self._fault, rows = error, []
        if rows:
            self._again.append((next(self._numbers), pack(rows)))
        return bool(rows)

    async def _serve(self) -> None:
        """One actor after another, each for as long as it lives, for one block after another."""
        while True:
            actor = self._worker.remote(self._job, self._ledger)
            self._alive.append(actor)
            try:
                await actor.ready.remote()  # where the cluster has no room for it, this waits for some
                self._losses.pop(None, None)
                while await self._label(actor, await self._next()):
                    pass
            except self._ray.exceptions.RayActorError as error:
                self._lost(None, error)
            finally:
                self._alive.remove(actor)
                self._ray.kill(actor)

    def _lost(self, block: int | None, error: Exception) -> None:
        """An actor is gone, with its block or before it had one: somebody else's turn, up to a point."""
        self._losses[block] += 1
        again = f"{self._losses.total()} actors were lost, and others did their blocks again"
        self._progress.budget.warnings["lost"] = again
        if self._losses[block] > MOST_LOSSES:
            what = "no actor starts" if block is None else f"block {block} ends every actor"
            raise RunError(f"{what}: {error}. Smaller blocks need less memory: --on.block 100") from None

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
        except self._ray.exceptions.RayError as error:
            if isinstance(error, self._ray.exceptions.RayTaskError):  # a fault of ours
                raise
            self._lost(number, error)
            await self._ledger.lose.remote(number)
            self._again.appendleft(block)
            self._under_way.discard(number)
            return False
        await self._ledger.end.remote(number, ended.tally.spent + ended.tally.uncertain)
        new = await asyncio.to_thread(take_in, self._run, self._block(number))
        self._progress.budget.calls += new
        self._done = add_up(self._done, ended.tally)
        for engine, (retries, latencies) in zip(self._progress.engines, ended.engines, strict=False):
            engine.engine.add_seen(retries, latencies)
        self._progress.budget.warnings |= {text: text for text in ended.warnings}
        self._ended.add(number)
        self._under_way.discard(number)
        self._stop(ended.stopped)
        return True

    async def _look(self) -> None:
        """What the blocks come to, for the line of progress; and a stop, for all."""
        while True:
            live, stop = await self._ledger.look.remote(self._stopped)
            self._count(live)
            self._stop(stop)
            await asyncio.sleep(LOOK_EVERY)

    def _stop(self, error: Exception | None) -> None:
        """The first reason counts; one that is no way for a run to end is raised in the end."""
        if error is not None and not isinstance(error, STOPS):
            self._fault = self._fault or error
        elif error is not None:
            self._progress.stopped = self._progress.stopped or self._progress.budget.stopped or error

    def _count(self, live: Sequence[Tally]) -> None:
        """The run's progress, from its journal, the blocks that have ended and those at work."""
        progress, journal, all_of = self._progress, self._run.journal, reduce(add_up, live, self._done)
        budget, (spent, uncertain, calls) = progress.budget, self._books
        budget.spent = max(journal.spent, spent + all_of.spent)
        budget.uncertain = max(journal.uncertain, uncertain + all_of.uncertain)
        budget.spent_now = budget.spent - spent
        budget.cached, budget.usage, budget.under_way = all_of.cached, all_of.usage, all_of.under_way
        budget.lost, budget.lost_usd = journal.uncertain_calls - calls, journal.uncertain - uncertain
        progress.counts, progress.rows = all_of.counts, all_of.counts.prompts
        progress.ended = all_of.rows

    async def _give_up(self) -> None:
        """The calls under way are written down as lost, by actors that can still do so."""
        asked = [actor.abandon.remote() for actor in self._alive]
        with suppress(Exception):
            async with asyncio.timeout(TIME_TO_GIVE_UP):
                await asyncio.gather(*asked, return_exceptions=True)
                while self._under_way:  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_EVERY)
