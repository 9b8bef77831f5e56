"""A checkpoint in this process, as a policy or as a judge: `hf:./checkpoint`, `hf:org/name`.

Questions that arrive together are answered together, in one worker thread, a few at a time so that progress
can be told; while a batch is computed, new questions gather. Questions with labels on offer need one pass and
nothing written (`replies.py` has both). The weights are loaded with the first question that no journal
answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import TemplateError
from msgspec import Struct
from msgspec.structs import replace

from ..engines.checkpoints import find_checkpoint, refuse_reward_model, render_chat, weights_hash
from ..engines.engine import Ask, Engine, EngineConfig, Reply
from ..engines.prices import Price, cost_of
from ..errors import CallFailed, CallRefused, JuristError, MissingExtra, SettingError, nearest
from ..records import content_id
from .checkpoint import refuse_without_template
from .tokens import QueuedAsk

if TYPE_CHECKING:
    from .policy import Policy

GATHER_SECONDS: Final = 0.002
"""How long the first question waits for others."""
MOST_ROWS: Final = 128
LABEL_SLOTS: Final = {"cpu": 4096, "cuda": 65_536}
"""Tokens of questions in one pass over labels; on a CPU larger ones are no quicker."""
DTYPES: Final = ("float32", "bfloat16", "float16", "auto")


class LocalExtra(Struct, frozen=True, forbid_unknown_fields=True):
    """What an engine of this kind understands under `extra`."""

    device: str = ""
    """`cpu`, `cuda`, `cuda:1`, `mps`; the best there is when empty."""
    dtype: str = ""
    """`bfloat16`, `float16`, `float32`; when empty, as stored on a GPU and float32 on a CPU."""
    attention: str = "auto"
    """`sdpa`, `eager`, `flash_attention_2`."""
    chat_template_kwargs: dict[str, Any] = {}
    """Handed to the chat template, e.g. `{enable_thinking: false}`."""


class LocalEngine(Engine):
    """Answers from a checkpoint in this process."""

    samples_together = True

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
        wanted: asyncio.Future[list[Reply]] = asyncio.get_running_loop().create_future()
        self._queue.append(QueuedAsk([], ask, n, wanted))
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
        policy = self._policy = self._policy or await self._in_thread(self._load)
        from .replies import label_replies, text_replies

        ready: list[QueuedAsk] = []
        for one, ids in zip(waiting, await self._in_thread(self._tokenise, policy, waiting), strict=True):
            if isinstance(ids, CallRefused):
                one.fail(ids)
            else:
                ready.append(replace(one, ids=ids))
        # Those that begin alike come together: what a batch begins with is computed once.
        labelled = sorted((one for one in ready if one.ask.wants != "text"), key=lambda one: one.ids)
        written = sorted((one for one in ready if one.ask.wants == "text"), key=lambda one: len(one.ids))
        room = LABEL_SLOTS.get(policy.device.type, 65_536)
        for batch in _batches(labelled, lambda one: len(one.ids), lambda: room // self._shrunk):
            await self._answer(policy, batch, label_replies)
        for batch in _batches(written, lambda one: one.slots, lambda: _cache_room(policy) // self._shrunk):
            await self._answer(policy, batch, text_replies)

    async def _in_thread(self, work: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    def _load(self) -> Policy:
        from .policy import load_to_read

        return load_to_read(
            self.folder,
            device=self.extra.device,
            dtype=self.extra.dtype,
            attention=self.extra.attention,
            template=self.extra.chat_template_kwargs,
        )

    def _tokenise(self, policy: Policy, waiting: Sequence[QueuedAsk]) -> list[list[int] | CallRefused]:
        """Each question as tokens, or why there will be no answer."""
        texts: list[str] = []
        refused: list[CallRefused | None] = []
        for one in waiting:
            try:
                texts.append(render_chat(policy.tokenizer, one.ask.messages))
                refused.append(None)
            except TemplateError as why:
                refusal = f"the chat template of {self.name} refuses this conversation: {why}"
                refused.append(CallRefused(f"{refusal}. See: {self.folder}"))
        rows = iter(policy.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else ())
        return [why or self._that_fits(next(rows), policy.max_positions) for why in refused]

    def _that_fits(self, ids: list[int], room: int) -> list[int] | CallRefused:
        if ids and len(ids) < room:
            return ids
        return CallRefused(
            f"a prompt of {len(ids)} tokens leaves {self.name} no room for an answer: it reads {room}."
            " Shorten the prompt, or choose a model that reads more"
        )

    async def _answer(self, policy: Policy, batch: Sequence[QueuedAsk], how: Callable[..., Any]) -> None:
        batch = [one for one in batch if not one.wanted.done()]
        if not batch:
            return
        began = time.perf_counter()
        try:
            answers = await self._in_thread(how, policy, batch)
        except Exception as error:
            if _out_of_memory(error):
                await self._in_halves(policy, batch, how, error)
                return
            for one in batch:
                one.fail(self._failed(error))
            return
        share = (time.perf_counter() - began) / sum(one.samples for one in batch)
        for one, replies in zip(batch, answers, strict=True):
            if not one.wanted.done():
                one.wanted.set_result(
                    [
                        replace(reply, seconds=share, cost=cost_of(reply.usage, self.price, share))
                        for reply in replies
                    ]
                )

    async def _in_halves(
        self, policy: Policy, batch: Sequence[QueuedAsk], how: Callable[..., Any], error: Exception
    ) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(batch) == 1:
            why = f"{self.name} ran out of memory on one question: {' '.join(str(error).split())[:200]}"
            batch[0].fail(CallFailed(f"{why}. Shorten the prompt, or set: extra: {{dtype: bfloat16}}"))
            return
        self._shrunk *= 2
        for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
            await self._answer(policy, half, how)

    def _failed(self, error: Exception) -> Exception:
        if isinstance(error, JuristError):
            return error
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return CallFailed(f"{self.name} failed: {why}. Look with: ls -l {self.folder}")


def open_local(config: EngineConfig, folder: Path | None = None) -> LocalEngine:
    """`hf:./checkpoint` or `hf:org/name`; a GPU is used where there is one."""
    kind, _, path = config.engine.partition(":")
    for needed in ("torch", "transformers"):
        if find_spec(needed) is None:
            raise MissingExtra(f"a checkpoint in this process ({kind}:)", needed, "train")
    extra = _read_extra(config.extra)
    folder = folder or find_checkpoint(path)
    refuse_reward_model(folder)
    refuse_without_template(folder)
    # Which of several cards of one kind it is read on changes no reply.
    changes = {**config.extra, "device": extra.device.partition(":")[0]} if extra.device else config.extra
    more = f"+{content_id(changes)[:6]}" if changes else ""
    name = f"{kind}:{Path(path).name}#{weights_hash(folder)[:12]}{more}"
    return LocalEngine(folder, name, extra, config.price)


def _read_extra(tree: dict[str, Any]) -> LocalExtra:
    for key in tree:
        if key not in LocalExtra.__struct_fields__:
            raise SettingError(
                nearest("setting under 'extra' of a local engine", key, LocalExtra.__struct_fields__)
            )
    extra = LocalExtra(**tree)
    if extra.dtype and extra.dtype not in DTYPES:
        raise SettingError(f"extra.dtype is '{extra.dtype}'. Take one of: {', '.join(DTYPES)}")
    return extra


def _batches(
    waiting: Sequence[QueuedAsk], size: Callable[[QueuedAsk], int], room: Callable[[], int]
) -> Iterator[list[QueuedAsk]]:
    """As many at a time as fit; `room` may have shrunk meanwhile."""
    batch: list[QueuedAsk] = []
    used = rows = 0
    for one in waiting:
        if batch and (used + size(one) > room() or rows + one.samples > MOST_ROWS):
            yield batch
            batch, used, rows = [], 0, 0
        batch.append(one)
        used, rows = used + size(one), rows + one.samples
    if batch:
        yield batch


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
