"""Rows through a bounded window: many under way at once, out in the order they came, flat in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from ..errors import BudgetSpent, EngineDown, RunError

T = TypeVar("T")
R = TypeVar("R")

STOPS = (BudgetSpent, EngineDown, RunError)
"""What ends a run early: nothing new is started, what is under way comes home, and the run can be resumed."""


class Stopped:
    """Why the stream ended before its input did, if it did."""

    reason: Exception | None = None


async def in_order(
    items: Iterable[T], work: Callable[[T], Awaitable[R]], window: int, stopped: Stopped
) -> AsyncIterator[R]:
    """`work(item)` for every item, at most `window` of them under way or waiting for an earlier one."""
    source = iter(items)
    under_way: deque[asyncio.Task[R]] = deque()

    async def one(item: T) -> R:
        return await work(item)

    def start() -> bool:
        if stopped.reason is not None:
            return False
        for item in source:
            under_way.append(asyncio.create_task(one(item)))
            return True
        return False

    try:
        while len(under_way) < window and start():
            pass
        while under_way:
            try:
                # The oldest first: whoever overtook it waits its turn in the window.
                result = await under_way[0]
            except STOPS as reason:
                stopped.reason = stopped.reason or reason
                under_way.popleft()
                continue
            under_way.popleft()
            start()
            yield result
    except (Exception, GeneratorExit):
        # What is under way may be paid for: it comes home before the error travels on.
        await asyncio.gather(*under_way, return_exceptions=True)
        raise
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


def run_async(main: Coroutine[Any, Any, R]) -> R:
    """Run on uvloop where there is one: half the cost of a call is the event loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)
