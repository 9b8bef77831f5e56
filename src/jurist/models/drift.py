"""How far a policy has moved from its anchor: the KL between them, along what the policy writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..records import Completion, Prompt
from .batch import Example, by_length, tokenise
from .forms import causal_of
from .forward import LOGITS_AT_ONCE, answers_forward, scaled
from .policy import load_to_read

TOKENS = 16384
"""Token slots in one forward pass."""


def drift(
    policy: str | Path, anchor: str | Path, written: Sequence[tuple[Prompt, Completion]]
) -> float | None:
    """KL(policy | anchor) in nats a completion, at the temperature at which `policy` wrote these.

    Before each token the two are compared over the whole vocabulary, which is never negative and varies less
    than the log-ratio of the token that was drawn. With a `top_p` below 1 the places are those that such
    draws come to; what is compared there has no `top_p`. None where nothing was drawn, at temperature 0.
    """
    heat = {one.sampling.temperature if one.sampling else 1.0 for _, one in written}
    if len(heat) != 1 or 0.0 in heat:
        return None
    (temperature,) = heat
    one, other = load_to_read(policy), load_to_read(anchor)
    rows = [tokenise(prompt, (completion,), one.tokenizer) for prompt, completion in written]
    parts = by_length([one.length for one in rows], TOKENS)
    return sum(
        _apart((one.model, other.model), [rows[row] for row in part], temperature) for part in parts
    ) / len(rows)


@torch.no_grad()
def _apart(models: Sequence[Any], rows: Sequence[Example], temperature: float) -> float:
    """The KL over all tokens of these rows."""
    states = [_states(model, rows) for model in models]
    heads = [causal_of(model).get_output_embeddings() for model in models]
    step = max(1, LOGITS_AT_ONCE // heads[0].weight.shape[0])
    total = 0.0
    for pieces in zip(*(states_ND.split(step) for states_ND in states), strict=True):
        ours_NV, theirs_NV = (
            (scaled(causal_of(model), head(states_MD)).float() / temperature).log_softmax(-1)
            for model, head, states_MD in zip(models, heads, pieces, strict=True)
        )
        total += float((ours_NV.exp() * (ours_NV - theirs_NV)).sum(dtype=torch.float64))
    return total


def _states(model: Any, rows: Sequence[Example]) -> Tensor:
    """What each answer token is predicted from."""
    said = answers_forward(model, rows, head="values")
    assert said.states_ATD is not None
    return said.states_ATD[said.mask_AT]
