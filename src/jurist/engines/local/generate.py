"""Answers in text: each prompt is read once for all its draws, and each draw has its own random numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from torch import Tensor

from ...records import Usage, content_id
from ..engine import Ask, Reply, Token
from .checkpoint import Checkpoint
from .forward import Reader
from .sampler import write


class Job(Struct, frozen=True):
    """One question as tokens, and how many draws of its answer are wanted."""

    row: list[int]
    ask: Ask
    draws: int = 1


class Answer:
    """One answer being written."""

    def __init__(self, job: Job, number: int, checkpoint: Checkpoint) -> None:
        self.ask, self.read, self.cached = job.ask, len(job.row), len(job.row) if number else 0
        self.temperature, self.top_p = job.ask.temperature, job.ask.top_p
        self.luck = np.random.default_rng(seed_of(job.ask, number)).random
        self.ids: list[int] = []
        self.logprobs: list[tuple[float, list[tuple[int, float]]]] = []
        self.finish = "length"
        self.text: str | None = None
        """Known before the end only where something in it ended the answer."""
        self._most = min(job.ask.max_tokens, checkpoint.room - len(job.row))
        self._ends, self._tokenizer = checkpoint.ends, checkpoint.tokenizer

    def take(self, token: int, logits_V: Tensor) -> bool:
        if token in self._ends:
            self.finish = "stop"
            return False
        self.ids.append(token)
        if self.ask.top_logprobs:
            self.logprobs.append(_said(token, logits_V, self.ask.top_logprobs))
        if self.ask.stop:
            text = self._tokenizer.decode(self.ids, skip_special_tokens=True)
            places = [at for stop in self.ask.stop if (at := text.find(stop)) >= 0]
            if places:
                self.finish, self.text = "stop", text[: min(places)]
                return False
        return len(self.ids) < self._most


def seed_of(ask: Ask, number: int) -> int:
    """Draw `number` has the seed said, counted on; where none is said, one made from the question."""
    if ask.seed is not None:
        return ask.seed + number
    return int(content_id(ask.messages, ask.temperature, ask.top_p, ask.sample + number)[:15], 16)


@torch.inference_mode()
def generate(
    checkpoint: Checkpoint, reader: Reader, jobs: Sequence[Job], wanted: Callable[[], bool]
) -> list[list[Reply]]:
    """All draws of all jobs."""
    draws = [[Answer(job, number, checkpoint) for number in range(job.draws)] for job in jobs]
    write(checkpoint.model, reader.read([job.row for job in jobs]), draws, wanted)
    return [[_reply(draw, checkpoint.tokenizer) for draw in some] for some in draws]


def _said(token: int, logits_V: Tensor, most: int) -> tuple[float, list[tuple[int, float]]]:
    logprobs = logits_V.float().log_softmax(-1)
    top = logprobs.topk(min(most, len(logprobs)))
    listed = list(zip(top.indices.tolist(), top.values.tolist(), strict=True))
    return float(logprobs[token]), listed


def _reply(draw: Answer, tokenizer: Any) -> Reply:
    text = draw.text if draw.text is not None else tokenizer.decode(draw.ids, skip_special_tokens=True)
    usage = Usage(draw.read, draw.cached, len(draw.ids))
    return Reply(text, draw.finish, tuple(_tokens(draw, tokenizer)), usage=usage)


def _tokens(draw: Answer, tokenizer: Any) -> list[Token]:
    """Each token with the text it adds, so that the pieces together are the text."""
    found, before = [], ""
    for count, (logprob, top) in enumerate(draw.logprobs, 1):
        text = tokenizer.decode(draw.ids[:count], skip_special_tokens=True)
        alternatives = tuple((tokenizer.decode([one]), chance) for one, chance in top)
        found.append(Token(text[len(before) :], logprob, alternatives))
        before = text
    return found
