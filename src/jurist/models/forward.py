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
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .batch import Example, padded
from .forms import FORMS, attention_of
from .forms import causal_of as causal_of

How = Literal["auto", "mask", "cache", "repeat", "concat", "pack"]
Head = Literal["logprobs", "hidden", "values"]
PAIR, COPY, PASS, UNREAD = 0.11, 5.0, 3e6, 0.85
"""What a query with a key, a prompt token's keys copied, a second pass, and the last layer for nobody cost.

The unit is a token through a layer, whose own cost grows with the width of the model faster than these.
Fitted to 12 shapes of 16 to 2,000 prompt tokens and 2 to 8 answers on one CPU core, where the form with the
least estimate was within 7 % of the quickest each time; `make bench-train` measures some of them again.
"""
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
    form = choose(model, examples) if how == "auto" else how
    if form == "pack" and "mask" not in shared_forms(model):
        form = "concat"
    hidden_ND, before_AT, after_AT = FORMS[form](model, examples)
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


_forms: WeakKeyDictionary[Any, tuple[How, ...]] = WeakKeyDictionary()


def choose(model: Any, examples: Sequence[Example]) -> How:
    """The quickest form for these rows that this model can do."""
    if all(len(example.answers) == 1 for example in examples):
        return "concat"
    can: list[How] = ["concat", *shared_forms(model)]
    if model.training and any(getattr(part, "gradient_checkpointing", False) for part in model.modules()):
        # A layer that is computed twice would be cached twice.
        can = [form for form in can if form in ("concat", "mask")]
    causal = causal_of(model)
    width, layers = causal.get_input_embeddings().weight.shape[1], causal.config.num_hidden_layers
    return min(can, key=lambda form: cost(form, examples, width, layers))


def cost(form: How, examples: Sequence[Example], width: int, layers: int) -> float:
    """What a form costs, in tokens that go through a layer without attention."""
    rows = [(len(example.prompt_ids), [len(answer) for answer in example.answers]) for example in examples]
    answers = sum(len(lengths) for _, lengths in rows)
    if form == "concat":
        longest = max(prompt + max(lengths) for prompt, lengths in rows)
        return answers * longest * (1 + PAIR / width * longest / 2)
    if form == "mask":
        longest = max(prompt + sum(lengths) for prompt, lengths in rows)
        return len(rows) * longest * (1 + PAIR / width * longest)
    prompt = max(prompt for prompt, _ in rows) - 1
    first = len(rows) * prompt * (1 - UNREAD / layers) * (1 + PAIR / width * prompt / 2)
    number, tail = len(rows), 1 + max(sum(lengths) for _, lengths in rows)
    if form == "repeat":
        number, tail = answers, 1 + max(max(lengths) for _, lengths in rows)
        first += COPY / width * number * prompt
    return first + number * tail * (1 + PAIR / width * (prompt + tail)) + PASS / width**2


def shared_forms(model: Any) -> tuple[How, ...]:
    """The forms that share a prompt and are right with this model; tried once, on a small example."""
    causal = causal_of(model)
    if causal not in _forms:
        _forms[causal] = tuple(_probe(model))
        if not _forms[causal]:
            warnings.warn(
                f"{type(causal).__name__} with {attention_of(model)} attention cannot share a prompt between"
                " its answers, so each answer carries its own: the same numbers, more work",
                stacklevel=2,
            )
    return _forms[causal]


def _probe(model: Any) -> list[How]:
    config = causal_of(model).config
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - {"full_attention"} or getattr(config, "sliding_window", None):
        return []
    top = min(causal_of(model).get_input_embeddings().weight.shape[0], 50)
    ids = [1 + index % (top - 1) for index in range(12)]
    examples = [Example(ids[:5], [ids[5:8], ids[8:9], ids[2:6]]), Example(ids[:2], [ids[3:9]])]
    was_training = model.training
    model.eval()
    # Weights gathered layer by layer are gathered by all processes at once: each has to make as many passes.
    sharded = any(type(part).__name__.startswith(("FSDP", "FullySharded")) for part in model.modules())
    forms: tuple[How, ...] = ("mask",) if sharded else ("mask", "cache", "repeat")
    found: list[How] = []
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
