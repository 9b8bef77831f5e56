"""Where a training run has got to, on disk: whole or not at all, and nothing but safetensors and JSON.

A step draws its random numbers from its own seed and its rows from the epoch's, so weights, optimiser, the
number of the step and a few numbers of the method are all there is to keep: a resumed run comes to the same
numbers.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from torch import Tensor

from ..errors import RunError


class TrainingState(Struct, frozen=True):
    """What a checkpoint belongs to."""

    step: int
    fingerprint: str
    """Of settings, data and base: another run's checkpoint is not resumed."""
    numbers: dict[str, float] = {}
    """The method's own, such as PPO's adaptive beta."""


def save_checkpoint(folder: Path, state: TrainingState, model: Any, optimizer: Any, main: bool) -> None:
    """Put a checkpoint in place of the last one. Every process calls it; one writes."""
    from safetensors.torch import save_file

    weights, moments = _model_state(model), _optimizer_state(model, optimizer)
    if not main:
        return
    part = folder / "next.partial"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        save_file(weights, part / "weights.safetensors")
        save_file(moments, part / "optimizer.safetensors")
        (part / "state.json").write_bytes(msgspec.json.encode(state))
        part.replace(folder / f"step-{state.step:08}")
    except OSError as error:
        raise RunError(
            f"cannot write a checkpoint to {folder} ({error.strerror or error}). See: df -h {folder}"
        ) from error
    for older in _checkpoints(folder)[:-1]:
        shutil.rmtree(older, ignore_errors=True)


def load_checkpoint(folder: Path, fingerprint: str, model: Any, optimizer: Any) -> TrainingState:
    """Resume from the last checkpoint; step 0 where there is none."""
    from safetensors.torch import load_file
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_optimizer_state_dict,
        set_model_state_dict,
        set_optimizer_state_dict,
    )

    found = _checkpoints(folder)
    if not found:
        return TrainingState(0, fingerprint)
    last = found[-1]
    state = msgspec.json.decode((last / "state.json").read_bytes(), type=TrainingState)
    if state.fingerprint != fingerprint:
        raise RunError(
            f"{folder.parent} holds half of a run with other settings, data or base, at step {state.step}."
            f" Choose another --out, or throw it away with: rm -r {folder}"
        )
    options = StateDictOptions(full_state_dict=True, strict=False)
    set_model_state_dict(model, load_file(last / "weights.safetensors"), options=options)
    # Only the groups are asked for: whole moments are given to the first process alone.
    groups = get_optimizer_state_dict(model, optimizer)["param_groups"]
    moments: dict[str, dict[str, Tensor]] = {}
    for key, value in load_file(last / "optimizer.safetensors").items():
        weight, _, name = key.rpartition("/")
        moments.setdefault(weight, {})[name] = value
    whole = {"state": moments, "param_groups": groups}
    set_optimizer_state_dict(model, optimizer, whole, options=StateDictOptions(full_state_dict=True))
    return state


def full_state(model: Any) -> dict[str, Tensor]:
    """All weights of a sharded policy under the names of its language model, in the first process."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_model_state_dict(model, options=options)
    return {name.removeprefix("model."): x for name, x in state.items() if name.startswith("model.")}


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(one for one in folder.glob("step-*") if (one / "state.json").exists())


def _model_state(model: Any) -> dict[str, Tensor]:
    """The weights that are trained; the others are in the base."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    return _named_once(get_model_state_dict(model, options=options))


def _optimizer_state(model: Any, optimizer: Any) -> dict[str, Tensor]:
    """Its moments, as `weight/moment`; its settings come from ours and are not kept."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    # Empty in all processes but the first.
    moments = get_optimizer_state_dict(model, optimizer, options=options).get("state", {}).items()
    return _named_once({f"{weight}/{name}": value for weight, its in moments for name, value in its.items()})


def _named_once(tensors: dict[str, Any]) -> dict[str, Tensor]:
    """Each tensor once: tied weights have two names, and safetensors takes only one."""
    names: dict[int, str] = {}
    return {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in tensors.items()
        if names.setdefault(tensor.untyped_storage().data_ptr() if tensor.numel() else id(tensor), name)
        == name
    }
