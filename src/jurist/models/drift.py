"""How far a policy has moved from its anchor: the KL between them, on what the policy writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from msgspec import Struct

from ..records import Prompt
from .batch import Example, tokenise
from .dpo import logprobs
from .policy import load_policy

TOKENS = 16384
"""Token slots in one forward pass."""


class Drift(Struct, frozen=True):
    """KL(policy | anchor) by its plainest estimate: the mean log-ratio over the policy's own answers."""

    kl_sequence: float
    """Nats a completion."""
    kl_token: float
    n: int


def drift(policy: str | Path, anchor: str | Path, written: Sequence[tuple[Prompt, str]]) -> Drift | None:
    """From answers that `policy` wrote at temperature 1; None where there are none."""
    if not written:
        return None
    one = load_policy(policy)
    rows = [tokenise(prompt, (text,), one.tokenizer) for prompt, text in written]
    ours, theirs = (_said(model, rows) for model in (one.model, load_policy(anchor).model))
    tokens = sum(len(row.answers[0]) for row in rows)
    moved = ours - theirs
    return Drift(moved / len(rows), moved / tokens, len(rows))


def _said(model: torch.nn.Module, rows: Sequence[Example]) -> float:
    """The log-prob of all answers."""
    model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    return sum(said for (said,) in logprobs(model, rows, TOKENS))
