"""A model of the small world, trained on the spot: an ordinary Llama of some 250,000 parameters.

The first use trains it, in well under a minute, and keeps it in the user's cache folder under a name made
from everything it depends on. It is saved like any other checkpoint. What makes the time enough: the loss is
on answers only; a row counts by the square root of its length, so that verdicts of one word are not drowned;
numbers, and first words of all but plain answers, count eight times; matrices learn by Muon (Jordan 2024).

Its tokenizer is a real fast one with a chat template. A word takes the space before it along, so that text
comes back letter for letter; a line break is a token. The tags around what a judge is shown are tokens too,
without their codes, which differ from question to question. The template has no place for system messages,
like that of many small models.
"""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, to_builtins

from ..engines.checkpoints import cache_folder
from ..errors import MissingExtra
from ..records import content_id
from .corpus import CorpusRow, corpus

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

POSITIONS: Final = 512
TOGETHER: Final = 3000
"""Rows that are sorted by length and shuffled together; what comes later in the corpus is learnt later."""
HARD: Final = 8.0
"""What a number, or the first word of a judgement or revision, counts for, next to other words."""
SPECIAL: Final = ("<|pad|>", "<|unknown|>", "<|end|>", "<|user|>", "<|assistant|>")
PAD, UNKNOWN, END, USER, ASSISTANT = SPECIAL
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

OnStep = Callable[[int, int], None]
"""Called after each step: how many are done, of how many."""


class TinySize(Struct, frozen=True):
    """How much the small model learns from, and how large it is."""

    rows: int = 20_000
    hidden: int = 80
    layers: int = 3
    heads: int = 4


_Example = tuple[list[int], list[float]]
"""A row in tokens, and what each token of its answer, which stands last, counts for."""


