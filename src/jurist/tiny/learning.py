"""How the small model learns: one pass over the corpus, as plain as a training loop gets.

What makes half a minute enough: the loss is on answers only; a row counts by the square root of its length,
so that a verdict of one word is not drowned by answers of twenty; numbers, the hardest words, count four
times; and matrices learn by Muon (Jordan et al. 2024), which gets further in as many steps than Adam alone.
The trainers proper are in `models/`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, to_builtins

from .corpus import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

A_NUMBER: Final = 4.0
"""What a number counts for, next to other words."""

Watch = Callable[[int, int, float], None]
"""Told after each step: how many are done, of how many, and the loss."""


class Example(Struct, frozen=True):
    """A row in tokens."""

    ids: list[int]
    weights: list[float]
    """What each token of the answer counts for; the answer is the last so many."""

    @property
    def answer(self) -> int:
        """Where the answer starts."""
        return len(self.ids) - len(self.weights)


Step = tuple[list[Example], list[Example]]
"""A batch of short rows and one of long rows."""


def as_example(row: Row, tokenizer: PreTrainedTokenizerFast) -> Example:
    asked = [to_builtins(message) for message in row.messages]
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(prompt, add_special_tokens=False).input_ids
    answer = tokenizer(row.answer, add_special_tokens=False).input_ids
    words = [tokenizer.decode([token]) for token in answer]
    counts = [*(A_NUMBER if word.strip().isdigit() else 1.0 for word in words), 1.0]
    return Example([*ids, *answer, tokenizer.eos_token_id], [one / sum(counts) ** 0.5 for one in counts])


def plan_steps(examples: Sequence[Example], tokens_per_batch: int, seed: int) -> list[Step]:
    """A batch of short rows and one of long rows in each step: answers and judgements both. The rows of a
    batch are of like length, so that little is padding."""
    draw = random.Random(seed)
    ordered = sorted(examples, key=lambda one: (len(one.ids), draw.random()))
    batches = list(_by_length(ordered, tokens_per_batch))
    half = len(batches) // 2
    steps = list(zip(batches[:half], batches[half:], strict=False))
    draw.shuffle(steps)
    return steps


def _by_length(ordered: Sequence[Example], tokens_per_batch: int) -> Iterator[list[Example]]:
    waiting = iter(ordered)
    while first := next(waiting, None):
        room = max(1, tokens_per_batch // len(first.ids))
        yield [first, *islice(waiting, room - 1)]


def collated(batch: Sequence[Example], pad: int) -> tuple[Any, Any]:
    """Ids, padded on the right; and what each token counts for."""
    import torch

    longest = max(len(one.ids) for one in batch)
    ids = [one.ids + [pad] * (longest - len(one.ids)) for one in batch]
    weights = [[0.0] * one.answer + one.weights + [0.0] * (longest - len(one.ids)) for one in batch]
    return torch.tensor(ids), torch.tensor(weights)


def train(
    model: Any, plan: Sequence[Step], rate: float, turning: float, pad: int, watch: Watch | None = None
) -> None:
    """One pass over the steps, at these heights of the learning rates of Adam and of Muon."""
    import torch
    from torch.nn import functional as F

    matrices = [one for name, one in model.named_parameters() if one.ndim == 2 and "embed" not in name]
    turned = {id(one) for one in matrices}
    others = [one for one in model.parameters() if id(one) not in turned]
    adam = torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    momenta = [torch.zeros_like(one) for one in matrices]
    model.train()
    for number, step in enumerate(plan, 1):
        height = height_of(number / len(plan))
        for batch in step:
            ids_BT, weight_BT = collated(batch, pad)
            hidden_BTD = model.model(input_ids=ids_BT, use_cache=False).last_hidden_state
            spoken_BT = weight_BT[:, 1:] > 0
            # The head is the dearest part: over the answers only.
            logits_NV = model.lm_head(hidden_BTD[:, :-1][spoken_BT])
            loss_N = F.cross_entropy(logits_NV, ids_BT[:, 1:][spoken_BT], reduction="none")
            weight_N = weight_BT[:, 1:][spoken_BT]
            loss = (weight_N * loss_N).sum() / weight_N.sum()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.param_groups[0]["lr"] = height * rate
        adam.step()
        turn(matrices, momenta, height * turning)
        model.zero_grad()
        if watch is not None:
            watch(number, len(plan), loss.item())
    model.eval()


def height_of(way: float) -> float:
    """Of the learning rate, at this share of the way: up at once, level, and down to nothing."""
    return min(1.0, way / 0.05, (1.0 - way) / 0.7)


def turn(matrices: Sequence[Any], momenta: Sequence[Any], rate: float) -> None:
    """Muon: each matrix moves along its momentum with all singular values made alike."""
    import torch

    def shape(at: int) -> tuple[int, ...]:
        return tuple(matrices[at].shape)

    with torch.no_grad():
        for alike, places in groupby(sorted(range(len(matrices)), key=shape), key=shape):
            some = list(places)
            for at in some:
                momenta[at].mul_(0.95).add_(matrices[at].grad)
            stacked = torch.stack([matrices[at].grad + 0.95 * momenta[at] for at in some])
            scale = rate * max(1.0, alike[0] / alike[1]) ** 0.5
            for at, moved in zip(some, orthogonal(stacked), strict=True):
                matrices[at].sub_(scale * moved)


def orthogonal(stacked_NDE: Any) -> Any:
    """Five Newton-Schulz steps towards the nearest orthogonal matrix, with the constants of the paper."""
    tall = stacked_NDE.shape[1] > stacked_NDE.shape[2]
    x = stacked_NDE.mT if tall else stacked_NDE
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.775 * square + 2.0315 * square @ square) @ x
    return x.mT if tall else x
