"""A checkpoint in this process, as a policy or as a judge: `hf:./checkpoint`, `hf:org/name`.

Questions that arrive together are answered together (`replies.py`), in one worker thread, each as soon as it
is answered; while a batch is computed, new questions gather. On Ctrl-C the batch ends at its next token, and
what is whole is kept. The weights are loaded, and torch is imported, with the first question that no journal
answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import groupby
from os.path import abspath
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from jinja2 import TemplateError
from msgspec import Meta, Struct
from msgspec.structs import replace

from ..config import settings_from
from ..engines.checkpoints import find_checkpoint, refuse_reward_model, render_chat, weights_hash
from ..engines.engine import Ask, Engine, EngineConfig, Reply
from ..engines.prices import Price, cost_of
from ..errors import CallFailed, CallRefused, Interrupted, JuristError, MissingExtra
from ..records import content_id
from .checkpoint import Attention, Dtype, refuse_tokenizer
from .tokens import QueuedAsk

if TYPE_CHECKING:
    from .policy import Policy

GATHER_SECONDS: Final = 0.002
"""How long the first question waits for others."""
BATCH_ROWS: Final = 64
"""More together are no quicker on a CPU, and are lost together when a run is killed."""
LABEL_SLOTS: Final = {"cpu": 4096, "cuda": 65_536}
"""Tokens of questions in one pass over labels; on a CPU larger ones are no quicker."""


class LocalExtra(Struct, frozen=True, forbid_unknown_fields=True):
    """What an engine of this kind understands under `extra`."""

    device: Annotated[str, Meta(description="cpu, cuda, cuda:1, mps; the best there is when empty.")] = ""
    dtype: Annotated[
        Dtype | Literal[""],
        Meta(description="When empty, what its config names; float32 where a CPU has not got it."),
    ] = ""
    attention: Annotated[Attention, Meta(description="How attention is computed.")] = "auto"
    chat_template_kwargs: Annotated[
        dict[str, Any], Meta(description="Handed to the chat template, e.g. {enable_thinking: false}.")
    ] = {}


class LocalEngine(Engine):
    """Answers from a checkpoint in this process."""

    samples_together = in_process = True

    def __init__(self, folder: Path, name: str, extra: LocalExtra, price: Price | None = None) -> None:
        self.name, self.folder, self.extra = name, folder, extra
        self.price = price or Price()
        self._policy: Policy | None = None
        self._queue: list[QueuedAsk] = []
        self._working: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jurist-local")
        self._shrunk = 1
        """By how much batches are smaller than they would be, since memory ran out."""

    async def answer(self, ask: Ask) -> Reply:
        return (await self.samples(ask, 1))[0]

    async def samples(self, ask: Ask, n: int) -> list[Reply]:
        """n samples for one reading of the prompt; sample i is what `answer` gives with its seed plus i."""
        if n < 1:
            return []
        question = QueuedAsk(ask, n, asyncio.get_running_loop().create_future())
        self._queue.append(question)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await question.wanted

    async def close(self) -> None:
        """What is still waited for is answered first."""
        if self._working is not None:
            await asyncio.wait([self._working])
        self._thread.shutdown()

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(GATHER_SECONDS)
            waiting, self._queue = [one for one in self._queue if not one.wanted.done()], []
            if not waiting:
                return
            try:
                await self._answer_all(waiting)
            except Exception as error:
                for one in waiting:
                    one.fail(self._failed(error))
            finally:  # nobody waits for ever, even where this task was cancelled
                for one in waiting:
                    one.wanted.cancel()

    async def _answer_all(self, waiting: Sequence[QueuedAsk]) -> None:
        self.doing = self.doing if self._policy else f"loading {self.folder.name}"
        policy = self._policy = self._policy or await self._in_thread(self._load)
        refused = await self._in_thread(self._tokenise, policy, waiting)
        for one, why in refused.items():
            one.fail(why)
        ready = [one for one in waiting if one not in refused]
        # Those that begin alike come together, since what a batch begins with is computed once; but those to
        # be written by length.
        ready.sort(key=lambda one: (one.writes, len(one.ids) * one.writes, one.ids))
        for batch in self._batches(policy, ready):
            await self._answer(policy, batch)

    async def _in_thread(self, work: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    def _load(self) -> Policy:
        from .policy import load_to_read

        extra = self.extra
        how = {"attention": extra.attention, "template": extra.chat_template_kwargs}
        return load_to_read(self.folder, extra.device, extra.dtype, **how)

    def _tokenise(self, policy: Policy, waiting: Sequence[QueuedAsk]) -> dict[QueuedAsk, CallRefused]:
        """Gives each question its tokens; those that cannot be answered come back with the reason."""
        texts: dict[QueuedAsk, str] = {}
        refused: dict[QueuedAsk, CallRefused] = {}
        for one in waiting:
            try:
                texts[one] = render_chat(policy.tokenizer, one.ask.messages)
            except TemplateError as why:
                refusal = f"the chat template of {self.name} refuses this conversation: {why}"
                refused[one] = CallRefused(f"{refusal}. See: {self.folder}")
        rows = policy.tokenizer([*texts.values()], add_special_tokens=False)["input_ids"] if texts else ()
        for one, ids in zip(texts, rows, strict=True):
            one.ids = ids
            if not 0 < len(ids) < policy.max_positions:
                refused[one] = CallRefused(
                    f"a prompt of {len(ids)} tokens leaves {self.name} no room for an answer: it reads"
                    f" {policy.max_positions}. Shorten the prompt, or choose a model that reads more"
                )
        return refused

    def _batches(self, policy: Policy, ready: Sequence[QueuedAsk]) -> Iterator[list[QueuedAsk]]:
        """As many of a kind at a time as fit; the room may have shrunk meanwhile."""
        for writes, some in groupby(ready, key=lambda one: one.writes):
            batch: list[QueuedAsk] = []
            used = rows = 0
            for one in some:
                room = _cache_room(policy) if writes else LABEL_SLOTS.get(policy.device.type, 65_536)
                used, rows = used + one.slots, rows + one.samples
                if batch and (used > room // self._shrunk or rows > BATCH_ROWS):
                    yield batch
                    batch, used, rows = [], one.slots, one.samples
                batch.append(one)
            yield batch

    async def _answer(self, policy: Policy, batch: Sequence[QueuedAsk]) -> None:
        batch = [one for one in batch if not one.wanted.done()]
        failure = self._stopped
        if batch and failure is None:
            try:
                await self._in_thread(self._answer_batch, policy, batch, asyncio.get_running_loop())
                failure = self._stopped
            except Exception as error:
                failure = self._failed(error)
                left = [one for one in batch if not one.wanted.done()]
                if len(left) > 1 and _out_of_memory(error):  # in halves, from now on
                    import torch

                    torch.cuda.empty_cache()
                    self._shrunk *= 2
                    await self._answer(policy, left[: len(left) // 2])
                    await self._answer(policy, left[len(left) // 2 :])
                    return
        if failure is not None:
            for one in batch:
                one.fail(failure)

    def _answer_batch(
        self, policy: Policy, batch: Sequence[QueuedAsk], loop: asyncio.AbstractEventLoop
    ) -> None:
        """In the worker's thread: every answer goes home when it is whole, with its share of the time."""
        from .replies import label_replies, text_replies

        rows, tokens = sum(one.samples for one in batch), 0
        clock, last, left = 0.0, time.perf_counter(), rows

        def wanted() -> bool:
            nonlocal tokens
            tokens += 1
            self.doing = f"{rows} answers, token {tokens} of {max(one.ask.max_tokens for one in batch)}"
            return self._stopped is None and not all(one.wanted.done() for one in batch)

        def deliver(one: QueuedAsk, replies: list[Reply]) -> None:
            if not one.wanted.done():
                one.wanted.set_result(replies)

        self.doing = f"{rows} questions"
        answers = text_replies(policy, batch, wanted) if batch[0].writes else label_replies(policy, batch)
        for one, replies in answers:
            now = time.perf_counter()
            clock, last = clock + (now - last) / left, now  # those still under way share the time
            left -= one.samples
            priced = [
                replace(reply, seconds=clock, cost=cost_of(reply.usage, self.price, clock))
                for reply in replies
            ]
            loop.call_soon_threadsafe(deliver, one, priced)
        self.doing = ""

    @property
    def _stopped(self) -> Exception | None:
        """Why nobody waits for more: Ctrl-C. A budget that is spent lets what is under way come home."""
        why = self.budget.stopped if self.budget is not None else None
        return why if isinstance(why, Interrupted) else None

    def _failed(self, error: Exception) -> Exception:
        if isinstance(error, JuristError):
            return error
        why = " ".join(str(error).split())[:300]
        if _out_of_memory(error):
            way_out = "Shorten the prompt, or set: extra: {dtype: bfloat16}"
            return CallFailed(f"{self.name} ran out of memory on one question: {why}. {way_out}")
        return CallFailed(
            f"{self.name} failed: {type(error).__name__}: {why}. Look with: ls -l {self.folder}"
        )


