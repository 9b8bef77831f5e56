"""What every trainer's loop stands on: steps, parts, the optimiser, checkpoints and metrics.

A step is so many rows, wherever they are computed. They are shared out among the processes and cut into
parts that fit into memory; each part's loss is divided by the weight of the whole step, so neither the
number of processes nor the cutting changes a gradient. Use it like this:

    with Loop(cfg, policy, examples, weights, watch) as loop:
        for step in loop.steps():
            for part in loop.parts(step):
                loss_B = ...
                loop.backward((part.weight_B * loss_B).sum())
                loop.note(part, loss=loss_B)
            loop.update(step)
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

import msgspec
import torch
from torch import Tensor

from ..errors import RunError
from ..run import lock
from .batch import Example, steps
from .checkpoint import full_state, load_checkpoint, save_checkpoint, trainable
from .forward import AnswersModel, counter
from .plan import (
    accelerator_for,
    adamw,
    fingerprint,
    is_finished,
    is_sharded,
    keep_first,
    lr_share,
    open_tracker,
    recompute,
    shared_out,
    start_from,
)
from .policy import Policy, save_policy
from .settings import Training

MAX_NORM: Final = 1.0
"""Longer gradients are shortened to this."""


class Step(NamedTuple):
    number: int
    """From 1."""
    rows: list[int]


class Part(NamedTuple):
    """Rows that go through the model at once."""

    examples: list[Example]
    weight_B: Tensor
    """Each row's share of the step's loss."""


class Progress(NamedTuple):
    """Told after every step."""

    step: int
    steps: int
    seconds_left: float
    metrics: dict[str, float]


Watch = Callable[[Progress], None]


def nobody(_: Progress) -> None:
    """For callers who do not look."""


class Loop:
    """One training run in one folder, from its start or from where it was killed.

    `module` is what is called in each part, a model whose forward is `answers_forward` unless said otherwise;
    `beside` names what else the numbers depend on, such as an anchor; `groups` are the weights that learn,
    where not all do so at one rate.
    """

    def __init__(
        self,
        cfg: Training,
        policy: Policy,
        examples: Sequence[Example],
        weights: Sequence[float],
        watch: Watch = nobody,
        module: Any = None,
        beside: str = "",
        groups: Iterable[dict[str, Any]] | None = None,
    ) -> None:
        self.cfg, self.policy, self.examples, self.weights = cfg, policy, examples, weights
        self.out = Path(cfg.out)
        self.watch, self._tracker = watch, None
        self.accelerator = accelerator_for(cfg)
        module = AnswersModel(policy.model) if module is None else module
        if cfg.checkpointing:
            recompute(policy.model)
        optimizer = adamw(trainable(module) if groups is None else groups, cfg)
        # Together, since sharding replaces the weights that the optimiser holds; then without the wrapping,
        # whose part in gradient accumulation is ours.
        self.model, wrapped = self.accelerator.prepare(module, optimizer)
        self.optimizer = wrapped.optimizer
        self._a_step: dict[str, list[Tensor]] = {}
        self.total = max(1, math.ceil(cfg.epochs * math.ceil(len(examples) / cfg.batch)))
        self.fingerprint = fingerprint(cfg, policy, examples, beside)
        self.metrics: dict[str, float] = {}
        self.held_out: dict[str, float] = {}
        self.done = 0

    def __enter__(self) -> Loop:
        self.out.mkdir(parents=True, exist_ok=True)
        self._lock = lock(self.out) if self.main else None
        if is_finished(self.out / "model", self.fingerprint):
            self.done = self.total
        else:
            self.done = load_checkpoint(self._checkpoints, self.fingerprint, self.model, self.optimizer)
        if self.main:
            keep_first(self.out / "metrics.jsonl", self.done)
            self._tracker = open_tracker(self.cfg)
        self._metrics_file = (self.out / "metrics.jsonl").open("a") if self.main else None
        self.accelerator.wait_for_everyone()
        self.model.train()
        self._began, self._first = time.monotonic(), self.done
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._metrics_file is not None:
            self._metrics_file.close()
        if self._tracker is not None:
            self._tracker.finish()
        if self._lock is not None:
            os.close(self._lock)

    @property
    def main(self) -> bool:
        return bool(self.accelerator.is_main_process)

    @property
    def _checkpoints(self) -> Path:
        return self.out / "checkpoints"

    def steps(self) -> Iterator[Step]:
        """What is left of the epochs. Each seeds itself, so that a resumed one draws the same dropout."""
        number, epoch = 0, 0
        while number < self.total:
            for rows in steps(self.examples, self.cfg.batch, self.cfg.seed + 7919 * epoch):
                number += 1
                if number > self.total:
                    return
                if number > self._first:
                    torch.manual_seed((self.cfg.seed * 1_000_003 + number) * self.world + self.rank)
                    yield Step(number, rows)
            epoch += 1

    def epoch_ends(self, step: Step) -> bool:
        return step.number % math.ceil(len(self.examples) / self.cfg.batch) == 0 or step.number == self.total

    def parts(self, step: Step) -> Iterator[Part]:
        """This process's share of a step, cut to fit; gradients are exchanged with the last."""
        total = sum(self.weights[row] for row in step.rows)
        count = counter(self.model)
        slots = {row: count(self.examples[row]) for row in step.rows}
        cuts = shared_out(step.rows, slots, self.cfg.tokens, self.world)[self.rank]
        for number, rows in enumerate(cuts, 1):
            # A process with nothing left takes part without weight: the others would wait for it.
            weights = [self.weights[row] / total for row in rows] or [0.0]
            part = [self.examples[row] for row in rows or step.rows[:1]]
            weight_B = torch.tensor(weights, device=self.accelerator.device)
            with nullcontext() if number == len(cuts) else self.accelerator.no_sync(self.model):
                yield Part(part, weight_B)

    @property
    def rank(self) -> int:
        return int(self.accelerator.process_index)

    @property
    def world(self) -> int:
        return int(self.accelerator.num_processes)

    def backward(self, loss: Tensor) -> None:
        # Gradients are averaged over the processes; the parts are shares of one sum.
        self.accelerator.backward(loss * self.world)

    def note(self, part: Part, **values: Tensor) -> None:
        """What a row scored, to be averaged over the step."""
        for name, value_B in values.items():
            mine = (part.weight_B * value_B.detach().float()).sum()
            self._a_step.setdefault(name, []).append(mine)

    def update(self, step: Step) -> None:
        """Shorten the gradient, step, write the metrics, keep a checkpoint when it is time."""
        rate = self.cfg.lr * lr_share(step.number, self.total, self.cfg.warmup, self.cfg.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), MAX_NORM)
        sums = torch.stack([torch.stack(noted).sum() for noted in self._a_step.values()])
        means = self.accelerator.reduce(sums, "sum").tolist()
        self.metrics = dict(zip(self._a_step, means, strict=True)) | {"grad_norm": float(norm), "lr": rate}
        self._a_step = {}
        self._refuse_nan(step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.done = step.number
        self.write(step.number, self.metrics)
        if self.cfg.save_every and step.number % self.cfg.save_every == 0 and step.number < self.total:
            self._save_checkpoint()
        each = (time.monotonic() - self._began) / (step.number - self._first)
        if self.main:
            self.watch(Progress(step.number, self.total, each * (self.total - step.number), self.metrics))

    def _refuse_nan(self, step: Step) -> None:
        if all(map(math.isfinite, self.metrics.values())):
            return
        ids = ", ".join(self.examples[row].id or f"row {row}" for row in step.rows[:3])
        raise RunError(
            f"the loss is {self.metrics.get('loss')} and the gradient {self.metrics['grad_norm']} at step"
            f" {step.number}, with rows {ids} ...; the model of the step before is not overwritten. Lower the"
            f" rate: --lr {self.cfg.lr / 4:g}, or compute in full: --precision float32"
        )

    def _save_checkpoint(self) -> None:
        save_checkpoint(self._checkpoints, self.done, self.fingerprint, self.model, self.optimizer, self.main)
        self.accelerator.wait_for_everyone()

    def measured(self, step: Step, rows: int, metrics: dict[str, float]) -> None:
        """What the rows that are not learnt say at this step."""
        self.held_out = {"rows": rows, **metrics}
        self.write(step.number, metrics, of="held_out")

    def write(self, step: int, metrics: dict[str, float], **more: Any) -> None:
        """A line of metrics.jsonl."""
        if self._metrics_file is not None:
            line = {"step": step, **more, **{name: float(f"{value:.7g}") for name, value in metrics.items()}}
            self._metrics_file.write(json.dumps(line) + "\n")
            self._metrics_file.flush()
        if self._tracker is not None:
            prefix = f"{more['of']}/" if more else ""
            self._tracker.log({f"{prefix}{name}": value for name, value in metrics.items()}, step=step)

    def finish(self, **facts: Any) -> Path:
        """The model in its place; the checkpoints have served. What was finished before is left as it is."""
        if is_finished(self.out / "model", self.fingerprint):
            return self.out / "model"
        learnt = self._whole_policy()
        if self.main:
            merge = self.cfg.lora is None or self.cfg.lora.merge
            folder = save_policy(learnt, self.out / "model", merge=merge)
            facts = {"base": str(self.policy.path), "base_hash": self.policy.hash, **facts}
            facts |= {"steps": self.total, "metrics": self.metrics, "held_out": self.held_out}
            facts |= {"processes": self.world, "settings": msgspec.to_builtins(self.cfg)}
            facts |= {"fingerprint": self.fingerprint}
            (folder / "training.json").write_text(json.dumps(facts, indent=1) + "\n")
            shutil.rmtree(self._checkpoints, ignore_errors=True)
        self._part()
        return self.out / "model"

    def _whole_policy(self) -> Policy:
        """The policy with its weights in one piece, in the first process."""
        if not is_sharded(self.accelerator):
            return replace(self.policy, model=self.accelerator.unwrap_model(self.model).model)
        state = full_state(self.model)
        if not self.main:
            return self.policy
        whole = start_from(self.cfg, self.policy.kind)
        whole.model.load_state_dict(state)
        return whole

    def _part(self) -> None:
        """The last meeting. Who is through it may be gone before the first hears of it, with all written."""
        try:
            self.accelerator.wait_for_everyone()
        except RuntimeError:
            if not self.main:
                raise
