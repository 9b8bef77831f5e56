"""A policy on disk and in memory: any Hugging Face causal language model, its tokenizer and chat template.

Saved as safetensors only, with everything the next program needs beside the weights: tokenizer, chat template
and the tokens that end an answer. An adapter can be merged or kept apart.

Weights that have learnt are kept in float32: in the base's bfloat16 most steps at the usual rates would be
rounded away. The config says the base's dtype nevertheless, so whoever opens the folder reads it in that, and
the next training goes on from what was learnt.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

from msgspec import Meta, Struct

from ..engines.checkpoints import (
    ADAPTER,
    base_of,
    dtype_of,
    end_of_turn,
    ending_tokens,
    find_checkpoint,
    gives_rewards,
    quietly,
    refuse_reward_model,
    set_template_args,
    weights_hash,
)
from ..errors import DataError, MissingExtra, SettingError

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Kind = Literal["causal", "reward"]
NO_LIMIT: Final = 1 << 30
"""Where a model's positions have no end."""


class Lora(Struct, frozen=True):
    """A low-rank adapter (Hu et al. 2021): the base stays as it is, a few matrices learn."""

    r: Annotated[int, Meta(description="Rank of the adapter.")] = 16
    alpha: Annotated[float, Meta(description="Scale of the adapter; divided by the rank.")] = 32.0
    dropout: Annotated[float, Meta(description="Dropout before the adapter.")] = 0.0
    targets: Annotated[str | tuple[str, ...], Meta(description="Names of the adapted layers.")] = "all-linear"
    merge: Annotated[
        bool, Meta(description="Save the merged model; false: only the adapter, which names its base.")
    ] = True


@dataclass
class Policy:
    """A model with its tokenizer, and where it came from."""

    model: Any
    tokenizer: Any
    path: Path
    hash: str
    """Of the weights as they were loaded: which anchor a run was held near is a matter of record."""
    kind: Kind = "causal"
    dtype: str = ""
    """What its config says it is to be read in, whatever it was loaded in here."""

    @property
    def ends(self) -> list[int]:
        """The tokens at which an answer is over."""
        return ending_tokens(self.tokenizer, self.model)

    @property
    def longest(self) -> int:
        """Tokens in the longest row that the model has positions for."""
        config = (
            self.model.get_base_model().config if hasattr(self.model, "peft_config") else self.model.config
        )
        return int(getattr(config, "max_position_embeddings", None) or NO_LIMIT)


def load_policy(
    path: str | Path,
    *,
    lora: Lora | None = None,
    dtype: Dtype = "auto",
    kind: Kind = "causal",
    seed: int = 0,
    template: Mapping[str, Any] | None = None,
) -> Policy:
    """The checkpoint at `path`, a folder or a name on the hub, ready to be trained or sampled from.

    With `kind="reward"` the head gives one number; a causal checkpoint gets a new head, started at zero, so
    that an untrained reward model prefers nothing. An adapter's folder is loaded merged into its base.
    `template` are arguments of the chat template.
    """
    transformers = _transformers()
    folder = find_checkpoint(path)
    if kind == "causal":
        refuse_reward_model(folder)
    tokenizer = load_tokenizer(folder)
    set_template_args(tokenizer, template or {})
    with quietly():
        if (folder / ADAPTER).exists():
            model = _load_adapter(folder, dtype, kind)
        else:
            model = _load(transformers, folder, dtype, kind)
    _fit(model, tokenizer, folder)
    still(model)
    if kind == "reward":
        _pad_apart(model, tokenizer)
    if lora is not None:
        model = with_lora(model, lora, kind, seed)
        # Where the adapter looks for its base once it is saved apart: not from where we stood.
        named = str(folder.resolve()) if Path(path).is_dir() else str(path)
        model.peft_config["default"].base_model_name_or_path = named
    return Policy(model, tokenizer, folder, weights_hash(folder), kind, dtype_of(folder))


def load_to_read(path: str | Path, kind: Kind = "causal") -> Policy:
    """A policy that learns no more, where and in the numbers in which an engine answers with it."""
    from ..engines.local.checkpoint import place

    device, dtype = place()
    policy = load_policy(path, dtype=cast(Dtype, dtype), kind=kind)
    policy.model.to(device).eval()
    return policy


def save_policy(policy: Policy, folder: str | Path, *, merge: bool = True) -> Path:
    """Write the folder, whole or not at all. Merging changes the policy's model for good; without, a LoRA is
    saved apart from its base."""
    folder = Path(folder)
    part = folder.with_name(folder.name + ".partial")
    shutil.rmtree(part, ignore_errors=True)
    model = policy.model
    if hasattr(model, "peft_config") and merge:
        model = model.merge_and_unload()
    try:
        with quietly():
            model.save_pretrained(part)
        _say_dtype(part / "config.json", policy.dtype)
        policy.tokenizer.save_pretrained(part)
        if (part / ADAPTER).exists():
            model.get_base_model().config.save_pretrained(part)
        if folder.exists():
            shutil.rmtree(folder)
        part.replace(folder)
    except OSError as error:
        raise DataError(
            f"cannot write the model to {folder} ({error.strerror or error}). See: df -h {folder.parent}"
        ) from error
    return folder


