"""The engine: questions that arrive together are answered together, in one worker thread.

While a batch is computed, new questions gather; when it is done, all of them make up the next ones.
Questions with labels on offer are weighed in one pass, the others are written out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import torch
from jinja2 import TemplateError
from msgspec.structs import replace

from ...errors import CallFailed, CallRefused
from ..engine import Ask, Engine, EngineConfig, Reply
from ..prices import Price, cost_of
from .checkpoint import Checkpoint, open_checkpoint
from .forward import Reader
from .generate import Job, generate
from .tree import shared_length
from .weigh import weigh

GATHER: Final = 0.002
"""Seconds for which the first question waits for company."""
MOST_ROWS: Final = 128
PASS_ON_CPU: Final = 2048
"""Tokens weighed at a time: more do not fit the processor's own memory, and take longer each."""
CACHE_ON_CPU: Final = 1 << 30
"""Bytes for the keys and values of one batch; on a GPU, half of what is free."""


class Waiting:
    """A question in the queue."""

    def __init__(self, ask: Ask, draws: int, wanted: asyncio.Future[list[Reply]]) -> None:
        self.ask, self.draws, self.wanted = ask, draws, wanted
        self.job: Job
        """The question as tokens, once they are known."""

    def fail(self, error: Exception) -> None:
        if not self.wanted.done():
            self.wanted.set_exception(error)


How = Callable[[Checkpoint, Reader, Sequence[Job], Callable[[], bool]], list[list[Reply]]]


