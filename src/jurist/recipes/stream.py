"""Rows through a bounded window, and the loop they run in: it drains on Ctrl-C, and works in notebooks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ..engines.budget import Budget
from ..errors import BudgetSpent, EngineDown, Interrupted, RunError

T = TypeVar("T")
R = TypeVar("R")

STOPS = (BudgetSpent, EngineDown, RunError, Interrupted)
"""What ends a run early: nothing new is started, what is under way comes home, and the run can be resumed."""
HELD = 8
"""So many windows of rows may wait, finished, for a slow one before them: they cost memory, it costs time."""
COLLECT_EVERY = 20_000
"""New objects between two looks for cycles."""


class Stopped:
    """Why the stream ended before its input did, if it did."""

    reason: Exception | None = None


async def in_order(
    items: Iterable[T], work: Callable[[T], Coroutine[Any, Any, R]], window: int, stopped: Stopped
) -> AsyncGenerator[R, None]:
    """`work(item)` for every item, at most `window` of them under way; results in the order of the items."""
    source = iter(items)
    line: deque[asyncio.Task[R]] = deque()
    under_way = 0
    broken: Exception | None = None

    def start() -> None:
        nonlocal under_way, broken
        while under_way < window and len(line) < HELD * window:
            try:
                item = next(source)
            except StopIteration:
                return
            except Exception as error:
                broken = error  # the rows before it are whole, and go their way first
                start_no_more()
                return
            task = asyncio.create_task(work(item))
            task.add_done_callback(done)
            line.append(task)
            under_way += 1

    def start_no_more() -> None:
        nonlocal source
        source = iter(())

    def done(task: asyncio.Task[R]) -> None:
        nonlocal under_way
        under_way -= 1
        error = None if task.cancelled() else task.exception()
        if error is not None:  # raised once the rows before it have gone their way, unless it is a stop
            start_no_more()
        if isinstance(error, STOPS):
            stopped.reason = stopped.reason or error
        start()

    try:
        start()
        while line:
            try:
                result = await line[0]
            except STOPS:
                line.popleft()
                continue
            line.popleft()
            start()
            yield result
        if broken is not None:
            raise broken
    except (Exception, GeneratorExit):
        # What is under way may be paid for: it comes home before the error travels on.
        start_no_more()
        await asyncio.gather(*line, return_exceptions=True)
        raise
    finally:
        start_no_more()
        for task in line:
            task.cancel()
        await asyncio.gather(*line, return_exceptions=True)


def run_async(main: Coroutine[Any, Any, R], budget: Budget | None = None) -> R:
    """Run to the end, on uvloop where there is one. The first Ctrl-C or SIGTERM lets the calls under way come
    home, the second gives them up. Inside a running loop (a notebook) it is done in a thread.
    """
    session = _Session(budget or Budget())
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return session.run(main, handle_signals=threading.current_thread() is threading.main_thread())
    return session.run_in_thread(main)


class _Session:
    """One run of an event loop, and how it is told to stop."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._stops = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[Any] | None = None

    def stop(self) -> None:
        self._stops += 1
        if self._stops == 1:
            if n := self._budget.under_way:
                told = f"stopping: waiting for {n} calls under way. Press Ctrl-C again to give them up"
                # In a terminal there is a line of progress above.
                print("\n" * sys.stderr.isatty() + f"jurist: {told}", file=sys.stderr, flush=True)
            self._budget.stop(Interrupted("stopped. Answered calls are kept; run the same command to go on"))
        elif self._main is not None:
            self._main.cancel()

    def run(self, main: Coroutine[Any, Any, R], *, handle_signals: bool) -> R:
        usual = gc.get_threshold()
        # Thousands of rows are alive at once and make no cycles: to look through them at the usual rate costs
        # a sixth of the processor time of a call.
        gc.set_threshold(COLLECT_EVERY, *usual[1:])
        try:
            with asyncio.Runner(loop_factory=_fast_loop()) as runner:
                return runner.run(self._guarded(main, handle_signals))
        finally:
            gc.set_threshold(*usual)

    async def _guarded(self, main: Coroutine[Any, Any, R], handle_signals: bool) -> R:
        self._loop = asyncio.get_running_loop()
        self._main = task = asyncio.create_task(main)
        signals = (signal.SIGINT, signal.SIGTERM) if handle_signals else ()
        for number in signals:
            self._loop.add_signal_handler(number, self.stop)
        try:
            return await task
        except asyncio.CancelledError:
            lost, usd = self._budget.lost, self._budget.lost_usd
            raise Interrupted(
                f"stopped. {lost} calls that were sent are lost and may cost up to ${usd:.4f}; answered calls"
                " are kept. Run the same command to go on"
            ) from None
        finally:
            for number in signals:
                self._loop.remove_signal_handler(number)

    def run_in_thread(self, main: Coroutine[Any, Any, R]) -> R:
        with ThreadPoolExecutor(1, "jurist-run") as pool:
            running = pool.submit(self.run, main, handle_signals=False)
            while True:
                try:
                    return running.result()
                except KeyboardInterrupt:  # an interrupted cell
                    if self._loop is not None:
                        with contextlib.suppress(RuntimeError):
                            self._loop.call_soon_threadsafe(self.stop)


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # there is none on Windows
        return asyncio.new_event_loop
    return uvloop.new_event_loop
