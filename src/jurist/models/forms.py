"""The ways a prompt and its answers go through a model, and which states belong to which answer token.

All give the same numbers; `forward.py` says when each is used. Rows are padded on the right, where a causal
model cannot see it from any real token: whole rows need no mask, and the kernels for causal attention, which
do half the work, can be used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import accumulate, chain
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from .batch import Example, padded


class States(NamedTuple):
    """Hidden states, and where to find those of each answer token: `N` slots, `A` answers of `T` tokens."""

    hidden_ND: Tensor
    before_AT: Tensor
    """The slot an answer's token is predicted from; past its end, that of its last one again."""
    after_AT: Tensor


Form = Callable[[Any, Sequence[Example]], States]


def concat(model: Any, examples: Sequence[Example]) -> States:
    """One row per answer, prompt and all."""
    rows = [example.prompt_ids + answer for example in examples for answer in example.answers]
    ids_BL, _ = padded(rows, _pad(model))
    starts = [len(example.prompt_ids) for example in examples for _ in example.answers]
    return _states(_hidden(model, ids_BL), range(len(rows)), starts, None, _lengths(examples))


def masked(model: Any, examples: Sequence[Example]) -> States:
    """One row [prompt][answer 1]...[answer k]; a mask hides the answers from each other."""
    rows = [list(chain(example.prompt_ids, *example.answers)) for example in examples]
    ids_BL, _ = padded(rows, _pad(model))
    parts = [[len(example.prompt_ids), *map(len, example.answers)] for example in examples]
    part_BL, position_BL = _parts(parts, ids_BL.shape[1])
    mask_B1LL = _mask(model, part_BL)
    hidden_BLD = _hidden(model, ids_BL, attention_mask=mask_B1LL, position_ids=position_BL)
    return _states(hidden_BLD, *_places(parts), _lengths(examples))


def cached(model: Any, examples: Sequence[Example], *, apart: bool = False) -> States:
    """First the prompts alone, then what follows: a prompt's answers in one row, or each in a row `apart`.

    The last token of the prompt goes with the answers. So nothing reads the states of the others but through
    their keys and values, and the first pass ends with those of the last layer.
    """
    ids_BP, real_BP = padded([example.prompt_ids[:-1] for example in examples], _pad(model))
    rows = [
        (owner, answers)
        for owner, example in enumerate(examples)
        for answers in ([[answer] for answer in example.answers] if apart else [example.answers])
    ]
    owner_R = torch.tensor([owner for owner, _ in rows], device=causal_of(model).device)
    keys = _prompt_cache(causal_of(model), owner_R if apart else None)
    with suppress(_Filled):
        _hidden(model, ids_BP, cache=keys, use_cache=True)
    ids_RT, _ = padded([[examples[owner].prompt_ids[-1], *chain(*told)] for owner, told in rows], _pad(model))
    parts = [[1, *map(len, told)] for _, told in rows]
    part_RT, position_RT = _parts(parts, ids_RT.shape[1])
    position_RT += real_BP.sum(-1)[owner_R.cpu(), None]
    mask_R1TS = _mask(model, part_RT, before=real_BP[owner_R.cpu()])
    hidden_RTD = _hidden(
        model,
        ids_RT,
        attention_mask=mask_R1TS,
        position_ids=position_RT,
        cache=keys,
        use_cache=True,
    )
    return _states(hidden_RTD, *_places(parts), _lengths(examples))


class _Filled(Exception):
    """The last layer has its keys."""


def _prompt_cache(causal: Any, owner_R: Tensor | None) -> Any:
    """Keeps the prompts' keys and values of the first pass, and puts them before those of the second."""
    from transformers import DynamicCache

    held = DynamicCache()
    last = causal.config.num_hidden_layers - 1
    held.layers = [_prompt_layer()(owner_R, number == last) for number in range(last + 1)]
    return held


