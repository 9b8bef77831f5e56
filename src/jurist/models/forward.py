"""A prompt and its k answers through the model, with the prompt computed once.

Five forms give the same numbers:

    mask     one row [prompt][answer 1]...[answer k]; a 4-D mask hides the answers from each other, and the
             positions of each start again after the prompt
    cache    first the prompts, whose keys and values are kept, then a row with all answers of each: the dense
             mask spans the answers only, and nobody needs the last layer's view of the prompt
    repeat   the same with a row for each answer and the keys repeated: for many or long answers
    concat   one row per answer, prompt and all: what everybody does, and what always works
    pack     the same, with short rows sharing a slot and hidden from each other: for answers that stand alone

The language head runs over answer tokens only. Whether a model can do the first three is found out once, by
comparing them on a small example: sliding windows, linear attention and kernels that take no mask fall back.
Layers that compute their activations twice, or gather their weights from other processes, take the prompt and
its answers in one pass, which is `mask`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .batch import Example, padded
from .costs import Form, Model, Shape, cheapest, divided, shape_of, slots
from .forms import FORMS, attention_of, joined
from .forms import causal_of as causal_of

How = Literal["auto"] | Form
Head = Literal["logprobs", "hidden", "values"]
LOGITS_AT_ONCE = 2**27
"""More of them are made in pieces, and made again on the way back: half a gigabyte in float32."""
ROWS_AT_ONCE = {"cpu": 16}
"""Rows of logits that are gone over while the processor still has them at hand; a GPU takes 1,024."""
PROBE_TOLERANCE = 1e-3


class Answers(NamedTuple):
    """What the pass says about the `A` answers of a batch: rows in order, each row's answers in order."""

    mask_AT: Tensor
    """True on answer tokens; they start at column 0."""
    logprobs_AT: Tensor | None = None
    """Log-prob of each answer token given all before it; 0 where the mask is False."""
    hidden_AD: Tensor | None = None
    """The last hidden state of each answer: what a reward head reads."""
    states_ATD: Tensor | None = None
    """The states the tokens were predicted from: what a value head reads."""


