"""One step's experience: completions drawn from the policy, and what policy and anchor thought of them.

The order matters for the clock: completions are drawn, each one's reward call leaves as it ends, and the
log-probs of policy and anchor are computed while the judge is still thinking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

import torch
from msgspec import Struct
from msgspec.structs import replace
from torch import Tensor

from ..records import Completion, Prompt
from .actor import Thought
from .batch import Example, by_length
from .drawing import Drawn, draw
from .forward import counter
from .policy import Policy
from .rewards import Rewards


class Written(Struct, frozen=True):
    """One completion, as text and as tokens."""

    group: int
    """Which prompt of the step it answers."""
    example: Example
    """That prompt with this answer alone."""
    completion: Completion

    @property
    def tokens(self) -> int:
        return len(self.example.answers[0])


def write(
    policy: Policy, prompts: Sequence[Prompt], heads: Sequence[Example], rewards: Rewards, **sampling: Any
) -> list[Written]:
    """Draw completions; the reward of each is asked for as soon as it is whole.

    They come in the order in which they ended, which is that of `rewards.collect()`.
    """
    ended: list[Written] = []

    def on_end(drawn: Drawn) -> None:
        text = policy.tokenizer.decode(drawn.ids, skip_special_tokens=True).strip()
        prompt = prompts[drawn.prompt]
        completion = Completion.of(prompt.id, text, finish=drawn.finish, tokens=len(drawn.ids))
        ended.append(Written(drawn.prompt, replace(heads[drawn.prompt], answers=[drawn.ids]), completion))
        rewards.start(prompt, completion)

    draw(policy.model, [one.prompt_ids for one in heads], on_end=on_end, **sampling)
    return ended


@torch.no_grad()
def think(actor: Any, written: Sequence[Written], tokens_per_batch: int, temperature: float) -> Thought:
    """What this model thinks of every token, batch by batch, padded to the longest, on the CPU."""
    was_training = actor.training
    actor.eval()
    width = max((one.tokens for one in written), default=0)
    whole = Thought(*(torch.zeros(len(written), width) for _ in Thought._fields))
    try:
        for rows in batches(written, range(len(written)), tokens_per_batch, actor):
            part = actor(grouped(written, rows), temperature)
            for all_BT, some_BT in zip(whole, part, strict=True):
                all_BT[rows, : some_BT.shape[1]] = some_BT.float().cpu()
    finally:
        actor.train(was_training)
    return whole


def batches(
    written: Sequence[Written], rows: Iterable[int], tokens_per_batch: int, model: Any
) -> list[list[int]]:
    """These rows in batches of like length, the completions of one prompt together so that they share it."""
    count = counter(model)
    ordered = sorted(rows, key=lambda row: written[row].group)
    groups = [
        part
        for _, rows in groupby(ordered, key=lambda row: written[row].group)
        for part in _parts(written, list(rows), tokens_per_batch, count)
    ]
    slots = [count(*grouped(written, group)) for group in groups]
    return [[row for place in batch for row in groups[place]] for batch in by_length(slots, tokens_per_batch)]


def _parts(
    written: Sequence[Written], rows: list[int], tokens_per_batch: int, count: Callable[[Example], int]
) -> list[list[int]]:
    """A group too long for one batch, in several: its prompt is then read as often."""
    parts: list[list[int]] = []
    for row in rows:
        if parts and count(*grouped(written, [*parts[-1], row])) <= tokens_per_batch:
            parts[-1].append(row)
        else:
            parts.append([row])
    return parts


def grouped(written: Sequence[Written], rows: Sequence[int]) -> list[Example]:
    """Neighbours that answer the same prompt as one row with several answers."""
    return [
        replace(written[part[0]].example, answers=[written[row].example.answers[0] for row in part])
        for part in (list(rows) for _, rows in groupby(rows, key=lambda row: written[row].group))
    ]


def answer_mask(written: Sequence[Written], width: int) -> Tensor:
    """1 on answer tokens, 0 on padding."""
    tokens_B = torch.tensor([one.tokens for one in written], dtype=torch.long)
    return (torch.arange(width)[None] < tokens_B[:, None]).float()
