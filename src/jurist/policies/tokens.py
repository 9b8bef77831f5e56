"""From conversations to token ids.

A prompt is tokenised once, as it is when a policy is asked to answer it, and each answer is what follows, up
to and with the token that ends the turn. So training sees exactly the ids that sampling produces.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from msgspec import Struct

from ..engines.checkpoints import end_of_turn, render_chat
from ..engines.engine import Ask, Reply
from ..errors import DataError
from ..records import Completion, Prompt

Ids = Sequence[int]
"""Token ids: `array('i')` where many are kept, four bytes each."""
BATCH: Final = 512
"""Rows tokenised in one call: the tokenizer uses all cores then."""


class Example(Struct, frozen=True):
    """A prompt and its answers as token ids."""

    prompt_ids: Ids
    answers: Sequence[Ids]
    p: float = 1.0
    """For a pair: the probability that the first answer, the chosen one, is better."""
    margin: float = 0.0
    weight: float = 1.0
    ref: tuple[float, ...] = ()
    """The log-prob of each answer under the reference policy, once it has been computed."""
    id: str = ""

    @property
    def length(self) -> int:
        """Its tokens, the prompt counted once."""
        return len(self.prompt_ids) + sum(map(len, self.answers))

    @property
    def longest(self) -> int:
        """Tokens of the prompt with its longest answer."""
        return len(self.prompt_ids) + max(map(len, self.answers), default=0)


@dataclass(eq=False)
class QueuedAsk:
    """An ask, and how many samples of its answer are wanted; as tokens, once it has been tokenised."""

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


TextRow = tuple[Prompt, Sequence[Completion], Mapping[str, Any]]
"""A prompt, its completions, and fields of the example: p, margin, weight, id."""


def tokenise_many(rows: Iterable[TextRow], tokenizer: Any, *, shown: bool = False) -> Iterator[Example]:
    """The prompts' ids, and those of each completion with the token that ends it, in batches.

    A completion that was cut off gets no such token, or a policy would learn to stop there. `shown`: as the
    template shows it, to its end; that is where any program reads the reward.
    """
    end, waiting = end_of_turn(tokenizer), iter(rows)

    def ids_of(texts: Any) -> Any:  # the template has written the special tokens already
        return tokenizer(texts, add_special_tokens=False)["input_ids"]

    while batch := list(islice(waiting, BATCH)):
        texts: list[str] = []
        for prompt, completions, _ in batch:
            head = _render(tokenizer, prompt)
            texts.append(head)
            for one in completions:
                cut_off = one.finish == "length"
                texts.append(head + one.text if cut_off else _render(tokenizer, prompt, one.text))
        rendered = zip(texts, ids_of(texts), strict=True)
        for _, completions, labels in batch:
            head, prompt_ids = next(rendered)
            answers = []
            for one in completions:
                text, ids = next(rendered)
                begins = text.startswith(head if shown else head + one.text)
                follows = begins and ids[: len(prompt_ids)] == prompt_ids
                # Not so where a template renders the prompt otherwise once an answer follows.
                answer = ids[len(prompt_ids) :] if follows else ids_of(one.text)
                as_it_is = one.finish == "length" or (shown and follows)
                answers.append(array("i", answer if as_it_is else _closed(answer, end)))
            yield Example(array("i", prompt_ids), answers, **labels)


def _render(tokenizer: Any, prompt: Prompt, answer: str | None = None) -> str:
    try:
        return render_chat(tokenizer, prompt.messages, answer)
    except Exception as error:  # a template raises whatever its author chose
        raise DataError(
            f"the chat template refuses prompt {prompt.id} ({error}). See it with:"
            f" grep {prompt.id} prompts.jsonl"
        ) from None


def _closed(answer: list[int], end: int) -> list[int]:
    """Up to and with the end of the turn: what templates write after it, no policy ever samples."""
    if end in answer:
        return answer[: len(answer) - answer[::-1].index(end)]
    return [*answer, end]


def cut(rows: Iterable[int], sizes: Sequence[int] | Mapping[int, int], tokens: int) -> list[list[int]]:
    """Neighbours together as long as rows times the longest fit into `tokens`; a longer row is alone."""
    batches: list[list[int]] = []
    longest = 0
    for row in rows:
        longest = max(longest, sizes[row])
        if not batches or longest * (len(batches[-1]) + 1) > tokens:
            batches.append([])
            longest = sizes[row]
        batches[-1].append(row)
    return batches


def by_length(sizes: Sequence[int], tokens: int) -> list[list[int]]:
    """All rows once, those of like length together, for passes whose order does not matter."""
    return cut(sorted(range(len(sizes)), key=sizes.__getitem__), sizes, tokens)


def padded(rows: Sequence[Ids], pad: int = 0, *, left: bool = False) -> tuple[Any, Any]:
    """Ids as a block, padded on the right or the left, and a mask that is True on what is real."""
    import numpy as np
    import torch

    width = max(map(len, rows), default=0)
    ids = np.full((len(rows), width), pad, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=bool)
    for number, row in enumerate(rows):
        at = slice(width - len(row), width) if left else slice(0, len(row))
        ids[number, at] = row
        mask[number, at] = True
    return torch.from_numpy(ids), torch.from_numpy(mask)
