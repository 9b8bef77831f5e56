"""A word-level tokenizer for the small world: a real fast one with a chat template, saved like any other.

A word takes the space before it along, so that text comes back letter for letter; a line break is a token.
The tags around what a judge is shown are tokens too, without their codes, which differ from question to
question. The template has no place for system messages, like that of many small models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, END, USER, ASSISTANT = SPECIAL = (
    "<|pad|>",
    "<|unknown|>",
    "<|end|>",
    "<|user|>",
    "<|assistant|>",
)
LARGEST: Final = 60
"""Numbers up to this one are words of their own; larger ones stand only where they tell requests apart."""
TEMPLATE: Final = (
    "{% for turn in messages %}"
    "{% if turn.role == 'user' %}<|user|>{{ turn.content }}<|end|>"
    "{% elif turn.role == 'assistant' %}<|assistant|>"
    "{% generation %}{{ turn.content }}<|end|>{% endgeneration %}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_WORDS = r"</?(?:response|turn|reference)(?:-[A-Za-z]+)?>| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]|\s"
_FENCE_CODE = r"-[0-9a-f]{12}>"


def make_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Knows every word of these texts."""
    from transformers import PreTrainedTokenizerFast

    words: dict[str, None] = dict.fromkeys(SPECIAL)
    for n in range(LARGEST + 1):
        words.update({str(n): None, f" {n}": None})
    for text in texts:
        for word in re.findall(_WORDS, re.sub(_FENCE_CODE, ">", text)):
            if not word.strip().isdigit():
                words[word] = None
    return PreTrainedTokenizerFast(
        tokenizer_object=_backend({word: number for number, word in enumerate(words)}),
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def _backend(vocabulary: dict[str, int]) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    backend.normalizer = normalizers.Replace(Regex(_FENCE_CODE), ">")
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(_WORDS), "isolated")
    backend.decoder = decoders.Fuse()
    return backend
