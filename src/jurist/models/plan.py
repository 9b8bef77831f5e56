"""How a run is laid out before it starts: who computes what, how fast, where it is heard of."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import torch

from ..errors import RunError, SettingError
from ..records import content_id
from ..run import write_whole
from .batch import Example, Slots, cut
from .policy import Dtype, Kind, Policy, load_policy
from .settings import Training

_NO_NUMBER_CHANGES = ("out", "tokens", "save_every", "track", "checkpointing", "budget")
"""Settings with which a run may be taken up again though they are different now."""

SHARDED = "FSDP"


def learns_in(cfg: Training) -> Dtype:
    """The base's weights learn in float32; below an adapter they stay as they come, and so does an anchor."""
    return "auto" if cfg.lora else "float32"


def start_from(cfg: Training, kind: Kind = "causal") -> Policy:
    """The base as it is trained."""
    return load_policy(
        cfg.base,
        lora=cfg.lora,
        dtype=learns_in(cfg),
        kind=kind,
        seed=cfg.seed,
        template=cfg.chat_template_kwargs,
    )


def accelerator_for(cfg: Training) -> Any:
    """One process or many, CPU or GPU, as `accelerate launch` or `torchrun` set it up."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    # A second run in the same process may compute in another precision, which the state would refuse; and it
    # has to find out anew how the processes meet, or weights that were to be sharded would not be.
    AcceleratorState._reset_state(reset_partial_state=True)
    # Without being told that it is to be the CPU, processes on a machine without a GPU do not meet.
    made = Accelerator(
        mixed_precision="bf16" if in_bfloat16(cfg) else "no", cpu=not torch.accelerator.is_available()
    )
    refuse_strangers(os.environ, int(made.num_processes), str(made.distributed_type))
    return made


def refuse_strangers(environment: Mapping[str, str], processes: int, kind: str) -> None:
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


def is_sharded(accelerator: Any) -> bool:
    return str(accelerator.distributed_type).endswith(SHARDED)


def in_bfloat16(cfg: Training) -> bool:
    if cfg.precision == "auto":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return cfg.precision == "bfloat16"


def fingerprint(cfg: Training, policy: Policy, examples: Sequence[Example], beside: str) -> str:
    """A name for what decides every number of a run."""
    settings = {k: v for k, v in msgspec.to_builtins(cfg).items() if k not in _NO_NUMBER_CHANGES}
    rows = [(one.prompt_ids, one.answers, one.p, one.margin, one.weight) for one in examples]
    return content_id(type(cfg).__name__, settings, policy.hash, rows, beside)


def shared_out(rows: Sequence[int], slots: Slots, tokens: int, processes: int) -> list[list[list[int]]]:
    """For each process its rows, cut into parts that fit; every process gets the same number of parts.

    Rows go round by length, so that all have like work. Equal numbers matter where each forward pass is a
    meeting of all processes, as with sharded weights; some parts may be empty.
    """
    ordered = sorted(rows, key=lambda row: (slots[row], row))
    mine = [cut(ordered[rank::processes], slots, tokens) for rank in range(processes)]
    most = max(map(len, mine))
    return [_stretched(cuts, most) for cuts in mine]


def _stretched(cuts: list[list[int]], parts: int) -> list[list[int]]:
    """Split the largest parts until there are so many; what cannot be split is joined by empty ones."""
    while len(cuts) < parts:
        largest = max(range(len(cuts)), key=lambda index: len(cuts[index])) if cuts else 0
        if not cuts or len(cuts[largest]) < 2:
            cuts = [*cuts, []]
        else:
            half = len(cuts[largest]) // 2
            cuts = [*cuts[:largest], cuts[largest][:half], cuts[largest][half:], *cuts[largest + 1 :]]
    return cuts


def lr_share(step: int, steps: int, warmup: float, schedule: str) -> float:
    """The learning rate at a step, as a share of its height."""
    rising = math.ceil(warmup * steps)
    if step <= rising:
        return step / rising
    if schedule == "constant":
        return 1.0
    top = max(1, rising)
    if schedule == "linear":  # nothing is reached after the last step, which learns, too
        return 1.0 - (step - top) / (steps - top + 1)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - top) / max(1, steps - top)))


def adamw(groups: Iterable[Any], cfg: Training) -> torch.optim.AdamW:
    # Fused: one pass over the weights instead of ten, a quarter of the time on a CPU too.
    return torch.optim.AdamW(groups, lr=cfg.lr, betas=(0.9, 0.95), weight_decay=cfg.weight_decay, fused=True)


def recompute(model: Any) -> None:
    """Keep no activations; compute them again on the way back."""
    # transformers 5 renamed it and warns about the old name.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def open_tracker(cfg: Training) -> Any:
    """wandb or trackio, where asked for."""
    if not cfg.track:
        return None
    module = import_module(cfg.track)
    module.init(project="jurist", name=Path(cfg.out).name, config=msgspec.to_builtins(cfg))
    return module


def is_finished(folder: Path, fingerprint: str) -> bool:
    """Whether the model of this very run lies there; one of another run is not overwritten."""
    try:
        of = json.loads((folder / "training.json").read_text(encoding="utf-8"))["fingerprint"]
    except FileNotFoundError:
        return False
    if of != fingerprint:
        raise RunError(
            f"{folder} holds a model trained with other settings, data or base."
            f" Choose another --out, or throw it away with: rm -r {folder.parent}"
        )
    return True


def keep_first(metrics: Path, steps: int) -> None:
    """Leave off the lines a killed run wrote after its last checkpoint."""
    if not metrics.exists():
        return
    lines = [line for line in metrics.read_text().splitlines(keepends=True) if line.endswith("\n")]
    kept = [line for line in lines if json.loads(line)["step"] <= steps]
    write_whole(metrics, "".join(kept).encode())
