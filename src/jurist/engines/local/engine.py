"""The engine: questions that arrive together are answered together, in one worker thread.

While a batch is computed, new questions gather; when it is done, all of them make up the next ones.
Questions with labels on offer are weighed in one pass, the others are written out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import torch
from msgspec.structs import replace

from ...errors import CallFailed, CallRefused
from ..engine import Ask, Reply
from ..prices import Price, cost_of
from ..settings import EngineConfig
from .checkpoint import Checkpoint, open_checkpoint
from .forward import Reader, neighbours
from .generate import Job, generate
from .weigh import weigh

GATHER: Final = 0.002
"""Seconds for which the first question waits for company."""
MOST_ROWS: Final = 128
MOST_ON_CPU: Final = 32
"""Questions weighed at a time: more do not fit the processor's own memory, and take longer each."""
CACHE_ON_CPU: Final = 1 << 30
"""Bytes for the keys and values of one batch; on a GPU, half of what is free."""


class Waiting:
    """A question in the queue."""

    def __init__(self, job: Job, wanted: asyncio.Future[list[Reply]]) -> None:
        self.job, self.wanted = job, wanted


class Local:
    """Answers from a checkpoint in this process."""

    gives_logprobs = True

    def __init__(self, checkpoint: Checkpoint, name: str, price: Price | None = None) -> None:
        self.name = name
        self.price = price or Price()
        self._checkpoint = checkpoint
        self._reader = Reader(checkpoint.model)
        self._queue: list[Waiting] = []
        self._working: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jurist-local")
        self._slots = cache_slots(checkpoint)
        self._most = MOST_ON_CPU if checkpoint.device.type == "cpu" else MOST_ROWS

    async def answer(self, ask: Ask) -> Reply:
        return (await self.answer_many(ask, 1))[0]

    async def answer_many(self, ask: Ask, n: int) -> list[Reply]:
        """n draws for one reading of the prompt; draw i is what `answer` gives with a seed higher by i."""
        if n < 1:
            return []
        job = Job(self._tokens(ask), ask, n)
        wanted: asyncio.Future[list[Reply]] = asyncio.get_running_loop().create_future()
        self._queue.append(Waiting(job, wanted))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await wanted

    async def close(self) -> None:
        if self._working is not None:
            await self._working
        self._thread.shutdown()

    def _tokens(self, ask: Ask) -> list[int]:
        if ask.schema is not None:
            raise CallRefused(
                f"{self.name} cannot be held to a JSON schema. Use an endpoint: vllm:MODEL@http://..."
            )
        row, room = self._checkpoint.prompt(ask.messages), self._checkpoint.room
        if not row or len(row) >= room:
            raise CallRefused(
                f"a prompt of {len(row)} tokens leaves {self.name} no room for an answer: it reads {room}."
                " Shorten the prompt, or choose a model that reads more"
            )
        return row

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(GATHER)
            waiting, self._queue = [one for one in self._queue if not one.wanted.done()], []
            if not waiting:
                return
            for how in (weigh, generate):
                some = [one for one in waiting if bool(one.job.ask.labels) == (how is weigh)]
                for batch in batches(some, self._slots, self._most if how is weigh else MOST_ROWS):
                    await self._answer(batch, how)

    async def _answer(self, batch: Sequence[Waiting], how: How) -> None:
        started = time.perf_counter()
        jobs = [one.job for one in batch]
        try:
            loop = asyncio.get_running_loop()
            replies = await loop.run_in_executor(self._thread, how, self._checkpoint, self._reader, jobs)
        except torch.OutOfMemoryError as error:
            await self._smaller(batch, how, error)
            return
        except Exception as error:
            _fail(batch, CallFailed(f"{self.name} stumbled: {type(error).__name__}: {error}"))
            return
        seconds = time.perf_counter() - started
        share = seconds / sum(job.draws for job in jobs)
        for one, said in zip(batch, replies, strict=True):
            if not one.wanted.done():
                one.wanted.set_result([self._charged(reply, seconds, share) for reply in said])

    async def _smaller(self, batch: Sequence[Waiting], how: How, error: Exception) -> None:
        """Half at a time, where the whole did not fit."""
        torch.cuda.empty_cache()
        if len(batch) == 1:
            _fail(batch, CallFailed(f"{self.name} ran out of memory on one question: {error}"))
            return
        self._slots //= 2
        for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
            await self._answer(half, how)

    def _charged(self, reply: Reply, seconds: float, share: float) -> Reply:
        return replace(reply, seconds=seconds, cost=cost_of(reply.usage, self.price, share))


How = Callable[[Checkpoint, Reader, Sequence[Job]], list[list[Reply]]]


def open_local(config: EngineConfig) -> Local:
    """`hf:./checkpoint` or `hf:org/name`; a GPU is used where there is one."""
    return Local(*open_checkpoint(config), config.price)


def batches(waiting: Sequence[Waiting], slots: int, most: int = MOST_ROWS) -> list[list[Waiting]]:
    """As many questions at a time as the cache has room for: those of like length together, so that little is
    padding, or those that start alike, so that little is read twice; whichever leaves less to read."""
    by_length = sorted(waiting, key=lambda one: (len(one.job.row) // 8, one.job.row))
    by_start = sorted(waiting, key=lambda one: one.job.row)
    plans = [list(_cut(ordered, slots, most)) for ordered in (by_length, by_start)]
    return min(plans, key=lambda plan: sum(map(to_read, plan)))


def to_read(batch: Sequence[Waiting]) -> int:
    """Tokens that the model goes through for this batch, padding included."""
    rows = [one.job.row for one in batch]
    groups = neighbours(rows)
    heads = len(groups) * max(shared for _, shared in groups)
    tails = len(rows) * max(len(rows[row]) - shared for members, shared in groups for row in members)
    return min(heads + tails, len(rows) * max(map(len, rows)))


def _cut(ordered: Sequence[Waiting], slots: int, most: int) -> Iterator[list[Waiting]]:
    batch: list[Waiting] = []
    used = rows = 0
    for one in ordered:
        size = one.job.draws * (len(one.job.row) + (0 if one.job.ask.labels else one.job.ask.max_tokens))
        if batch and (used + size > slots or rows + one.job.draws > most):
            yield batch
            batch, used, rows = [], 0, 0
        batch.append(one)
        used, rows = used + size, rows + one.job.draws
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


def _fail(batch: Sequence[Waiting], error: Exception) -> None:
    for one in batch:
        if not one.wanted.done():
            one.wanted.set_exception(error)
