"""Checkpoints opened and saved: the model, its tokenizer, an adapter on it. Imports torch only when called.

Saved as safetensors only, with all that the next program needs beside the weights: tokenizer, chat template
and the tokens that end an answer. Weights that were trained are saved in float32, since at the usual rates
most steps would be rounded away in bfloat16; the config names the base's dtype nevertheless, so that a server
reads the folder in that and the next training goes on from what was learnt.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ..engines.checkpoints import (
    ADAPTER,
    base_of,
    end_of_turn,
    ending_tokens,
    find_checkpoint,
    gives_rewards,
    quietly,
)
from ..errors import DataError, SettingError

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
ModelKind = Literal["causal", "reward"]
Attention = Literal["auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3"]


class Lora(Struct, frozen=True):
    """A low-rank adapter (Hu et al. 2021): the base stays as it is, a few matrices are trained."""

    r: Annotated[int, Meta(ge=1, description="Rank of the adapter.")] = 16
    alpha: Annotated[float, Meta(gt=0, description="Scale of the adapter; divided by the rank.")] = 32.0
    dropout: Annotated[float, Meta(ge=0, lt=1, description="Dropout before the adapter.")] = 0.0
    targets: Annotated[str | tuple[str, ...], Meta(description="Names of the adapted layers.")] = "all-linear"
    merge: Annotated[
        bool, Meta(description="Save the merged model; false: only the adapter, which names its base.")
    ] = True


def load_model(
    folder: Path, kind: ModelKind, dtype: Dtype, attention: Attention, *, empty: bool = False
) -> Any:
    """The weights; an adapter's folder is merged into its base, a new reward head starts at zero.

    With a zero head an untrained reward model prefers nothing. An `empty` model has room for weights that are
    not read: where they are sharded, the first process reads them for all.
    """
    if (folder / ADAPTER).exists():
        base = load_model(find_checkpoint(base_of(folder)), kind, dtype, attention, empty=empty)
        if empty:
            return base
        import peft

        with quietly():
            return peft.PeftModel.from_pretrained(base, str(folder)).merge_and_unload()
    import torch
    import transformers
    from safetensors import SafetensorError
    from transformers.initialization import no_init_weights

    classes = transformers.AutoModelForCausalLM
    labels: dict[str, int] = {}
    if kind == "reward":
        classes, labels = transformers.AutoModelForSequenceClassification, {"num_labels": 1}
    given = {"dtype": dtype, "attn_implementation": attention}
    how = {name: value for name, value in given.items() if value != "auto"}
    try:
        with quietly():
            if empty:
                config = transformers.AutoConfig.from_pretrained(folder, **labels)
                with no_init_weights():
                    model = classes.from_config(config, **how)
                model.tie_weights()
                return model
            model = classes.from_pretrained(folder, use_safetensors=True, **labels, **how)
    except ImportError as error:
        raise SettingError(
            f"attention: {attention} cannot be used here ({' '.join(str(error).split())[:200]})."
            " Set: --model.attention sdpa; of an engine: extra: {attention: sdpa}"
        ) from None
    except (OSError, ValueError, RuntimeError, AttributeError, AssertionError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"the checkpoint {folder} cannot be opened: {reason}. Look with: ls -l {folder}"
        ) from None
    if kind == "reward" and not gives_rewards(folder):
        torch.nn.init.zeros_(reward_head(model).weight)
    return model


def load_tokenizer(folder: Path) -> Any:
    """The checkpoint's tokenizer; one without a chat template is refused, since it decides what a turn is."""
    import transformers

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
            f" Take an instruct model, or put one at: {folder / 'chat_template.jinja'}"
        )
    if tokenizer.eos_token_id is None:
        raise SettingError(
            f"the tokenizer in {folder} has no eos token, so no answer would end. Set eos_token in"
            f" {folder}/tokenizer_config.json"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def refuse_tokenizer(folder: Path) -> None:
    """What `load_tokenizer` would refuse. Where the files say that all is there, it need not be loaded, which
    takes seconds that a run with all its replies in the journal would wait for nothing."""
    try:
        cfg = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        there = cfg.get("eos_token") and (cfg.get("chat_template") or any(folder.glob("chat_template*")))
    except (OSError, ValueError, AttributeError):
        there = False
    if not there:
        load_tokenizer(folder)


def fit_together(model: Any, tokenizer: Any, folder: Path, kind: ModelKind) -> None:
    """Model and tokenizer have to agree on the vocabulary, on padding and on what ends an answer."""
    embeddings = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > embeddings:
        raise SettingError(
            f"the tokenizer in {folder} has {len(tokenizer)} tokens and the model {embeddings} embeddings:"
            f" they do not belong together. Copy the base's own tokenizer files to {folder}"
        )
    ends = ending_tokens(tokenizer, model)
    if kind == "reward" and tokenizer.pad_token_id in (tokenizer.eos_token_id, end_of_turn(tokenizer)):
        # Others who load a reward model read at the last token that is no padding: the end must not be one.
        tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
        if len(tokenizer) > embeddings:
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.pad_token_id = tokenizer.pad_token_id
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.eos_token_id = ends[0] if len(ends) == 1 else ends
        model.generation_config.pad_token_id = tokenizer.pad_token_id


def with_lora(model: Any, lora: Lora, kind: ModelKind, seed: int, base: str) -> Any:
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
        try:
            adapted = peft.get_peft_model(model, config)
        except ValueError as error:
            raise SettingError(f"no adapter fits lora.targets {lora.targets!r}: {error}") from None
    adapted.peft_config["default"].base_model_name_or_path = base
    return adapted


def save_model(model: Any, tokenizer: Any, folder: Path, dtype: str) -> Path:
    """Write the folder, whole or not at all."""
    from safetensors import SafetensorError

    part = folder.with_name(folder.name + ".partial")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with quietly():
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
            if (part / ADAPTER).exists():
                model.get_base_model().config.save_pretrained(part)
        _name_dtype(part / "config.json", dtype)
        if folder.exists():
            shutil.rmtree(folder)
        return part.replace(folder)
    except Exception as error:
        # The tokenizer's library raises a bare Exception where the disk is full.
        if not isinstance(error, OSError | SafetensorError) and type(error) is not Exception:
            raise
        raise DataError(
            f"cannot write the model to {folder} ({error}). See: df -h {folder.parent}"
        ) from error


def save_merged(model: Any, folder: Path, dtype: str) -> None:
    """Only the weights, adapters merged into a copy of what they adapt; the model stays as it is."""
    import torch

    model = model.get_base_model() if hasattr(model, "peft_config") else model
    weights: dict[str, Any] = {}
    with torch.no_grad(), quietly():
        for name, weight in model.state_dict().items():
            owner, adapted, leaf = name.rpartition(".base_layer.")
            if adapted and leaf == "weight":
                layer = model.get_submodule(owner)
                for adapter in layer.active_adapters:
                    weight = weight + layer.get_delta_weight(adapter).to(weight.dtype)
            if ".lora_" not in name:
                plain = f"{owner}.{leaf}" if adapted else name
                weights[plain] = weight.to(getattr(torch, dtype)) if dtype else weight
        model.save_pretrained(folder, state_dict=weights)


def _name_dtype(config: Path, dtype: str) -> None:
    """In place of that of the weights, in the config of the model and of its parts."""
    if not dtype or not config.exists():
        return
    tree = json.loads(config.read_text())
    for part in (tree, *(one for one in tree.values() if isinstance(one, dict))):
        if "dtype" in part:
            part["dtype"] = dtype
    config.write_text(json.dumps(tree, indent=2, sort_keys=True) + "\n")


def reward_head(model: Any) -> Any:
    """The layer that turns the last hidden state into a number."""
    for name in ("score", "classifier"):
        if hasattr(model, name):
            return getattr(model, name)
    raise SettingError(
        f"a {type(model).__name__} has no linear score head. Take a decoder such as Llama, Qwen or GPT-2"
    )


def disable_dropout(model: Any) -> None:
    """A row comes out the same wherever it is computed, and PPO's policy is the one that sampled."""
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        elif isinstance(getattr(module, "attention_dropout", None), float):
            setattr(module, "attention_dropout", 0.0)  # noqa: B010
