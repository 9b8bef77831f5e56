"""Rows through a bounded window: many under way at once, out in the order they came, flat in memory."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar, cast

from ..errors import BudgetSpent, EngineDown, RunError

T = TypeVar("T")
R = TypeVar("R")

STOPS = (BudgetSpent, EngineDown, RunError)
"""What ends a run early: nothing new is started, what is under way comes home, and the run can be resumed."""


HELD = 8
"""So many windows of rows may wait, finished, for a slow one before them: they cost memory, it costs time."""

COLLECT_EVERY = 20_000
"""New objects between two looks for cycles."""


_END: Final = object()


class Stopped:
    """Why the stream ended before its input did, if it did."""

    reason: Exception | None = None


async def in_order(
    items: Iterable[T], work: Callable[[T], Awaitable[R]], window: int, stopped: Stopped
) -> AsyncGenerator[R, None]:
    """`work(item)` for every item, at most `window` of them under way; results in the order of the items."""
    source = iter(items)
    line: deque[asyncio.Task[R]] = deque()
    under_way = 0
    broken: Exception | None = None
    closing = False

    async def one(item: T) -> R:
        return await work(item)

    def start() -> None:
        nonlocal under_way, broken
        while under_way < window and len(line) < HELD * window and not (stopped.reason or broken or closing):
            try:
                item = next(source, _END)
            except Exception as error:
                broken = error  # the rows before it are whole, and go their way first
                return
            if item is _END:
                return
            task = asyncio.create_task(one(cast(T, item)))
            task.add_done_callback(done)
            line.append(task)
            under_way += 1

    def done(task: asyncio.Task[R]) -> None:
        nonlocal under_way
        under_way -= 1
        error = None if task.cancelled() else task.exception()
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
        closing = True
        await asyncio.gather(*line, return_exceptions=True)
        raise
    finally:
        closing = True
        for task in line:
            task.cancel()
        await asyncio.gather(*line, return_exceptions=True)


def run_async(main: Coroutine[Any, Any, R]) -> R:
    """Run on uvloop where there is one: half the cost of a call is the event loop."""
    usual = gc.get_threshold()
    # Thousands of rows are alive at once and make no cycles: to look through them at the usual rate costs a
    # sixth of the processor time of a call.
    gc.set_threshold(COLLECT_EVERY, *usual[1:])
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    else:
        return uvloop.run(main)
    finally:
        gc.set_threshold(*usual)
