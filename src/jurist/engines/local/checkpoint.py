"""A checkpoint folder, opened: the model, and conversations as its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from msgspec import Struct
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from ...errors import DataError, SettingError, nearest
from ...records import Message, content_id
from ..checkpoints import (
    ending_tokens,
    find_checkpoint,
    quietly,
    refuse_reward_model,
    render_chat,
    set_template_args,
    weights_hash,
)
from ..engine import EngineConfig


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
        refuse_reward_model(folder)
        device, dtype = place(extra.device)
        dtype = extra.dtype or dtype
        try:
            with quietly():
                self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
                model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True)
            self.model: Any = model.to(device).eval()
        except (OSError, ValueError, RuntimeError, AttributeError, AssertionError, SafetensorError) as why:
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
        set_template_args(self.tokenizer, extra.chat_template_kwargs)
        self.ends = frozenset(ending_tokens(self.tokenizer, self.model))
        self.room: int = getattr(self.model.config, "max_position_embeddings", None) or 1 << 30
        """The longest text it can read, prompt and answer together."""
        self._fast: Any = getattr(self.tokenizer, "backend_tokenizer", None)
        if self._fast is not None:
            self._fast.no_truncation()
            self._fast.no_padding()

    def text(self, messages: Sequence[Message]) -> str:
        """The conversation in the model's own form, up to where the answer starts."""
        return render_chat(self.tokenizer, messages)

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Texts that are in the model's form already, as tokens."""
        if not texts:
            return []
        if self._fast is not None:  # without the places of tokens in the text: a third less work
            found = self._fast.encode_batch_fast(list(texts), add_special_tokens=False)
            return [one.ids for one in found]
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return ids


def place(device: str = "") -> tuple[str, str]:
    """Where a model is read, and in which numbers: as it is meant to be on a GPU, in float32 on a CPU."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return device, "float32" if device.startswith("cpu") else "auto"


def open_checkpoint(config: EngineConfig, folder: Path | None = None) -> tuple[Checkpoint, str]:
    """The checkpoint that the settings name; and the engine's name, with all that its replies depend on."""
    kind, _, path = config.engine.partition(":")
    extra = read_extra(config.extra)
    folder = folder or find_checkpoint(path)
    hashed = weights_hash(folder)
    # Which of several cards of one kind it is read on changes no reply.
    changes = {**config.extra, "device": extra.device.partition(":")[0]} if extra.device else config.extra
    more = f"+{content_id(changes)[:6]}" if changes else ""
    return Checkpoint(folder, extra), f"{kind}:{Path(path).name}#{hashed[:12]}{more}"


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
