"""How far a policy has moved from its anchor: the KL between them, on what the policy writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from msgspec import Struct

from ..records import Prompt
from .batch import Example, cut, tokenise
from .forward import answers_forward
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
    ours = _said(one.model, rows)
    theirs = _said(load_policy(anchor).model, rows)
    tokens = sum(len(row.answers[0]) for row in rows)
    moved = sum(ours) - sum(theirs)
    return Drift(moved / len(rows), moved / tokens, len(rows))


@torch.no_grad()
def _said(model: torch.nn.Module, rows: Sequence[Example]) -> list[float]:
    """The log-prob of each row's answer."""
    model.eval()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    lengths = [row.length for row in rows]
    found = [0.0] * len(rows)
    for part in cut(sorted(range(len(rows)), key=lengths.__getitem__), lengths, TOKENS):
        said_AT = answers_forward(model, [rows[index] for index in part]).logprobs_AT
        assert said_AT is not None
        for index, value in zip(part, said_AT.sum(-1).tolist(), strict=True):
            found[index] = value
    return found
