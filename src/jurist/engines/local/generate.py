"""Writing answers: many rows at a time, each with draws of its own.

What a row says follows from its seed and its prompt, not from the rows beside it: every draw has its own
stream of random numbers, one a token. (The sums behind the probabilities may round differently in another
batch; in float32 that changes a token about once in a million.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from torch import Tensor

from ...records import Usage, content_id
from ..engine import Ask, Reply, Token
from .checkpoint import Checkpoint
from .forward import Reader, chosen


class Job(Struct, frozen=True):
    """One question as tokens, and how many draws of its answer are wanted."""

    row: list[int]
    ask: Ask
    draws: int = 1


class Draw:
    """One answer being written."""

    def __init__(self, job: Job, number: int, room: int, cached: int) -> None:
        self.ask, self.cached, self.read = job.ask, cached, len(job.row)
        self.most = min(job.ask.max_tokens, room - len(job.row))
        self.chances = np.random.default_rng(seed_of(job.ask, number))
        self.ids: list[int] = []
        self.logprobs: list[tuple[float, list[tuple[int, float]]]] = []
        self.finish = ""
        self.text: str | None = None
        """Known before the end only where something in it ended the answer."""


def seed_of(ask: Ask, number: int) -> int:
    """Draw `number` has the seed said, counted on; where none is said, one made from the question."""
    if ask.seed is not None:
        return ask.seed + number
    return int(content_id(ask.messages, ask.temperature, ask.top_p, ask.sample + number)[:15], 16)


@torch.inference_mode()
def generate(checkpoint: Checkpoint, reader: Reader, jobs: Sequence[Job]) -> list[list[Reply]]:
    """All draws of all jobs; each prompt is read once."""
    draws = [
        [Draw(job, number, checkpoint.room, len(job.row) if number else 0) for number in range(job.draws)]
        for job in jobs
    ]
    context = reader.read([job.row for job in jobs])
    origin = [row for row, some in enumerate(draws) for _ in some]
    writing = [draw for some in draws for draw in some]
    device = reader.device
    if len(origin) > len(jobs):
        context = chosen(context, torch.tensor(origin, device=device))
    cache, mask_BT, at_B, logits_BV = context
    assert logits_BV is not None
    while True:
        said = next_tokens(logits_BV.float(), writing)
        for row, (draw, token) in enumerate(zip(writing, said, strict=True)):
            _take(draw, token, logits_BV[row], checkpoint)
        going = [row for row, draw in enumerate(writing) if not draw.finish]
        if not going:
            break
        if len(going) < len(writing):
            which = torch.tensor(going, device=device)
            cache.reorder_cache(which)
            mask_BT, at_B = mask_BT[which], at_B[which]
            writing, said = [writing[row] for row in going], [said[row] for row in going]
        mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(going), 1)], 1)
        logits_BV = checkpoint.model(
            input_ids=torch.tensor(said, device=device)[:, None],
            attention_mask=mask_BT,
            position_ids=at_B[:, None],
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
        at_B = at_B + 1
    return [[_reply(draw, checkpoint) for draw in some] for some in draws]


def next_tokens(logits_BV: Tensor, writing: Sequence[Draw]) -> list[int]:
    """Each row's likeliest token at temperature 0, else one drawn by chances of its own."""
    best = logits_BV.argmax(-1)
    warm = [row for row, draw in enumerate(writing) if draw.ask.temperature > 0]
    if not warm:
        return list(best.tolist())
    heat = torch.tensor([writing[row].ask.temperature for row in warm], device=best.device)
    probs = (logits_BV[warm] / heat[:, None]).softmax(-1).double()
    for place, row in enumerate(warm):
        if writing[row].ask.top_p < 1:
            probs[place] = nucleus(probs[place], writing[row].ask.top_p)
    heap = probs.cumsum(-1)
    points = torch.tensor(
        [[writing[row].chances.random()] for row in warm], dtype=heap.dtype, device=heap.device
    )
    # Right of the point: a token without probability is never hit.
    drawn = torch.searchsorted(heap, points * heap[:, -1:], right=True).clamp(max=heap.shape[1] - 1)
    best[warm] = drawn[:, 0]
    return list(best.tolist())


def nucleus(probs_V: Tensor, top_p: float) -> Tensor:
    """The likeliest tokens that together reach `top_p`; the others get nothing."""
    ordered, which = probs_V.sort(descending=True)
    kept = torch.where(ordered.cumsum(0) - ordered < top_p, ordered, 0.0)
    return torch.zeros_like(probs_V).scatter(0, which, kept)


def _take(draw: Draw, token: int, logits_V: Tensor, checkpoint: Checkpoint) -> None:
    """One more token of an answer, or its end."""
    if token in checkpoint.ends:
        draw.finish = "stop"
        return
    draw.ids.append(token)
    if draw.ask.top_logprobs:
        draw.logprobs.append(_said(token, logits_V, draw.ask.top_logprobs))
    if draw.ask.stop:
        text = checkpoint.tokenizer.decode(draw.ids, skip_special_tokens=True)
        places = [at for stop in draw.ask.stop if (at := text.find(stop)) >= 0]
        if places:
            draw.finish, draw.text = "stop", text[: min(places)]
            return
    if len(draw.ids) >= draw.most:
        draw.finish = "length"


def _said(token: int, logits_V: Tensor, most: int) -> tuple[float, list[tuple[int, float]]]:
    logprobs = logits_V.float().log_softmax(-1)
    top = logprobs.topk(min(most, len(logprobs)))
    listed = list(zip(top.indices.tolist(), top.values.tolist(), strict=True))
    return float(logprobs[token]), listed


def _reply(draw: Draw, checkpoint: Checkpoint) -> Reply:
    tokenizer = checkpoint.tokenizer
    text = draw.text if draw.text is not None else tokenizer.decode(draw.ids, skip_special_tokens=True)
    usage = Usage(draw.read, draw.cached, len(draw.ids))
    return Reply(text, draw.finish, tuple(_tokens(draw, tokenizer)), usage=usage)


def _tokens(draw: Draw, tokenizer: Any) -> list[Token]:
    """Each token with the text it adds, so that the pieces together are the text."""
    found, before = [], ""
    for count, (logprob, top) in enumerate(draw.logprobs, 1):
        text = tokenizer.decode(draw.ids[:count], skip_special_tokens=True)
        alternatives = tuple((tokenizer.decode([one]), chance) for one, chance in top)
        found.append(Token(text[len(before) :], logprob, alternatives))
        before = text
    return found