class AnswersModel(nn.Module):
    """A model whose forward is `answers_forward`, so that DDP and FSDP see one call and hook it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, examples: Sequence[Example], how: How = "auto", head: Head = "logprobs") -> Answers:
        return answers_forward(self.model, examples, how=how, head=head)


def answers_forward(
    model: Any,
    examples: Sequence[Example],
    *,
    how: How = "auto",
    head: Head = "logprobs",
    temperature: float = 1.0,
) -> Answers:
    """Log-probs or hidden states of all answers. `values` gives log-probs and the states behind them."""
    if how == "auto":
        parts = planned(model, examples)
    else:
        alone = how == "pack" and "mask" not in shared_forms(model)
        parts = [("concat" if alone else how, list(range(len(examples))))]
    found = [FORMS[form](model, [examples[row] for row in rows]) for form, rows in parts]
    hidden_ND, before_AT, after_AT = joined(found, [rows for _, rows in parts], examples)
    ids_AT, mask_AT = padded([answer for example in examples for answer in example.answers])
    ids_AT, mask_AT = ids_AT.to(hidden_ND.device), mask_AT.to(hidden_ND.device)
    if head == "hidden":
        last_A = after_AT.gather(1, mask_AT.sum(-1, keepdim=True) - 1)[:, 0]
        return Answers(mask_AT, hidden_AD=hidden_ND.index_select(0, last_A))
    said_N = logprobs(model, hidden_ND.index_select(0, before_AT[mask_AT]), ids_AT[mask_AT], temperature)
    logprobs_AT = torch.zeros_like(mask_AT, dtype=said_N.dtype).masked_scatter(mask_AT, said_N)
    if head == "logprobs":
        return Answers(mask_AT, logprobs_AT)
    return Answers(mask_AT, logprobs_AT, states_ATD=hidden_ND[before_AT])


def logprobs(model: Any, states_ND: Tensor, ids_N: Tensor, temperature: float) -> Tensor:
    """The log-prob of a token after each state; of long lists the logits are made piece by piece, twice."""
    causal = causal_of(model)
    head = causal.get_output_embeddings()

    def some(states_ND: Tensor, ids_N: Tensor) -> Tensor:
        logits_NV = scaled(causal, head(states_ND))
        return LogProbs.apply(logits_NV if temperature == 1 else logits_NV / temperature, ids_N)

    rows = max(1, LOGITS_AT_ONCE // head.weight.shape[0])
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


def scaled(model: Any, logits_NV: Tensor) -> Tensor:
    """What some models do between the head and the softmax."""
    config = model.config
    if scale := getattr(config, "logits_scaling", None):  # Granite
        logits_NV = logits_NV / scale
    if scale := getattr(config, "logit_scale", None):  # Cohere
        logits_NV = logits_NV * scale
    if cap := getattr(config, "final_logit_softcapping", None):  # Gemma
        logits_NV = torch.tanh(logits_NV / cap) * cap
    return logits_NV


_forms: WeakKeyDictionary[Any, tuple[Form, ...]] = WeakKeyDictionary()


def planned(model: Any, examples: Sequence[Example]) -> list[tuple[Form, list[int]]]:
    """The rows in batches, each with the form that is quickest for it and that this model can do."""
    everything = list(range(len(examples)))
    if all(len(example.answers) == 1 for example in examples):
        return [("concat", everything)]
    forms, what = ["concat", *shared_forms(model)], model_of(model)
    if is_sharded(model):
        return [(cheapest(forms, reduce(Shape.joined, map(shape_of, examples)), what)[1], everything)]
    return divided(forms, examples, what)


def counter(model: Any) -> Callable[[Example], int]:
    """How many slots a row takes in a pass through this model, in the form it is likely to have."""
    while not hasattr(model, "config"):  # what wraps it, to make a module of the whole pass or to spread it
        model = model.module if hasattr(model, "module") else model.model
    # Sharded weights are there in a pass only, so there is no trying out beforehand.
    shared = ("mask",) if is_sharded(model) and sees_everything(model) else ()
    forms, what = ["concat", *(shared if is_sharded(model) else shared_forms(model))], model_of(model)

    def count(example: Example) -> int:
        if len(example.answers) < 2:
            return example.length
        at = shape_of(example)
        return slots(cheapest(forms, at, what)[1], at)

    return count


def model_of(model: Any) -> Model:
    causal = causal_of(model)
    width = causal.get_input_embeddings().weight.shape[1]
    return Model(width, causal.config.num_hidden_layers, causal.device.type == "cpu")


def is_sharded(model: Any) -> bool:
    """Whether layers gather their weights, all processes at once: each has to make as many passes."""
    return any(type(part).__name__.startswith(("FSDP", "FullySharded")) for part in model.modules())


def shared_forms(model: Any) -> tuple[Form, ...]:
    """The forms that share a prompt and are right with this model now; tried once, on a small example."""
    causal = causal_of(model)
    if causal not in _forms:
        _forms[causal] = tuple(_probe(model))
        if not _forms[causal]:
            warnings.warn(
                f"{type(causal).__name__} with {attention_of(model)} attention cannot share a prompt between"
                " its answers, so each answer carries its own: the same numbers, more work",
                stacklevel=2,
            )
    twice = any(getattr(part, "gradient_checkpointing", False) for part in model.modules())
    # A layer that is computed twice would be cached twice, and one that gathers its weights has to be gone
    # through as often in each process; the forms may have been tried before its weights were spread.
    one_pass = is_sharded(model) or (model.training and twice)
    return tuple(form for form in _forms[causal] if form == "mask" or not one_pass)


def sees_everything(model: Any) -> bool:
    """Whether each token attends to all before it, as far as the config tells."""
    config = causal_of(model).config
    kinds = set(getattr(config, "layer_types", None) or ())
    return not (kinds - {"full_attention"} or getattr(config, "sliding_window", None))


def _probe(model: Any) -> list[Form]:
    if not sees_everything(model):
        return []
    top = min(causal_of(model).get_input_embeddings().weight.shape[0], 50)
    ids = [1 + index % (top - 1) for index in range(12)]
    examples = [Example(ids[:5], [ids[5:8], ids[8:9], ids[2:6]]), Example(ids[:2], [ids[3:9]])]
    was_training = model.training
    model.eval()
    forms: tuple[Form, ...] = ("mask",) if is_sharded(model) else ("mask", "cache", "repeat")
    found: list[Form] = []
    with torch.no_grad():
        want = answers_forward(model, examples, how="concat", head="hidden").hidden_AD
        assert want is not None
        room = PROBE_TOLERANCE if want.dtype == torch.float32 else 0.1
        for form in forms:
            try:
                got = answers_forward(model, examples, how=form, head="hidden").hidden_AD
            except Exception:  # whatever a model raises that cannot take such a mask or cache
                continue
            assert got is not None
            if (got - want).abs().max() <= room * want.abs().max().clamp(min=1.0):
                found.append(form)
    model.train(was_training)
    return found
