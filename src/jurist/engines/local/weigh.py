"""A verdict without writing one: the log-probs of the labels on offer, from one pass over the question.

A label may be written as several tokens (`A`, ` A`): their probabilities are summed. A label of several
tokens (`10` as `1`, `0`) is read on, and what it takes is taken from the label it begins like. The
probabilities are not scaled up to one: where the model was about to say something else, the reader has to
see that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import exp, log
from typing import Any, Final

import numpy as np
import torch
from msgspec import Struct
from torch import Tensor

from ...records import Usage
from ..engine import Reply, Token
from .checkpoint import Checkpoint
from .forward import Context, Reader
from .generate import Job, seed_of

_MARKS: Final = ("", " ", "Ġ", "▁")
"""What vocabularies put before a word."""
_NOTHING: Final = 1e-12


class Label(Struct, frozen=True):
    """A label as its model would write it."""

    text: str
    tokens: tuple[int, ...]
    """Each of them is the whole label; none where it takes several."""
    spelled: tuple[int, ...]
    """The label as several tokens, where it takes them. Neither: this vocabulary cannot write it."""


@torch.inference_mode()
def weigh(checkpoint: Checkpoint, reader: Reader, jobs: Sequence[Job]) -> list[list[Reply]]:
    """One reply of one token for each job, the labels its alternatives."""
    context = reader.read([job.row for job in jobs])
    assert context.logits_BV is not None
    chances_BV = context.logits_BV.float().softmax(-1)
    best = chances_BV.max(-1)
    likeliest = list(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    menus = [menu(checkpoint.tokenizer, job.ask.labels) for job in jobs]
    replies = []
    for row, (job, labels) in enumerate(zip(jobs, menus, strict=True)):
        chances = {one.text: float(chances_BV[row, list(one.tokens)].sum()) for one in labels}
        replies.append((job, labels, chances))
    _spell(checkpoint, reader, context, chances_BV, replies)
    return [
        [_reply(job, chances, likeliest[row], checkpoint)] * job.draws
        for row, (job, _, chances) in enumerate(replies)
    ]


Weighed = tuple[Job, tuple[Label, ...], dict[str, float]]


def _spell(
    checkpoint: Checkpoint, reader: Reader, context: Context, chances_BV: Tensor, weighed: Sequence[Weighed]
) -> None:
    """Labels of several tokens: what is likely after their first ones."""
    wanted = [(row, one) for row, (_, labels, _) in enumerate(weighed) for one in labels if one.spelled]
    if not wanted:
        return
    longest = max(len(one.spelled) for _, one in wanted) - 1
    rows = [list(one.spelled[:-1]) for _, one in wanted]
    if reader.shares:
        read = reader.extend(context, rows, [row for row, _ in wanted], last=longest)
    else:
        whole = [weighed[row][0].row + rest for (row, _), rest in zip(wanted, rows, strict=True)]
        read = reader.extend(None, whole, [0] * len(whole), last=longest)
    assert read.logits_BV is not None
    logits = read.logits_BV if read.logits_BV.dim() == 3 else read.logits_BV[:, None]
    after = logits.float().softmax(-1)
    for place, (row, one) in enumerate(wanted):
        chance = float(chances_BV[row, one.spelled[0]])
        rest = len(one.spelled) - 1
        for step, token in enumerate(one.spelled[1:]):
            chance *= float(after[place, longest - rest + step, token])
        _, labels, chances = weighed[row]
        chances[one.text] = chance
        for other in labels:
            if other.tokens and one.spelled[0] in other.tokens:
                chances[other.text] = max(0.0, chances[other.text] - chance)


def _reply(
    job: Job, chances: dict[str, float], likeliest: tuple[int, float], checkpoint: Checkpoint
) -> Reply:
    """The likeliest label, or one drawn where the question has a temperature; all of them with log-probs."""
    ask = job.ask
    said = max(chances, key=chances.__getitem__)
    if ask.temperature > 0:
        shares = np.array([max(chance, _NOTHING) for chance in chances.values()]) ** (1 / ask.temperature)
        said = str(np.random.default_rng(seed_of(ask, 0)).choice(list(chances), p=shares / shares.sum()))
    usage = Usage(len(job.row), 0, 1)
    if not ask.top_logprobs:
        return Reply(said, usage=usage)
    top = [(text, log(max(chance, _NOTHING))) for text, chance in chances.items()]
    other = checkpoint.tokenizer.decode([likeliest[0]])
    if likeliest[1] > exp(max(chance for _, chance in top)) and other.strip() not in chances:
        top.append((other, log(likeliest[1])))
    top.sort(key=lambda one: -one[1])
    return Reply(said, tokens=(Token(said, dict(top)[said], tuple(top)),), usage=usage)


@lru_cache(maxsize=64)
def menu(tokenizer: Any, labels: tuple[str, ...]) -> tuple[Label, ...]:
    """How this tokenizer writes these labels."""
    return tuple(_written(tokenizer, label) for label in labels)


def _written(tokenizer: Any, label: str) -> Label:
    unknown = tokenizer.unk_token_id
    found = {tokenizer.convert_tokens_to_ids(mark + label) for mark in _MARKS}
    spellings = [tokenizer(mark + label, add_special_tokens=False)["input_ids"] for mark in ("", " ")]
    found |= {ids[0] for ids in spellings if len(ids) == 1}
    tokens = tuple(sorted(found - {None, unknown}))
    return Label(label, tokens, () if tokens else tuple(spellings[0]))
