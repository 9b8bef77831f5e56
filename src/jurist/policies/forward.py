"""A prompt and its k answers through a model, with the prompt computed once.

Three forms share it, and a fourth is what they are checked against and fall back to. All give the same
numbers:

    masked     one row [prompt][answer 1]...[answer k]; a mask hides the answers from each other, and the
               positions of each begin again after the prompt
    packed     the same rows, but nothing is computed for padding: all rows are one behind another, and only
               attention takes them apart. On CPUs, which have no time to waste
    prefilled  the prompt's keys and values are computed and repeated, then one row an answer reads them.
               Flash attention takes it, which knows no such masks; better for long prompts and many answers
    concat     one row per answer, prompt and all

Sliding windows are in the masks, one mask a kind of layer, so mixed-window models share as well. The language
head runs over answer tokens only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext, suppress
from itertools import accumulate, chain
from typing import Any, Final, Literal, NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from .tokens import Example, padded

PromptForm = Literal["masked", "packed", "prefilled", "concat"]
LOGITS_AT_ONCE: Final = 2**27
"""More of them are made in pieces, and made again on the way back: half a gigabyte in float32."""
ROWS_AT_ONCE: Final = {"cpu": 16}
"""Rows of logits worked on while the processor still has them in its cache; a GPU takes 1,024."""
ROWS: Final = ("masked", "packed")
WINDOWED: Final = frozenset({"full_attention", "sliding_attention"})
"""Kinds of layers whose masks we can write."""
LONG: Final = 384
"""Tokens of a prompt, or of all its answers, from which on it is prefilled."""
PACKED: Final = 2**19
"""Padding, times the width of the model squared, from which on it costs more than taking rows apart."""
PADDING: Final = -1
"""The part of a token that belongs to none."""


class States(NamedTuple):
    """Hidden states of all slots, and which of them the answers are read from, in the answers' order."""

    hidden_ND: Tensor
    before_M: Tensor
    """For each token of each answer the slot it is predicted from."""
    last_A: Tensor
    """The slot of each answer's last token."""

    @property
    def before_MD(self) -> Tensor:
        return self.hidden_ND.index_select(0, self.before_M)

    @property
    def last_AD(self) -> Tensor:
        """What a reward head reads."""
        return self.hidden_ND.index_select(0, self.last_A)


def answer_states(
    model: Any, examples: Sequence[Example], form: PromptForm | Literal["auto"] = "auto"
) -> States:
    """The states of all answers of a batch, rows in order and each row's answers in order."""
    if form == "auto":
        form = form_for(model, examples)
    forms = {"masked": _masked, "packed": _packed, "prefilled": _prefilled, "concat": _concat}
    return forms[form](model, examples)


def form_for(model: Any, examples: Sequence[Example]) -> PromptForm:
    """The rule of thumb: share wherever a prompt has several answers, and pack where that spares enough.

    Sharing beat `concat` at each shape that was measured, from 16 tokens of prompt on, in float32 and
    bfloat16; between the two forms lay at most a fifth.
    """
    width = causal_of(model).get_input_embeddings().weight.shape[1]
    lengths = [example.length for example in examples]
    padding = max(lengths) * len(lengths) - sum(lengths)
    rows: PromptForm = "masked"
    if padding * width**2 > PACKED and max(lengths) < 2 * LONG and "packed" in shared_forms(model):
        rows = "packed"
    if sum(len(example.answers) for example in examples) == len(examples):
        return "concat" if rows == "masked" else rows
    prompts = sum(len(example.prompt_ids) for example in examples)
    answers = sum(example.length for example in examples) - prompts
    # A dense mask grows with the square of both.
    long = max(prompts, answers) >= LONG * len(examples)
    by_choice: tuple[PromptForm, ...] = ("prefilled", rows) if long else (rows, "prefilled")
    return next((form for form in by_choice if form in shared_forms(model)), "concat")


def row_slots(model: Any, example: Example) -> int:
    """Token slots that a row takes in a pass: what bounds the memory."""
    form = form_for(model, [example])
    if form in ROWS or len(example.answers) < 2:
        return example.length
    answers = len(example.answers) * max(map(len, example.answers))
    prompts = 1 if form == "prefilled" else len(example.answers)
    return prompts * len(example.prompt_ids) + answers


def shared_forms(model: Any) -> tuple[PromptForm, ...]:
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
    return tuple(form for form in _checked[causal] if form in ROWS or not twice)


_checked: WeakKeyDictionary[Any, tuple[PromptForm, ...]] = WeakKeyDictionary()


