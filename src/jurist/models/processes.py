"""One process or many, as `torchrun` or `accelerate launch` set them up; which rows are computed when, and by
whom."""

from __future__ import annotations

import atexit
import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count, groupby
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from msgspec.structs import replace

from ..errors import SettingError
from ..policies.forward import row_slots
from ..policies.policy import cpu_has_bfloat16_for
from ..policies.tokens import Example
from .settings import Training

SHARDED: Final = "FSDP"
SORTED_BATCHES: Final = 16
"""Batches that are sorted by length together: enough to fill them evenly, few enough to stay random."""
_T = TypeVar("_T")


class Processes:
    """This process among those that train one policy."""

    def __init__(self, accelerator: Any) -> None:
        self.rank, self.world = int(accelerator.process_index), int(accelerator.num_processes)
        self.device = accelerator.device
        self.sharded = str(accelerator.distributed_type).endswith(SHARDED)
        """Whether weights are spread over the processes."""

    def share(self, rows: Sequence[_T]) -> list[_T]:
        """This process's rows of a step."""
        return list(rows[self.rank :: self.world])

    def sum(self, mine: Mapping[str, float]) -> dict[str, float]:
        """Of what all processes have under a name; some may have nothing."""
        found = self.gather([mine])
        names = dict.fromkeys(name for some in found for name in some)
        return {name: sum(some.get(name, 0.0) for some in found) for name in names}

    def gather(self, mine: Sequence[_T]) -> list[_T]:
        """What all processes have, which need not be equally much."""
        each: list[Sequence[_T]] = [mine]
        if self.world > 1:
            each *= self.world
            torch.distributed.all_gather_object(each, list(mine))
        return [one for some in each for one in some]


def warn_of_memory(weights: int, processes: Processes) -> None:
    """On a CPU whoever takes too much is killed without a word. Each weight still needs its gradient and two
    moments, of four bytes each."""
    needed, free = 12 * weights * processes.world, free_memory()
    if processes.device.type == "cpu" and processes.rank == 0 and needed > free:
        print(
            f"jurist: training {weights / 1e6:,.0f} million weights takes {needed / 1e9:.1f} GB more, and"
            f" {free / 1e9:.1f} GB are free. An adapter takes far less: --lora.r 16",
            file=sys.stderr,
            flush=True,
        )


def free_memory() -> float:
    """Bytes that can be had; endless where the system does not say."""
    with suppress(OSError, StopIteration, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024.0 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    return float("inf")


def open_accelerator(cfg: Training) -> Any:
    """One process or many, CPU or GPU."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    # A second run in the same process may compute in another precision, which the state would refuse; and it
    # has to find out anew how the processes meet, or weights that were to be sharded would not be.
    AcceleratorState._reset_state(reset_partial_state=True)
    bf16 = cfg.model.precision == "bfloat16"
    if cfg.model.precision == "auto":
        bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        bf16 |= not torch.accelerator.is_available() and cpu_has_bfloat16_for(cfg.base)
    # Without being told that it is to be the CPU, processes on a machine without a GPU do not meet.
    made = Accelerator(mixed_precision="bf16" if bf16 else "no", cpu=not torch.accelerator.is_available())
    check_launch(os.environ, int(made.num_processes), str(made.distributed_type))
    atexit.register(leave)
    return made


def leave() -> None:
    """At the end of the program. Threads of gloo that are still running then may abort it, all being done,
    and torchrun would call the run failed."""
    if torch.distributed.is_initialized() and torch.distributed.get_backend() == "gloo":
        torch.distributed.destroy_process_group()


def check_launch(environment: Mapping[str, str], processes: int, kind: str) -> None:
    """Several processes that were asked for and did not meet would each train the same and overwrite it."""
    started = environment.get("WORLD_SIZE", "1")
    if processes == 1 and started.isdigit() and int(started) > 1:
        raise SettingError(
            f"{started} processes were started, and none of them sees another."
            f" Start them with: torchrun --nproc-per-node {started} $(which jurist) train ..."
        )
    # What `accelerate launch --cpu --num_processes 2` leaves behind: an address to meet at, and one process.
    launched = "ACCELERATE_MIXED_PRECISION" in environment and "MASTER_ADDR" in environment
    if processes == 1 and launched and "RANK" not in environment:
        raise SettingError(
            "accelerate launch started one process where several were asked for, as it does with --cpu."
            " Start them with: torchrun --nproc-per-node 2 $(which jurist) train ..."
        )
    if environment.get("ACCELERATE_USE_FSDP", "").lower() == "true" and not kind.endswith(SHARDED):
        raise SettingError(
            f"accelerate spreads weights over GPUs only, and found {kind.rpartition('.')[2]} with {processes}"
            " processes. Keep them whole with: torchrun --nproc-per-node 2 $(which jurist) train ..."
        )


def joined(model: Any, rows: Sequence[Example], tokens: int) -> list[list[int]]:
    """Neighbours that answer the same prompt, as many together as fit into a pass: they share it there."""
    groups: list[list[int]] = []
    for row in range(len(rows)):
        together = [*groups[-1], row] if groups else [row]
        whole = merged([rows[one] for one in together])
        if groups and len(whole) == 1 and row_slots(model, *whole) <= tokens:
            groups[-1] = together
        else:
            groups.append([row])
    return groups


def merged(rows: Sequence[Example]) -> list[Example]:
    """Neighbours that answer the same prompt as one row with all their answers."""
    parts = (list(part) for _, part in groupby(rows, key=lambda row: id(row.prompt_ids)))
    return [replace(part[0], answers=[one for row in part for one in row.answers]) for part in parts]


def shuffled_steps(examples: Sequence[Example], batch: int, seed: int) -> Iterator[list[int]]:
    """Rows of step after step, epoch after epoch.

    Shuffle, cut into mega-batches, sort each by length, cut that into batches, shuffle the batches.
    """
    for epoch in count():
        rng = random.Random(seed + 7919 * epoch)
        order = list(range(len(examples)))
        rng.shuffle(order)
        size = batch * SORTED_BATCHES
        batches = []
        for start in range(0, len(order), size):
            mega = sorted(order[start : start + size], key=lambda row: examples[row].length)
            batches += [mega[at : at + batch] for at in range(0, len(mega), batch)]
        rng.shuffle(batches)
        yield from batches
