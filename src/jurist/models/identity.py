"""Which training run a folder holds: a name for all that decides its numbers. Needs no torch.

So a finished run is recognised before a model is loaded or a row is tokenised.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec

from ..engines.checkpoints import find_checkpoint, weights_hash, weights_named
from ..errors import RunError
from ..records import Completion, Preference, Prompt, content_id
from .settings import DpoConfig, PPOConfig, Training

ROW_FILES: Final = ("preferences.jsonl", "quarantine.json", "prompts.jsonl", "prompts/train.jsonl")
"""Of a run's or loop's folder, what is trained on."""
_NAMES: Final = ("data", "base", "reference")
"""Settings that count by the content they name."""
_NO_NUMBER_CHANGES: Final = ("out", "tokens", "save_every", "track", "budget")
"""Settings with which a run may be resumed though they are different now."""

Given = Sequence[Preference | Prompt | tuple[Prompt, Completion]] | None


def fingerprint(cfg: Training, rows: Given = None) -> str:
    """Settings, data, base, and what the numbers depend on beside them; of a set on the hub only its name."""
    settings = {
        key: value
        for key, value in msgspec.to_builtins(cfg).items()
        if key not in _NAMES + _NO_NUMBER_CHANGES
    }
    settings["model"] = {**settings["model"], "checkpointing": None}
    data = _of_files(Path(cfg.data)) if rows is None else content_id(*map(_of_row, rows))
    weights = [weights_hash(find_checkpoint(cfg.base)), reference_hash(cfg)]
    return content_id(
        type(cfg).__name__, settings, data or cfg.data, weights, weights_named(getattr(cfg, "reward", ""))
    )


def reference_hash(cfg: Training) -> str:
    """The weights of the reference policy; nothing where the method has none."""
    if isinstance(cfg, PPOConfig) or (isinstance(cfg, DpoConfig) and cfg.loss != "simpo"):
        return weights_hash(find_checkpoint(cfg.reference or cfg.base))
    return ""


def finished_model(out: Path, fingerprint: str) -> Path | None:
    """The model of this very run, if it is there; one of another run is not overwritten."""
    folder = out / "model"
    try:
        made = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if made["fingerprint"] != fingerprint:
        raise RunError(
            f"{folder} holds a model trained with other settings, data or base."
            f" Choose another --out, or throw it away with: rm -r {out}"
        )
    return folder


def _of_files(data: Path) -> str:
    digest = blake2b(digest_size=16)
    files = [data] if data.is_file() else [data / name for name in ROW_FILES]
    for file in filter(Path.is_file, files):
        digest.update(file.name.encode())
        with file.open("rb") as content:
            while block := content.read(1 << 22):
                digest.update(block)
    return digest.hexdigest() if any(map(Path.is_file, files)) else ""


def _of_row(row: Any) -> Any:
    if isinstance(row, Prompt):
        return row.id
    if isinstance(row, Preference):
        two = (row.chosen, row.rejected)
        return row.prompt.id, *((one.id, one.finish) for one in two), row.p, row.margin, row.weight
    prompt, completion = row
    return prompt.id, completion.id, completion.finish
