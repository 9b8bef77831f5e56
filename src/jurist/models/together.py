"""Several processes that learn one policy: each draws for its own prompts, all take the same updates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import SettingError


class Together:
    """Sums and rows over all processes; with one process, the thing itself."""

    def __init__(self, accelerator: Any) -> None:
        kind = str(accelerator.distributed_type).rpartition(".")[2]
        if kind not in ("NO", "MULTI_CPU", "MULTI_GPU"):
            raise SettingError(
                f"drawing completions needs the whole policy in each process, and {kind} spreads its weights."
                " Start with: accelerate launch --multi_gpu, with --lora.r 16 to save memory"
            )
        self.rank, self.world = int(accelerator.process_index), int(accelerator.num_processes)
        self.device = accelerator.device
        self._accelerator = accelerator

    def share(self, rows: Sequence[int]) -> list[int]:
        """This process's rows of a step."""
        return list(rows[self.rank :: self.world])

    def add_up(self, x: Tensor) -> Tensor:
        if self.world == 1:
            return x
        summed: Tensor = self._accelerator.reduce(x.to(self.device), "sum")
        return summed.cpu()

    def gather(self, x_B: Tensor) -> Tensor:
        """The rows of all processes, which need not have equally many."""
        if self.world == 1:
            return x_B
        each: list[list[float]] = [[] for _ in range(self.world)]
        torch.distributed.all_gather_object(each, x_B.tolist())
        return torch.tensor([value for rows in each for value in rows], dtype=x_B.dtype)