def open_local(config: EngineConfig, folder: Path | None = None) -> LocalEngine:
    """`hf:./checkpoint` or `hf:org/name`; a GPU is used where there is one."""
    kind, _, path = config.engine.partition(":")
    for needed in ("torch", "transformers"):
        if find_spec(needed) is None:
            raise MissingExtra(f"a checkpoint in this process ({kind}:)", needed, "train")
    takes = f"extra of {kind}: takes {', '.join(LocalExtra.__struct_fields__)}"
    extra = settings_from(LocalExtra, dict(config.extra), see=takes)
    folder = folder or find_checkpoint(path)
    refuse_reward_model(folder)
    refuse_tokenizer(folder)
    # Which of several cards of one kind it is read on changes no reply.
    changes = {**config.extra, "device": extra.device.partition(":")[0]} if extra.device else config.extra
    more = f"+{content_id(changes)[:6]}" if changes else ""
    place = Path(abspath(path))
    # All that was trained here lies in folders of this name: that of the training says more.
    called = place.parent.name if place.name == "model" else place.name
    name = f"{kind}:{called}#{weights_hash(folder)[:12]}{more}"
    return LocalEngine(folder, name, extra, config.price)


def _cache_room(policy: Policy) -> int:
    """For how many tokens of all rows together there is room: half of a GPU's free memory, 1 GiB on a CPU."""
    import torch

    config = policy.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    a_token = 2 * config.num_hidden_layers * heads * width * policy.model.dtype.itemsize
    room = torch.cuda.mem_get_info(policy.device)[0] // 2 if policy.device.type == "cuda" else 1 << 30
    return max(1, int(room // a_token))


def _out_of_memory(error: Exception) -> bool:
    """On a GPU it has a class of its own; on a CPU it is in the text."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
