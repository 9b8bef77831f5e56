"""A prompt and its k answers through a model, with the prompt computed once.

Two forms share it, and a third is what they are checked against and fall back to. All give the same numbers:

    masked     one row [prompt][answer 1]...[answer k]; a mask hides the answers from each other, and the
               positions of each begin again after the prompt. Several short rows may share a slot
    prefilled  the prompt's keys and values are computed and repeated, then one row an answer reads them.
    Flash
               attention takes it, which knows no such masks; better for long prompts and many answers
    concat     one row per answer, prompt and all

Sliding windows are in the masks, one mask a kind of layer, so mixed-window models share as well. The language
head runs over answer tokens only.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Final, Literal, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .tokens import Example, padded

Form = Literal["masked", "prefilled", "concat"]
LOGITS_AT_ONCE: Final = 2**27
"""More of them are made in pieces, and made again on the way back: half a gigabyte in float32."""
ROWS_AT_ONCE: Final = {"cpu": 16}
"""Rows of logits worked on while the processor still has them in its cache; a GPU takes 1,024."""
WINDOWED: Final = frozenset({"full_attention", "sliding_attention"})
"""Kinds of layers whose masks we can write."""
LONG: Final = 384
"""Tokens of a prompt, or of all its answers, from which on it is prefilled."""
TOLERANCE: Final = {torch.float32: 1e-3}
"""Largest difference of states, for their size, at which a form counts as equal; in half precision 0.1."""


class States(NamedTuple):
    """Hidden states, and where those of each answer token are: `N` slots, `A` answers of `T` tokens."""

    hidden_ND: Tensor
    before_AT: Tensor
    """The slot an answer's token is predicted from; past its end, that of its last token again."""
    after_AT: Tensor
    """The slot of the token itself."""


def answer_states(
    model: Any, examples: Sequence[Example], form: Form | Literal["auto"] = "auto", *, pack: bool = False
) -> States:
    """The states of all answers of a batch, rows in order and each row's answers in order."""
    if form == "auto":
        form = form_for(model, examples, pack=pack)
    if form == "masked":
        return _masked(model, examples, pack=pack)
    return _prefilled(model, examples) if form == "prefilled" else _concat(model, examples)


def form_for(model: Any, examples: Sequence[Example], *, pack: bool = False) -> Form:
    """The rule of thumb: share wherever a prompt has several answers.

    Sharing beat `concat` at each shape that was measured, from 16 tokens of prompt on, in float32 and
    bfloat16; between the two forms lay at most a fifth.
    """
    forms = shared_forms(model)
    answers = sum(len(example.answers) for example in examples)
    if answers == len(examples):
        return "masked" if pack and "masked" in forms else "concat"
    prompt = sum(len(example.prompt_ids) for example in examples) / len(examples)
    tokens = sum(sum(map(len, example.answers)) for example in examples) / len(examples)
    by_choice: tuple[Form, ...] = ("masked", "prefilled")
    if prompt >= LONG or tokens >= LONG:  # a dense mask grows with the square of both
        by_choice = ("prefilled", "masked")
    return next((form for form in by_choice if form in forms), "concat")


def row_slots(model: Any, example: Example) -> int:
    """Token slots that a row takes in a pass: what bounds the memory."""
    form = form_for(model, [example])
    if form == "masked" or len(example.answers) < 2:
        return example.length
    answers = len(example.answers) * max(map(len, example.answers))
    prompts = 1 if form == "prefilled" else len(example.answers)
    return prompts * len(example.prompt_ids) + answers


def shared_forms(model: Any) -> tuple[Form, ...]:
    """The forms that share a prompt and are right with this model as it is now.

    Layers that compute their activations twice, or gather their weights from other processes, need all in one
    pass, which is `masked`.
    """
    causal = causal_of(model)
    kinds, _ = layer_kinds(causal.config)
    if not kinds <= WINDOWED:
        return ()
    if is_sharded(model):  # weights are whole in a pass only, so there is nothing to try beforehand
        return ("masked",)
    if causal not in _checked:
        _checked[causal] = _check(model)
    twice = model.training and any(getattr(part, "gradient_checkpointing", False) for part in model.modules())
    return tuple(form for form in _checked[causal] if form == "masked" or not twice)


