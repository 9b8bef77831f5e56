"""What every trainer shares: one run in one folder, its steps, the optimiser, checkpoints and metrics.

A step is so many rows, wherever they are computed. They are shared out among the processes and cut into parts
that fit into memory; each part's loss is divided by the weight of the whole step, so neither the number of
processes nor the cutting changes a gradient. A method says what it minimises, row by row:

    with Trainer(cfg, rows, on_progress) as trainer:
        if trainer.finished:
            return trainer.finished
        policy = trainer.load_base()
        trainer.begin(policy, examples)
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, nullcontext, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, NoReturn, TypeVar

import msgspec
import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from ..errors import Interrupted, RunError
from ..policies.checkpoint import ModelKind
from ..policies.forward import causal_of, row_slots
from ..policies.policy import Policy, TokenStats, Want, load_policy, token_stats
from ..policies.tokens import Example, by_length
from ..run import lock, write_whole
from .checkpoint import fingerprint, finished_model, load_checkpoint, remove_checkpoints, save_checkpoint
from .processes import Processes, joined, merged, open_accelerator, shuffled_steps, warn_of_memory
from .settings import Training, check_training

MAX_NORM: Final = 1.0
"""Longer gradients are shortened to this."""
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_T = TypeVar("_T")
_C = TypeVar("_C", bound=Training)
Noted = tuple[Tensor, dict[str, Tensor]]
"""What is minimised, and what is written down under a name; a number a row."""
RowValues = Callable[[TokenStats, list[Example]], Noted]
"""Of some rows, and what the policy says of them."""


class TrainingStep(NamedTuple):
    number: int
    """From 1."""
    rows: list[int]


class Progress(NamedTuple):
    """Given to `on_progress` after every step, and before each pass of one."""

    step: int
    """Of those that are done."""
    steps: int
    seconds_left: float
    metrics: dict[str, float]
    doing: str = ""
    """How far the step under way is."""


OnProgress = Callable[[Progress], None]


class Trainer(Generic[_C]):
    """One training run: `begin` with a policy and its rows, take `steps`, `finish`."""

    finished: Path | None
    """The model, where this very run has been finished before."""

    def __init__(
        self, cfg: _C, given: Iterable[Any] | None = None, on_progress: OnProgress | None = None
    ) -> None:
        check_training(cfg, given is not None)
        self.cfg, self.out, self.on_progress = cfg, Path(cfg.out), on_progress or (lambda _: None)
        self.given = None if given is None else list(given)
        self.fingerprint = fingerprint(cfg, self.given)
        self.finished = finished_model(self.out, self.fingerprint)
        self.numbers: dict[str, float] = {}
        """The method's own, kept in checkpoints."""
        self.metrics: dict[str, float] = {}
        self.held_out: dict[str, float] = {}
        self.tokens = cfg.tokens
        """Of a forward pass; fewer once memory ran out."""
        self.done = self.total = 0
        self._closing = ExitStack()
        self._metrics_file: Any = None
        self._tracker: Any = None
        self._signal, self._unchanged, self._is_new = "", False, False
        self._seconds_left, self._resumed, self._saved = 0.0, False, 0

    def __enter__(self) -> Trainer[_C]:
        if self.finished:
            return self
        self._is_new = not self.out.exists()
        self.out.mkdir(parents=True, exist_ok=True)
        self.accelerator = open_accelerator(self.cfg)
        self.processes = Processes(self.accelerator)
        self.sharded, self.main = self.processes.sharded, self.processes.rank == 0
        if self.main:
            self._closing.callback(os.close, lock(self.out))
            truncate_metrics(self.out / "metrics.jsonl", sys.maxsize)  # refused before anything is loaded
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        self._closing.close()
        if kind and self.main and self._is_new and [one.name for one in self.out.iterdir()] == [".lock"]:
            shutil.rmtree(self.out, ignore_errors=True)

    @property
    def loading(self) -> dict[str, Any]:
        """How weights are read: trained ones in float32, those below an adapter as they come; sharded ones by
        the first process."""
        return {
            "dtype": "auto" if self.cfg.lora else "float32",
            "attention": self.cfg.model.attention,
            "empty": self.sharded and not self.main,
        }

    def load_base(self, kind: ModelKind = "causal") -> Policy:
        cfg, template = self.cfg, self.cfg.model.chat_template_kwargs
        self.tell(f"loading {Path(cfg.base).name}")
        policy = load_policy(
            cfg.base, lora=cfg.lora, kind=kind, seed=cfg.seed, template=template, **self.loading
        )
        if cfg.model.checkpointing:
            policy.model.activation_checkpointing_enable({"use_reentrant": False})
        return policy

    def begin(
        self,
        policy: Policy,
        examples: Sequence[Example],
        want: Sequence[Want] = ("logprobs",),
        temperature: float = 1.0,
        groups: Sequence[dict[str, Any]] | None = None,
    ) -> None:
        """`want` is what the losses are made of; `groups` are weights with a learning rate of their own."""
        self.want, self.temperature = want, temperature
        cfg = self.cfg
        self.policy, self.examples, self.batch = policy, list(examples), cfg.rows_a_step(len(examples))
        self.total = max(1, math.ceil(cfg.epochs * self.steps_per_epoch))
        warn_of_memory(sum(x.numel() for x in trainable(policy)), self.processes)
        groups = groups or [{"params": trainable(policy)}]
        groups = [{"lr": cfg.peak_lr, "peak": cfg.peak_lr, **group} for group in groups]
        # Fused: one pass over the weights instead of ten, a quarter of the time on a CPU too.
        decay = cfg.optim.weight_decay
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=decay, fused=True)
        # Together, since sharding replaces the weights that the optimiser holds.
        self.module, self.optimizer = self._placed(policy, optimizer)
        self.module.train()

    def load_reference(self, path: str) -> Policy:
        """The policy at `path`, frozen, on this process's device, sharded where the trained one is."""
        reference = self.policy.load_reference(path, **self.loading).requires_grad_(False).eval()
        # accelerate shards no model without an optimiser; this one keeps nothing and is never called.
        return self._placed(reference, torch.optim.SGD(reference.parameters(), lr=0.0))[0]

    def _placed(self, policy: Policy, optimizer: Any) -> tuple[Policy, Any]:
        if not self.sharded:
            return policy.to(self.processes.device), optimizer
        # What accelerate asks of a model: which layers are sharded one by one, which weights are the same.
        causal = causal_of(policy.model)
        policy._no_split_modules, policy.tie_weights = causal._no_split_modules, causal.tie_weights
        policy, wrapped = self.accelerator.prepare(policy, optimizer)
        return policy, wrapped.optimizer

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.examples) / self.batch)

    def steps(self, plan: Iterable[list[int]] | None = None) -> Iterator[TrainingStep]:
        """What is left of the run. Each step seeds itself, so that a resumed one draws the same dropout.

        After each: its checkpoint when it is time, progress, and the end where a signal asked for it.
        """
        self.resume()
        began, first = time.monotonic(), self.done
        plan = shuffled_steps(self.examples, self.batch, self.cfg.seed) if plan is None else plan
        for step in map(TrainingStep, range(1, self.total + 1), plan):
            if step.number <= first:
                continue
            seed = (self.cfg.seed * 1_000_003 + step.number) * self.processes.world + self.processes.rank
            self._step_seed = seed
            torch.manual_seed(seed)
            self._unchanged = True
            yield step
            self.done = step.number
            last = step.number == self.total  # a stop rule may have moved the end
            stops = next(filter(None, self.processes.gather([self._signal])), "")
            due = self.cfg.save_every and step.number % self.cfg.save_every == 0
            if due and not stops and not last:
                self._save()
            left = (self.total - step.number) / (step.number - first)
            self._seconds_left = left * (time.monotonic() - began)
            self.tell()
            if last:
                return
            if stops:
                self._interrupt(stops)

    def _save(self) -> None:
        if self.done != self._saved:  # all processes know: the file may be there already where one is slow
            file = self._checkpoints / f"step-{self.done:08}.safetensors"
            numbers = {**self.numbers, "step": self.done}
            save_checkpoint(file, self.fingerprint, numbers, self.module, self.optimizer, self.main)
            self.accelerator.wait_for_everyone()
            self._saved = self.done

    def _interrupt(self, stops: str) -> NoReturn:
        self._save()
        done = f"after step {self.done} of {self.total}, which is saved" if self.done else "in the first step"
        raise Interrupted(f"stopped by {stops} {done}; the same command goes on from step {self.done + 1}")

    def tell(self, doing: str = "") -> None:
        """Where the run is. One that is to stop does so here, where its step has changed no weight yet."""
        if self.main:
            self.on_progress(Progress(self.done, self.total, self._seconds_left, self.metrics, doing))
        if self._signal and self._unchanged and doing and self.processes.world == 1:
            self._interrupt(self._signal)

    def resume(self) -> None:
        """Take up the last checkpoint, where there is one; `steps` does so by itself."""
        if self._resumed:
            return
        self._resumed = True
        self.numbers |= load_checkpoint(self._checkpoints, self.fingerprint, self.module, self.optimizer)
        self.done = self._saved = int(self.numbers.pop("step", 0))
        if self.main:
            metrics = self.out / "metrics.jsonl"
            truncate_metrics(metrics, self.done)
            self._metrics_file = self._closing.enter_context(metrics.open("a"))
            if self.cfg.track:
                self._tracker = import_module(self.cfg.track)
                settings = msgspec.to_builtins(self.cfg)
                self._tracker.init(project="jurist", name=self.out.name, config=settings)
                self._closing.callback(self._tracker.finish)
        if threading.current_thread() is threading.main_thread():
            self._handlers = {one: signal.signal(one, self._stop) for one in STOP_SIGNALS}
            self._closing.callback(self._restore_handlers)
        self._unchanged = True
        self.accelerator.wait_for_everyone()

    def _stop(self, number: int, _: Any) -> None:
        """The first signal ends the run as soon as no step is left half done, a second one at once."""
        self._signal = signal.Signals(number).name
        self._restore_handlers()
        again = "Press Ctrl-C again to lose the step under way"
        print("\n" * sys.stderr.isatty() + f"jurist: stopping. {again}", file=sys.stderr, flush=True)

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def epoch_ends(self, step: TrainingStep) -> bool:
        return step.number % self.steps_per_epoch == 0 or step.number == self.total

    def learn(self, step: TrainingStep, values: RowValues) -> None:
        """One update on the rows of a step."""
        # Dealt out by length, so that all processes have like work.
        rows = [self.examples[row] for row in step.rows]
        rows.sort(key=lambda row: row_slots(self.policy.model, row))
        mine = self.processes.share(rows)

        def of_part(stats: TokenStats, part: list[int]) -> Noted:
            return values(stats, [mine[row] for row in part])

        self.write(step, self.update(step, mine, of_part))

    def update(
        self,
        step: TrainingStep,
        rows: Sequence[Example],
        values: Callable[[TokenStats, list[int]], Noted],
    ) -> dict[str, float]:
        """One update on the rows of all processes, each by its weight, and the means over them of what is
        noted; nothing where no process has any. `rows` are this process's, of which `values` gets some.
        """
        whole = self.processes.sum({"weight": sum(row.weight for row in rows)})["weight"]
        if not whole:
            return {}
        sums: dict[str, Tensor] = {}

        def loss_of(part: list[int]) -> Tensor:
            some = [rows[row] for row in part]
            stats = self.module(merged(some) or self._spare, self.want, self.temperature)
            if not some:  # a part without rows is passed for the other processes, which would wait for it
                return 0.0 * torch.stack([x.sum() for x in stats[1:] if x is not None]).sum()
            objective_B, noted = values(stats, part)
            weight_B = objective_B.new_tensor([row.weight / whole for row in some])
            for name, value_B in noted.items():
                mine = (weight_B * value_B.detach().float()).sum()
                sums[name] = sums[name] + mine if name in sums else mine
            return (weight_B * objective_B).sum()

        def attempt(tokens: int) -> None:
            sums.clear()
            self.optimizer.zero_grad()
            torch.manual_seed(self._step_seed)
            parts, seen = self._parts(rows, tokens), 0
            for number, part in enumerate(parts, 1):
                self.tell(f"{seen} of {len(rows)} rows")
                seen += len(part)
                waits = self.sharded and number < len(parts)
                with self.accelerator.no_sync(self.module) if waits else nullcontext():
                    with self.accelerator.autocast():
                        loss = loss_of(part)
                    # Sharded gradients are averaged over the processes; the parts are shares of one sum.
                    (loss * (self.processes.world if self.sharded else 1)).backward()

        self.within_memory(attempt)
        if self.processes.world > 1 and not self.sharded:
            for weight in trainable(self.module):
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
                torch.distributed.all_reduce(weight.grad)
        means = self.processes.sum({name: float(value) for name, value in sums.items()})
        return {**means, "grad_norm": self._descend(step, means), "lr": self.rate(step)}

    def _parts(self, rows: Sequence[Example], tokens: int) -> list[list[int]]:
        """The rows in parts that fit, those of one prompt together so that they share it. Where weights are
        sharded, every process passes as often as the others: some parts are empty.
        """
        model = self.policy.model
        groups = joined(model, rows, tokens)
        sizes = [row_slots(model, *merged([rows[row] for row in group])) for group in groups]
        parts = [[row for at in part for row in groups[at]] for part in by_length(sizes, tokens)]
        most = max(self.processes.gather([len(parts)])) if self.sharded else 0
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

    def _descend(self, step: TrainingStep, losses: dict[str, float]) -> float:
        """Clip the gradient, refuse what is not a number, take the optimiser's step; the gradient's norm."""
        norm = float(self.accelerator.clip_grad_norm_(trainable(self.module), MAX_NORM))
        if not all(map(math.isfinite, (norm, *losses.values()))):
            ids = ", ".join(self.examples[row].id or f"row {row}" for row in step.rows[:3])
            said = ", ".join(f"{name} {value:g}" for name, value in {**losses, "grad_norm": norm}.items())
            kept = "the last" if any(self._checkpoints.glob("step-*")) else "no"
            raise RunError(
                f"a loss or gradient is not a number ({said}) at step {step.number}, with rows {ids} ...;"
                f" {kept} checkpoint is kept. Lower the rate: --lr {self.cfg.peak_lr / 4:g}, or compute in"
                " full: --model.precision float32"
            )
        share = self.rate(step) / self.cfg.peak_lr
        for group in self.optimizer.param_groups:
            group["lr"] = share * group["peak"]
        self._unchanged = False
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    def rate(self, step: TrainingStep) -> float:
        optim = self.cfg.optim
        return self.cfg.peak_lr * lr_share(step.number, self.total, optim.warmup, optim.schedule)

    @torch.no_grad()
    def read(self, module: Policy, rows: Sequence[Example], want: Sequence[Want] | None = None) -> TokenStats:
        """What a policy says of this process's rows, in order, without gradient. Every process calls it."""
        want, how = want or self.want, self.temperature

        def attempt(tokens: int) -> TokenStats:
            groups = joined(self.policy.model, rows, tokens)
            examples = [one for group in groups for one in merged([rows[row] for row in group])]
            with self.accelerator.autocast():
                stats = token_stats(module, examples, tokens, want, how, lambda n: self.tell(f"{n} read"))
                for part in self._parts(rows, tokens):
                    if not part:
                        module(self._spare, want, self.temperature)
            return stats

        return self.within_memory(attempt)

    @property
    def _spare(self) -> list[Example]:
        """What a process with nothing left passes, since the others would wait for it."""
        one = self.examples[0]
        return [msgspec.structs.replace(one, answers=one.answers or [one.prompt_ids[-1:]])]

    def measure(self, step: TrainingStep, examples: Sequence[Example], values: RowValues) -> None:
        """At the end of an epoch, the same numbers on rows that are not learnt."""
        if not examples or not self.epoch_ends(step):
            return
        mine = self.processes.share(examples)
        stats = self.read(self.module, mine)
        noted = values(stats, mine)[1] if mine else {}
        whole = sum(row.weight for row in examples)
        weight_B = torch.tensor([row.weight / whole for row in mine], dtype=torch.float64)
        means = self.processes.sum({name: float((weight_B * x_B).sum()) for name, x_B in noted.items()})
        self.write(step, means, held_out=len(examples))

    def write(self, step: TrainingStep, metrics: dict[str, float], held_out: int = 0) -> None:
        """The metrics of a step, or those of so many rows that are held out."""
        if held_out:
            self.held_out = {"rows": held_out, **metrics}
        else:
            self.metrics = metrics
        of = {"of": "held_out"} if held_out else {}
        if self._metrics_file is not None:
            rounded = {name: float(f"{value:.7g}") for name, value in metrics.items()}
            self._metrics_file.write(json.dumps({"step": step.number, **of, **rounded}) + "\n")
            self._metrics_file.flush()
        if self._tracker is not None:
            prefix = "held_out/" if held_out else ""
            self._tracker.log({prefix + name: value for name, value in metrics.items()}, step=step.number)

    @property
    def _checkpoints(self) -> Path:
        return self.out / "checkpoints"

    def finish(self, **facts: Any) -> Path:
        """The model in its place; the checkpoints have served."""
        folder, policy = self.out / "model", self.policy
        if self.sharded:
            options = StateDictOptions(full_state_dict=True, cpu_offload=True)
            state = get_model_state_dict(self.module, options=options)
            if self.main:
                policy = self.load_base(policy.kind)
                policy.load_state_dict({name: state[name] for name in policy.state_dict()})
        if self.main:
            policy.save(folder, merge=self.cfg.lora is None or self.cfg.lora.merge)
            if self.total and "rows" in facts:  # a share of an epoch has not come to all rows
                facts["rows"] = min(facts["rows"], self.total * self.batch)
            facts = {"base": str(policy.path), "base_hash": policy.hash, **facts}
            facts |= {"steps": self.total, "metrics": self.metrics, "held_out": self.held_out}
            facts |= {"processes": self.processes.world, "settings": msgspec.to_builtins(self.cfg)}
            facts |= {"fingerprint": self.fingerprint}
            write_whole(folder / "training.json", (json.dumps(facts, indent=1) + "\n").encode())
            remove_checkpoints(self._checkpoints)
        # The last meeting. A process that is through may be gone before the first hears of it, with all
        # written.
        with suppress(RuntimeError) if self.main else nullcontext():
            self.accelerator.wait_for_everyone()
        return folder


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


def trainable(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The weights that are trained."""
    return [weight for weight in model.parameters() if weight.requires_grad]


def truncate_metrics(metrics: Path, steps: int) -> None:
    """Leave off the lines a killed run wrote after its last checkpoint: all of them, where there is none."""
    if metrics.exists():
        lines = [line for line in metrics.read_text().splitlines(keepends=True) if line.endswith("\n")]
        try:
            kept = [line for line in lines if json.loads(line)["step"] <= steps and steps]
        except (ValueError, KeyError, TypeError):
            raise RunError(f"{metrics} is not from a training. Choose another --out") from None
        write_whole(metrics, "".join(kept).encode())
