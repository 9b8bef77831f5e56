"""Checkpoints where they lie: found by path or by name, and named by what is in them. Needs no torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Final

from msgspec import DecodeError, json

from ..errors import DataError, MissingExtra, SettingError

ADAPTER: Final = "adapter_config.json"
_WEIGHTS: Final = "*.safetensors"
_READING: Final = ("tokenizer*", "chat_template*", "*.model", "vocab*", "merges.txt", "*config.json")
"""What decides how text becomes tokens and when an answer ends: as much part of a reply as the weights."""
_BLOCK: Final = 1 << 22


def find_checkpoint(path: str | Path) -> Path:
    """A folder as it is; anything else is a name on the hub, or in its cache when offline."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not any((folder / name).exists() for name in ("config.json", ADAPTER)):
            raise SettingError(f"{folder} is no checkpoint: it has no config.json. Look with: ls {folder}")
        return folder
    name = str(path)
    if folder.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise SettingError(f"there is no checkpoint folder at {path}. Look with: ls {folder.parent}")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtra("a checkpoint of the hub", "huggingface_hub", "train") from None
    try:
        return Path(snapshot_download(name, allow_patterns=[_WEIGHTS, *_READING, "*.json"]))
    except Exception as error:  # the hub's client raises its own, and those of the HTTP library it has
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SettingError(
            f"there is no checkpoint at {path}, and the hub gave none: {reason}. Name a folder; look with: ls"
        ) from None


def weights_hash(folder: str | Path) -> str:
    """One name for what a checkpoint says: its weights, its tokenizer, and the base below an adapter."""
    folder = Path(folder)
    digest = blake2b(digest_size=16)
    files = {file for pattern in (_WEIGHTS, *_READING) for file in folder.glob(pattern) if file.is_file()}
    if not any(file.suffix == ".safetensors" for file in files):
        raise DataError(
            f"there are no .safetensors files in {folder}. Convert the weights with:"
            " model.save_pretrained(folder, safe_serialization=True)"
        )
    for file in sorted(files):
        digest.update(file.name.encode())
        with file.open("rb") as content:
            while block := content.read(_BLOCK):
                digest.update(block)
    if (folder / ADAPTER).exists():
        digest.update(weights_hash(find_checkpoint(base_of(folder))).encode())
    return digest.hexdigest()


def weights_named(spec: object) -> str:
    """The hash of the weights where a setting names a checkpoint's folder, else nothing."""
    return weights_hash(spec) if isinstance(spec, str) and (Path(spec) / "config.json").exists() else ""


def dtype_of(folder: Path) -> str:
    """The numbers a checkpoint is meant to be read in, e.g. `bfloat16`; nothing where it does not say."""
    if not (folder / "config.json").exists():
        return dtype_of(find_checkpoint(base_of(folder)))
    told = json.decode((folder / "config.json").read_bytes())
    return str(told.get("dtype") or told.get("torch_dtype") or "")


def gives_rewards(folder: Path) -> bool:
    """Whether a checkpoint, or an adapter's base with it, has learnt to give a number."""
    if (folder / ADAPTER).exists():
        return bool(json.decode((folder / ADAPTER).read_bytes()).get("task_type") == "SEQ_CLS")
    told = json.decode((folder / "config.json").read_bytes()).get("architectures") or ()
    return "ForSequenceClassification" in "".join(told)


def refuse_reward_model(folder: Path) -> None:
    """One that gives numbers has no head to write with; it would be given a random one."""
    if not gives_rewards(folder):
        return
    try:
        base = str(json.decode((folder / "training.json").read_bytes())["base"])
    except (OSError, KeyError, DecodeError):
        base = ""
    raise SettingError(
        f"{folder} is a reward model: it gives a number and writes no text."
        f" Name a language model{f', such as the one it came from: {base}' if base else ''}"
    )


def base_of(folder: Path) -> str:
    """What an adapter was trained on."""
    named = json.decode((folder / ADAPTER).read_bytes()).get("base_model_name_or_path")
    if not named:
        raise DataError(f"the adapter in {folder} names no base. Put it under: base_model_name_or_path")
    return str(named)


@contextmanager
def quietly() -> Iterator[None]:
    """Opening and saving without bars, advice, and reports of weights that are meant to be new."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about names in transformers that peft has yet to follow
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
