"""What a policy replies to questions: text, or the probabilities of the labels on offer.

A label needs one pass over its question and nothing written. It may be written as several tokens (`A`, ` A`):
their probabilities are summed. A label of several tokens (`10` as `1`, `0`) is read on in the same pass, and
what it takes is taken from the label it begins like. The probabilities are not scaled up to one: where the
model was about to write something else, the reader has to see that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import exp, log
from typing import Any, Final

import numpy as np
import torch
from msgspec import Struct
from torch import Tensor

from ..engines.engine import Ask, Reply, Token
from ..records import Usage, content_id
from .policy import Policy
from .tokens import QueuedAsk
from .writer import Draw, generate

MARKS: Final = ("", " ", "Ġ", "▁")
"""What vocabularies put before a word."""
LEAST: Final = 1e-12


def seed_of(ask: Ask, number: int) -> int:
    """Sample `number` has the seed given, counted on; where none is given, one made from the question."""
    if ask.seed is not None:
        return ask.seed + number
    return int(content_id(ask.messages, ask.temperature, ask.top_p, ask.sample + number)[:15], 16)


@torch.inference_mode()
def text_replies(policy: Policy, batch: Sequence[QueuedAsk]) -> list[list[Reply]]:
    """All samples of all questions, each with random numbers of its own."""
    draws = [[_draw(policy, one, number) for number in range(one.samples)] for one in batch]
    generate(
        policy,
        [one.ids for one in batch],
        draws,
        wanted=lambda: not all(one.wanted.done() for one in batch),
    )
    return [
        [_reply(draw, policy.tokenizer, len(one.ids), cached=number > 0) for number, draw in enumerate(some)]
        for one, some in zip(batch, draws, strict=True)
    ]


@dataclass
class TextDraw(Draw):
    """A completion that may also end at a stop text, with the log-probs that are to be reported."""

    tokenizer: Any = None
    stops: Sequence[str] = ()
    top_logprobs: int = 0
    text: str | None = None
    """Known before the end only where something in it ended the answer."""
    top: list[tuple[float, list[tuple[int, float]]]] = field(default_factory=list)

    def take(self, token: int, logits_V: Tensor) -> None:
        super().take(token, logits_V)
        if self.finish == "stop":
            self.ids.pop()
            return
        if self.top_logprobs:
            logp_V = logits_V.float().log_softmax(-1)
            best = logp_V.topk(min(self.top_logprobs, len(logp_V)))
            pairs = list(zip(best.indices.tolist(), best.values.tolist(), strict=True))
            self.top.append((float(logp_V[token]), pairs))
        if self.stops:
            text = self.tokenizer.decode(self.ids, skip_special_tokens=True)
            places = [at for stop in self.stops if (at := text.find(stop)) >= 0]
            if places:
                self.finish, self.text = "stop", text[: min(places)]


def _draw(policy: Policy, question: QueuedAsk, number: int) -> TextDraw:
    ask = question.ask
    return TextDraw(
        max_tokens=min(ask.max_tokens, policy.max_positions - len(question.ids)),
        ends=policy.ends,
        temperature=ask.temperature,
        top_p=ask.top_p,
        uniform=np.random.default_rng(seed_of(ask, number)).random,
        tokenizer=policy.tokenizer,
        stops=ask.stop,
        top_logprobs=ask.top_logprobs,
    )


def _reply(draw: TextDraw, tokenizer: Any, prompt: int, *, cached: bool) -> Reply:
    text = draw.text if draw.text is not None else tokenizer.decode(draw.ids, skip_special_tokens=True)
    tokens, before = [], ""
    for count, (logprob, top) in enumerate(draw.top, 1):  # the pieces together are the text
        so_far = tokenizer.decode(draw.ids[:count], skip_special_tokens=True)
        others = tuple((tokenizer.decode([one]), chance) for one, chance in top)
        tokens.append(Token(so_far[len(before) :], logprob, others))
        before = so_far
    usage = Usage(prompt, prompt if cached else 0, len(draw.ids))
    return Reply(text, draw.finish or "length", tuple(tokens), usage=usage)


class LabelTokens(Struct, frozen=True):
    """A label as its model would write it."""

    text: str
    tokens: tuple[int, ...]
    """Each of them is the whole label; none where it takes several."""
    spelled: tuple[int, ...]
    """The label as several tokens, where it takes them. Neither: this vocabulary cannot write it."""


@torch.inference_mode()
def label_replies(policy: Policy, batch: Sequence[QueuedAsk]) -> list[list[Reply]]:
    """For each question a reply of one token a sample, the labels its alternatives."""
    menus = [menu(policy.tokenizer, one.ask.labels) for one in batch]
    rows: list[list[int]] = []
    starts = []
    for question, labels in zip(batch, menus, strict=True):
        starts.append(len(rows))
        rows.append(question.ids)
        rows += [
            [*question.ids, *label.spelled[:end]] for label in labels for end in range(1, len(label.spelled))
        ]
    logp_BV = policy.next_logits(rows).float().log_softmax(-1)
    tokens = sorted({token for some in menus for one in some for token in (*one.tokens, *one.spelled)})
    chances_BN = logp_BV[:, tokens].exp().tolist()
    column = {token: number for number, token in enumerate(tokens)}
    highest = logp_BV.max(-1)
    replies = []
    for start, question, labels in zip(starts, batch, menus, strict=True):
        chances = _chances(labels, column, chances_BN[start:])
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
        shares = np.array([max(one, LEAST) for one in chances.values()]) ** (1 / ask.temperature)
        draw = np.random.default_rng(seed_of(ask, number))
        label = str(draw.choice(list(chances), p=shares / shares.sum()))
    usage = Usage(len(question.ids), 0, 1)
    if not ask.top_logprobs:
        return Reply(label, usage=usage)
    top = [(text, log(max(chance, LEAST))) for text, chance in chances.items()]
    if other[1] > exp(max(chance for _, chance in top)) and other[0].strip() not in chances:
        top.append((other[0], log(other[1])))
    top.sort(key=lambda one: -one[1])
    return Reply(label, tokens=(Token(label, dict(top)[label], tuple(top)),), usage=usage)


def _chances(
    labels: Sequence[LabelTokens], column: dict[int, int], after: Sequence[Sequence[float]]
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


@lru_cache(maxsize=64)
def menu(tokenizer: Any, labels: tuple[str, ...]) -> tuple[LabelTokens, ...]:
    """How this tokenizer writes these labels."""
    return tuple(_written(tokenizer, label) for label in labels)


def _written(tokenizer: Any, label: str) -> LabelTokens:
    unknown = tokenizer.unk_token_id
    found = {tokenizer.convert_tokens_to_ids(mark + label) for mark in MARKS}
    spellings = [tokenizer(mark + label, add_special_tokens=False)["input_ids"] for mark in ("", " ")]
    found |= {ids[0] for ids in spellings if len(ids) == 1}
    tokens = tuple(sorted(found - {None, unknown}))
    spelled = tuple(spellings[0])
    return LabelTokens(label, tokens, () if tokens or unknown in spelled else spelled)
