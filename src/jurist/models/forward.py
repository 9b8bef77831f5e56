"""A prompt and its k answers through the model, with the prompt computed once.

Four forms give the same numbers:

    mask     one row [prompt][answer 1]...[answer k]; a 4-D mask hides the answers from each other, and the
             positions of each start again after the prompt
    cache    the prompt fills a key-value cache, which is repeated for the answers; wins on long prompts,
             where the dense mask of the first form is mostly waste
    concat   one row per answer, prompt and all: what everybody does, and what always works
    pack     the same, with short rows sharing a slot and hidden from each other: for answers that stand alone

The language head runs over answer tokens only. Whether a model can do the first two is found out once, by
comparing them on a small example: sliding windows, linear attention and kernels that take no mask fall back.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .batch import Example, padded
from .forms import FORMS, attention_of
from .forms import causal_of as causal_of

How = Literal["auto", "mask", "cache", "concat", "pack"]
Head = Literal["logprobs", "hidden", "values"]
LONG_PROMPT = 1024
"""Tokens of prompt above which a repeated cache is cheaper than a dense mask (measured: bench/train)."""
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
    before_ATD, after_ATD = FORMS[form](model, examples)
    ids_AT, mask_AT = padded([answer for example in examples for answer in example.answers])
    ids_AT, mask_AT = ids_AT.to(before_ATD.device), mask_AT.to(before_ATD.device)
    if head == "hidden":
        rows_A = torch.arange(len(mask_AT), device=mask_AT.device)
        return Answers(mask_AT, hidden_AD=after_ATD[rows_A, mask_AT.sum(-1) - 1])
    logprobs_AT = _logprobs(model, before_ATD, ids_AT, mask_AT, temperature)
    return Answers(mask_AT, logprobs_AT, states_ATD=before_ATD if head == "values" else None)


def _logprobs(model: Any, before_ATD: Tensor, ids_AT: Tensor, mask_AT: Tensor, temperature: float) -> Tensor:
    head = causal_of(model).get_output_embeddings()
    logits_NV = scaled(causal_of(model), head(before_ATD[mask_AT])).float()
    said_N = -F.cross_entropy(logits_NV / temperature, ids_AT[mask_AT], reduction="none")
    return torch.zeros_like(mask_AT, dtype=said_N.dtype).masked_scatter(mask_AT, said_N)


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


_forms: WeakKeyDictionary[Any, tuple[str, ...]] = WeakKeyDictionary()


def choose(model: Any, examples: Sequence[Example]) -> Literal["mask", "cache", "concat"]:
    """The quickest form for these rows that this model can do."""
    if all(len(example.answers) == 1 for example in examples):
        return "concat"
    can = shared_forms(model)
    longest = max(len(example.prompt_ids) for example in examples)
    if "cache" in can and (longest >= LONG_PROMPT or "mask" not in can) and not _checkpointing(model):
        return "cache"
    return "mask" if "mask" in can else "concat"


def _checkpointing(model: Any) -> bool:
    # Recomputing a layer would fill the cache twice.
    return any(getattr(part, "gradient_checkpointing", False) for part in model.modules()) and model.training


def shared_forms(model: Any) -> tuple[str, ...]:
    """Which of `mask` and `cache` this model gives the right numbers with; tried once, on a small example."""
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


def _probe(model: Any) -> list[str]:
    config = causal_of(model).config
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - {"full_attention"} or getattr(config, "sliding_window", None):
        return []
    top = min(causal_of(model).get_input_embeddings().weight.shape[0], 50)
    ids = [1 + index % (top - 1) for index in range(12)]
    examples = [Example(ids[:5], [ids[5:8], ids[8:9], ids[2:6]]), Example(ids[:2], [ids[3:9]])]
    was_training = model.training
    model.eval()
    found = []
    with torch.no_grad():
        want = answers_forward(model, examples, how="concat", head="hidden").hidden_AD
        assert want is not None
        room = PROBE_TOLERANCE if want.dtype == torch.float32 else 0.1
        for form in ("mask", "cache"):
            try:
                got = answers_forward(model, examples, how=form, head="hidden").hidden_AD
            except Exception:  # whatever a model raises that cannot take such a mask or cache
                continue
            assert got is not None
            if (got - want).abs().max() <= room * want.abs().max().clamp(min=1.0):
                found.append(form)
    model.train(was_training)
    return found