@cache
def _prompt_layer() -> Any:
    from transformers.cache_utils import DynamicLayer

    class PromptLayer(DynamicLayer):
        """Of one layer. No copy is made on the first pass, and nothing of the second is kept."""

        is_initialized: bool

        def __init__(self, owner_R: Tensor | None, ends_here: bool) -> None:
            super().__init__()
            self.owner_R, self.ends_here = owner_R, ends_here

        def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
            if not self.is_initialized:
                self.keys, self.values = keys, values
                self.is_initialized = True
                if self.ends_here:
                    raise _Filled
                return keys, values
            held = (self.keys, self.values)
            if self.owner_R is not None:
                held = tuple(one.index_select(0, self.owner_R) for one in held)
            return torch.cat([held[0], keys], -2), torch.cat([held[1], values], -2)

    return PromptLayer


def _parts(lengths: Sequence[Sequence[int]], width: int) -> tuple[Tensor, Tensor]:
    """Which part a slot belongs to (0 the prompt, then the answers, -1 padding), and its position there."""
    part_BL = torch.full((len(lengths), width), -1)
    position_BL = torch.zeros((len(lengths), width), dtype=torch.long)
    for row, (prompt, *answers) in enumerate(lengths):
        sizes = torch.tensor([prompt, *answers])
        part_BL[row, : sizes.sum()] = torch.arange(len(sizes)).repeat_interleave(sizes)
        spans = [torch.arange(prompt), *(torch.arange(prompt, prompt + size) for size in answers)]
        position_BL[row, : sizes.sum()] = torch.cat(spans)
    return part_BL, position_BL


def _mask(model: Any, part_BL: Tensor, before: Tensor | None = None) -> Tensor:
    """Each token sees what stands before it in its own part, and part 0, the prompt; and what is `before`.

    Padding is a part of its own, so that every row of the mask has a visible key and no softmax is NaN. The
    mask is what is added to the scores: from truth values, each layer would make that again.
    """
    device, dtype = causal_of(model).device, _compute_dtype(model)
    part_BL = part_BL.to(device)
    seen_BLL = ((part_BL == 0)[:, None, :] | (part_BL[:, :, None] == part_BL[:, None, :])).tril()
    if before is not None:
        seen_BLL = torch.cat([before.to(device)[:, None].expand(-1, part_BL.shape[1], -1), seen_BLL], -1)
    mask_BLL = torch.zeros(seen_BLL.shape, dtype=dtype, device=device)
    return mask_BLL.masked_fill_(~seen_BLL, torch.finfo(dtype).min)[:, None]


def _compute_dtype(model: Any) -> torch.dtype:
    kind = causal_of(model).device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else causal_of(model).dtype


def _places(parts: Sequence[Sequence[int]]) -> tuple[list[int], list[int], list[int]]:
    """Of each answer: its row, where it starts there, and how long what all of that row's answers see is."""
    owners, starts, prompts = [], [], []
    for row, (prompt, *answers) in enumerate(parts):
        start = prompt
        for length in answers:
            owners.append(row)
            starts.append(start)
            prompts.append(prompt)
            start += length
    return owners, starts, prompts


def packed(model: Any, examples: Sequence[Example]) -> States:
    """Whole rows side by side, no wider than the longest of them."""
    rows = [example.prompt_ids + answer for example in examples for answer in example.answers]
    shelves = shelved([len(row) for row in rows])
    if len(shelves) > 0.9 * len(rows):
        return concat(model, examples)
    ids_BL, _ = padded([[token for row in shelf for token in rows[row]] for shelf in shelves], _pad(model))
    part_BL, position_BL = torch.full_like(ids_BL, -1), torch.zeros_like(ids_BL)
    owners, starts = [0] * len(rows), [0] * len(rows)
    for shelf_number, shelf in enumerate(shelves):
        start = 0
        for number, row in enumerate(shelf, 1):
            end = start + len(rows[row])
            part_BL[shelf_number, start:end] = number
            position_BL[shelf_number, start:end] = torch.arange(end - start)
            owners[row], starts[row] = shelf_number, start
            start = end
    # No part is 0 here: nothing is seen by all.
    mask_B1LL = _mask(model, part_BL)
    hidden_BLD = _hidden(model, ids_BL, attention_mask=mask_B1LL, position_ids=position_BL)
    prompts = [len(example.prompt_ids) for example in examples for _ in example.answers]
    answers = [start + prompt for start, prompt in zip(starts, prompts, strict=True)]
    return _states(hidden_BLD, owners, answers, None, _lengths(examples))


