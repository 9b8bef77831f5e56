"""What every trainer shares: one run in one folder, its steps, the optimiser, checkpoints and metrics.

A step is so many rows, wherever they are computed. They are shared out among the processes and cut into parts
that fit into memory; each part's loss is divided by the weight of the whole step, so neither the number of
processes nor the cutting changes a gradient. A method says what it minimises, row by row:

    with Trainer(cfg, rows, on_progress) as trainer:
        if trainer.finished:
            return trainer.finished
        policy = trainer.load_base()
        trainer.begin(policy, examples, weights)
        for step in trainer.steps():
            trainer.learn(step, values)
        return trainer.finish()
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec
import torch
from torch import Tensor

from ..errors import Interrupted, RunError
from ..policies.checkpoint import Kind
from ..policies.forward import row_slots
from ..policies.policy import Policy, load_policy
from ..policies.tokens import Example
from ..run import lock, write_whole
from .checkpoint import TrainingState, full_state, load_checkpoint, save_checkpoint
from .identity import Given, fingerprint, finished_model
from .processes import (
    Processes,
    layers_named,
    open_accelerator,
    recompute,
    shards_weights,
    shared_out,
    shuffled_steps,
)
from .settings import Training

MAX_NORM: Final = 1.0
"""Longer gradients are shortened to this."""
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_T = TypeVar("_T")
_C = TypeVar("_C", bound=Training)
Values = Callable[[list[Example]], tuple[Tensor, dict[str, Tensor]]]
"""Of some rows what is minimised, and what is written down under a name; a number a row."""


class TrainingStep(NamedTuple):
    number: int
    """From 1."""
    rows: list[int]


class Progress(NamedTuple):
    """Given to `on_progress` after every step."""

    step: int
    steps: int
    seconds_left: float
    metrics: dict[str, float]


OnProgress = Callable[[Progress], None]


def no_progress(_: Progress) -> None:
    """For callers who do not want to know."""


class Trainer(Generic[_C]):
    """One training run: `begin` with a policy and its rows, take `steps`, `finish`."""

    finished: Path | None
    """The model, where this very run has been finished before."""

    def __init__(self, cfg: _C, rows: Given = None, on_progress: OnProgress = no_progress) -> None:
        self.cfg, self.out, self.on_progress = cfg, Path(cfg.out), on_progress
        self.fingerprint = fingerprint(cfg, rows)
        self.finished = finished_model(self.out, self.fingerprint)
        self.numbers: dict[str, float] = {}
        """The method's own, kept in checkpoints."""
        self.metrics: dict[str, float] = {}
        self.held_out: dict[str, float] = {}
        self.tokens = cfg.tokens
        """Of a forward pass; fewer once memory ran out."""
        self.done = self.total = 0
        self._lock: int | None = None
        self._metrics_file: Any = None
        self._tracker: Any = None
        self._handlers: dict[int, Any] = {}
        self._signal = ""
        self._resumed = False

    def __enter__(self) -> Trainer[_C]:
        if self.finished:
            return self
        self.out.mkdir(parents=True, exist_ok=True)
        self.accelerator = open_accelerator(self.cfg)
        self.processes = Processes(self.accelerator)
        self.sharded = shards_weights(self.accelerator)
        if self.main:
            self._lock = lock(self.out)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._metrics_file is not None:
            self._metrics_file.close()
        if self._tracker is not None:
            self._tracker.finish()
        if self._lock is not None:
            os.close(self._lock)

    def _stop(self, number: int, _: Any) -> None:
        """The first signal ends the run after the step under way, a second one at once."""
        self._signal = signal.Signals(number).name
        for one, handler in self._handlers.items():
            signal.signal(one, handler)

    @property
    def main(self) -> bool:
        return self.processes.rank == 0

    @property
    def loading(self) -> dict[str, Any]:
        """How weights are read: those trained in float32, those below an adapter as they come; and where they
        are sharded by the first process, which gives the others their shares."""
        return {
            "dtype": "auto" if self.cfg.lora else "float32",
            "attention": self.cfg.model.attention,
            "empty": self.sharded and not self.main,
        }

    def load_base(self, kind: Kind = "causal") -> Policy:
        cfg = self.cfg
        template = cfg.model.chat_template_kwargs
        policy = load_policy(
            cfg.base, lora=cfg.lora, kind=kind, seed=cfg.seed, template=template, **self.loading
        )
        if cfg.model.checkpointing:
            recompute(policy.model)
        return policy

    def begin(
        self,
        policy: Policy,
        examples: Sequence[Example],
        weights: Sequence[float],
        groups: Sequence[dict[str, Any]] | None = None,
    ) -> None:
        """`weights` are what each row counts; `groups` weights of the policy with a learning rate of their
        own."""
        self.policy, self.examples, self.weights = policy, list(examples), list(weights)
        self.total = max(1, math.ceil(self.cfg.epochs * self.steps_per_epoch))
        self.module, optimizer = policy, adamw(groups or [{"params": trainable(policy)}], self.cfg)
        if self.sharded:
            # Together, since sharding replaces the weights that the optimiser holds.
            self.module, wrapped = self.accelerator.prepare(layers_named(policy), optimizer)
            optimizer = wrapped.optimizer
        else:
            policy.to(self.processes.device)
        self.optimizer = optimizer
        self.module.train()

    def load_reference(self, path: str) -> Policy:
        """The policy at `path`, frozen, on this process's device, sharded where the trained one is."""
        reference = self.policy.load_reference(path, **self.loading).requires_grad_(False).eval()
        if self.sharded:
            # accelerate shards no model without an optimiser; this one keeps nothing and is never called.
            idle = torch.optim.SGD(reference.parameters(), lr=0.0)
            reference, _ = self.accelerator.prepare(layers_named(reference), idle)
            return reference
        return reference.to(self.processes.device)

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.examples) / self.cfg.batch)

    def steps(self, plan: Iterable[list[int]] | None = None) -> Iterator[TrainingStep]:
        """What is left of the run. Each step seeds itself, so that a resumed one draws the same dropout.

        After each: its checkpoint when it is time, progress, and the end where a signal asked for it.
        """
        self.resume()
        began, first = time.monotonic(), self.done
        plan = shuffled_steps(self.examples, self.cfg.batch, self.cfg.seed) if plan is None else plan
        for step in map(TrainingStep, range(1, self.total + 1), plan):
            if step.number <= first:
                continue
            self._seed(step.number)
            yield step
            self.done = step.number
            stops = self._signal_anywhere()
            due = self.cfg.save_every and step.number % self.cfg.save_every == 0
            if (due or stops) and step.number < self.total:
                self._save_checkpoint()
            if self.main:
                each = (time.monotonic() - began) / (step.number - first)
                left = each * (self.total - step.number)
                self.on_progress(Progress(step.number, self.total, left, self.metrics))
            if stops and step.number < self.total:
                raise Interrupted(
                    f"stopped by {stops} after step {step.number} of {self.total}, which is saved;"
                    f" the same command goes on from step {step.number + 1}"
                )
            if self.total == step.number:  # a stop rule may have moved the end
                return

    def resume(self) -> None:
        """Take up the last checkpoint, where there is one; `steps` does so by itself."""
        if self._resumed:
            return
        self._resumed = True
        state = load_checkpoint(self._checkpoints, self.fingerprint, self.module, self.optimizer)
        self.done, self.numbers = state.step, {**self.numbers, **state.numbers}
        if self.main:
            truncate_metrics(self.out / "metrics.jsonl", self.done)
            self._tracker = open_tracker(self.cfg)
            self._metrics_file = (self.out / "metrics.jsonl").open("a")
        if threading.current_thread() is threading.main_thread():
            self._handlers = {one: signal.signal(one, self._stop) for one in STOP_SIGNALS}
        self.accelerator.wait_for_everyone()

    def _seed(self, number: int) -> None:
        seed = (self.cfg.seed * 1_000_003 + number) * self.processes.world + self.processes.rank
        self._step_seed = seed
        torch.manual_seed(seed)

    def epoch_ends(self, step: TrainingStep) -> bool:
        return step.number % self.steps_per_epoch == 0 or step.number == self.total

    def learn(self, step: TrainingStep, values: Values) -> None:
        """One update on the rows of a step, each by its weight; the metrics are means over them."""
        whole = sum(self.weights[row] for row in step.rows)
        sums: dict[str, Tensor] = {}

        def parts(tokens: int) -> list[list[int]]:
            sums.clear()
            sizes = {row: row_slots(self.policy.model, self.examples[row]) for row in step.rows}
            return shared_out(step.rows, sizes, tokens, self.processes.world)[self.processes.rank]

        def loss_of(rows: list[int]) -> Tensor:
            objective_B, noted = values([self.examples[row] for row in rows or step.rows[:1]])
            # A process with nothing left takes part without weight: the others would wait for it.
            weight_B = objective_B.new_tensor([self.weights[row] / whole for row in rows] or [0.0])
            for name, value_B in noted.items():
                mine = (weight_B * value_B.detach().float()).sum()
                sums[name] = sums[name] + mine if name in sums else mine
            return (weight_B * objective_B).sum()

        self.gradient(parts, loss_of)
        means = self.processes.sum(torch.stack([*sums.values()]))
        metrics = dict(zip(sums, means.tolist(), strict=True))
        metrics |= {"grad_norm": self.update(step, metrics), "lr": self.rate(step)}
        self.write(step, metrics)

    def gradient(
        self, parts: Callable[[int], list[list[int]]], loss_of: Callable[[list[int]], Tensor]
    ) -> None:
        """The gradient of all losses of the parts that fit into so many tokens, summed over the processes."""

        def attempt(tokens: int) -> None:
            self.optimizer.zero_grad()
            torch.manual_seed(self._step_seed)
            mine = parts(tokens)
            for number, part in enumerate(mine, 1):
                waits = self.sharded and number < len(mine)
                with self.accelerator.no_sync(self.module) if waits else nullcontext():
                    with self.accelerator.autocast():
                        loss = loss_of(part)
                    # Sharded gradients are averaged over the processes; the parts are shares of one sum.
                    (loss * (self.processes.world if self.sharded else 1)).backward()

        self.within_memory(attempt)
        if self.processes.world > 1 and not self.sharded:
            for weight in self._trained:
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
                torch.distributed.all_reduce(weight.grad)

    def same_number(self, parts: list[list[int]]) -> list[list[int]]:
        """Where weights are sharded, every process passes as often as the others: empty parts are added."""
        if not self.sharded:
            return parts
        most = max(self.processes.gather([len(parts)]))
        return parts + [[]] * (most - len(parts))

    def within_memory(self, work: Callable[[int], _T]) -> _T:
        """The work with so many tokens a pass; where memory runs out, begun again with half as many, for
        good.

        Each process does so for itself, since nothing is exchanged in the middle; where weights are sharded,
        every pass is an exchange, and the run ends.
        """
        while True:
            try:
                return work(self.tokens)
            except torch.OutOfMemoryError:
                smallest = min(one.length for one in self.examples)
                if self.sharded or self.tokens <= smallest:
                    few = min(self.tokens // 2, 2048)
                    raise RunError(
                        f"out of memory with {self.tokens:,} tokens a pass, at step {self.done + 1}."
                        + (f" Set: --tokens {few}" if self.sharded else " That is one row alone. Set:")
                        + " --model.checkpointing true, --lora.r 16, or a smaller --max_length"
                    ) from None
            self.tokens = max(self.tokens // 2, 1)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            print(f"jurist: out of memory; going on with --tokens {self.tokens}", file=sys.stderr, flush=True)

    def update(self, step: TrainingStep, losses: Mapping[str, float]) -> float:
        """Clip the gradient, refuse what is not a number, take the optimiser's step; the gradient's norm."""
        norm = float(self.accelerator.clip_grad_norm_(self._trained, MAX_NORM))
        if not all(map(math.isfinite, (norm, *losses.values()))):
            ids = ", ".join(self.examples[row].id or f"row {row}" for row in step.rows[:3])
            said = ", ".join(f"{name} {value:g}" for name, value in {**losses, "grad_norm": norm}.items())
            raise RunError(
                f"a loss or gradient is not a number ({said}) at step {step.number}, with rows {ids} ...;"
                f" the last checkpoint is kept. Lower the rate: --lr {self.cfg.lr / 4:g}, or compute in full:"
                " --model.precision float32"
            )
        share = self.rate(step) / self.cfg.lr
        for group in self.optimizer.param_groups:
            group["lr"] = share * group["peak"]
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    @property
    def _trained(self) -> list[torch.nn.Parameter]:
        return trainable(self.module)

    def rate(self, step: TrainingStep) -> float:
        optim = self.cfg.optim
        return self.cfg.lr * lr_share(step.number, self.total, optim.warmup, optim.schedule)

    @torch.no_grad()
    def read(self, examples: Sequence[Example], values: Values) -> dict[str, Tensor]:
        """What `values` notes of every row, shared out among the processes, in the rows' order."""
        self.module.eval()

        def attempt(tokens: int) -> list[tuple[int, dict[str, float]]]:
            sizes = [row_slots(self.policy.model, one) for one in examples]
            shares = shared_out(range(len(examples)), sizes, tokens, self.processes.world)
            found: list[tuple[int, dict[str, float]]] = []
            for rows in shares[self.processes.rank]:
                if rows or self.sharded:
                    with self.accelerator.autocast():
                        _, noted = values([examples[row] for row in rows or [0]])
                    columns = {name: value_B.float().tolist() for name, value_B in noted.items()}
                    found += [
                        (row, {name: column[at] for name, column in columns.items()})
                        for at, row in enumerate(rows)
                    ]
            return found

        by_row = dict(self.processes.gather(self.within_memory(attempt)))
        self.module.train()
        names = next(iter(by_row.values()), {})
        return {name: torch.tensor([by_row[row][name] for row in range(len(examples))]) for name in names}

    def measure(
        self, step: TrainingStep, examples: Sequence[Example], weights: Sequence[float], values: Values
    ) -> None:
        """At the end of an epoch, the same numbers on rows that are not learnt."""
        if not examples or not self.epoch_ends(step):
            return
        weight_B = torch.tensor(weights)
        means = {
            name: float((weight_B * value_B).sum() / weight_B.sum())
            for name, value_B in self.read(examples, values).items()
        }
        self.write_held_out(step, len(examples), means)

    def write_held_out(self, step: TrainingStep, rows: int, metrics: dict[str, float]) -> None:
        self.held_out = {"rows": rows, **metrics}
        self._write_line(step.number, metrics, of="held_out")

    def write(self, step: TrainingStep, metrics: dict[str, float]) -> None:
        """The metrics of a step."""
        self.metrics = metrics
        self._write_line(step.number, metrics)

    def _write_line(self, step: int, metrics: dict[str, float], **more: Any) -> None:
        if self._metrics_file is not None:
            line = {"step": step, **more, **{name: float(f"{value:.7g}") for name, value in metrics.items()}}
            self._metrics_file.write(json.dumps(line) + "\n")
            self._metrics_file.flush()
        if self._tracker is not None:
            prefix = f"{more['of']}/" if more else ""
            self._tracker.log({f"{prefix}{name}": value for name, value in metrics.items()}, step=step)

    def _signal_anywhere(self) -> str:
        if self.processes.world == 1:
            return self._signal
        return next(filter(None, self.processes.gather([self._signal])), "")

    @property
    def _checkpoints(self) -> Path:
        return self.out / "checkpoints"

    def _save_checkpoint(self) -> None:
        state = TrainingState(self.done, self.fingerprint, self.numbers)
        save_checkpoint(self._checkpoints, state, self.module, self.optimizer, self.main)
        self.accelerator.wait_for_everyone()

    def finish(self, **facts: Any) -> Path:
        """The model in its place; the checkpoints have served."""
        folder = self.out / "model"
        trained = self._whole_policy()
        if self.main:
            trained.save(folder, merge=self.cfg.lora is None or self.cfg.lora.merge)
            facts = {"base": str(self.policy.path), "base_hash": self.policy.hash, **facts}
            facts |= {"steps": self.total, "metrics": self.metrics, "held_out": self.held_out}
            facts |= {"processes": self.processes.world, "settings": msgspec.to_builtins(self.cfg)}
            facts |= {"fingerprint": self.fingerprint}
            write_whole(folder / "training.json", (json.dumps(facts, indent=1) + "\n").encode())
            shutil.rmtree(self._checkpoints, ignore_errors=True)
        # The last meeting. A process that is through may be gone before the first hears of it, with all
        # written.
        with suppress(RuntimeError) if self.main else nullcontext():
            self.accelerator.wait_for_everyone()
        return folder

    def _whole_policy(self) -> Policy:
        """The policy with its weights in one piece, in the first process."""
        if not self.sharded:
            return self.policy
        state = full_state(self.module)
        if not self.main:
            return self.policy
        whole = self.load_base(self.policy.kind)
        whole.model.load_state_dict(state)
        return whole


def lr_share(step: int, steps: int, warmup: float, schedule: str) -> float:
    """The learning rate at a step, as a share of its peak."""
    rising = math.ceil(warmup * steps)
    if step <= rising:
        return step / rising
    if schedule == "constant":
        return 1.0
    top = max(1, rising)
    if schedule == "linear":  # nothing is reached after the last step, which learns, too
        return 1.0 - (step - top) / (steps - top + 1)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - top) / max(1, steps - top)))


def adamw(groups: Sequence[dict[str, Any]], cfg: Training) -> torch.optim.AdamW:
    groups = [{"lr": cfg.lr, "peak": cfg.lr, **group} for group in groups]
    # Fused: one pass over the weights instead of ten, a quarter of the time on a CPU too.
    return torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=cfg.optim.weight_decay, fused=True)


def trainable(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The weights that are trained."""
    return [weight for weight in model.parameters() if weight.requires_grad]


def open_tracker(cfg: Training) -> Any:
    """wandb or trackio, where asked for."""
    if not cfg.track:
        return None
    module = import_module(cfg.track)
    module.init(project="jurist", name=Path(cfg.out).name, config=msgspec.to_builtins(cfg))
    return module


def truncate_metrics(metrics: Path, steps: int) -> None:
    """Leave off the lines a killed run wrote after its last checkpoint."""
    if not metrics.exists():
        return
    lines = [line for line in metrics.read_text().splitlines(keepends=True) if line.endswith("\n")]
    kept = [line for line in lines if json.loads(line)["step"] <= steps]
    write_whole(metrics, "".join(kept).encode())
