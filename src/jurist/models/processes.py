"""One process or many, as `torchrun` or `accelerate launch` set them up; which rows are computed when, and by
whom."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Final, TypeVar

import torch
from torch import Tensor

from ..errors import SettingError
from ..policies.forward import causal_of
from ..policies.policy import Policy
from ..policies.tokens import Example, cut
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
        self._accelerator = accelerator

    def share(self, rows: Sequence[int]) -> list[int]:
        """This process's rows of a step."""
        return list(rows[self.rank :: self.world])

    def sum(self, x: Tensor) -> Tensor:
        """Over all processes, on the CPU."""
        summed = x if self.world == 1 else self._accelerator.reduce(x.to(self.device), "sum")
        return summed.cpu()

    def gather(self, mine: Sequence[_T]) -> list[_T]:
        """What all processes have, which need not be equally much."""
        each: list[Sequence[_T]] = [mine]
        if self.world > 1:
            each *= self.world
            torch.distributed.all_gather_object(each, list(mine))
        return [one for some in each for one in some]


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
    # Without being told that it is to be the CPU, processes on a machine without a GPU do not meet.
    made = Accelerator(mixed_precision="bf16" if bf16 else "no", cpu=not torch.accelerator.is_available())
    check_launch(os.environ, int(made.num_processes), str(made.distributed_type))
    return made


def shards_weights(accelerator: Any) -> bool:
    """Whether weights are spread over the processes."""
    return str(accelerator.distributed_type).endswith(SHARDED)


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


def shared_out(
    rows: Sequence[int], sizes: Sequence[int] | Mapping[int, int], tokens: int, processes: int
) -> list[list[list[int]]]:
    """For each process its rows, cut into parts that fit; every process gets the same number of parts.

    Rows go round by length, so that all have like work. Equal numbers matter where each forward pass is a
    meeting of all processes, as with sharded weights; some parts may be empty.
    """
    ordered = sorted(rows, key=lambda row: (sizes[row], row))
    mine = [cut(ordered[rank::processes], sizes, tokens) for rank in range(processes)]
    most = max(map(len, mine))
    return [_split_to(cuts, most) for cuts in mine]


def _split_to(cuts: list[list[int]], parts: int) -> list[list[int]]:
    """Split the largest parts until there are so many; what cannot be split is joined by empty ones."""
    while len(cuts) < parts:
        largest = max(range(len(cuts)), key=lambda index: len(cuts[index])) if cuts else 0
        if not cuts or len(cuts[largest]) < 2:
            cuts = [*cuts, []]
        else:
            half = len(cuts[largest]) // 2
            cuts = [*cuts[:largest], cuts[largest][:half], cuts[largest][half:], *cuts[largest + 1 :]]
    return cuts


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


def layers_named(policy: Policy) -> Policy:
    """The policy, with what accelerate asks of a model: which layers are sharded one by one, and which
    weights are the same."""
    causal = causal_of(policy.model)
    policy._no_split_modules, policy.tie_weights = causal._no_split_modules, causal.tie_weights
    return policy


def recompute(model: Any) -> None:
    """Keep no activations; compute them again on the way back."""
    model.activation_checkpointing_enable({"use_reentrant": False})