def _check(model: Any) -> tuple[PromptForm, ...]:
    """Compare each form once, on a small example, with one row per answer."""
    causal = causal_of(model)
    device = causal.device.type
    top = min(causal.get_input_embeddings().weight.shape[0], 50)
    ids = [1 + index % (top - 1) for index in range(12)]
    examples = [Example(ids[:5], [ids[5:8], ids[8:9], ids[2:6]]), Example(ids[:2], [ids[3:9]])]
    forms: tuple[PromptForm, ...] = ("masked", "prefilled")
    if is_flash(model):
        forms = ("prefilled",)
    elif device == "cpu" and causal.config._attn_implementation == "sdpa":
        forms = ("packed", *forms)
    was_training = model.training
    model.eval()
    equal: list[PromptForm] = []
    # Flash attention has no float32: a model that is kept in that passes it in bfloat16 only.
    plain = not is_flash(model) or torch.is_autocast_enabled(device)
    with torch.no_grad(), nullcontext() if plain else torch.autocast(device, torch.bfloat16):
        within = 1e-3 if _compute_dtype(model) == torch.float32 else 0.1
        want = answer_states(model, examples, "concat").last_AD.float()
        for form in forms:
            with suppress(Exception):  # whatever a model raises that cannot take such a mask or cache
                got = answer_states(model, examples, form).last_AD.float()
                if (got - want).abs().max() <= within * want.abs().max():
                    equal.append(form)
    model.train(was_training)
    return tuple(equal)


def _concat(model: Any, examples: Sequence[Example]) -> States:
    """Padded on the right, where a causal model cannot see it: kernels for causal attention can be used."""
    rows = [[*one.prompt_ids, *answer] for one in examples for answer in one.answers]
    hidden_BLD = _hidden(model, input_ids=padded(rows, _pad(model))[0])
    starts = [len(one.prompt_ids) for one in examples for _ in one.answers]
    spans = ((start - 1, start, len(row) - start) for start, row in zip(starts, rows, strict=True))
    return _states(hidden_BLD, enumerate(spans))


def _masked(model: Any, examples: Sequence[Example], packed: bool = False) -> States:
    rows, parts, positions, spans = [], [], [], []
    for row, one in enumerate(examples):
        rows.append([*chain(one.prompt_ids, *one.answers)])
        prompt = at = len(one.prompt_ids)
        parts.append([0] * prompt)
        positions.append([*range(prompt)])
        for number, answer in enumerate(one.answers, 1):
            parts[-1] += [number] * len(answer)
            positions[-1] += range(prompt, prompt + len(answer))
            spans.append((row, (prompt - 1, at, len(answer))))
            at += len(answer)
    (ids_BL, real_BL), (position_BL, _) = padded(rows, _pad(model)), padded(positions)
    masks = _masks(model, padded(parts, PADDING)[0], position_BL)
    how = {"input_ids": ids_BL, "attention_mask": masks, "position_ids": position_BL}
    if packed:
        how |= {name: how[name][real_BL][None] for name in ("input_ids", "position_ids")}
        at_N = real_BL.flatten().nonzero()[:, 0]
        slot_BL = (real_BL.flatten().cumsum(0) - 1).view(real_BL.shape)
        for mask in masks.values() if isinstance(masks, dict) else [masks]:
            mask.packed = slot_BL, at_N
        begins = [*accumulate(map(len, rows), initial=0)]
        spans = [(0, (begins[row] + ahead, begins[row] + at, n)) for row, (ahead, at, n) in spans]
    return _states(_hidden(model, **how), spans)


def _packed(model: Any, examples: Sequence[Example]) -> States:
    return _masked(model, examples, packed=True)


def sdpa_apart(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **how: Any
) -> tuple[Tensor, None]:
    """As `sdpa`, of which it takes the name; packed rows are taken apart for it, and padded."""
    packed = getattr(attention_mask, "packed", None)
    if packed is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **how)
    slot_BL, at_N = packed

    def apart(x_1HND: Tensor) -> Tensor:
        x_NHD = x_1HND[0].transpose(0, 1)
        return F.embedding(slot_BL, x_NHD.flatten(1)).unflatten(2, x_NHD.shape[1:]).transpose(1, 2)

    parts = (apart(x_1HND) for x_1HND in (query, key, value))
    out_BLHD, _ = sdpa_attention_forward(module, *parts, attention_mask, **how)
    return F.embedding(at_N, out_BLHD.flatten(2).flatten(0, 1)).unflatten(1, out_BLHD.shape[2:])[None], None


AttentionInterface.register("sdpa", sdpa_apart)