_checked: WeakKeyDictionary[Any, tuple[Form, ...]] = WeakKeyDictionary()


def _check(model: Any) -> tuple[Form, ...]:
    """Compare each form once, on a small example, with one row per answer."""
    top = min(causal_of(model).get_input_embeddings().weight.shape[0], 50)
    ids = [1 + index % (top - 1) for index in range(12)]
    examples = [Example(ids[:5], [ids[5:8], ids[8:9], ids[2:6]]), Example(ids[:2], [ids[3:9]])]
    forms: tuple[Form, ...] = ("prefilled",) if is_flash(model) else ("masked", "prefilled")
    was_training = model.training
    model.eval()
    equal: list[Form] = []
    with torch.no_grad():
        want = last_states(answer_states(model, examples, "concat"), examples).float()
        for form in forms:
            try:
                got = last_states(answer_states(model, examples, form), examples).float()
            except Exception:  # whatever a model raises that cannot take such a mask or cache
                continue
            if (got - want).abs().max() <= TOLERANCE.get(_compute_dtype(model), 0.1) * want.abs().max():
                equal.append(form)
    model.train(was_training)
    return tuple(equal)


def last_states(states: States, examples: Sequence[Example]) -> Tensor:
    """Of each answer the state of its last token, which a reward head reads."""
    last_A = torch.tensor(_lengths(examples), device=states.after_AT.device) - 1
    return states.hidden_ND.index_select(0, states.after_AT.gather(1, last_A[:, None])[:, 0])


def _concat(model: Any, examples: Sequence[Example]) -> States:
    """Padded on the right, where a causal model cannot see it: kernels for causal attention can be used."""
    rows = [[*example.prompt_ids, *answer] for example in examples for answer in example.answers]
    ids_BL, _ = padded(rows, _pad(model))
    starts = [len(example.prompt_ids) for example in examples for _ in example.answers]
    firsts = [start - 1 for start in starts]
    return _states(_hidden(model, input_ids=ids_BL), range(len(rows)), starts, firsts, _lengths(examples))


def _masked(model: Any, examples: Sequence[Example], *, pack: bool) -> States:
    shelves = shelved([one.length for one in examples]) if pack else [[row] for row in range(len(examples))]
    width = max(sum(examples[row].length for row in shelf) for shelf in shelves)
    ids = np.full((len(shelves), width), _pad(model), dtype=np.int64)
    # Of each slot: its example, or -1 for padding; 0 for the prompt or the number of the answer; its
    # position.
    owner, part, position = (np.full_like(ids, value) for value in (-1, 0, 0))
    places: dict[int, tuple[int, list[int], int]] = {}
    for number, shelf in enumerate(shelves):
        at = 0
        for row in shelf:
            example, prompt = examples[row], len(examples[row].prompt_ids)
            owner[number, at : at + example.length] = row
            last, starts = at + prompt - 1, []
            for answer, tokens in enumerate((example.prompt_ids, *example.answers)):
                span = slice(at, at + len(tokens))
                ids[number, span], part[number, span] = tokens, answer
                begin = 0 if answer == 0 else prompt
                position[number, span] = np.arange(begin, begin + len(tokens))
                starts.append(at)
                at += len(tokens)
            places[row] = (number, starts[1:], last)
    position_BL = torch.from_numpy(position)
    mask = _masks(model, torch.from_numpy(owner), torch.from_numpy(part), position_BL)
    hidden_BLD = _hidden(
        model, input_ids=torch.from_numpy(ids), attention_mask=mask, position_ids=position_BL
    )
    order = [places[row] for row in range(len(examples))]
    return _states(
        hidden_BLD,
        [number for number, starts, _ in order for _ in starts],
        [start for _, starts, _ in order for start in starts],
        [last for _, starts, last in order for _ in starts],
        _lengths(examples),
    )


