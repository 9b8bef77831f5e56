"""A checkpoint in this process, as a policy or as a judge: `hf:./checkpoint`, `hf:org/name`.

Questions that arrive together are answered together, in one worker thread, a few at a time so that progress
can be told; while a batch is computed, new questions gather. The weights are loaded with the first question
that no journal answers.

A label needs one pass over its question and nothing written. It may be written as several tokens (`A`, ` A`):
their probabilities are summed. A label of several tokens (`10` as `1`, `0`) is read on in the same pass, and
what it takes is taken from the label it begins like. The probabilities are not scaled up to one: where the
model was about to write something else, the reader has to see that.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from math import exp, log, prod
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import torch
from jinja2 import TemplateError
from msgspec import Meta, Struct
from msgspec.structs import replace
from torch import Tensor

from ..config import settings_from
from ..engines.checkpoints import find_checkpoint, refuse_reward_model, render_chat, weights_hash
from ..engines.engine import Ask, Engine, EngineConfig, Reply, Token
from ..engines.prices import Price, cost_of
from ..errors import CallFailed, CallRefused, JuristError
from ..records import Usage, content_id
from .checkpoint import Attention, Dtype, load_tokenizer
from .policy import Policy, load_to_read
from .writer import Draw, Drawing, generate

GATHER_SECONDS: Final = 0.002
"""How long the first question waits for others."""
BATCH_ROWS: Final = 128
LABEL_SLOTS: Final = {"cpu": 4096, "cuda": 65_536}
"""Tokens of questions in one pass over labels; on a CPU larger ones are no quicker."""
MARKS: Final = ("", " ", "Ġ", "▁")
"""What vocabularies put before a word."""
SMALLEST: Final = 1e-12
Menu = Mapping[str, tuple[tuple[int, ...], ...]]
"""Of each label the ways to write it: each as one token, or else one way as several."""


class LocalExtra(Struct, frozen=True, forbid_unknown_fields=True):
    """What an engine of this kind understands under `extra`."""

    device: Annotated[str, Meta(description="cpu, cuda, cuda:1, mps; the best there is when empty.")] = ""
    dtype: Annotated[
        Dtype | Literal[""], Meta(description="When empty, as stored on a GPU and float32 on a CPU.")
    ] = ""
    attention: Annotated[Attention, Meta(description="How attention is computed.")] = "auto"
    chat_template_kwargs: Annotated[
        dict[str, Any], Meta(description="Handed to the chat template, e.g. {enable_thinking: false}.")
    ] = {}


@dataclass(eq=False)
class QueuedAsk:
    """An ask, and how many samples of its answer are wanted."""

    ask: Ask
    samples: int
    wanted: asyncio.Future[list[Reply]]
    ids: list[int] = field(default_factory=list)

    def fail(self, error: Exception) -> None:
        if not self.wanted.done():
            self.wanted.set_exception(error)

    @property
    def writes(self) -> bool:
        return self.ask.wants == "text"

    @property
    def slots(self) -> int:
        """Tokens that answering it takes room for."""
        return self.samples * (len(self.ids) + self.ask.max_tokens) if self.writes else len(self.ids)


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
        if not batch:
            return
        how = text_replies if batch[0].writes else label_replies
        began, answers = time.perf_counter(), None
        try:
            answers = await self._in_thread(how, policy, batch)
        except Exception as error:
            if len(batch) == 1 or not _out_of_memory(error):
                for one in batch:
                    one.fail(self._failed(error))
                return
        if answers is None:  # out of memory: in halves, from now on
            torch.cuda.empty_cache()
            self._shrunk *= 2
            await self._answer(policy, batch[: len(batch) // 2])
            await self._answer(policy, batch[len(batch) // 2 :])
            return
        share = (time.perf_counter() - began) / sum(one.samples for one in batch)
        for one, replies in zip(batch, answers, strict=True):
            if not one.wanted.done():
                priced = [(reply, cost_of(reply.usage, self.price, share)) for reply in replies]
                one.wanted.set_result([replace(reply, seconds=share, cost=cost) for reply, cost in priced])

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
    takes = f"extra of {kind}: takes {', '.join(LocalExtra.__struct_fields__)}"
    extra = settings_from(LocalExtra, dict(config.extra), see=takes)
    folder = folder or find_checkpoint(path)
    refuse_reward_model(folder)
    load_tokenizer(folder)  # or its refusal, before any question is asked
    # Which of several cards of one kind it is read on changes no reply.
    changes = {**config.extra, "device": extra.device.partition(":")[0]} if extra.device else config.extra
    more = f"+{content_id(changes)[:6]}" if changes else ""
    name = f"{kind}:{Path(path).name}#{weights_hash(folder)[:12]}{more}"
    return LocalEngine(folder, name, extra, config.price)


def _cache_room(policy: Policy) -> int:
    """For how many tokens of all rows together there is room: half of a GPU's free memory, 1 GiB on a CPU."""
    config = policy.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    a_token = 2 * config.num_hidden_layers * heads * width * policy.model.dtype.itemsize
    room = torch.cuda.mem_get_info(policy.device)[0] // 2 if policy.device.type == "cuda" else 1 << 30
    return max(1, int(room // a_token))


def _out_of_memory(error: Exception) -> bool:
    """On a GPU it has a class of its own; on a CPU it is in the text."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def seed_of(ask: Ask, number: int) -> int:
    """Sample `number` has the seed given, counted on; where none is given, one made from the question."""
    if ask.seed is not None:
        return ask.seed + number
    return int(content_id(ask.messages, ask.temperature, ask.top_p, ask.sample + number)[:15], 16)


@dataclass(eq=False, kw_only=True)
class TextDraw(Draw):
    """A completion that may also end at a stop text, with the log-probs that are to be reported."""

    ask: Ask
    tokenizer: Any
    text: str | None = None
    """So far, where something is looked for in it."""
    tokens: list[Token] = field(default_factory=list)

    def take(self, token: int, logits_V: Tensor) -> None:
        super().take(token, logits_V)
        if self.finish == "stop":
            self.ids.pop()
        elif self.ask.top_logprobs or self.ask.stop:
            before, self.text = self.text or "", self.tokenizer.decode(self.ids, skip_special_tokens=True)
            if self.ask.top_logprobs:
                logp_V = logits_V.float().log_softmax(-1)
                best = logp_V.topk(min(self.ask.top_logprobs, len(logp_V)))
                top = zip(best.indices.tolist(), best.values.tolist(), strict=True)
                others = tuple((self.tokenizer.decode([one]), chance) for one, chance in top)
                # The pieces together are the text.
                self.tokens.append(Token(self.text[len(before) :], float(logp_V[token]), others))
            places = [at for stop in self.ask.stop if (at := self.text.find(stop)) >= 0]
            if places:
                self.finish, self.text = "stop", self.text[: min(places)]

    def reply(self, prompt: int, *, cached: bool) -> Reply:
        """To a prompt of so many tokens."""
        usage = Usage(prompt, prompt if cached else 0, len(self.ids))
        if self.text is None:
            self.text = self.tokenizer.decode(self.ids, skip_special_tokens=True)
        return Reply(self.text, self.finish or "length", tuple(self.tokens), usage=usage)


@torch.inference_mode()
def text_replies(policy: Policy, batch: Sequence[QueuedAsk]) -> list[list[Reply]]:
    """All samples of all questions, each with random numbers of its own."""

    def draw(question: QueuedAsk, number: int) -> TextDraw:
        ask = question.ask
        most = min(ask.max_tokens, policy.max_positions - len(question.ids))
        how = Drawing(most, policy.ends, ask.temperature, ask.top_p)
        uniforms = np.random.default_rng(seed_of(ask, number)).random(most)
        return TextDraw(how, iter(uniforms.tolist()), ask=ask, tokenizer=policy.tokenizer)

    draws = [[draw(one, number) for number in range(one.samples)] for one in batch]

    def wanted() -> bool:
        return not all(one.wanted.done() for one in batch)

    for _ in generate(policy, [one.ids for one in batch], draws, wanted):
        pass  # each draw keeps what it comes to
    return [
        [one.reply(len(question.ids), cached=number > 0) for number, one in enumerate(some)]
        for question, some in zip(batch, draws, strict=True)
    ]


@torch.inference_mode()
def label_replies(policy: Policy, batch: Sequence[QueuedAsk]) -> list[list[Reply]]:
    """For each question a reply of one token a sample, the labels its alternatives."""
    menus = [menu(policy.tokenizer, one.ask.labels) for one in batch]
    rows: list[list[int]] = []
    starts = []
    for question, labels in zip(batch, menus, strict=True):
        starts.append(len(rows))
        begun = [way[:end] for ways in labels.values() for way in ways for end in range(1, len(way))]
        rows += [[*question.ids, *tokens] for tokens in ((), *begun)]
    logp_BV = policy.next_logits(rows).float().log_softmax(-1)
    tokens = sorted({token for some in menus for ways in some.values() for way in ways for token in way})
    after = [dict(zip(tokens, row, strict=True)) for row in logp_BV[:, tokens].exp().tolist()]
    highest = logp_BV.max(-1)
    replies = []
    for start, question, labels in zip(starts, batch, menus, strict=True):
        chances = _chances(labels, after[start:])
        token, logp = int(highest.indices[start]), float(highest.values[start])
        other = policy.tokenizer.decode([token]), exp(logp)
        replies.append([_label_reply(question, n, chances, other) for n in range(question.samples)])
    return replies


def _label_reply(
    question: QueuedAsk, number: int, chances: dict[str, float], other: tuple[str, float]
) -> Reply:
    """The likeliest label, or one drawn where the question has a temperature; all of them with log-probs.

    `other` is the likeliest token of all, reported where it is no label.
    """
    ask = question.ask
    label = max(chances, key=chances.__getitem__)
    if ask.temperature > 0:
        shares = np.array([max(one, SMALLEST) for one in chances.values()]) ** (1 / ask.temperature)
        draw = np.random.default_rng(seed_of(ask, number))
        label = str(draw.choice(list(chances), p=shares / shares.sum()))
    usage = Usage(len(question.ids), 0, 1)
    if not ask.top_logprobs:
        return Reply(label, usage=usage)
    top = [(text, log(max(chance, SMALLEST))) for text, chance in chances.items()]
    if other[1] > exp(max(chance for _, chance in top)) and other[0].strip() not in chances:
        top.append((other[0], log(other[1])))
    top.sort(key=lambda one: -one[1])
    return Reply(label, tokens=(Token(label, dict(top)[label], tuple(top)),), usage=usage)


def _chances(labels: Menu, after: Sequence[Mapping[int, float]]) -> dict[str, float]:
    """`after`: what is likely after the question, then after each beginning of each way of several tokens."""
    chances: dict[str, float] = {}
    taken: dict[tuple[int, ...], float] = defaultdict(float)
    begun = iter(after[1:])
    for label, ways in labels.items():
        chances[label] = 0.0
        for way in ways:
            chance = after[0][way[0]] * prod(next(begun)[token] for token in way[1:])
            chances[label] += chance
            taken[way[:1]] += chance * (len(way) > 1)
    return {label: max(0.0, chances[label] - sum(taken[way] for way in labels[label])) for label in labels}


@lru_cache(maxsize=64)
def menu(tokenizer: Any, labels: tuple[str, ...]) -> Menu:
    """How this tokenizer writes these labels; one that it cannot write has no way."""
    unknown, found = tokenizer.unk_token_id, {}
    for label in labels:
        spellings = [tokenizer(mark + label, add_special_tokens=False)["input_ids"] for mark in ("", " ")]
        whole = {tokenizer.convert_tokens_to_ids(mark + label) for mark in MARKS}
        whole |= {ids[0] for ids in spellings if len(ids) == 1}
        spelled = () if unknown in spellings[0] else (tuple(spellings[0]),)
        found[label] = tuple((token,) for token in sorted(whole - {None, unknown})) or spelled
    return found
