"""A verdict without writing one: the log-probs of the labels on offer, from one pass over the question.

A label may be written as several tokens (`A`, ` A`): their probabilities are summed. A label of
several tokens (`10` as `1`, `0`) is read on in the same pass, and what it takes is taken from the
label it begins like. The probabilities are not scaled up to one: where the model was about to say
something else, the reader has to see that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import exp, log
from typing import Any, Final

import numpy as np
import torch
from msgspec import Struct

from ...records import Usage
from ..engine import Reply, Token
from .checkpoint import Checkpoint
from .forward import Reader
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
def weigh(
    checkpoint: Checkpoint, reader: Reader, jobs: Sequence[Job], wanted: Callable[[], bool]
) -> list[list[Reply]]:
    """For each job a reply of one token, the labels its alternatives."""
    menus = [menu(checkpoint.tokenizer, job.ask.labels) for job in jobs]
    rows: list[list[int]] = []
    starts = []
    for job, labels in zip(jobs, menus, strict=True):
        starts.append(len(rows))
        rows.append(job.row)
        rows += [[*job.row, *one.spelled[:end]] for one in labels for end in range(1, len(one.spelled))]
    logits_BV = reader.ahead(rows).float()
    whole_B = logits_BV.logsumexp(-1)
    tokens = sorted({token for labels in menus for one in labels for token in (*one.tokens, *one.spelled)})
    chances_BN = (logits_BV[:, tokens] - whole_B[:, None]).exp().tolist()
    column = {token: number for number, token in enumerate(tokens)}
    highest = logits_BV.max(-1)
    likeliest = highest.indices.tolist(), (highest.values - whole_B).exp().tolist()
    replies = []
    for start, job, labels in zip(starts, jobs, menus, strict=True):
        chances = _chances(labels, column, chances_BN[start:])
        other = likeliest[0][start], likeliest[1][start]
        replies.append([_reply(job, number, chances, other, checkpoint) for number in range(job.draws)])
    return replies


def _chances(
    labels: Sequence[Label], column: dict[int, int], after: Sequence[Sequence[float]]
) -> dict[str, float]:
    """`after`: what is likely after the question, then after each beginning of each label that is spelled."""
    chances = {one.text: sum(after[0][column[token]] for token in one.tokens) for one in labels}
    row = 0
    for one in labels:
        if not one.spelled:
            continue
        chance = after[0][column[one.spelled[0]]]
        for token in one.spelled[1:]:
            row += 1
            chance *= after[row][column[token]]
        chances[one.text] = chance
        for other in labels:
            if one.spelled[0] in other.tokens:
                chances[other.text] = max(0.0, chances[other.text] - chance)
    return chances


def _reply(
    job: Job,
    number: int,
    chances: dict[str, float],
    likeliest: tuple[int, float],
    checkpoint: Checkpoint,
) -> Reply:
    """The likeliest label, or one drawn where the question has a temperature; all of them with log-probs."""
    ask = job.ask
    said = max(chances, key=chances.__getitem__)
    if ask.temperature > 0:
        shares = np.array([max(chance, _NOTHING) for chance in chances.values()]) ** (1 / ask.temperature)
        draw = np.random.default_rng(seed_of(ask, number))
        said = str(draw.choice(list(chances), p=shares / shares.sum()))
    usage = Usage(len(job.row), 0, 1)
    if not ask.top_logprobs:
        return Reply(said, usage=usage)
    top = [(text, log(max(chance, _NOTHING))) for text, chance in chances.items()]
    if likeliest[1] > exp(max(chance for _, chance in top)):
        other = checkpoint.tokenizer.decode([likeliest[0]])
        if other.strip() not in chances:
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
    spelled = tuple(spellings[0])
    return Label(label, tokens, () if tokens or unknown in spelled else spelled)