def shelved(lengths: Sequence[int]) -> list[list[int]]:
    """Which rows share a slot as wide as the longest: the longest first, each where it fits best."""
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


def _prefilled(model: Any, examples: Sequence[Example]) -> States:
    """The last token of the prompt goes with the answers: of the others only keys and values are needed, so
    the first pass ends with those of the last layer."""
    flash, device = is_flash(model), causal_of(model).device
    ids_BP, real_BP = padded([one.prompt_ids[:-1] for one in examples], _pad(model), left=flash)
    rows = [[one.prompt_ids[-1], *answer] for one in examples for answer in one.answers]
    ids_AT, real_AT = padded(rows, _pad(model))
    # Looked up together, so that the gradient of the embedding, a vocabulary wide, is made once.
    embeds_BPD, embeds_ATD = _embedded(model, ids_BP, ids_AT)
    owner_A = torch.tensor([row for row, example in enumerate(examples) for _ in example.answers])
    before_B = real_BP.sum(-1)
    how: dict[str, Any] = {"cache": _prompt_cache(causal_of(model), owner_A.to(device)), "use_cache": True}
    real: dict[str, Any] = {}
    if flash:  # it takes no mask but which tokens are real, and prompts that end where answers begin
        real = {"attention_mask": real_BP, "position_ids": (real_BP.cumsum(-1) - 1).clamp(min=0)}
    if ids_BP.shape[1]:
        with suppress(_LastLayer):
            _hidden(model, inputs_embeds=embeds_BPD, **real, **how)
    position_AT = before_B[owner_A][:, None] + torch.arange(ids_AT.shape[1])
    real_AS = torch.cat([real_BP[owner_A], real_AT], 1)
    if flash:
        mask: Any = real_AS
    else:
        keys_AS = torch.cat([torch.arange(ids_BP.shape[1]).expand(len(rows), -1), position_AT], 1)
        owner_AS = torch.where(real_AS, 0, -1)
        mask = _masks(model, owner_AS, torch.zeros_like(owner_AS), keys_AS, queries=ids_AT.shape[1])
    how |= {"attention_mask": mask, "position_ids": position_AT}
    hidden_ATD = _hidden(model, inputs_embeds=embeds_ATD, **how)
    ones, zeros = [1] * len(rows), [0] * len(rows)
    return _states(hidden_ATD, range(len(rows)), ones, zeros, _lengths(examples))


class _LastLayer(Exception):
    """The last layer has its keys; what else it would compute nobody reads."""


def _prompt_cache(causal: Any, owner_A: Tensor) -> Any:
    """Keeps the prompts' keys and values of the first pass, and puts them before those of the second."""
    from transformers import DynamicCache

    kept = DynamicCache()
    last = causal.config.get_text_config().num_hidden_layers - 1
    kept.layers = [_prompt_layer()(owner_A, number == last) for number in range(last + 1)]
    return kept


@cache
def _prompt_layer() -> Any:
    from transformers.cache_utils import DynamicLayer

    class PromptLayer(DynamicLayer):
        """Of one layer, windowed or not. No copy is made in the first pass, nothing of the second is kept."""

        is_initialized: bool

        def __init__(self, owner_A: Tensor, is_last: bool) -> None:
            super().__init__()
            self.owner_A, self.is_last = owner_A, is_last

        def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
            if not self.is_initialized:
                self.keys, self.values = keys, values
                self.is_initialized = True
                if self.is_last:
                    raise _LastLayer
                return keys, values
            before = (one.index_select(0, self.owner_A) for one in (self.keys, self.values))
            keys, values = (torch.cat(pair, -2) for pair in zip(before, (keys, values), strict=True))
            return keys, values

    return PromptLayer


