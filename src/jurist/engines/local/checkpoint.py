"""A checkpoint folder, opened: the model, and conversations as its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from msgspec import Struct
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from ...errors import DataError, SettingError, nearest
from ...records import Message, content_id
from ..checkpoints import find_checkpoint, weights_hash
from ..settings import EngineConfig


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
        self.ends = frozenset(_ends(self.model.generation_config.eos_token_id, self.tokenizer.eos_token_id))
        self.room: int = getattr(self.model.config, "max_position_embeddings", None) or 1 << 30
        """The longest text it can read, prompt and answer together."""
        self._kwargs = extra.chat_template_kwargs
        self._fast: Any = getattr(self.tokenizer, "backend_tokenizer", None)
        if self._fast is not None:
            self._fast.no_truncation()
            self._fast.no_padding()

    def text(self, messages: Sequence[Message]) -> str:
        """The conversation in the model's own form, up to where the answer starts."""
        turns = [{"role": turn.role, "content": turn.content} for turn in messages]
        try:
            return self._render(turns)
        except TemplateError:
            if turns[0]["role"] != "system" or len(turns) < 2:
                raise
            # Some templates refuse a system turn; what it says goes before the first user turn then.
            first = {**turns[1], "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
            return self._render([first, *turns[2:]])

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Texts that are in the model's form already, as tokens."""
        if not texts:
            return []
        if self._fast is not None:  # without the places of tokens in the text: a third less work
            found = self._fast.encode_batch_fast(list(texts), add_special_tokens=False)
            return [one.ids for one in found]
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
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
    folder = folder or find_checkpoint(path)
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


def _ends(*said: int | list[int] | None) -> list[int]:
    """Models name one token that ends an answer, or several, or none."""
    return [end for one in said if one is not None for end in (one if isinstance(one, list) else [one])]