class Local(Engine):
    """Answers from a checkpoint in this process."""

    samples_together = True

    def __init__(self, checkpoint: Checkpoint, name: str, price: Price | None = None) -> None:
        self.name = name
        self.price = price or Price()
        self._checkpoint = checkpoint
        self._reader = Reader(checkpoint.model)
        self._queue: list[Waiting] = []
        self._working: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jurist-local")
        self._slots = cache_slots(checkpoint)

    async def answer(self, ask: Ask) -> Reply:
        return (await self.samples(ask, 1))[0]

    async def samples(self, ask: Ask, n: int) -> list[Reply]:
        """n draws for one reading of the prompt; draw i is what `answer` gives with a seed higher by i."""
        if n < 1:
            return []
        wanted: asyncio.Future[list[Reply]] = asyncio.get_running_loop().create_future()
        self._queue.append(Waiting(ask, n, wanted))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await wanted

    async def close(self) -> None:
        """What is still waited for is answered first."""
        if self._working is not None:
            await asyncio.wait([self._working])
        self._thread.shutdown()

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(GATHER)
            waiting, self._queue = [one for one in self._queue if not one.wanted.done()], []
            if not waiting:
                return
            try:
                await self._answer_all(waiting)
            except Exception as error:
                for one in waiting:
                    one.fail(self._stumbled(error))
            finally:  # nobody waits for ever, even where this task was cancelled
                for one in waiting:
                    one.wanted.cancel()

    async def _answer_all(self, waiting: Sequence[Waiting]) -> None:
        for one, row in zip(waiting, await self._aside(self._tokens, waiting), strict=True):
            if isinstance(row, CallRefused):
                one.fail(row)
            else:
                one.job = Job(row, one.ask, one.draws)
        ready = [one for one in waiting if not one.wanted.done()]
        weighed = sorted((one for one in ready if one.ask.wants != "text"), key=lambda one: one.job.row)
        written = sorted((one for one in ready if one.ask.wants == "text"), key=lambda one: len(one.job.row))
        for batch in in_passes(weighed, self._pass) if self._reader.shares else self._cut(weighed):
            await self._answer(batch, weigh)
        for batch in self._cut(written):
            await self._answer(batch, generate)

    @property
    def _pass(self) -> int:
        return min(self._slots, PASS_ON_CPU) if self._checkpoint.device.type == "cpu" else self._slots

    def _cut(self, waiting: Sequence[Waiting]) -> Iterator[list[Waiting]]:
        return in_batches(waiting, self._slots)

    async def _aside(self, work: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    def _tokens(self, waiting: Sequence[Waiting]) -> list[list[int] | CallRefused]:
        """Each question as tokens, or why there will be no answer."""
        texts: list[str] = []
        refused: list[CallRefused | None] = []
        for one in waiting:
            try:
                texts.append(self._checkpoint.text(one.ask.messages))
                refused.append(None)
            except TemplateError as why:
                told = f"the chat template of {self.name} refuses this conversation: {why}"
                refused.append(CallRefused(f"{told}. Look at: {self._checkpoint.folder}"))
        rows = iter(self._checkpoint.tokens(texts))
        return [why or self._fitting(next(rows)) for why in refused]

    def _fitting(self, row: list[int]) -> list[int] | CallRefused:
        room = self._checkpoint.room
        if row and len(row) < room:
            return row
        return CallRefused(
            f"a prompt of {len(row)} tokens leaves {self.name} no room for an answer: it reads {room}."
            " Shorten the prompt, or choose a model that reads more"
        )

    async def _answer(self, batch: Sequence[Waiting], how: How) -> None:
        batch = [one for one in batch if not one.wanted.done()]
        if not batch:
            return
        started = time.perf_counter()
        jobs = [one.job for one in batch]

        def wanted() -> bool:
            return not all(one.wanted.done() for one in batch)

        try:
            replies = await self._aside(how, self._checkpoint, self._reader, jobs, wanted)
        except Exception as error:
            if out_of_memory(error):
                await self._smaller(batch, how, error)
                return
            for one in batch:
                one.fail(self._stumbled(error))
            return
        seconds = time.perf_counter() - started
        share = seconds / sum(job.draws for job in jobs)
        for one, said in zip(batch, replies, strict=True):
            if not one.wanted.done():
                one.wanted.set_result([self._charged(reply, seconds, share) for reply in said])

    async def _smaller(self, batch: Sequence[Waiting], how: How, error: Exception) -> None:
        """Half at a time, where the whole did not fit."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(batch) == 1:
            told = f"{self.name} ran out of memory on one question: {' '.join(str(error).split())[:200]}"
            batch[0].fail(CallFailed(f"{told}. Shorten the prompt, or set: extra: {{dtype: bfloat16}}"))
            return
        self._slots //= 2
        for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
            await self._answer(half, how)

    def _stumbled(self, error: Exception) -> CallFailed:
        told = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return CallFailed(f"{self.name} stumbled: {told}. Look with: ls -l {self._checkpoint.folder}")

    def _charged(self, reply: Reply, seconds: float, share: float) -> Reply:
        return replace(reply, seconds=seconds, cost=cost_of(reply.usage, self.price, share))


def open_local(config: EngineConfig) -> Local:
    """`hf:./checkpoint` or `hf:org/name`; a GPU is used where there is one."""
    return Local(*open_checkpoint(config), config.price)


def in_passes(waiting: Sequence[Waiting], most: int) -> Iterator[list[Waiting]]:
    """In the order of their tokens, so that those that start alike are read together; as many as bring no
    more than so many new tokens."""
    batch: list[Waiting] = []
    used = 0
    for one in waiting:
        row = one.job.row
        new = len(row) - (shared_length(batch[-1].job.row, row) if batch else 0)
        if batch and (used + new > most or len(batch) == MOST_ROWS):
            yield batch
            batch, used, new = [], 0, len(row)
        batch.append(one)
        used += new
    if batch:
        yield batch


def in_batches(waiting: Sequence[Waiting], slots: int) -> Iterator[list[Waiting]]:
    """As many at a time as the cache has room for; those of like length follow one another."""
    batch: list[Waiting] = []
    used = rows = 0
    for one in waiting:
        size = one.draws * (len(one.job.row) + (0 if one.ask.wants != "text" else one.ask.max_tokens))
        if batch and (used + size > slots or rows + one.draws > MOST_ROWS):
            yield batch
            batch, used, rows = [], 0, 0
        batch.append(one)
        used, rows = used + size, rows + one.draws
    if batch:
        yield batch


def cache_slots(checkpoint: Checkpoint) -> int:
    """For how many tokens of all rows together there is room."""
    config = checkpoint.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    a_token = 2 * config.num_hidden_layers * heads * width * checkpoint.model.dtype.itemsize
    room = CACHE_ON_CPU
    if checkpoint.device.type == "cuda":
        room = torch.cuda.mem_get_info(checkpoint.device)[0] // 2
    return max(1, int(room // a_token))


def out_of_memory(error: Exception) -> bool:
    """On a GPU it has a class of its own; on a CPU it is told in words."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