def _masks(
    model: Any, owner_BK: Tensor, part_BK: Tensor, position_BK: Tensor, queries: int | None = None
) -> Any:
    """What each of the last `queries` slots sees: before it, of its own example, the prompt and its own part.

    A tensor, or one for each kind of layer. Padding sees padding, so that every row has a visible key and no
    softmax is NaN. It is added to the scores: from truth values, each layer would make that again.
    """
    device, dtype = causal_of(model).device, _compute_dtype(model)
    owner_BK, part_BK, position_BK = (one.to(device) for one in (owner_BK, part_BK, position_BK))
    width = owner_BK.shape[1]
    first = width - (queries or width)
    seen_BQK = owner_BK[:, first:, None] == owner_BK[:, None, :]
    seen_BQK &= (part_BK == 0)[:, None, :] | (part_BK[:, first:, None] == part_BK[:, None, :])
    seen_BQK = seen_BQK.tril(first)
    kinds, window = layer_kinds(causal_of(model).config)

    def additive(seen_BQK: Tensor) -> Tensor:
        mask_BQK = torch.zeros(seen_BQK.shape, dtype=dtype, device=device)
        return mask_BQK.masked_fill_(~seen_BQK, torch.finfo(dtype).min)[:, None]

    masks = {"full_attention": additive(seen_BQK)}
    if "sliding_attention" in kinds:
        masks["sliding_attention"] = masks["full_attention"]
        if window <= int(position_BK.max()):  # a window longer than the rows hides nothing
            apart_BQK = position_BK[:, first:, None] - position_BK[:, None, :]
            masks["sliding_attention"] = additive(seen_BQK & (apart_BQK < window))
    return masks if len(kinds) > 1 else masks[next(iter(kinds))]


def layer_kinds(config: Any) -> tuple[set[str], int]:
    """The kinds of a model's attention layers, and the window of those that have one."""
    config = config.get_text_config()
    window = getattr(config, "sliding_window", None) or 0
    kinds = set(getattr(config, "layer_types", None) or ())
    if not kinds:
        kinds = {"sliding_attention" if window else "full_attention"}
    return kinds, int(window)


def _states(
    hidden_BLD: Tensor,
    rows: Sequence[int],
    starts: Sequence[int],
    firsts: Sequence[int],
    lengths: Sequence[int],
) -> States:
    """Where each answer token's states are, from its answer's row, its start there, and what that follows."""
    row_A1 = torch.tensor(rows)[:, None] * hidden_BLD.shape[1]
    within_AT = torch.minimum(torch.arange(max(lengths)), torch.tensor(lengths)[:, None] - 1)
    after_AT = torch.tensor(starts)[:, None] + within_AT
    before_AT = after_AT - 1
    before_AT[within_AT == 0] = torch.tensor(firsts).repeat_interleave((within_AT == 0).sum(-1))
    device = hidden_BLD.device
    return States(hidden_BLD.flatten(0, 1), (row_A1 + before_AT).to(device), (row_A1 + after_AT).to(device))


def _lengths(examples: Sequence[Example]) -> list[int]:
    return [len(answer) for example in examples for answer in example.answers]


def _hidden(model: Any, **how: Any) -> Tensor:
    """Last hidden states, without the head over the whole vocabulary at every token."""
    causal = causal_of(model)
    body = getattr(causal, causal.base_model_prefix)
    device = next(body.parameters()).device

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: moved(one) for key, one in value.items()}
        return value.to(device) if isinstance(value, Tensor) else value

    return body(**{"use_cache": False} | moved(how)).last_hidden_state


def _embedded(model: Any, *ids: Tensor) -> list[Tensor]:
    embedding = causal_of(model).get_input_embeddings()
    flat_ND = embedding(torch.cat([one.flatten() for one in ids]).to(embedding.weight.device))
    parts = flat_ND.split([one.numel() for one in ids])
    return [part.view(*one.shape, -1) for part, one in zip(parts, ids, strict=True)]