def _say_dtype(config: Path, dtype: str) -> None:
    """In place of that of the weights, in the config of the model and of its parts."""
    if not dtype or not config.exists():
        return
    told = json.loads(config.read_text())
    for part in (told, *(one for one in told.values() if isinstance(one, dict))):
        if "dtype" in part:
            part["dtype"] = dtype
    config.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n")


def load_tokenizer(folder: Path) -> Any:
    """The checkpoint's tokenizer; one without a chat template is refused, since it decides what a turn is."""
    transformers = _transformers()
    try:
        with quietly():
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # a broken tokenizer file raises whatever its parser raises
        raise DataError(
            f"the tokenizer in {folder} cannot be loaded: {error}. Look with: ls {folder}"
        ) from None
    if not tokenizer.chat_template:
        raise SettingError(
            f"the tokenizer in {folder} has no chat template, so there is no telling a prompt from an answer."
            f" Take an instruct model, or put one in {folder}/chat_template.jinja"
        )
    if tokenizer.eos_token_id is None:
        raise SettingError(
            f"the tokenizer in {folder} has no eos token, so no answer would end. Set eos_token in"
            f" {folder}/tokenizer_config.json"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def refuse_other_tokens(anchor: Policy, policy: Policy) -> None:
    """Log-probs of different tokens cannot be compared."""
    if anchor.tokenizer.get_vocab() != policy.tokenizer.get_vocab():
        raise SettingError(
            f"the anchor {anchor.path} has other tokens than the policy {policy.path}, so their log-probs"
            f" cannot be compared. Name the model the policy comes from: --anchor {policy.path}"
        )


def _load(transformers: Any, folder: Path, dtype: Dtype, kind: Kind) -> Any:
    import torch
    from safetensors import SafetensorError

    wanted = "auto" if dtype == "auto" else getattr(torch, dtype)
    try:
        if kind == "causal":
            return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=wanted)
        classes = transformers.AutoModelForSequenceClassification
        model = classes.from_pretrained(folder, dtype=wanted, num_labels=1)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise DataError(
            f"the checkpoint in {folder} cannot be loaded: {error}. Look with: ls {folder}"
        ) from None
    if not gives_rewards(folder):
        torch.nn.init.zeros_(reward_head(model).weight)
    return model


def reward_head(model: Any) -> Any:
    """The layer that turns the last hidden state into a number."""
    for name in ("score", "classifier"):
        if hasattr(model, name):
            return getattr(model, name)
    raise SettingError(
        f"a {type(model).__name__} has no linear score head. Take a decoder such as Llama, Qwen or GPT-2"
    )


def _load_adapter(folder: Path, dtype: Dtype, kind: Kind) -> Any:
    import peft

    base = _load(_transformers(), find_checkpoint(base_of(folder)), dtype, kind)
    return peft.PeftModel.from_pretrained(base, str(folder)).merge_and_unload()


def with_lora(model: Any, lora: Lora, kind: Kind = "causal", seed: int = 0) -> Any:
    """The model with an adapter on it; half of that starts at random, the other half at zero."""
    import peft
    import torch

    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    config = peft.LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM" if kind == "causal" else "SEQ_CLS",
    )
    with quietly(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return peft.get_peft_model(model, config)


def _fit(model: Any, tokenizer: Any, folder: Path) -> None:
    """Model and tokenizer have to agree on the vocabulary and on what ends an answer."""
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise SettingError(
            f"the tokenizer in {folder} has {len(tokenizer)} tokens and the model only {rows} embeddings:"
            f" they do not belong together. Copy the base's own tokenizer files to {folder}"
        )
    ends = ending_tokens(tokenizer, model)
    model.config.pad_token_id = tokenizer.pad_token_id
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.eos_token_id = ends[0] if len(ends) == 1 else ends
        model.generation_config.pad_token_id = tokenizer.pad_token_id


def still(model: Any) -> None:
    """No dropout: a row says the same wherever it is computed, and PPO's policy is the one that wrote."""
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        elif isinstance(getattr(module, "attention_dropout", None), float):
            setattr(module, "attention_dropout", 0.0)  # noqa: B010


def _pad_apart(model: Any, tokenizer: Any) -> None:
    """Whoever loads a reward model looks for the last token that is no padding: the end must not be one."""
    if tokenizer.pad_token_id not in (tokenizer.eos_token_id, end_of_turn(tokenizer)):
        return
    tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.pad_token_id = tokenizer.pad_token_id


def _transformers() -> Any:
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError as missing:
        raise MissingExtra("training", missing.name or "transformers", "train") from None
    return transformers
