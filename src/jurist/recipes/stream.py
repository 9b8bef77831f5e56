"""Rows through a bounded window, and the loop they run in: it drains on Ctrl-C, and works in notebooks."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import uvloop

from ..engines.budget import Budget
from ..errors import BudgetSpent, EngineDown, Interrupted, RunError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_T = TypeVar("_T")
R = TypeVar("R")

STOPS = (BudgetSpent, EngineDown, RunError, Interrupted)
"""What ends a run early: nothing new is started, what is under way comes home, and the run can be resumed."""
HELD = 8
"""So many windows of rows may wait, finished, for a slow one before them: they cost memory, it costs time."""
COLLECT_EVERY = 20_000
"""New objects between two looks for cycles. Thousands of rows are alive at once and make none: looking
through them at the usual rate costs a sixth of the processor time of a call."""


async def in_order(
    items: Iterable[_T], work: Callable[[_T], Coroutine[Any, Any, R]], window: int
) -> AsyncGenerator[R, None]:
    """`work(item)` for every item, at most `window` of them under way; results in the order of the items.

    After an error nothing new is started. What is under way is paid for and goes its way; then it is raised.
    """
    source, line = iter(items), deque[asyncio.Task[R]]()
    under_way, ended = 0, asyncio.Event()
    failed: BaseException | None = None

    def done(task: asyncio.Task[R]) -> None:
        nonlocal under_way, failed
        under_way -= 1
        failed = failed or (None if task.cancelled() else task.exception())
        ended.set()

    try:
        while True:
            while failed is None and under_way < window and len(line) < HELD * window:
                try:
                    item = next(source)
                except StopIteration:
                    break
                except Exception as fault:
                    failed = fault
                    break
                task = asyncio.create_task(work(item))
                task.add_done_callback(done)
                line.append(task)
                under_way += 1
            if not line:
                break
            if not line[0].done():
                ended.clear()
                await ended.wait()
                continue
            task = line.popleft()
            if error := task.exception():
                failed = failed or error
            else:
                yield task.result()
        if failed is not None:
            raise failed
    except BaseException as error:
        for task in line if isinstance(error, asyncio.CancelledError) else ():
            task.cancel()
        await asyncio.gather(*line, return_exceptions=True)
        raise


def run_async(main: Coroutine[Any, Any, R], budget: Budget | None = None) -> R:
    """Run to the end. The first Ctrl-C or SIGTERM lets the calls under way come home, the second gives them
    up. Inside a running loop (a notebook) it is done in a thread, where an interrupted cell is a signal.
    """
    session = _Session(budget or Budget())
    with session.stopped_by_signals():
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return session.run(main)
        with ThreadPoolExecutor(1, "jurist-run") as pool:
            return pool.submit(session.run, main).result()


class _Session:
    """One run of an event loop, and how it is stopped."""

    loop: asyncio.AbstractEventLoop
    main: asyncio.Task[Any]

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._stops = 0

    def stop(self) -> None:
        self._stops += 1
        if self._stops > 1:
            self.main.cancel()
            return
        if n := self._budget.under_way - self._budget.in_batches:
            notice = f"stopping: waiting for {n} calls under way. Press Ctrl-C again to give them up"
            # In a terminal there is a line of progress above.
            print("\n" * sys.stderr.isatty() + f"jurist: {notice}", file=sys.stderr, flush=True)
        said = "stopped. " + "".join(f"{one}. " for one in self._budget.batches.values())
        self._budget.stop(Interrupted(f"{said}Answered calls are kept; run the same command to go on"))

    def run(self, main: Coroutine[Any, Any, R]) -> R:
        usual = gc.get_threshold()
        gc.set_threshold(COLLECT_EVERY, *usual[1:])
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(self._guarded(main))
        finally:
            gc.set_threshold(*usual)

    @contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """Python calls handlers in the main thread, which may run the loop or wait for another that does."""

        def stop(*_: object) -> None:
            with suppress(AttributeError, RuntimeError):  # not begun, or over
                self.loop.call_soon_threadsafe(self.stop)

        in_main = threading.current_thread() is threading.main_thread()
        before = {number: signal.signal(number, stop) for number in SIGNALS if in_main}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def _guarded(self, main: Coroutine[Any, Any, R]) -> R:
        self.loop = asyncio.get_running_loop()
        self.main = task = asyncio.create_task(main)
        try:
            return await task
        except asyncio.CancelledError:
            lost, usd = self._budget.lost, self._budget.lost_usd
            raise Interrupted(
                f"stopped. {lost} calls that were sent are lost and may cost up to ${usd:.4f}; answered calls"
                " are kept. Run the same command to go on"
            ) from None
