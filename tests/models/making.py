"""Small random checkpoints with a tokenizer and a chat template, written to disk like any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

WORDS = (
    "the sky is blue because light scatters in air yes no why how what tell me a long short answer one two"
)
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
KINDS = ("llama", "qwen2", "gpt2")
WINDOWED = ("mistral", "gemma3", "gpt-oss")
"""Layers that see a few tokens back: all of them, or every other."""
WINDOW = 4


def tokenizer(kind: str = "llama", *, pad: bool = True) -> Any:
    """A byte-level BPE of a few hundred tokens in the class that goes with the model."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Tokenizer, PreTrainedTokenizerFast, Qwen2Tokenizer

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator([WORDS] * 4, trainer)
    ends = {"eos_token": "<|end|>", "unk_token": "<|end|>"} | ({"pad_token": "<|pad|>"} if pad else {})
    cls = {"llama": PreTrainedTokenizerFast, "qwen2": Qwen2Tokenizer, "gpt2": GPT2Tokenizer}[kind]
    made = (
        cls(tokenizer_object=inner, **ends)
        if kind == "llama"
        else cls(**_vocabulary(inner), **ends, additional_special_tokens=SPECIAL[2:])
    )
    made.chat_template = TEMPLATE
    return made


def _vocabulary(inner: Any) -> dict[str, Any]:
    import json

    model = json.loads(inner.to_str())["model"]
    return {"vocab": model["vocab"], "merges": [tuple(pair) for pair in model["merges"]]}


def model(kind: str = "llama", *, vocabulary: int = 330, seed: int = 0, **more: Any) -> Any:
    import transformers as hf

    torch.manual_seed(seed)
    common = {"vocab_size": vocabulary, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    rope = {**SMALL, "num_key_value_heads": 2, "max_position_embeddings": 256, **common, **more}
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    mixed = {"layer_types": ["sliding_attention", "full_attention"], "head_dim": 8}
    experts = {"num_local_experts": 2, "num_experts_per_tok": 1, "rope_parameters": {"rope_type": "default"}}
    makes: dict[str, Callable[[], Any]] = {
        "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**rope)),
        "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**rope)),
        "gpt2": lambda: hf.GPT2LMHeadModel(
            hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=256, **no_dropout, **common, **more)
        ),
        "mistral": lambda: hf.MistralForCausalLM(hf.MistralConfig(**{"sliding_window": WINDOW} | rope)),
        "gemma3": lambda: hf.Gemma3ForCausalLM(
            hf.Gemma3TextConfig(**{"sliding_window": WINDOW, **mixed} | rope)
        ),
        "gpt-oss": lambda: hf.GptOssForCausalLM(
            hf.GptOssConfig(**{"sliding_window": WINDOW, **mixed, **experts} | rope)
        ),
    }
    return makes[kind]().eval()


def checkpoint(folder: Path, kind: str = "llama", **how: Any) -> Path:
    model(kind, **how).save_pretrained(folder)
    tokenizer(kind).save_pretrained(folder)
    return folder


def adapted(kind: str = "llama") -> Any:
    """A model with a LoRA adapter that changes something."""
    from jurist.policies.checkpoint import Lora, with_lora

    made = with_lora(model(kind), Lora(r=4), "causal", 0, "")
    for name, weight in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return made


def loss_and_gradient(model: Any, rows: Any, form: Any, want: Any = "logprobs") -> tuple[Any, Any]:
    """Something that depends on every number of the output in another way."""
    from jurist.policies.policy import Policy

    model.zero_grad()
    stats = Policy(model, None, Path(), "")(rows, (want,), form=form)
    out: Any = stats.logprobs_AT if want == "logprobs" else stats.state_AD
    loss = (out * torch.linspace(0.5, 1.5, out.numel()).view_as(out)).mean()
    loss.backward()
    return loss.detach(), torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None])
