"""A policy straight from preferences, with no reward model between: DPO and its relatives.

Rafailov et al. 2023, with soft targets: the judge's probability reaches the loss. The anchor's log-probs are
computed once, before the first step, and kept; the policy itself is the anchor then, so a second model is
only loaded where another anchor is named. Chosen and rejected share their prompt in one row.

    jurist train dpo runs/mine --base FOLDER --out runs/mine/models/dpo
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import replace
from torch import Tensor

from ..engines.checkpoints import weights_hash
from ..records import Preference
from . import losses
from .batch import Example, by_length
from .forward import answers_forward, counter
from .loop import Loop, Watch, nobody
from .plan import accelerator_for, learns_in, start_from
from .policy import Policy, load_policy, refuse_other_tokens
from .reward import labels
from .rows import pairs_to_learn
from .settings import BETAS, DpoConfig, check


def train_dpo(cfg: DpoConfig, preferences: Iterable[Preference] | None = None, watch: Watch = nobody) -> Path:
    """Train on the preferences given, or on those in `cfg.data`; the folder of the policy."""
    check(cfg, "dpo")
    policy = start_from(cfg)
    learnt, held, facts = pairs_to_learn(cfg, policy, preferences, soft=cfg.soft)
    anchor_hash = "" if cfg.loss == "simpo" else weights_hash(cfg.anchor) if cfg.anchor else policy.hash
    if anchor_hash:
        learnt, held = anchored(cfg, policy, anchor_hash, [learnt, held])
    with Loop(cfg, policy, learnt, [one.weight for one in learnt], watch, beside=anchor_hash) as loop:
        for step in loop.steps():
            for part in loop.parts(step):
                said = loop.model(part.examples)
                logp_B2, tokens_B2 = said.logprobs_AT.sum(-1).view(-1, 2), said.mask_AT.sum(-1).view(-1, 2)
                anchor_B2 = logp_B2.new_tensor([one.anchor or (0.0, 0.0) for one in part.examples])
                p_B, _ = labels(part.examples, logp_B2)
                ratio_B2 = logp_B2 - anchor_B2
                loss_B = loss_of(cfg, ratio_B2, tokens_B2, p_B)
                loop.backward((part.weight_B * loss_B).sum())
                gap_B = gap_of(cfg, ratio_B2, tokens_B2)
                loop.note(part, loss=loss_B, right=losses.agreement(gap_B, p_B), gap=gap_B)
                loop.note(part, chosen_moved=ratio_B2[:, 0], rejected_moved=ratio_B2[:, 1])
            loop.update(step)
            if held and loop.epoch_ends(step):
                loop.measured(step, len(held), measure(cfg, loop.model, held))
        return loop.finish(**facts, anchor_hash=anchor_hash)


def loss_of(cfg: DpoConfig, ratio_B2: Tensor, tokens_B2: Tensor, p_B: Tensor) -> Tensor:
    """The loss of the settings, row by row. Without an anchor the log-ratios are log-probs."""
    beta = BETAS[cfg.loss] if cfg.beta is None else cfg.beta
    p_B = losses.conservative(p_B, cfg.flip_rate)
    ratios, lengths = (ratio_B2[:, 0], ratio_B2[:, 1]), (tokens_B2[:, 0], tokens_B2[:, 1])
    which: dict[str, Callable[[], Tensor]] = {
        "dpo": lambda: losses.dpo(*ratios, beta, p_B),
        "length_normalised": lambda: losses.length_normalised_dpo(*ratios, *lengths, beta, p_B),
        "r_dpo": lambda: losses.r_dpo(*ratios, *lengths, beta, cfg.alpha, p_B),
        "simpo": lambda: losses.simpo(*ratios, *lengths, beta, cfg.gamma, p_B),
        "ipo": lambda: losses.ipo(*ratios, *lengths, beta, p_B),
    }
    return which[cfg.loss]()


def gap_of(cfg: DpoConfig, ratio_B2: Tensor, tokens_B2: Tensor) -> Tensor:
    """How much further the policy has moved to chosen than to rejected, on the scale of its loss."""
    if cfg.loss in ("length_normalised", "simpo", "ipo"):
        ratio_B2 = ratio_B2 / tokens_B2
    return ratio_B2[:, 0] - ratio_B2[:, 1]


def anchored(
    cfg: DpoConfig, policy: Policy, anchor_hash: str, sides: Sequence[list[Example]]
) -> list[list[Example]]:
    """The examples with the anchor's log-prob of each answer; every process computes its share."""
    from accelerate.utils import gather_object

    accelerator = accelerator_for(cfg)
    anchor = policy if anchor_hash == policy.hash else load_policy(cfg.anchor, dtype=learns_in(cfg))
    refuse_other_tokens(anchor, policy)
    model = anchor.model.to(accelerator.device).eval()
    rank, world = accelerator.process_index, accelerator.num_processes
    found = []
    for side in sides:
        with accelerator.autocast():
            mine = logprobs(model, side[rank::world], cfg.tokens)
        everyone = gather_object([mine])
        said = [everyone[row % world][row // world] for row in range(len(side))]
        found.append([replace(one, anchor=logps) for one, logps in zip(side, said, strict=True)])
    return found


@torch.no_grad()
def logprobs(model: Any, examples: Sequence[Example], tokens: int) -> list[tuple[float, ...]]:
    """The log-prob of each answer of each row, in the rows' order."""
    found: list[tuple[float, ...]] = [()] * len(examples)
    for rows in by_length([*map(counter(model), examples)], tokens):
        said = answers_forward(model, [examples[row] for row in rows]).logprobs_AT
        assert said is not None
        sums = iter(said.sum(-1).tolist())
        for row in rows:
            found[row] = tuple(next(sums) for _ in examples[row].answers)
    return found


@torch.no_grad()
def measure(cfg: DpoConfig, model: Any, examples: Sequence[Example]) -> dict[str, float]:
    """How often the policy has moved towards the better answer, on rows that were not learnt."""
    model.eval()
    total = right = 0.0
    for rows in by_length([*map(counter(model), examples)], cfg.tokens):
        part = [examples[row] for row in rows]
        said = model(part)
        logp_B2, tokens_B2 = said.logprobs_AT.sum(-1).view(-1, 2), said.mask_AT.sum(-1).view(-1, 2)
        ratio_B2 = logp_B2 - logp_B2.new_tensor([one.anchor or (0.0, 0.0) for one in part])
        p_B, _ = labels(part, logp_B2)
        weight_B = p_B.new_tensor([one.weight for one in part])
        total += float((weight_B * loss_of(cfg, ratio_B2, tokens_B2, p_B)).sum())
        right += float((weight_B * losses.agreement(gap_of(cfg, ratio_B2, tokens_B2), p_B)).sum())
    model.train()
    whole = sum(one.weight for one in examples)
    return {"loss": total / whole, "right": right / whole}
