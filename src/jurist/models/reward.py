"""A reward model from preferences: one number for an answer, such that the better one's is higher.

Ouyang et al. 2022, with what a judge knows beyond which of the two it preferred: its probability is the
target of the loss, not its sign; margins and weights count row by row; and rewards are pulled towards a mean
of 0. What comes out is an ordinary checkpoint for sequence classification with one label, and a judge:
`--judge reward:FOLDER`.

With `learn: head` the base stays as it is, and the same objective, now convex, is solved for the head in
seconds: L-BFGS over the states that the head reads, with a ridge penalty. The states are computed once. Until
the end they lie in `features.npy` in the run's folder, 8 bytes a pair and dimension, and a run that was
killed computes only those that are missing.

    jurist train reward runs/mine --base FOLDER --out runs/mine/models/reward
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from msgspec import json
from torch import Tensor

from ..errors import SettingError
from ..policies.checkpoint import reward_head
from ..policies.forward import causal_of, row_slots
from ..policies.policy import Policy
from ..policies.tokens import Example, by_length
from ..records import Preference, content_id
from ..run import read_json, write_whole
from . import losses
from .rows import pairs_to_learn
from .settings import RewardConfig, check_training
from .trainer import OnProgress, Progress, Trainer, TrainingStep, no_progress

BLOCK: Final = 512
"""Rows between two notes of how far the states are."""
SOLVED_AT_ONCE: Final = 8192
ITERATIONS: Final = 300


def train_reward(
    cfg: RewardConfig,
    preferences: Iterable[Preference] | None = None,
    on_progress: OnProgress = no_progress,
) -> Path:
    """Train on the preferences given, or on those in `cfg.data`; the folder of the reward model."""
    check_training(cfg, "reward")
    given = None if preferences is None else list(preferences)
    with Trainer(cfg, given, on_progress) as trainer:
        if trainer.finished:
            return trainer.finished
        policy = trainer.load_base("reward")
        rows, held_out, facts = pairs_to_learn(cfg, policy, given, soft=cfg.soft)
        if cfg.learn == "head":
            policy.requires_grad_(False)
            reward_head(causal_of(policy.model)).requires_grad_(True)
        trainer.begin(policy, rows, [row.weight for row in rows])
        if cfg.learn == "head":
            return fit_head(trainer, rows, held_out, facts)

        def values(part: list[Example]) -> tuple[Tensor, dict[str, Tensor]]:
            reward_B2 = trainer.module(part, ("reward",)).reward_A.view(-1, 2)
            return reward_values(cfg, reward_B2, *labels(part, reward_B2))

        for step in trainer.steps():
            trainer.learn(step, values)
            trainer.measure(step, held_out, [row.weight for row in held_out], values)
        return trainer.finish(**facts)


def reward_values(
    cfg: RewardConfig, reward_B2: Tensor, p_B: Tensor, margin_B: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """What is minimised for each pair, and what is written down; the metrics know no margin."""
    chosen_B, rejected_B = reward_B2.unbind(-1)
    objective_B = losses.bradley_terry_loss(chosen_B, rejected_B, p_B, cfg.margin * margin_B)
    objective_B = objective_B + cfg.centre * losses.centring(chosen_B, rejected_B)
    loss_B = losses.bradley_terry_loss(chosen_B, rejected_B, p_B)
    return objective_B, {
        "loss": loss_B,
        "above_entropy": loss_B - losses.entropy(p_B),
        "accuracy": losses.accuracy(chosen_B - rejected_B, p_B),
        "reward": reward_B2.mean(-1),
    }


def labels(part: Sequence[Example], like: Tensor) -> tuple[Tensor, Tensor]:
    """p and margin of each row."""
    return like.new_tensor([one.p for one in part]), like.new_tensor([one.margin for one in part])


def fit_head(
    trainer: Trainer[RewardConfig],
    rows: Sequence[Example],
    held_out: Sequence[Example],
    facts: dict[str, Any],
) -> Path:
    """The folder of the reward model whose head is fitted on these rows."""
    cfg, policy = trainer.cfg, trainer.policy
    if trainer.sharded or cfg.lora:
        what = "weights that are sharded" if trainer.sharded else "an adapter"
        raise SettingError(f"learn: head keeps the base as it is and has no use for {what}. Leave it out")
    states_N2D = features(trainer, policy, [*rows, *held_out])
    learnt_N2D, held_N2D = states_N2D[: len(rows)], states_N2D[len(rows) :]
    weight_D, iterations = solve(learnt_N2D, rows, cfg)
    head = reward_head(causal_of(policy.model))
    with torch.no_grad():
        head.weight.copy_(weight_D[None])
    trainer.total, solved = 1, TrainingStep(1, [])
    trainer.resume()
    trainer.write(solved, head_metrics(cfg, learnt_N2D, rows, weight_D))
    if held_out:
        trainer.write_held_out(solved, len(held_out), head_metrics(cfg, held_N2D, held_out, weight_D))
    del states_N2D, learnt_N2D, held_N2D
    folder = trainer.finish(**facts, iterations=iterations)
    for file in trainer.out.glob("features*") if trainer.main else ():
        file.unlink()
    return folder


@torch.no_grad()
def features(trainer: Trainer[RewardConfig], policy: Policy, rows: Sequence[Example]) -> np.ndarray:
    """The state that the head reads, of both answers of each row; every process computes its share."""
    out, processes = trainer.out, trainer.processes
    width = causal_of(policy.model).get_input_embeddings().weight.shape[1]
    key = content_id(policy.hash, [(list(one.prompt_ids), [*map(list, one.answers)]) for one in rows])
    note = out / f"features-{processes.rank}.json"
    done, file = 0, out / "features.npy"
    if note.exists() and file.exists():
        before = read_json(note, dict[str, Any])
        done = before["done"] if (before["key"], before["world"]) == (key, processes.world) else 0
    mine = range(processes.rank, len(rows), processes.world)
    shape = (len(rows), 2, width)
    if trainer.main and (not file.exists() or np.load(file, mmap_mode="r").shape != shape):
        np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape).flush()
        done = 0
    trainer.accelerator.wait_for_everyone()
    states = np.load(file, mmap_mode="r+")
    began, first = time.monotonic(), done
    while done < len(mine):
        block = mine[done : done + BLOCK]

        def attempt(tokens: int, block: range = block) -> None:
            sizes = [row_slots(policy.model, rows[row]) for row in block]
            for part in by_length(sizes, tokens):
                places = [block[at] for at in part]
                with trainer.accelerator.autocast():
                    state_AD = policy([rows[row] for row in places], ("states",)).state_AD
                states[places] = state_AD.float().view(len(places), 2, width).cpu().numpy()

        trainer.within_memory(attempt)
        done += len(block)
        states.flush()
        write_whole(note, json.encode({"key": key, "world": processes.world, "done": done}))
        left = (time.monotonic() - began) / (done - first) * (len(mine) - done)
        if trainer.main:
            trainer.on_progress(Progress(done, len(mine), left, {}))
    trainer.accelerator.wait_for_everyone()
    return states


def solve(states_N2D: np.ndarray, rows: Sequence[Example], cfg: RewardConfig) -> tuple[Tensor, int]:
    """The head's weights where the objective is least, and after how many iterations."""
    p_N, margin_N, weight_N = _labels(rows)
    weight_N = weight_N / weight_N.sum()
    # In units of each dimension's spread: a few of a language model's are a hundred times as wide as the
    # others.
    scale_D = torch.from_numpy(np.sqrt(np.mean(np.square(states_N2D[:SOLVED_AT_ONCE]), axis=(0, 1)))) + 1e-6
    v_D = torch.zeros(states_N2D.shape[-1], requires_grad=True)
    solver = torch.optim.LBFGS([v_D], max_iter=ITERATIONS, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def objective() -> float:
        solver.zero_grad()
        total = cfg.ridge * v_D.square().sum()
        total.backward()
        whole = float(total.detach())
        for start in range(0, len(rows), SOLVED_AT_ONCE):
            at = slice(start, start + SOLVED_AT_ONCE)
            reward_B2 = (_block(states_N2D, at) / scale_D) @ v_D
            objective_B, _ = reward_values(cfg, reward_B2, p_N[at], margin_N[at])
            part = (weight_N[at] * objective_B).sum()
            part.backward()
            whole += float(part.detach())
        return whole

    solver.step(objective)
    return (v_D / scale_D).detach(), int(solver.state[v_D]["n_iter"])


def head_metrics(
    cfg: RewardConfig, states_N2D: np.ndarray, rows: Sequence[Example], weight_D: Tensor
) -> dict[str, float]:
    """The means over these rows, by weight, of what is written down."""
    p_N, margin_N, weight_N = _labels(rows)
    blocks = (slice(at, at + SOLVED_AT_ONCE) for at in range(0, len(rows), SOLVED_AT_ONCE))
    reward_N2 = torch.cat([_block(states_N2D, at) @ weight_D for at in blocks])
    _, found = reward_values(cfg, reward_N2, p_N, margin_N)
    return {name: float((weight_N * x_N).sum() / weight_N.sum()) for name, x_N in found.items()}


def _labels(rows: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
    p, margin, weight = zip(*((row.p, row.margin, row.weight) for row in rows), strict=True)
    return torch.tensor(p), torch.tensor(margin), torch.tensor(weight)


def _block(states_N2D: np.ndarray, at: slice) -> Tensor:
    return torch.from_numpy(np.array(states_N2D[at]))
