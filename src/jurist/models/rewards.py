"""Where rewards come from: a rule, a live judge, a reward model, your own function. To PPO they are one
thing,

    rewards(prompt, completions) -> [float | None, ...]

sync or async, called once for all completions of a prompt, so that a source may also rank them. A call starts
as soon as they are written, in a thread of its own, while the policy goes on writing and its own and the
reference's log-probs are computed: a judge's latency is hidden behind that work. What failed is no score:
None, NaN, an unread verdict, or a call that raised. That completion is left out of the step, and counted with
the reason.

A live judge is direct RLAIF (Lee et al. 2023, section 3.3): its score on a scale is brought to [-1, 1], so
that beta means the same whatever the scale. Its calls go through the run's journal: a killed run that draws
its completions again does not pay for their verdicts again.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from msgspec import Struct

from ..config import settings_from
from ..engines.budget import Budget, parse_money
from ..engines.engine import ENGINES
from ..engines.journaled import Engines
from ..engines.scripted import load_function
from ..errors import CallFailed, CallRefused, EngineDown, JuristError, SettingError
from ..journal import Journal, money_in
from ..records import Completion, Prompt, Verdict
from ..verdicts.judge import JUDGES, OpenEngine, Pointwise, open_judge
from ..verdicts.judge import Scorer as PointwiseJudge
from ..verdicts.settings import JudgeConfig
from .processes import Processes
from .reward_judge import RewardJudge
from .settings import PPOConfig

Value = float | Verdict | BaseException | None
"""A score, or what is none: ours also give the verdict or the error, for the reason in it."""
RewardSource = Callable[[Prompt, Sequence[Completion]], "Sequence[Value] | Awaitable[Sequence[Value]]"]
CONCURRENCY: Final = 256
"""Calls to an async source under way at once; what an engine then really sends is its own business."""


@runtime_checkable
class BatchSource(Protocol):
    """A source that is quicker with all of a step at once, such as a model in this process."""

    def score_many(self, rows: Sequence[tuple[Prompt, Completion]]) -> Sequence[Value]: ...


class Scored(Struct, frozen=True):
    """What became of one completion."""

    score: float | None
    failed: str = ""
    """Why there is no score, in a short word that can be counted."""
    detail: str = ""


class Rewards:
    """Use as `with Rewards(source) as rewards:`, `start` each prompt's completions, then `collect` them
    all."""

    def __init__(self, source: RewardSource | BatchSource, concurrency: int = CONCURRENCY) -> None:
        self._source = source
        self.name = str(getattr(source, "name", "") or getattr(source, "__qualname__", type(source).__name__))
        self._async = inspect.iscoroutinefunction(source) or inspect.iscoroutinefunction(
            getattr(source, "__call__", None)  # noqa: B004
        )
        self._places: list[int] = []
        self._rows: list[tuple[Prompt, Sequence[Completion]]] = []
        self._calls: list[Future[list[Scored]]] = []
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(concurrency)
        # A user's plain function need not be thread-safe; whoever wants many under way writes `async def`.
        self._own_thread = ThreadPoolExecutor(1, thread_name_prefix="reward")
        self._thread = threading.Thread(target=self._loop.run_forever, name="rewards", daemon=True)
        self._thread.start()

    def __enter__(self) -> Rewards:
        return self

    def __exit__(self, *_: object) -> None:
        for call in self._calls:
            call.cancel()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._own_thread.shutdown(wait=False, cancel_futures=True)
        self._loop.close()

    def start(self, place: int, prompt: Prompt, completions: Sequence[Completion]) -> None:
        """The call leaves now; `place` is where its scores stand among those collected."""
        self._places.append(place)
        self._rows.append((prompt, completions))
        if not isinstance(self._source, BatchSource):
            self._calls.append(asyncio.run_coroutine_threadsafe(self._ask(prompt, completions), self._loop))

    def collect(self) -> list[list[Scored]]:
        """Of everything started since the last time, by place."""
        places, self._places = self._places, []
        rows, self._rows = self._rows, []
        calls, self._calls = self._calls, []
        if isinstance(self._source, BatchSource):
            flat = [(prompt, one) for prompt, completions in rows for one in completions]
            values = iter(self._source.score_many(flat) if flat else [])
            found = [[read_score(next(values)) for _ in completions] for _, completions in rows]
        else:
            wait(calls)  # what is under way may be paid for: all of it comes home before an error travels on
            found = [call.result() for call in calls]
        return [scores for _, scores in sorted(zip(places, found, strict=True), key=lambda one: one[0])]

    def run(self, work: Awaitable[Any]) -> Any:
        """Run this where the calls run: what an engine opened there has to be closed there."""

        async def awaited() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result()

    async def _ask(self, prompt: Prompt, completions: Sequence[Completion]) -> list[Scored]:
        async with self._slots:
            try:
                values = await self._values(prompt, completions)
            except Exception as error:
                values = [error] * len(completions)
        if not isinstance(values, Sequence) or len(values) != len(completions):
            raise SettingError(
                f"the reward {self.name} gave {str(values)[:80]!r} for {len(completions)} completions."
                " Return a list with a number or None for each: def reward(prompt, completions)"
            )
        return [read_score(value) for value in values]

    async def _values(self, prompt: Prompt, completions: Sequence[Completion]) -> Any:
        source: Any = self._source
        if self._async:
            return await source(prompt, completions)
        loop = asyncio.get_running_loop()
        values = await loop.run_in_executor(self._own_thread, source, prompt, completions)
        return await values if inspect.isawaitable(values) else values


def read_score(value: Any) -> Scored:
    """A number, or why there is none. True and False are 1 and 0; text is not a score.

    The budget, a dead engine or a wrong setting are no failed verdicts: they stop the run.
    """
    if isinstance(value, CallRefused | CallFailed):
        return Scored(None, "call_refused" if isinstance(value, CallRefused) else "call_failed", str(value))
    if isinstance(value, JuristError):
        raise value
    if isinstance(value, BaseException):
        return Scored(None, type(value).__name__, str(value))
    if isinstance(value, Verdict):
        if value.score is None:
            return Scored(None, value.unread or "no_verdict", value.raw)
        value = value.score
    if value is None:
        return Scored(None, "no_verdict")
    try:
        score = math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError):
        score = math.nan
    return Scored(score) if math.isfinite(score) else Scored(None, "not a number", repr(value))


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


class JudgeRewards:
    """A judge of single completions as a source: the mean of its samples, on [-1, 1] where it has a scale."""

    def __init__(self, judge: PointwiseJudge) -> None:
        self.name = judge.name
        self._judge = judge
        self._samples: int = getattr(judge, "samples", 1)
        self._scale = judge.scale if isinstance(judge, Pointwise) else None

    async def __call__(self, prompt: Prompt, completions: Sequence[Completion]) -> list[Value]:
        return list(await asyncio.gather(*(self._mean(prompt, one) for one in completions)))

    async def _mean(self, prompt: Prompt, completion: Completion) -> Value:
        calls = (self._judge(prompt, completion, sample) for sample in range(self._samples))
        found = await asyncio.gather(*calls, return_exceptions=True)
        for one in found:
            if isinstance(one, BaseException) and not isinstance(one, CallFailed | CallRefused):
                raise one
        scores = [one.score for one in found if isinstance(one, Verdict) and one.score is not None]
        if not scores:  # one sample that failed leaves the others
            return next((one for one in found if isinstance(one, Verdict)), found[0])
        mean = sum(scores) / len(scores)
        if self._scale is None:
            return mean
        low, high = self._scale
        return (2.0 * mean - low - high) / (high - low)


def open_source(spec: str | dict[str, Any], engine: OpenEngine, seed: int = 0) -> RewardSource | BatchSource:
    """The reward of this name, or with these settings of a judge."""
    if not spec:
        raise SettingError(
            "there is no reward to learn from. Name a reward model's folder, a judge or a function:"
            " --reward runs/mine/models/reward/model"
        )
    if isinstance(spec, str):
        if (Path(spec) / "config.json").exists():
            return RewardJudge(spec)
        if "/" in spec.partition(":")[0]:
            raise SettingError(f"there is no reward model at {spec}. Name its folder: --reward FOLDER")
        kind, _, rest = spec.partition(":")
        if kind not in JUDGES and kind not in ENGINES and rest.isidentifier():
            found: Any = load_function(spec)
            if not callable(found):
                raise SettingError(
                    f"'{spec}' is {found!r}, which cannot be called. Name a function of a prompt and its"
                    " completions: --reward module:function"
                )
            source: RewardSource = found
            return source
        spec = {"kind": "pointwise", "engine": spec} if kind in ENGINES else {"kind": spec}
    cfg = settings_from(JudgeConfig, {"kind": "pointwise", **spec})
    judge = open_judge(cfg, engine, seed)
    if isinstance(judge, BatchSource):
        return judge
    if judge.kind != "pointwise":
        raise SettingError(
            f"the judge '{cfg.kind}' compares two completions, and a reward is about one."
            " Set: --reward.kind pointwise, or train a reward model on its verdicts: jurist train reward RUN"
        )
    return JudgeRewards(judge)


@contextmanager
def open_rewards(
    cfg: PPOConfig, given: RewardSource | BatchSource | None, processes: Processes
) -> Iterator[Rewards]:
    """The source that was given, or the one the settings name, its calls kept in `journal.sqlite`; each
    process has a journal of its own. Opened once the folder is locked.
    """
    if given is not None:
        with Rewards(given) as rewards:
            yield rewards
        return
    out, cap, rank = Path(cfg.out), parse_money(cfg.budget), processes.rank
    left = None if cap is None else max(0.0, cap - sum(money_in(out))) / processes.world
    journal = Journal(out / (f"journal-{rank}.sqlite" if rank else "journal.sqlite"))
    # Each process watches over its part of what is left.
    money = Budget(None if left is None else journal.spent + journal.uncertain + left, journal)
    engines = Engines(journal, money)
    try:
        with Rewards(open_source(cfg.reward, engines, cfg.seed)) as rewards:
            try:
                rewards.run(engines.prepare())
                yield rewards
            finally:
                rewards.run(engines.close())
    finally:
        journal.close()
