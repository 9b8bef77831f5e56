"""Which training run a folder holds, and where it has got to: nothing but safetensors and JSON.

A run has a name for all that decides its numbers, so a finished one is recognised before torch is loaded or a
row is tokenised. A step draws its random numbers from its own seed and its rows from the epoch's, so weights,
optimiser, the number of the step and a few numbers of the method are all there is to keep: a resumed run
comes to the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec

from ..engines.checkpoints import digest_of, find_checkpoint, weights_hash, weights_named
from ..errors import RunError
from ..records import content_id
from .settings import DpoConfig, PPOConfig, Training

ROW_FILES: Final = ("preferences.jsonl", "quarantine.json", "prompts.jsonl", "prompts/train.jsonl")
"""Of a run's or loop's folder, what is trained on."""
BY_CONTENT: Final = ("data", "base", "reference")
"""Settings that count by the content they name."""
NO_NUMBER_CHANGES: Final = ("out", "tokens", "save_every", "track", "budget")
"""Settings with which a run may be resumed though they are different now."""


def fingerprint(cfg: Training, rows: Sequence[Any] | None = None) -> str:
    """Settings, data, base, and what the numbers depend on beside them; of a set on the hub only its name."""
    settings = msgspec.to_builtins(cfg)
    for name in BY_CONTENT + NO_NUMBER_CHANGES:
        settings.pop(name, None)
    settings["model"]["checkpointing"] = None
    if settings.get("learn") == "all":  # where it plays no part: runs begun with an earlier default go on
        settings["ridge"] = 1e-3
    data = _data_hash(Path(cfg.data), rows)
    weights = [weights_hash(find_checkpoint(cfg.base)), reference_hash(cfg)]
    return content_id(
        type(cfg).__name__, settings, data or cfg.data, weights, _reward_hash(getattr(cfg, "reward", ""))
    )


def _reward_hash(spec: Any) -> str:
    """Of a reward model's weights, or of the file here that holds the function."""
    module = spec.partition(":")[0] if isinstance(spec, str) else ""
    file = Path(module.replace(".", "/") + ".py")
    return weights_named(spec) or (content_id(file.read_text(encoding="utf-8")) if file.is_file() else "")


def reference_hash(cfg: Training) -> str:
    """The weights of the reference policy; nothing where the method has none."""
    if isinstance(cfg, PPOConfig) or (isinstance(cfg, DpoConfig) and cfg.loss != "simpo"):
        return weights_hash(find_checkpoint(cfg.reference or cfg.base))
    return ""


def finished_model(out: Path, fingerprint: str) -> Path | None:
    """The model of this very run, if it is there; one of another run is not overwritten."""
    folder = out / "model"
    if not (folder / "training.json").exists():
        if folder.exists() and not (out / "metrics.jsonl").exists():
            raise RunError(f"{folder} is there, and not from a training. Choose another --out")
        return None
    if json.loads((folder / "training.json").read_text(encoding="utf-8"))["fingerprint"] != fingerprint:
        raise RunError(
            f"{folder} holds a model trained with other settings, data or base."
            f" Choose another --out, or throw it away with: rm -r {out}"
        )
    return folder


def _data_hash(data: Path, rows: Sequence[Any] | None) -> str:
    """Of the rows given, else of the files named; nothing where there are none."""
    if rows is not None:
        digest = blake2b(digest_size=16)
        for row in rows:
            digest.update(msgspec.json.encode(row))
        return digest.hexdigest()
    files = [data] if data.is_file() else [file for name in ROW_FILES if (file := data / name).is_file()]
    return digest_of(files).hexdigest() if files else ""


def save_checkpoint(
    file: Path, fingerprint: str, numbers: dict[str, float], model: Any, optimizer: Any, main: bool
) -> None:
    """Put a checkpoint in place of the last one, whole or not at all. Every process calls it; one writes."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file
    from torch.distributed.checkpoint.state_dict import get_state_dict

    # Both are empty in all processes but the first.
    options = _options(cpu_offload=True, ignore_frozen_params=True)
    weights, optimizer_state = get_state_dict(model, optimizer, options=options)
    if not main:
        return
    # The base has the frozen ones. Tied weights are named once here, as safetensors will have it. Of the
    # optimiser only its moments: its settings come from ours.
    moments: Any = optimizer_state.get("state", {})
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    kept = {f"weight/{name}": weights[name] for name in names}
    kept |= {f"{key}/{name}": x for name, state in moments.items() for key, x in state.items()}
    kept = {name: x.contiguous() for name, x in kept.items()}
    part, older = file.with_name("next.partial"), _checkpoints(file.parent)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(kept, part, {"fingerprint": fingerprint, "numbers": json.dumps(numbers)})
        part.replace(file)
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"cannot write a checkpoint to {file.parent} ({error}). See: df -h {file.parent}"
        ) from error
    for one in older:
        one.unlink()


def load_checkpoint(folder: Path, fingerprint: str, model: Any, optimizer: Any) -> dict[str, float]:
    """Resume from the last checkpoint: its numbers, with its step; nothing where there is none."""
    from safetensors import safe_open
    from torch.distributed.checkpoint import state_dict

    if not (found := _checkpoints(folder)):
        return {}
    tensors: dict[str, dict[str, Any]] = {"weight": {}}
    with safe_open(found[-1], "pt") as file:
        about = file.metadata()
        numbers: dict[str, float] = json.loads(about["numbers"])
        if about["fingerprint"] != fingerprint:
            raise RunError(
                f"{folder.parent} holds half of a run with other settings, data or base, at step"
                f" {numbers['step']}. Choose another --out, or throw it away with: rm -r {folder}"
            )
        for key in file.keys():  # noqa: SIM118
            kind, _, name = key.partition("/")
            tensors.setdefault(kind, {})[name] = file.get_tensor(key)
    weights = tensors.pop("weight")
    moments = {name: {key: its[name] for key, its in tensors.items() if name in its} for name in weights}
    # Only the groups are asked for: whole moments are given to the first process alone.
    groups = state_dict.get_optimizer_state_dict(model, optimizer)["param_groups"]
    state_dict.set_state_dict(
        model,
        optimizer,
        model_state_dict=weights,
        optim_state_dict={"state": moments, "param_groups": groups},
        options=_options(strict=False),
    )
    return numbers


def remove_checkpoints(folder: Path) -> None:
    """They have served; whatever else lies there stays."""
    for one in (*_checkpoints(folder), folder / "next.partial"):
        one.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def _options(**how: bool) -> Any:
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    return StateDictOptions(full_state_dict=True, **how)


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.safetensors"))
