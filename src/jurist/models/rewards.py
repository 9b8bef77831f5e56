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
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, cast, runtime_checkable

from msgspec.structs import replace

from ..config import settings_from
from ..engines.budget import Budget, parse_money
from ..engines.checkpoints import gives_rewards, in_training
from ..engines.engine import ENGINES
from ..engines.journaled import Engines
from ..engines.scripted import load_function
from ..errors import CallFailed, CallRefused, EngineDown, JuristError, SettingError
from ..journal import Journal, money_in
from ..policies.tokens import Example, tokenise_many
from ..records import Completion, Prompt, Verdict
from ..verdicts.judge import JUDGES, OpenEngine, Pointwise, open_judge
from ..verdicts.judge import Scorer as PointwiseJudge
from ..verdicts.settings import JudgeConfig
from .settings import PPOConfig

if TYPE_CHECKING:
    from .processes import Processes

Value = float | Verdict | BaseException | None
"""A score, or what is none: ours also give the verdict or the error, for the reason in it."""
RewardSource = Callable[[Prompt, Sequence[Completion]], "Sequence[Value] | Awaitable[Sequence[Value]]"]
CONCURRENCY: Final = 256
"""Calls to an async source under way at once; what an engine then really sends is its own business."""
JUDGED_SLOTS: Final = 16_384
"""Token slots in one forward pass."""
GATHERED_S: Final = 0.002
"""How long a busy model waits between two batches, so that more calls join the next."""
NO_SCORE: Final = "too long or empty"
"""Why there is no score: the model has no positions for the whole of it, or there is no token to read at."""
JudgedRow = tuple[Prompt, Completion]


@runtime_checkable
class BatchSource(Protocol):
    """A source that is quicker with all of a step at once, such as a model in this process."""

    def score_many(self, rows: Sequence[tuple[Prompt, Completion]]) -> Sequence[Value]: ...


class Scored(NamedTuple):
    """What became of one completion."""

    score: float | None
    failed: str = ""
    """Why there is no score, in a short word that can be counted."""
    detail: str = ""


class Rewards:
    """Inside `with Rewards(source) as rewards:`, `start` each prompt's completions, then `collect` all."""

    def __init__(self, source: RewardSource | BatchSource, concurrency: int = CONCURRENCY) -> None:
        self._source = source
        self.name = str(getattr(source, "name", "") or getattr(source, "__qualname__", type(source).__name__))
        self._rows: dict[int, tuple[Prompt, Sequence[Completion]]] = {}
        self._calls: dict[int, Future[list[Scored]]] = {}
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(concurrency)
        # A user's plain function need not be thread-safe; whoever wants many under way writes `async def`.
        self._own_thread = ThreadPoolExecutor(1, thread_name_prefix="reward")
        self._thread = threading.Thread(target=self._loop.run_forever, name="rewards", daemon=True)
        self._thread.start()

    def __enter__(self) -> Rewards:
        return self

    def __exit__(self, *_: object) -> None:
        for call in self._calls.values():
            call.cancel()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._own_thread.shutdown(wait=False, cancel_futures=True)
        self._loop.close()

    def start(self, place: int, prompt: Prompt, completions: Sequence[Completion]) -> None:
        """The call leaves now; `place` is where its scores stand among those collected."""
        self._rows[place] = prompt, completions
        if not isinstance(self._source, BatchSource):
            asked = self._ask(prompt, completions)
            self._calls[place] = asyncio.run_coroutine_threadsafe(asked, self._loop)

    def collect(self) -> list[list[Scored]]:
        """Of everything started since the last time, by place."""
        rows, self._rows = self._rows, {}
        calls, self._calls = self._calls, {}
        if isinstance(self._source, BatchSource):
            flat = [(prompt, one) for prompt, completions in rows.values() for one in completions]
            values = iter(self._source.score_many(flat) if flat else [])
            found = {place: [read_score(next(values)) for _ in some] for place, (_, some) in rows.items()}
        else:
            # What is under way may be paid for: all of it comes home before an error travels on.
            wait(calls.values())
            found = {place: call.result() for place, call in calls.items()}
        return [found[place] for place in sorted(found)]

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run this where the calls run: what an engine opened there has to be closed there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _ask(self, prompt: Prompt, completions: Sequence[Completion]) -> list[Scored]:
        source: Any = self._source
        async with self._slots:
            try:
                if any(map(inspect.iscoroutinefunction, (source, getattr(source, "__call__", None)))):  # noqa: B004
                    values = source(prompt, completions)
                else:
                    values = await self._loop.run_in_executor(self._own_thread, source, prompt, completions)
                values = await values if inspect.isawaitable(values) else values
            except (Exception, SystemExit) as error:
                values = [error] * len(completions)
        if not isinstance(values, Sequence) or len(values) != len(completions):
            raise SettingError(
                f"the reward {self.name} gave {str(values)[:80]!r} for {len(completions)} completions."
                " Return a list with a number or None for each: def reward(prompt, completions)"
            )
        return [read_score(value) for value in values]


def read_score(value: Any) -> Scored:
    """A number, or why there is none. True and False are 1 and 0; text is not a score.

    The budget, a dead engine, a wrong setting or an abandoned call are no failed verdicts: they stop the run.
    """
    stops = isinstance(value, JuristError | asyncio.CancelledError)
    if stops and not isinstance(value, CallRefused | CallFailed):
        raise value
    if isinstance(value, BaseException):
        said: dict[type, str] = {CallRefused: "call_refused", CallFailed: "call_failed"}
        return Scored(None, said.get(type(value), type(value).__name__), str(value))
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


