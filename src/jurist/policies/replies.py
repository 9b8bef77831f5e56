"""What a policy replies to questions: text, or the probabilities of the labels on offer.

A label needs one pass over its question and nothing written. It may be written as several tokens (`A`, ` A`):
their probabilities are summed. A label of several tokens (`10` as `1`, `0`) is read on in the same pass, and
what it takes is taken from the label it begins like. The probabilities are not scaled up to one: where the
model was about to write something else, the reader has to see that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import exp, log, prod
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from ..engines.engine import Ask, Reply, Token
from ..records import Usage, content_id
from .policy import Policy
from .tokens import QueuedAsk
from .writer import Draw, Drawing, generate

MARKS: Final = ("", " ", "Ġ", "▁")
"""What vocabularies put before a word."""
SMALLEST: Final = 1e-12
Menu = Mapping[str, tuple[tuple[int, ...], ...]]
"""Of each label the ways to write it: each as one token, or else one way as several."""


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
def text_replies(
    policy: Policy, batch: Sequence[QueuedAsk], wanted: Callable[[], bool]
) -> Iterator[tuple[QueuedAsk, list[Reply]]]:
    """All samples of each question, as soon as they are whole, each with random numbers of its own."""

    def draw(question: QueuedAsk, number: int) -> TextDraw:
        ask = question.ask
        most = min(ask.max_tokens, policy.max_positions - len(question.ids))
        how = Drawing(most, policy.ends, ask.temperature, ask.top_p)
        uniforms = np.random.default_rng(seed_of(ask, number)).random(most)
        return TextDraw(how, iter(uniforms.tolist()), ask=ask, tokenizer=policy.tokenizer)

    draws = [[draw(one, number) for number in range(one.samples)] for one in batch]

    owner = {id(one): at for at, some in enumerate(draws) for one in some}
    for ended in generate(policy, [one.ids for one in batch], draws, wanted):
        question, some = batch[owner[id(ended)]], draws[owner[id(ended)]]
        if all(one.finish for one in some):
            yield question, [one.reply(len(question.ids), cached=at > 0) for at, one in enumerate(some)]


@torch.inference_mode()
def label_replies(policy: Policy, batch: Sequence[QueuedAsk]) -> Iterator[tuple[QueuedAsk, list[Reply]]]:
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
    for start, question, labels in zip(starts, batch, menus, strict=True):
        chances = _chances(labels, after[start:])
        token, logp = int(highest.indices[start]), float(highest.values[start])
        other = policy.tokenizer.decode([token]), exp(logp)
        yield question, [_label_reply(question, n, chances, other) for n in range(question.samples)]


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