def shelved(lengths: Sequence[int]) -> list[list[int]]:
    """Which rows share a slot: the longest first, each where it fits best."""
    room = max(lengths)
    shelves: list[tuple[int, list[int]]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        fits = [index for index, (left, _) in enumerate(shelves) if left >= lengths[row]]
        if fits:
            index = min(fits, key=lambda index: shelves[index][0])
            left, shelf = shelves[index]
            shelves[index] = (left - lengths[row], [*shelf, row])
        else:
            shelves.append((room - lengths[row], [row]))
    return [shelf for _, shelf in shelves]


def _states(
    hidden_BLD: Tensor,
    owners: Sequence[int],
    starts: Sequence[int],
    prompts: Sequence[int] | None,
    lengths: Sequence[int],
) -> States:
    """Where each answer token's states are; the first token is predicted from the prompt's last one."""
    row_A1 = torch.tensor(owners)[:, None] * hidden_BLD.shape[1]
    within_AT = torch.minimum(torch.arange(max(lengths)), torch.tensor(lengths)[:, None] - 1)
    after_AT = torch.tensor(starts)[:, None] + within_AT
    before_AT = after_AT - 1
    if prompts is not None:
        before_AT[:, 0] = torch.tensor(prompts) - 1
    device = hidden_BLD.device
    return States(hidden_BLD.flatten(0, 1), (row_A1 + before_AT).to(device), (row_A1 + after_AT).to(device))


def joined(parts: Sequence[States], rows: Sequence[Sequence[int]], examples: Sequence[Example]) -> States:
    """The states of several batches as those of one; `rows` says which examples each of them has."""
    if len(parts) == 1 and list(rows[0]) == sorted(rows[0]):
        return parts[0]
    first = list(accumulate((len(example.answers) for example in examples), initial=0))
    order_A = torch.tensor([answer for row in chain(*rows) for answer in range(first[row], first[row + 1])])
    widest = max(part.after_AT.shape[1] for part in parts)
    spots: list[list[Tensor]] = [[], []]
    slots = 0
    for part in parts:
        for kept, at_AT in zip(spots, part[1:], strict=True):
            more = at_AT[:, -1:].expand(-1, widest - at_AT.shape[1])
            kept.append(torch.cat([at_AT, more], 1) + slots)
        slots += len(part.hidden_ND)
    back_A = order_A.argsort().to(parts[0].after_AT.device)
    hidden_ND = torch.cat([part.hidden_ND for part in parts])
    return States(hidden_ND, *(torch.cat(kept)[back_A] for kept in spots))


def _lengths(examples: Sequence[Example]) -> list[int]:
    return [len(answer) for example in examples for answer in example.answers]


def _hidden(model: Any, ids: Tensor, **how: Any) -> Tensor:
    """Last hidden states, without the head over the whole vocabulary at every token."""
    causal = causal_of(model)
    body = getattr(causal, causal.base_model_prefix)
    device = next(body.parameters()).device
    moved = {key: value.to(device) if isinstance(value, Tensor) else value for key, value in how.items()}
    moved.setdefault("use_cache", False)
    return body(input_ids=ids.to(device), **moved).last_hidden_state


def causal_of(model: Any) -> Any:
    """The Hugging Face model itself, below a LoRA."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def _pad(model: Any) -> int:
    # Nothing looks at padding, so any id will do; at the pad token without a mask some models warn.
    return int(causal_of(model).config.pad_token_id == 0)


def attention_of(model: Any) -> str:
    return str(causal_of(model).config._attn_implementation)


FORMS: Final[dict[str, Form]] = {
    "mask": masked,
    "cache": cached,
    "repeat": partial(cached, apart=True),
    "concat": concat,
    "pack": packed,
}