def refuse_too_many(scored: Sequence[Scored], most: float, step: int) -> None:
    """A judge that has gone quiet must stop the training, not starve it."""
    failed = Counter(one.failed for one in scored if one.score is None)
    if failed.total() <= most * len(scored):
        return
    reason, count = failed.most_common(1)[0]
    example = next((one.detail for one in scored if one.failed == reason and one.detail), "")
    shown = f" ({example[:200]})" if example else ""
    raise EngineDown(
        f"{failed.total()} of {len(scored)} verdicts of step {step} failed,"
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
        scored = [read_score(one) for one in found]  # raises what stops a run
        scores = [one.score for one in scored if one.score is not None]
        if not scores:  # one sample that failed leaves the others
            return next((one for one in found if isinstance(one, Verdict)), found[0])
        mean = sum(scores) / len(scores)
        if self._scale is None:
            return mean
        low, high = self._scale
        return (2.0 * mean - low - high) / (high - low)


class RewardJudge:
    """A trained reward model as a judge, `--judge reward:FOLDER`: p is the sigmoid of two scores' difference.

    A call goes through the model at once when it is idle, else with those that come meanwhile, in a thread
    beside the event loop; those to one prompt share it. A completion that was cut off is read as it is, at
    its last token and without a token that ends it, in training as well: never as if it had been finished.
    """

    kind: Literal["pointwise"] = "pointwise"
    swap = "never"
    scale = "logits"
    samples = 1

    def __init__(self, folder: str | Path, name: str = "") -> None:
        from ..policies.policy import load_to_read  # other rewards need no torch

        if not str(folder):
            raise SettingError(
                "a reward model is a folder. Write it as: --judge reward:runs/mine/reward/model"
            )
        policy = load_to_read(folder, kind="reward")
        if not gives_rewards(policy.path):
            raise SettingError(
                f"{folder} is a language model and has learnt no reward. Train one from it with:"
                f" jurist train reward RUN --base {folder}"
            )
        self._policy = policy
        self.name = name or f"reward:{Path(folder).name}:{policy.hash[:12]}"
        self._waiting: list[JudgedRow] = []
        self._thread, self._free = ThreadPoolExecutor(1, thread_name_prefix="reward"), asyncio.Lock()

    async def __call__(self, prompt: Prompt, completion: Completion, sample: int = 0) -> Verdict:
        if not self._waiting:
            self._scores = asyncio.create_task(self._score_waiting())
        self._waiting.append((prompt, completion))
        place, scores = len(self._waiting) - 1, self._scores
        score = (await asyncio.shield(scores))[place]  # who no longer waits does not stop the others
        unread = NO_SCORE if score is None else ""
        return Verdict.of_one(self.name, completion, sample, score=score, unread=unread)

    async def _score_waiting(self) -> list[float | None]:
        busy = self._free.locked()
        async with self._free:
            await asyncio.sleep(GATHERED_S if busy else 0)
            rows, self._waiting = self._waiting, []
            return await asyncio.get_running_loop().run_in_executor(self._thread, self.score_many, rows)

    def score_many(self, rows: Sequence[JudgedRow]) -> list[float | None]:
        """The score of each completion, those to one prompt sharing it; None where one cannot be scored."""
        from ..policies.policy import token_stats
        from .processes import merged

        by_prompt: dict[str, list[int]] = {}
        for index, (prompt, _) in enumerate(rows):
            by_prompt.setdefault(prompt.id, []).append(index)
        groups = list(by_prompt.values())
        texts = [(rows[some[0]][0], [rows[index][1] for index in some], dict[str, Any]()) for some in groups]
        fitting: dict[int, Example] = {}
        rows_read = tokenise_many(texts, self._policy.tokenizer, shown=True)
        for group, whole in zip(groups, rows_read, strict=True):
            room = self._policy.max_positions - len(whole.prompt_ids)
            for index, answer in zip(group, whole.answers, strict=True):
                if 0 < len(answer) <= room:
                    fitting[index] = replace(whole, answers=[answer])
        if not fitting:
            return [None] * len(rows)
        stats: Any = token_stats(self._policy, merged([*fitting.values()]), JUDGED_SLOTS, ("reward",))
        found = dict(zip(fitting, stats.reward_A.tolist(), strict=True))
        return [found.get(index) for index in range(len(rows))]


def open_source(spec: str | dict[str, Any], engine: OpenEngine, seed: int = 0) -> RewardSource | BatchSource:
    """The reward of this name, or with these settings of a judge."""
    if not spec:
        raise SettingError(
            "there is no reward to learn from. Name a reward model's folder, a judge or a function:"
            " --reward runs/mine/models/reward/model"
        )
    if isinstance(spec, str):
        if (in_training(spec) / "config.json").exists():
            return RewardJudge(spec)
        kind, _, rest = spec.partition(":")
        if "/" in kind:
            raise SettingError(f"there is no reward model at {spec}. Name its folder: --reward FOLDER")
        if kind not in JUDGES and kind not in ENGINES and rest.isidentifier():
            source: Any = load_function(spec)
            if not callable(source):
                raise SettingError(
                    f"'{spec}' is {source!r}, which cannot be called. Name a function of a prompt and its"
                    " completions: --reward module:function"
                )
            return cast(RewardSource, source)
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
    with closing(Journal(out / (f"journal-{rank}.sqlite" if rank else "journal.sqlite"))) as journal:
        # Each process watches over its part of what is left.
        money = Budget(None if left is None else journal.spent + journal.uncertain + left, journal)
        engines = Engines(journal, money)
        with Rewards(open_source(cfg.reward, engines, cfg.seed)) as rewards:
            try:
                rewards.run(engines.prepare())
                yield rewards
            finally:
                rewards.run(engines.close())
