"""The ways a prompt and its answers go through a model: hidden states before and after each answer token.

All give the same numbers; `forward.py` says when each is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from .batch import Example, padded

Form = Callable[[Any, Sequence[Example]], tuple[Tensor, Tensor]]
"""From a model and rows to the states that predict the answers' tokens, and those after them: `A T D`."""


def concat(model: Any, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    rows = [example.prompt_ids + answer for example in examples for answer in example.answers]
    ids, mask = padded(rows, _pad(model))
    hidden = _hidden(model, ids, attention_mask=mask)
    starts = [len(example.prompt_ids) for example in examples for _ in example.answers]
    return _spans(hidden, list(range(len(rows))), starts, _lengths(examples))


def masked(model: Any, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    rows = [list(chain(example.prompt_ids, *example.answers)) for example in examples]
    ids_BL, _ = padded(rows, _pad(model))
    part_BL, position_BL = _parts(examples, ids_BL.shape[1])
    hidden = _hidden_in_parts(model, ids_BL, part_BL, position_BL)
    owners, starts, prompts = [], [], []
    for row, example in enumerate(examples):
        start = len(example.prompt_ids)
        for answer in example.answers:
            owners.append(row)
            starts.append(start)
            prompts.append(len(example.prompt_ids))
            start += len(answer)
    return _spans(hidden, owners, starts, _lengths(examples), prompts)


def _hidden_in_parts(model: Any, ids_BL: Tensor, part_BL: Tensor, position_BL: Tensor) -> Tensor:
    """Each token sees what stands before it in its own part, and part 0, the prompt."""
    device = causal_of(model).device
    part_BL = part_BL.to(device)
    seen_BLL = ((part_BL == 0)[:, None, :] | (part_BL[:, :, None] == part_BL[:, None, :])).tril()
    # Padding is a part of its own, so that every row of the mask has a visible key and no softmax is NaN.
    mask_B1LL = seen_BLL[:, None]
    if attention_of(model) == "eager":
        dtype = causal_of(model).dtype
        blind = torch.finfo(dtype).min
        mask_B1LL = torch.zeros_like(mask_B1LL, dtype=dtype).masked_fill(~mask_B1LL, blind)
    return _hidden(model, ids_BL, attention_mask=mask_B1LL, position_ids=position_BL)


def _parts(examples: Sequence[Example], length: int) -> tuple[Tensor, Tensor]:
    """Which part a slot belongs to (0 the prompt, then the answers, -1 padding), and its position there."""
    part_BL = torch.full((len(examples), length), -1, dtype=torch.long)
    position_BL = torch.zeros((len(examples), length), dtype=torch.long)
    for row, example in enumerate(examples):
        start = prompt = len(example.prompt_ids)
        part_BL[row, :prompt] = 0
        position_BL[row, :prompt] = torch.arange(prompt)
        for number, answer in enumerate(example.answers, 1):
            part_BL[row, start : start + len(answer)] = number
            position_BL[row, start : start + len(answer)] = torch.arange(prompt, prompt + len(answer))
            start += len(answer)
    return part_BL, position_BL


def packed(model: Any, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
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
    hidden = _hidden_in_parts(model, ids_BL, part_BL, position_BL)
    prompts = [len(example.prompt_ids) for example in examples for _ in example.answers]
    answers = [start + prompt for start, prompt in zip(starts, prompts, strict=True)]
    return _spans(hidden, owners, answers, _lengths(examples))


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


def cached(model: Any, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    from transformers import DynamicCache

    ids_BP, prompt_BP = padded([example.prompt_ids for example in examples], _pad(model))
    cache = DynamicCache(config=causal_of(model).config)
    prompt_BPD = _hidden(model, ids_BP, attention_mask=prompt_BP, past_key_values=cache, use_cache=True)
    owner_A = torch.tensor([row for row, example in enumerate(examples) for _ in example.answers])
    cache.batch_select_indices(owner_A.to(prompt_BPD.device))
    ids_AT, answer_AT = padded([answer for example in examples for answer in example.answers], _pad(model))
    lengths_A = prompt_BP.sum(-1)[owner_A]
    after_ATD = _hidden(
        model,
        ids_AT,
        attention_mask=torch.cat([prompt_BP[owner_A], answer_AT], dim=1),
        position_ids=lengths_A[:, None] + torch.arange(ids_AT.shape[1]),
        past_key_values=cache,
        use_cache=True,
    )
    last_A1D = prompt_BPD[owner_A.to(prompt_BPD.device), (lengths_A - 1).to(prompt_BPD.device)][:, None]
    return torch.cat([last_A1D, after_ATD[:, :-1]], dim=1), after_ATD


def _spans(
    hidden_BLD: Tensor,
    owners: list[int],
    starts: list[int],
    lengths: list[int],
    prompts: list[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """The states before and after each answer token; the first is predicted from the prompt's last token."""
    owner_A1 = torch.tensor(owners, device=hidden_BLD.device)[:, None]
    offset_T = torch.arange(max(lengths))
    # Answers are padded on the right with their own last state, which no mask lets through.
    within_AT = torch.minimum(offset_T, torch.tensor(lengths)[:, None] - 1)
    after_AT = torch.tensor(starts)[:, None] + within_AT
    before_AT = after_AT - 1
    if prompts is not None:
        before_AT[:, 0] = torch.tensor(prompts) - 1
    return tuple(hidden_BLD[owner_A1, at.to(hidden_BLD.device)] for at in (before_AT, after_AT))


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
    return max(0, causal_of(model).config.pad_token_id or 0)


def attention_of(model: Any) -> str:
    return str(causal_of(model).config._attn_implementation)


FORMS: dict[str, Form] = {"mask": masked, "cache": cached, "concat": concat, "pack": packed}
