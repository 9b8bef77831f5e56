"""A checkpoint folder, opened: model, tokenizer, and a name that changes whenever the weights do."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import torch
from jinja2 import TemplateError
from msgspec import Struct, json
from transformers import AutoModelForCausalLM, AutoTokenizer

from ...errors import DataError, MissingExtra, SettingError, nearest
from ...records import Message, content_id
from ..settings import EngineConfig

_WEIGHTS: Final = ("*.safetensors",)
_READING: Final = ("tokenizer*", "chat_template*", "*.model", "vocab*", "merges.txt", "*config.json")
"""What decides how text becomes tokens and when an answer ends: as much part of a reply as the weights."""
ADAPTER: Final = "adapter_config.json"
BLOCK: Final = 1 << 22


class Extra(Struct, frozen=True, forbid_unknown_fields=True):
    """What an engine of this kind understands under `extra`."""

    device: str = ""
    """`cpu`, `cuda`, `cuda:1`, `mps`; the best there is when empty."""
    dtype: str = ""
    """`bfloat16`, `float16`, `float32`; when empty, as stored on a GPU and float32 on a CPU."""
    chat_template_kwargs: dict[str, Any] = {}
    """Handed to the chat template, e.g. `{enable_thinking: false}`."""


class Checkpoint:
    """Model and tokenizer of one folder, ready to answer."""

    def __init__(self, folder: Path, extra: Extra) -> None:
        device = extra.device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = extra.dtype or ("float32" if device == "cpu" else "auto")
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True)
            self.model: Any = model.to(device).eval()
        except (OSError, ValueError, RuntimeError, AttributeError, AssertionError) as why:
            reason = " ".join(str(why).split())[:300]
            raise DataError(
                f"the checkpoint {folder} cannot be opened: {reason}. Look with: ls -l {folder}"
            ) from None
        if not self.tokenizer.chat_template:
            raise SettingError(
                f"the tokenizer in {folder} has no chat template, so nobody knows how it is to be asked."
                f" Put one at: {folder / 'chat_template.jinja'}"
            )
        self.folder = folder
        self.device = self.model.device
        self.ends = frozenset(_ends(self.model.generation_config.eos_token_id, self.tokenizer.eos_token_id))
        self.room: int = getattr(self.model.config, "max_position_embeddings", None) or 1 << 30
        """The longest text it can read, prompt and answer together."""
        self._kwargs = extra.chat_template_kwargs

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The conversation as tokens, up to where the answer starts."""
        turns = [{"role": turn.role, "content": turn.content} for turn in messages]
        try:
            text = self._render(turns)
        except TemplateError:
            if turns[0]["role"] != "system" or len(turns) < 2:
                raise
            # Some templates refuse a system turn; what it says goes before the first user turn then.
            first = {**turns[1], "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
            text = self._render([first, *turns[2:]])
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _render(self, turns: list[dict[str, str]]) -> str:
        text: str = self.tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True, **self._kwargs
        )
        return text


def open_checkpoint(config: EngineConfig, folder: Path | None = None) -> tuple[Checkpoint, str]:
    """The checkpoint that the settings name; and the engine's name, with all that its replies depend on."""
    kind, _, path = config.engine.partition(":")
    extra = read_extra(config.extra)
    folder = folder or find_folder(path)
    hashed = weights_hash(folder)
    told = f"+{content_id(config.extra)[:6]}" if config.extra else ""
    return Checkpoint(folder, extra), f"{kind}:{Path(path).name}#{hashed[:12]}{told}"


def read_extra(tree: dict[str, Any]) -> Extra:
    for key in tree:
        if key not in Extra.__struct_fields__:
            raise SettingError(
                nearest("setting under 'extra' of a local engine", key, Extra.__struct_fields__)
            )
    extra = Extra(**tree)
    if extra.dtype and not isinstance(getattr(torch, extra.dtype, None), torch.dtype):
        raise SettingError(f"extra.dtype is no type of numbers, got '{extra.dtype}'. Write dtype: bfloat16")
    return extra


def find_folder(path: str) -> Path:
    """A folder as it is; anything else is a name on the hub, or in its cache when offline."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not any((folder / name).exists() for name in ("config.json", ADAPTER)):
            raise DataError(f"{folder} is no checkpoint: it has no config.json. Look with: ls {folder}")
        return folder
    if folder.exists() or path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise DataError(f"there is no checkpoint folder at {path}. Look with: ls {folder.parent}")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise MissingExtra("a checkpoint of the hub", "huggingface_hub", "train") from None
    try:
        return Path(snapshot_download(path, allow_patterns=[*_WEIGHTS, *_READING, "*.json"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as why:
        reason = " ".join(str(why).split())[:200]
        raise DataError(
            f"there is no folder {path}, and the hub gives none: {reason}. Look with: ls"
        ) from None


def weights_hash(folder: Path) -> str:
    """One name for what a checkpoint says: its weights, its tokenizer, and the base below an adapter."""
    digest = blake2b(digest_size=16)
    files = {file for pattern in (*_WEIGHTS, *_READING) for file in folder.glob(pattern) if file.is_file()}
    if not any(file.suffix == ".safetensors" for file in files):
        raise DataError(
            f"there are no .safetensors files in {folder}. Convert the weights with:"
            " model.save_pretrained(folder, safe_serialization=True)"
        )
    for file in sorted(files):
        digest.update(file.name.encode())
        with file.open("rb") as content:
            while block := content.read(BLOCK):
                digest.update(block)
    if (folder / ADAPTER).exists():
        base = str(json.decode((folder / ADAPTER).read_bytes()).get("base_model_name_or_path") or "")
        digest.update(weights_hash(find_folder(base)).encode())
    return digest.hexdigest()


def _ends(*said: int | list[int] | None) -> list[int]:
    """Models name one token that ends an answer, or several, or none."""
    return [end for one in said if one is not None for end in (one if isinstance(one, list) else [one])]