def token_logprobs(
    model: Any, states_ND: Tensor, ids_N: Tensor, temperature: float = 1.0, *, entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """The log-prob of a token after each state, and the entropy there (without gradient) where it is wanted.

    Of long lists the logits are made piece by piece, and made again on the way back.
    """
    causal = causal_of(model)
    head = causal.get_output_embeddings()

    def some(states_ND: Tensor, ids_N: Tensor) -> tuple[Tensor, Tensor]:
        logits_NV = scale_logits(causal, head(states_ND))
        logits_NV = logits_NV if temperature == 1 else logits_NV / temperature
        return LogProbs.apply(logits_NV, ids_N), _entropy(logits_NV) if entropy else ids_N

    rows = max(1, LOGITS_AT_ONCE // head.weight.shape[0])
    if len(ids_N) <= rows:
        found = [some(states_ND, ids_N)]
    else:
        pieces = zip(states_ND.split(rows), ids_N.split(rows), strict=True)
        found = [checkpoint(some, *piece, use_reentrant=False) for piece in pieces]
    logprobs_N, entropy_N = (torch.cat(parts) for parts in zip(*found, strict=True))
    return logprobs_N, entropy_N if entropy else None


@torch.no_grad()
def _entropy(logits_NV: Tensor) -> Tensor:
    logp_NV = logits_NV.float().log_softmax(-1)
    return -(logp_NV.exp() * logp_NV).sum(-1)


class LogProbs(torch.autograd.Function):
    """log softmax, read at one token a row; keeps nothing but the logits for the way back."""

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, ids_N: Tensor) -> Tensor:
        ctx.rows = ROWS_AT_ONCE.get(logits_NV.device.type, 1024)
        norm_N = torch.cat([part_MV.float().logsumexp(-1) for part_MV in logits_NV.split(ctx.rows)])
        ctx.save_for_backward(logits_NV, ids_N, norm_N)
        return logits_NV.gather(-1, ids_N[:, None])[:, 0].float() - norm_N

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_N: Tensor) -> tuple[Tensor, None]:
        logits_NV, ids_N, norm_N = ctx.saved_tensors
        back_NV = torch.empty_like(logits_NV)
        parts = (one.split(ctx.rows) for one in (back_NV, logits_NV, ids_N, norm_N, grad_N))
        for back_MV, logits_MV, ids_M, norm_M, grad_M in zip(*parts, strict=True):
            p_MV = (logits_MV.float() - norm_M[:, None]).exp_().mul_(-grad_M[:, None])
            back_MV.copy_(p_MV.scatter_add_(-1, ids_M[:, None], grad_M[:, None]))
        return back_NV, None


def scale_logits(causal: Any, logits_NV: Tensor) -> Tensor:
    """What some models do between the head and the softmax."""
    config = causal.config
    if scale := getattr(config, "logits_scaling", None):  # Granite
        logits_NV = logits_NV / scale
    if scale := getattr(config, "logit_scale", None):  # Cohere
        logits_NV = logits_NV * scale
    if cap := getattr(config, "final_logit_softcapping", None):  # Gemma
        logits_NV = torch.tanh(logits_NV / cap) * cap
    return logits_NV


def causal_of(model: Any) -> Any:
    """The Hugging Face model itself, below an adapter."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def is_flash(model: Any) -> bool:
    return str(causal_of(model).config._attn_implementation).startswith("flash")


def is_sharded(model: Any) -> bool:
    """Whether layers gather their weights, all processes at once: each has to make as many passes."""
    return any(type(part).__name__.startswith(("FSDP", "FullySharded")) for part in model.modules())


def _compute_dtype(model: Any) -> torch.dtype:
    device = causal_of(model).device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else causal_of(model).dtype


def _pad(model: Any) -> int:
    # Nothing looks at padding, so any id will do; at the pad token without a mask some models warn.
    return int(causal_of(model).config.pad_token_id == 0)
