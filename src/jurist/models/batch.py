"""From conversations to token ids, and from many rows to steps and parts that waste few slots on padding.

A row is a prompt with its answers. The prompt is tokenised once, as it is when the policy is asked to write,
and every answer is what follows it, up to and with the token that ends the turn; one that was cut off has no
such token. So training sees exactly the ids that generation produces.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from ..engines.checkpoints import end_of_turn, render_chat
from ..errors import DataError
from ..records import Completion, Prompt

MEGA = 16
"""Batches that are sorted by length together: enough to fill them evenly, few enough to stay random."""

Slots = Sequence[int] | Mapping[int, int]
"""Of each row, how many token slots it takes in a pass: see `forward.counter`."""


class Example(Struct, frozen=True):
    """A prompt and its answers as token ids."""

    prompt_ids: list[int]
    answers: list[list[int]]
    p: float = 1.0
    """For a pair: how probable it is that the first answer, the chosen one, is better."""
    margin: float = 0.0
    weight: float = 1.0
    anchor: tuple[float, ...] = ()
    """For each answer the anchor's log-prob, once it has been computed."""
    exact: bool = True
    """False where the template renders the prompt otherwise once an answer follows; the ids are then those of
    the prompt and of the answer, each rendered alone."""
    id: str = ""

    @property
    def length(self) -> int:
        """Its tokens, the prompt counted once."""
        return len(self.prompt_ids) + sum(map(len, self.answers))

    @property
    def longest(self) -> int:
        """Tokens of the prompt with its longest answer."""
        return len(self.prompt_ids) + max(map(len, self.answers), default=0)


def tokenise(
    prompt: Prompt,
    completions: Sequence[Completion],
    tokenizer: Any,
    *,
    closed: bool = False,
    **labels: Any,
) -> Example:
    """The prompt's ids, and those of each completion with the token that ends it.

    One that was cut off gets none, or a policy would learn to stop there; unless it is to be `closed`, for a
    reward model, whose head reads at that token.
    """
    head = _render(tokenizer, prompt)
    prompt_ids = _ids(tokenizer, head)
    end = end_of_turn(tokenizer)
    answers, exact = [], True
    for one in completions:
        cut_off = one.finish == "length" and not closed
        whole = head + one.text if cut_off else _render(tokenizer, prompt, one.text)
        ids = _ids(tokenizer, whole)
        if ids[: len(prompt_ids)] == prompt_ids and whole.startswith(head + one.text):
            answer = ids[len(prompt_ids) :]
        else:
            exact = False
            answer = _ids(tokenizer, one.text)
        answers.append(answer if cut_off else _closed(answer, end))
    return Example(prompt_ids, answers, exact=exact, **labels)


def _render(tokenizer: Any, prompt: Prompt, answer: str | None = None) -> str:
    try:
        return render_chat(tokenizer, prompt.messages, answer)
    except Exception as error:  # a template raises whatever its author chose
        raise DataError(
            f"the chat template refuses prompt {prompt.id} ({error}). Look at the prompt with:"
            f" grep {prompt.id} prompts.jsonl"
        ) from None


def _ids(tokenizer: Any, text: str) -> list[int]:
    # The template has written the special tokens already.
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _closed(answer: list[int], end: int) -> list[int]:
    """Up to and with the end of the turn: what templates write after it, no policy ever samples."""
    if end in answer:
        return answer[: len(answer) - answer[::-1].index(end)]
    return [*answer, end]


def steps(examples: Sequence[Example], rows: int, seed: int) -> list[list[int]]:
    """Indices of batches of so many rows each: the steps of one epoch.

    Shuffle, cut into mega-batches, sort each by length, cut that into batches, shuffle the batches.
    """
    draw = random.Random(seed)
    lengths = [example.length for example in examples]
    batches = [
        mega[start : start + rows]
        for mega in _megas(lengths, rows * MEGA, draw)
        for start in range(0, len(mega), rows)
    ]
    draw.shuffle(batches)
    return batches


def _megas(lengths: list[int], size: int, draw: random.Random) -> Iterator[list[int]]:
    order = list(range(len(lengths)))
    draw.shuffle(order)
    for start in range(0, len(order), size):
        yield sorted(order[start : start + size], key=lengths.__getitem__)


def cut(rows: Iterable[int], slots: Slots, tokens: int) -> list[list[int]]:
    """Neighbours together, as long as rows times the longest fit into `tokens`; a longer row stands alone."""
    batches: list[list[int]] = []
    longest = 0
    for row in rows:
        longest = max(longest, slots[row])
        if not batches or longest * (len(batches[-1]) + 1) > tokens:
            batches.append([])
            longest = slots[row]
        batches[-1].append(row)
    return batches


def by_length(slots: Sequence[int], tokens: int) -> list[list[int]]:
    """All rows once, those of like length together, for passes whose order does not matter."""
    return cut(sorted(range(len(slots)), key=slots.__getitem__), slots, tokens)


def padded(rows: Sequence[Sequence[int]], pad: int = 0) -> tuple[Any, Any]:
    """Ids padded on the right, and a mask that is True on what is real."""
    import torch

    longest = max((len(row) for row in rows), default=0)
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.bool)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[index, : len(row)] = True
    return ids, mask