def tiny_checkpoint(size: TinySize | None = None, on_step: OnStep | None = None) -> Path:
    """The folder of the trained model; trains it where none of this size has been trained before."""
    size = size or TinySize()
    folder = cache_folder() / f"tiny-{_name(size)}"
    if not (folder / "config.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".training-") as draft:
            made = Path(draft) / "model"
            make(size, made, on_step)
            try:
                made.rename(folder)
            except OSError:
                if not (folder / "config.json").exists():  # another process was quicker, or we may not write
                    raise
    return folder


def _name(size: TinySize) -> str:
    """From the size, some of the rows, the code that learns them, and the libraries."""
    rows = [to_builtins(row) for row in corpus(400)]
    try:
        libraries = [version("torch"), version("transformers")]
    except ModuleNotFoundError:
        raise MissingExtra("the tiny policy", "torch and transformers", "train") from None
    return content_id(size, Path(__file__).read_text("utf-8"), rows, libraries)[:12]


def make(size: TinySize, folder: Path, on_step: OnStep | None = None) -> None:
    """Train the model and save it with its tokenizer."""
    import torch

    rows = list(corpus(size.rows))
    texts = (text for row in rows for text in (*(m.content for m in row.messages), row.answer))
    tokenizer = make_tokenizer(texts)
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = new_model(size, tokenizer)
        train(model, as_examples(rows, tokenizer), on_step)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def one_thread() -> Iterator[None]:
    """Models this small are quicker on one core than on several, and come out the same everywhere."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def make_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Knows every word of these texts."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    numbers = [word for n in range(LARGEST + 1) for word in (f"{n}", f" {n}")]
    found = (word for text in texts for word in re.findall(_WORDS, re.sub(_FENCE_CODE, ">", text)))
    words = dict.fromkeys([*SPECIAL, *numbers, *(one for one in found if not one.strip().isdigit())])
    backend = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token=UNKNOWN))
    backend.normalizer = normalizers.Replace(Regex(_FENCE_CODE), ">")
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(_WORDS), "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def new_model(size: TinySize, tokenizer: PreTrainedTokenizerFast) -> Any:
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=POSITIONS,
        hidden_size=size.hidden,
        intermediate_size=2 * size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        initializer_range=0.08,  # a narrow model starts slowly from the usual 0.02
        tie_word_embeddings=True,
        bos_token_id=None,
        **ends,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(**ends)
    return model


def as_examples(rows: Sequence[CorpusRow], tokenizer: PreTrainedTokenizerFast) -> list[_Example]:
    numbers = frozenset(at for word, at in tokenizer.get_vocab().items() if word.strip().isdigit())
    turns = [to_builtins(row.messages) for row in rows]
    prompts = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    heads = tokenizer(prompts, add_special_tokens=False).input_ids
    tails = tokenizer([row.answer for row in rows], add_special_tokens=False).input_ids
    examples = []
    for row, head, tail in zip(rows, heads, tails, strict=True):
        answer = [*tail, tokenizer.eos_token_id]
        counts = [HARD if token in numbers else 1.0 for token in answer]
        counts[0] = HARD if len(row.messages) > 1 else counts[0]
        examples.append(([*head, *answer], [one / sum(counts) ** 0.5 for one in counts]))
    return examples


def _batches(examples: Sequence[_Example], tokens: int = 700) -> Iterator[list[_Example]]:
    """Rows of like length together, so that little is padding; what comes later in the corpus comes later."""
    draw = random.Random(0)
    for begin in range(0, len(examples), TOGETHER):
        ordered = sorted(examples[begin : begin + TOGETHER], key=lambda one: (len(one[0]), draw.random()))
        batches, waiting = [], iter(ordered)
        while first := next(waiting, None):
            batches.append([first, *islice(waiting, tokens // len(first[0]))])
        draw.shuffle(batches)
        yield from batches


def collated(batch: Sequence[_Example], pad: int) -> tuple[Any, Any]:
    """Ids, padded on the right; and what each token counts for."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ids = [torch.tensor(ids) for ids, _ in batch]
    weights = [torch.tensor([0.0] * (len(ids) - len(counts)) + counts) for ids, counts in batch]
    return pad_sequence(ids, True, pad), pad_sequence(weights, True)


def train(model: Any, examples: Sequence[_Example], on_step: OnStep | None = None) -> None:
    """One pass over the rows, two batches a step."""
    import torch
    from torch.nn import functional as F

    batches = list(_batches(examples))
    steps = len(batches) // 2
    matrices = {name: one for name, one in model.named_parameters() if one.ndim == 2 and "embed" not in name}
    others = [one for name, one in model.named_parameters() if name not in matrices]
    optimisers = (
        torch.optim.AdamW(others, lr=4.5e-3, betas=(0.9, 0.98), weight_decay=0.01),
        torch.optim.Muon(matrices.values(), lr=0.02, weight_decay=0.0),
    )

    def height(done: int) -> float:
        """Of the learning rates: up at once, level, and down to nothing."""
        return min(1.0, (done + 1) / steps / 0.05, (1.0 - (done + 1) / steps) / 0.7)

    schedules = [torch.optim.lr_scheduler.LambdaLR(one, height) for one in optimisers]
    model.train()
    for number in range(1, steps + 1):
        for batch in batches[2 * number - 2 : 2 * number]:
            ids_BT, weight_BT = collated(batch, model.config.pad_token_id)
            hidden_BTD = model.model(input_ids=ids_BT, use_cache=False).last_hidden_state
            answer_BT = weight_BT[:, 1:] > 0
            # The head is the dearest part: over the answers only.
            logits_NV = model.lm_head(hidden_BTD[:, :-1][answer_BT])
            loss_N = F.cross_entropy(logits_NV, ids_BT[:, 1:][answer_BT], reduction="none")
            weight_N = weight_BT[:, 1:][answer_BT]
            ((weight_N * loss_N).sum() / weight_N.sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser, schedule in zip(optimisers, schedules, strict=True):
            optimiser.step()
            schedule.step()
        model.zero_grad()
        if on_step is not None:
            on_step(number, steps)
    model.eval()
