"""A reward model from preferences: one number for an answer, such that the better one's is higher.

Ouyang et al. 2022, with what a judge knows beyond which of the two it preferred: its probability is the
target of the loss, not its sign; margins and weights count row by row; and rewards are pulled towards a mean
of 0. What comes out is an ordinary checkpoint for sequence classification with one label, and a judge:
`--judge reward:FOLDER`.

With `learn: head` the base stays as it is, and the same objective, now convex, is solved for the head in
seconds: L-BFGS over the states that the head reads, with the ridge penalty that predicts prompts left out
best. The states are computed once. Until the end they lie in `features.npy` in the run's folder, 8 bytes a
pair and dimension, and a run that was killed computes only those that are missing.

    jurist train reward runs/mine --base FOLDER --out runs/mine/models/reward
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import numpy as np
import torch
import torch.nn.functional as F
from msgspec import json
from torch import Tensor

from ..errors import SettingError
from ..policies.checkpoint import reward_head
from ..policies.forward import causal_of
from ..policies.policy import Policy, TokenStats
from ..policies.tokens import Example
from ..records import Preference
from ..run import read_json, write_whole
from .rows import pairs_to_learn
from .settings import RewardConfig
from .trainer import Noted, OnProgress, Progress, Trainer, TrainingStep

BLOCK: Final = 512
"""Rows between two notes of how far the states are."""
MEASURED: Final = 8192
"""Rows that say how wide each dimension of the states is."""
ITERATIONS: Final = 300
RIDGES: Final = (2.0, 0.5, 0.1, 0.02, 0.005, 0.001, 0.0002)
"""Tried in this order until the loss on prompts that are left out rises."""
FOLDS: Final = 5


def train_reward(
    cfg: RewardConfig,
    preferences: Iterable[Preference] | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """Train on the preferences given, or on those in `cfg.data`; the folder of the reward model."""
    with Trainer(cfg, preferences, on_progress) as trainer:
        if trainer.finished:
            return trainer.finished
        policy = trainer.load_base("reward")
        rows, held_out, facts = pairs_to_learn(cfg, policy, trainer.given, soft=cfg.soft)
        if cfg.learn == "head":
            policy.requires_grad_(False)
            reward_head(causal_of(policy.model)).requires_grad_(True)
        trainer.begin(policy, rows, ("reward",))
        if cfg.learn == "head":
            return fit_head(trainer, rows, held_out, facts)

        def values(stats: TokenStats, part: Sequence[Example]) -> tuple[Tensor, dict[str, Tensor]]:
            assert stats.reward_A is not None
            reward_B2 = stats.reward_A.view(-1, 2)
            return reward_values(cfg, reward_B2, *labels(part, reward_B2))

        for step in trainer.steps():
            trainer.learn(step, values)
            trainer.measure(step, held_out, values)
        return trainer.finish(**facts)


def reward_values(
    cfg: RewardConfig, reward_B2: Tensor, p_B: Tensor, margin_B: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """What is minimised for each pair, and what is written down; the metrics know no margin."""
    chosen_B, rejected_B = reward_B2.unbind(-1)
    objective_B = soft_logistic(chosen_B - rejected_B, p_B, cfg.margin * margin_B)
    objective_B = objective_B + cfg.centre * centring(chosen_B, rejected_B)
    loss_B = soft_logistic(chosen_B - rejected_B, p_B)
    return objective_B, {
        "loss": loss_B,
        "above_entropy": loss_B - entropy(p_B),
        "accuracy": accuracy(chosen_B - rejected_B, p_B),
        "reward": reward_B2.mean(-1),
    }


def labels(part: Sequence[Example], like: Tensor) -> tuple[Tensor, Tensor]:
    """p and margin of each row."""
    return like.new_tensor([one.p for one in part]), like.new_tensor([one.margin for one in part])


def soft_logistic(delta_B: Tensor, p_B: Tensor | float = 1.0, margin_B: Tensor | float = 0.0) -> Tensor:
    """-[p log s(d - m) + (1 - p) log s(-d - m)]: cross-entropy of a preference, Bradley and Terry 1952.

    The margin is asked of whichever answer is better, so it turns round with the label.
    """
    return -(p_B * F.logsigmoid(delta_B - margin_B) + (1 - p_B) * F.logsigmoid(-delta_B - margin_B))


def centring(chosen_B: Tensor, rejected_B: Tensor) -> Tensor:
    """(r_w + r_l)^2: rewards are only known up to a constant, and this one is 0 (Eisenstein et al. 2023)."""
    return (chosen_B + rejected_B).square()


def accuracy(delta_B: Tensor, p_B: Tensor) -> Tensor:
    """1 where the likelier answer is ahead, 0 where it is behind; 1/2 where neither is likelier or ahead."""
    ahead_B = (1 + torch.sign(delta_B) * torch.sign(p_B - 0.5)) / 2
    return ahead_B.float()


def entropy(p_B: Tensor) -> Tensor:
    """-[p log p + (1 - p) log(1 - p)]: no model can bring the loss on a soft target below it."""
    return -(torch.xlogy(p_B, p_B) + torch.xlogy(1 - p_B, 1 - p_B))


def fit_head(
    trainer: Trainer[RewardConfig], rows: list[Example], held_out: list[Example], facts: dict[str, Any]
) -> Path:
    """The folder of the reward model whose head is fitted on these rows."""
    cfg, policy, step = trainer.cfg, trainer.policy, TrainingStep(1, [])
    if trainer.sharded or cfg.lora:
        what = "weights that are sharded" if trainer.sharded else "an adapter"
        raise SettingError(f"learn: head keeps the base as it is and has no use for {what}. Leave it out")
    states_N2D = features(trainer, policy, [*rows, *held_out])
    weight_D, how = solve(states_N2D[: len(rows)], rows, cfg)
    with torch.no_grad():
        reward_head(causal_of(policy.model)).weight.copy_(weight_D[None])
    trainer.total = 1
    trainer.resume()
    for some, some_N2D in ((rows, states_N2D[: len(rows)]), (held_out, states_N2D[len(rows) :])):
        if some:
            _, found = reward_values(cfg, some_N2D @ weight_D, *labels(some, some_N2D))
            means = {name: float((weights(some) * x_N).sum()) for name, x_N in found.items()}
            trainer.write(step, means, held_out=0 if some is rows else len(some))
    folder = trainer.finish(**facts, **how)
    for file in trainer.out.glob("features*") if trainer.main else ():
        file.unlink()
    return folder


def features(trainer: Trainer[RewardConfig], policy: Policy, rows: Sequence[Example]) -> Tensor:
    """The state that the head reads, of both answers of each row, on disk; every process computes its
    share."""
    processes = trainer.processes
    key, mine = [trainer.fingerprint, processes.world], processes.share(range(len(rows)))
    file, note = trainer.out / "features.npy", trainer.out / f"features-{processes.rank}.json"
    before = read_json(note, dict[str, Any]) if note.exists() and file.exists() else {}
    done = first = before["done"] if before.get("key") == key else 0
    shape = (len(rows), 2, causal_of(policy.model).get_input_embeddings().weight.shape[1])
    if trainer.main and (not file.exists() or np.load(file, mmap_mode="r").shape != shape):
        np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape).flush()
    trainer.accelerator.wait_for_everyone()
    states, began = np.load(file, mmap_mode="r+"), time.monotonic()
    while done < len(mine):
        block = mine[done : done + BLOCK]
        found: Any = trainer.read(policy, [rows[row] for row in block], ("states",)).state_AD
        states[block] = found.view(-1, 2, shape[2]).numpy()
        states.flush()
        done += len(block)
        write_whole(note, json.encode({"key": key, "done": done}))
        left = (time.monotonic() - began) / (done - first) * (len(mine) - done)
        if trainer.main:
            trainer.on_progress(Progress(done, len(mine), left, {}))
    trainer.accelerator.wait_for_everyone()
    return torch.from_numpy(states)


def solve(states_N2D: Tensor, rows: Sequence[Example], cfg: RewardConfig) -> tuple[Tensor, dict[str, float]]:
    """The head's weights where the objective is least; under which penalty, after how many iterations."""
    p_N, margin_N = labels(rows, states_N2D)
    share_N = weights(rows)
    # In units of each dimension's spread: a few of a language model's are a hundred times as wide as others.
    scale_D = states_N2D[:MEASURED].square().mean((0, 1)).sqrt() + 1e-6
    nothing_D = torch.zeros_like(scale_D)

    def values(v_D: Tensor) -> Noted:
        return reward_values(cfg, states_N2D @ (v_D / scale_D), p_N, margin_N)

    def fitted(v_D: Tensor, share_N: Tensor, ridge: float, within: float = 1e-6) -> tuple[Tensor, int]:
        v_D = v_D.clone().requires_grad_()
        how: dict[str, Any] = {"tolerance_grad": within, "tolerance_change": 1e-6 * within}
        solver = torch.optim.LBFGS([v_D], max_iter=ITERATIONS, line_search_fn="strong_wolfe", **how)

        def objective() -> Tensor:
            solver.zero_grad()
            total = (share_N * values(v_D)[0].double()).sum() + ridge * v_D.double().square().sum()
            total.backward()
            return total

        solver.step(objective)
        return v_D.detach(), int(solver.state[v_D]["n_iter"])

    def left_out() -> Iterator[float]:
        """The loss on rows whose prompts the head was not fitted on, under each penalty."""
        fold_N, heads = folds(rows), [nothing_D] * FOLDS
        for ridge in RIDGES:
            loss = 0.0
            for fold in range(FOLDS):
                learnt_N = share_N * (fold_N != fold)
                heads[fold], _ = fitted(heads[fold], learnt_N / learnt_N.sum().clamp(min=1e-9), ridge, 1e-3)
                loss += float(((share_N - learnt_N) * values(heads[fold])[1]["loss"]).sum())
            yield loss

    ridge = cfg.ridge
    if ridge is None:
        rises = (more >= less for less, more in pairwise(left_out()))
        ridge = RIDGES[next((at for at, one in enumerate(rises) if one), len(RIDGES) - 1)]
    v_D, iterations = fitted(nothing_D, share_N, ridge)
    return v_D / scale_D, {"ridge": ridge, "iterations": iterations}


def folds(rows: Sequence[Example]) -> Tensor:
    """Which rows are left out together: all of a prompt; where there is but one prompt, each by itself."""
    keys = [crc32(array("i", row.prompt_ids)) for row in rows]
    order = {key: at for at, key in enumerate(sorted(set(keys)))}
    alone = len(order) == 1
    return torch.tensor([(at if alone else order[key]) % FOLDS for at, key in enumerate(keys)])


def weights(rows: Sequence[Example]) -> Tensor:
    """What each row counts, together 1."""
    weight_N = torch.tensor([row.weight for row in rows])
    return weight_N / weight_N.sum()
