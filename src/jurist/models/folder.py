"""Checkpoints where they lie: found by path or by name, and named by what is in them."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Final

from ..errors import DataError, MissingExtra, SettingError

ADAPTER: Final = "adapter_config.json"


def weights_hash(folder: str | Path) -> str:
    """One name for the weights in a folder, and for the base below an adapter: blake2b-128 in hex."""
    folder = Path(folder)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise DataError(f"there are no .safetensors files in {folder}. Look with: ls -l {folder}")
    digest = blake2b(digest_size=16)
    for file in files:
        digest.update(file.name.encode())
        with file.open("rb") as weights:
            while block := weights.read(1 << 22):
                digest.update(block)
    if (folder / ADAPTER).exists():
        digest.update(weights_hash(find_checkpoint(base_of(folder))).encode())
    return digest.hexdigest()


def weights_named(spec: object) -> str:
    """The hash of the weights where a setting names a checkpoint's folder, else nothing."""
    return weights_hash(spec) if isinstance(spec, str) and (Path(spec) / "config.json").exists() else ""


def find_checkpoint(path: str | Path) -> Path:
    """The folder of a checkpoint, from its path or its name on the hub."""
    folder = Path(path)
    if folder.is_dir():
        if not (folder / "config.json").exists() and not (folder / ADAPTER).exists():
            raise SettingError(f"{folder} is no checkpoint: it has no config.json. Look with: ls {folder}")
        return folder
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtra("training", "transformers", "train") from None
    wanted = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
    try:
        return Path(snapshot_download(str(path), allow_patterns=wanted))
    except Exception as error:  # the hub's client raises its own, and those of the HTTP library it has
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SettingError(
            f"there is no checkpoint at {path}, and the hub gave none ({reason}). Name a folder with --base"
        ) from None


def base_of(folder: Path) -> str:
    import json

    return str(json.loads((folder / ADAPTER).read_text())["base_model_name_or_path"])