def _prefilled(model: Any, examples: Sequence[Example]) -> States:
    """The last token of the prompt goes with the answers: of the others only keys and values are needed, so
    the first pass ends with those of the last layer."""
    causal, flash = causal_of(model), is_flash(model)
    ids_BP, real_BP = padded([one.prompt_ids[:-1] for one in examples], _pad(model), left=flash)
    rows = [[one.prompt_ids[-1], *answer] for one in examples for answer in one.answers]
    ids_AT, real_AT = padded(rows, _pad(model))
    # Looked up together, so that the gradient of the embedding, a vocabulary wide, is made once.
    ids_N = torch.cat([ids_BP.flatten(), ids_AT.flatten()]).to(causal.device)
    parts = causal.get_input_embeddings()(ids_N).split([ids_BP.numel(), ids_AT.numel()])
    embeds_BPD, embeds_ATD = (
        part_ND.view(*ids.shape, part_ND.shape[-1])
        for part_ND, ids in zip(parts, (ids_BP, ids_AT), strict=True)
    )
    owner_A = torch.tensor([row for row, one in enumerate(examples) for _ in one.answers])
    how: dict[str, Any] = {"cache": _prompt_cache(causal, owner_A.to(causal.device)), "use_cache": True}
    real: dict[str, Any] = {}
    if flash:  # it takes no mask but which tokens are real, and prompts that end where answers begin
        real = {"attention_mask": real_BP, "position_ids": (real_BP.cumsum(-1) - 1).clamp(min=0)}
    if ids_BP.shape[1]:
        with suppress(_LastLayer):
            _hidden(model, inputs_embeds=embeds_BPD, **real, **how)
    position_AT = real_BP.sum(-1)[owner_A][:, None] + torch.arange(ids_AT.shape[1])
    mask: Any = torch.cat([real_BP[owner_A], real_AT], 1)
    if not flash:
        keys_AS = torch.cat([torch.arange(ids_BP.shape[1]).expand(len(rows), -1), position_AT], 1)
        mask = _masks(model, torch.where(mask, 0, PADDING), keys_AS, queries=ids_AT.shape[1])
    how |= {"attention_mask": mask, "position_ids": position_AT}
    hidden_ATD = _hidden(model, inputs_embeds=embeds_ATD, **how)
    return _states(hidden_ATD, enumerate((0, 1, len(row) - 1) for row in rows))


class _LastLayer(Exception):
    """The last layer has its keys; what else it would compute nobody reads."""


class _PromptLayer(DynamicLayer):
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


def _prompt_cache(causal: Any, owner_A: Tensor) -> DynamicCache:
    """Keeps the prompts' keys and values of the first pass, and puts them before those of the second."""
    kept = DynamicCache()
    last = causal.config.get_text_config().num_hidden_layers - 1
    kept.layers = [_PromptLayer(owner_A, number == last) for number in range(last + 1)]
    return kept


def _masks(model: Any, part_BK: Tensor, position_BK: Tensor, queries: int | None = None) -> Any:
    """What each of the last `queries` slots sees: of those before it the prompt, part 0, and its own part.

    A tensor, or one for each kind of layer. Padding sees padding, so that every row has a visible key and no
    softmax is NaN. It is added to the scores: from truth values, each layer would make that again.
    """
    device, dtype = causal_of(model).device, _compute_dtype(model)
    part_BK, position_BK = part_BK.to(device), position_BK.to(device)
    first = part_BK.shape[1] - (queries or part_BK.shape[1])
    seen_BQK = (part_BK == 0)[:, None, :] | (part_BK[:, first:, None] == part_BK[:, None, :])
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


def _states(hidden_BLD: Tensor, spans: Iterable[tuple[int, tuple[int, int, int]]]) -> States:
    """From each answer's row, and there the slot before it, its first slot and its length."""
    before: list[int] = []
    last: list[int] = []
    for row, (ahead, start, length) in spans:
        at = row * hidden_BLD.shape[1]
        slots = [at + ahead, *range(at + start, at + start + length)]
        before += slots[:-1]
        last.append(slots[-1])
    places = (torch.tensor(one, dtype=torch.long, device=hidden_BLD.device) for one in (before, last))
    return States(hidden_BLD.flatten(0, 1), *places)


def _hidden(model: Any, **how: Any) -> Tensor:
    """Last hidden states, without the head over the whole vocabulary at every token."""
    causal = causal_of(model)
    moved = {name: one.to(causal.device) if isinstance(one, Tensor) else one for name, one in how.items()}
    body = getattr(causal, causal.base_model_prefix)
    return body(**{"use_cache": False} | moved).last_hidden_state


def logits_of(model: Any, states_ND: Tensor) -> Tensor:
    """The head over these states, and what some models do between it and the softmax."""
    causal = causal_of(model)
    logits_NV, config = causal.get_output_embeddings()(states_ND), causal.config
    if scale := getattr(config, "logits_scaling", None):  # Granite
        logits_NV = logits_NV / scale
    if scale := getattr(config, "logit_scale", None):  # Cohere
        logits_NV = logits_NV * scale
    if cap := getattr(config, "final_logit_softcapping", None):  # Gemma
        logits_NV = torch.tanh(logits_NV / cap) * cap
    return logits_NV


def rows_at_once(model: Any) -> int:
    """States whose logits are made together."""
    return max(1, LOGITS_AT_ONCE // int(causal_of(model).get_output_embeddings().weight.shape[0]))


def token_logprobs(model: Any, states_ND: Tensor, ids_N: Tensor, temperature: float = 1.0) -> Tensor:
    """The log-prob of a token after each state.

    Of long lists the logits are made piece by piece, and made again on the way back.
    """

    def some(states_ND: Tensor, ids_N: Tensor) -> Tensor:
        logits_NV = logits_of(model, states_ND)
        return LogProbs.apply(logits_NV if temperature == 1 else logits_NV / temperature, ids_N)

    rows = rows_at_once(model)
    if len(ids_N) <= rows:
        return some(states_ND, ids_N)
    pieces = zip(states_ND.split(rows), ids_N.split(rows), strict=True)
    return torch.cat([checkpoint(some, *piece, use_reentrant=False) for piece in pieces])


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
