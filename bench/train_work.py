"""What the training benchmark trains on: random Llamas of two sizes, and pairs of texts of given lengths.

The tokenizer has one token a word, so that a text has exactly as many tokens as it is asked to have.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
AROUND_A_PROMPT, AFTER_AN_ANSWER = 3, 1
MODELS: dict[str, dict[str, int]] = {
    "5M": {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4, "vocab_size": 4096},
    "40M": {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8, "vocab_size": 32_000},
    "1B": {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "vocab_size": 32_000},
}
SHAPES = ((512, 64), (128, 256), (64, 64))


class Pair(NamedTuple):
    prompt: str
    chosen: str
    rejected: str


Lengths = tuple[int, int, int]
"""Tokens of prompt, chosen and rejected."""


def equal_lengths(rows: int, prompt: int, answer: int) -> list[Lengths]:
    return [(prompt, answer, answer)] * rows


def skewed_lengths(rows: int, seed: int = 0) -> list[Lengths]:
    """Log-normal, as prompts are: half below 96 tokens, one in twenty above 500; answers half below 48."""
    draw = random.Random(seed)

    def one(middle: float, spread: float, least: int, most: int) -> int:
        return min(most, max(least, round(middle * draw.lognormvariate(0, spread))))

    return [(one(96, 1.0, 8, 768), one(48, 0.6, 4, 192), one(48, 0.6, 4, 192)) for _ in range(rows)]


def pairs(lengths: Sequence[Lengths], vocabulary: int, seed: int = 0) -> list[Pair]:
    """Texts of random words with so many tokens each, the template's own counted."""
    draw = random.Random(seed)
    words = [_word(index) for index in range(vocabulary - len(SPECIAL))]

    def text(tokens: int) -> str:
        return " ".join(draw.choices(words, k=tokens))

    return [
        Pair(text(p - AROUND_A_PROMPT), text(w - AFTER_AN_ANSWER), text(r - AFTER_AN_ANSWER))
        for p, w, r in lengths
    ]


def _word(index: int) -> str:
    return f"w{index}"


def tokenizer(vocabulary: int) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ids = {word: index for index, word in enumerate(SPECIAL)}
    ids |= {_word(index): len(SPECIAL) + index for index in range(vocabulary - len(SPECIAL))}
    inner = Tokenizer(models.WordLevel(ids, unk_token="<|pad|>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.add_special_tokens(SPECIAL)
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|end|>", pad_token="<|pad|>", unk_token="<|pad|>"
    )
    made.chat_template = TEMPLATE
    return made


def checkpoint(folder: Path, size: str, kind: str, seed: int = 0) -> Path:
    """A random Llama, as a language model or as a reward model with a head that already says something."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

    shape = MODELS[size]
    heads = shape["hidden_size"] // 64
    config = LlamaConfig(
        **shape,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=4096,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
        tie_word_embeddings=False,
        **({"num_labels": 1} if kind == "reward" else {}),
    )
    torch.manual_seed(seed)
    model = (LlamaForSequenceClassification if kind == "reward" else LlamaForCausalLM)(config)
    model.save_pretrained(folder)
    tokenizer(shape["vocab_size"]).save_pretrained(folder)
    return folder
