"""The reward is any callable: a rule, a live judge behind an engine, a reward model.

A call starts as soon as its completion is written, in a thread of its own, while the policy goes on writing
and while its own and the anchor's log-probs are computed: a judge's latency is hidden behind that work. A
verdict that failed is no score: its completion is left out of the step, and counted with the reason.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from ..errors import CallFailed, CallRefused, EngineDown, JuristError
from ..records import Completion, Prompt, Verdict

Said = float | Verdict | None
"""A score, a verdict about one completion, or nothing: the latter two may have failed to be a score."""
Reward = Callable[[Prompt, Completion], "Said | Awaitable[Said]"]

CONCURRENCY = 256
"""Calls to an async reward under way at once; what an engine then really sends is its own business."""


@runtime_checkable
class ScoresMany(Protocol):
    """A reward that is quicker with many completions at once, such as a model in this process."""

    def score_many(self, rows: Sequence[tuple[Prompt, Completion]]) -> Sequence[Said]: ...


class Scored(Struct, frozen=True):
    """What became of one call."""

    score: float | None
    failed: str = ""
    """Why there is no score, in a short word that can be counted."""
    detail: str = ""


class Rewards:
    """Use as `with Rewards(reward) as rewards:`, `start` each completion, then `collect` them all."""

    def __init__(self, reward: Reward | ScoresMany, concurrency: int = CONCURRENCY) -> None:
        self._reward = reward
        self.name = str(getattr(reward, "name", "") or getattr(reward, "__qualname__", type(reward).__name__))
        self._many = isinstance(reward, ScoresMany)
        self._async = _is_async(reward)
        self._rows: list[tuple[Prompt, Completion]] = []
        self._calls: list[Future[Scored]] = []
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(concurrency)
        # A user's plain function need not be thread-safe; whoever wants many under way writes `async def`.
        self._own_thread = ThreadPoolExecutor(1, thread_name_prefix="reward")
        self._thread = threading.Thread(target=self._loop.run_forever, name="rewards", daemon=True)
        self._thread.start()

    def __enter__(self) -> Rewards:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def start(self, prompt: Prompt, completion: Completion) -> None:
        """The call leaves now."""
        self._rows.append((prompt, completion))
        if not self._many:
            self._calls.append(asyncio.run_coroutine_threadsafe(self._ask(prompt, completion), self._loop))

    def collect(self) -> list[Scored]:
        """Everything started since the last time, in the order of the starts."""
        rows, self._rows = self._rows, []
        calls, self._calls = self._calls, []
        if isinstance(self._reward, ScoresMany):
            said = self._reward.score_many(rows) if rows else []
            return [read_score(one) for one in said]
        # What is under way may be paid for: all of it comes home before an error travels on.
        wait(calls)
        return [call.result() for call in calls]

    def close(self) -> None:
        for call in self._calls:
            call.cancel()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._own_thread.shutdown(wait=False, cancel_futures=True)
        self._loop.close()

    def run(self, work: Awaitable[Any]) -> Any:
        """Run this where the calls run: what an engine opened there has to be closed there."""
        return asyncio.run_coroutine_threadsafe(_awaited(work), self._loop).result()

    async def _ask(self, prompt: Prompt, completion: Completion) -> Scored:
        async with self._slots:
            try:
                return read_score(await self._said(prompt, completion))
            except CallRefused as error:
                return Scored(None, "call_refused", str(error))
            except CallFailed as error:
                return Scored(None, "call_failed", str(error))
            except JuristError:
                raise  # the budget, a dead engine, a wrong setting: these stop the run
            except Exception as error:
                return Scored(None, type(error).__name__, str(error))

    async def _said(self, prompt: Prompt, completion: Completion) -> Any:
        reward: Any = self._reward
        if self._async:
            return await reward(prompt, completion)
        said = await asyncio.get_running_loop().run_in_executor(self._own_thread, reward, prompt, completion)
        return await said if inspect.isawaitable(said) else said


def read_score(said: Any) -> Scored:
    """A number, or why there is none. True and False are 1 and 0; text is not a score."""
    if isinstance(said, Verdict):
        if said.score is None:
            return Scored(None, said.unread or "no_verdict", said.raw)
        said = said.score
    if said is None:
        return Scored(None, "no_verdict")
    try:
        score = float("nan") if isinstance(said, str | bytes) else float(said)
    except (TypeError, ValueError):
        score = math.nan
    return Scored(score) if math.isfinite(score) else Scored(None, "not a number", repr(said))


def failures(scored: Sequence[Scored]) -> Counter[str]:
    """How many failed, by reason."""
    return Counter(one.failed for one in scored if one.score is None)


def refuse_too_many(scored: Sequence[Scored], most: float, step: int) -> None:
    """A judge that has gone quiet must stop the training, not starve it."""
    failed = failures(scored)
    if not scored or sum(failed.values()) <= most * len(scored):
        return
    reason, count = failed.most_common(1)[0]
    example = next((one.detail for one in scored if one.failed == reason and one.detail), "")
    shown = f" ({example[:200]})" if example else ""
    raise EngineDown(
        f"{sum(failed.values())} of {len(scored)} verdicts of step {step} failed,"
        f" {count} of them: {reason}{shown}."
        " Mend the reward and start the same command again: it goes on from its last checkpoint"
    )


def _is_async(reward: Any) -> bool:
    return inspect.iscoroutinefunction(reward) or inspect.iscoroutinefunction(
        getattr(reward, "__call__", None)  # noqa: B004
    )


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work
