"""A model of the small world, trained on the spot: an ordinary Llama of some 250,000 parameters.

The first use trains it, in well under a minute, and keeps it in the user's cache folder under a name made
from everything it depends on. It is saved like any other checkpoint. What makes the time enough: the loss is
on answers only; a row counts by the square root of its length, so that verdicts of one word are not drowned;
numbers, and first words of all but plain answers, count eight times; matrices learn by Muon (Jordan 2024).
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, to_builtins

from ..engines.checkpoints import cache_folder
from ..errors import MissingExtra
from ..records import content_id
from .corpus import CorpusRow, corpus
from .tokenizer import make_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LONGEST: Final = 512
TOGETHER: Final = 3000
"""Rows that are sorted by length and shuffled together; what comes later in the corpus is learnt later."""
HARD: Final = 8.0
"""What a number, or the first word of a judgement or revision, counts for, next to other words."""
_PURPOSE: Final = "the tiny policy"

OnStep = Callable[[int, int, float], None]
"""Called after each step: how many are done, of how many, and the loss."""


class Recipe(Struct, frozen=True):
    """Everything the small model depends on."""

    rows: int = 20_000
    tokens_per_batch: int = 700
    learning_rate: float = 4.5e-3
    matrix_rate: float = 0.02
    """That of the matrices, which learn by Muon."""
    hidden: int = 80
    inner: int = 160
    layers: int = 3
    heads: int = 4
    spread: float = 0.08
    """Standard deviation of the first weights: a narrow model starts slowly from the usual 0.02."""
    seed: int = 0


_Example = tuple[list[int], list[float]]
"""A row in tokens, and what each token of its answer, which stands last, counts for."""


def tiny_checkpoint(recipe: Recipe | None = None, on_step: OnStep | None = None) -> Path:
    """The folder of the trained model; trains it where this recipe has not been trained before."""
    recipe = recipe or Recipe()
    folder = cache_folder() / f"tiny-{_name(recipe)}"
    if not (folder / "config.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".training-") as draft:
            made = Path(draft) / "model"
            make(recipe, made, on_step)
            try:
                made.rename(folder)
            except OSError:
                if not (folder / "config.json").exists():  # another process was quicker, or we may not write
                    raise
    return folder


def make(recipe: Recipe, folder: Path, on_step: OnStep | None = None) -> None:
    """Train the model and save it with its tokenizer."""
    try:
        import torch
        from transformers import GenerationConfig
    except ImportError:
        raise MissingExtra(_PURPOSE, "torch and transformers", "train") from None

    rows = list(corpus(recipe.rows))
    tokenizer = make_tokenizer(
        text for row in rows for text in (*(m.content for m in row.messages), row.answer)
    )
    examples = as_examples(rows, tokenizer)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two are no quicker where others work beside them, and may be far slower
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            model = new_model(recipe, tokenizer)
            train(model, examples, recipe, tokenizer.pad_token_id, on_step)
    finally:
        torch.set_num_threads(threads)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {
        "hidden_size": recipe.hidden,
        "intermediate_size": recipe.inner,
        "initializer_range": recipe.spread,
    }
    depth = {"num_hidden_layers": recipe.layers, "num_attention_heads": recipe.heads}
    ends = {
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
    }
    words = {"vocab_size": len(tokenizer), "max_position_embeddings": LONGEST, "tie_word_embeddings": True}
    return LlamaForCausalLM(LlamaConfig(**shape, **depth, **ends, **words))


def as_examples(rows: Sequence[CorpusRow], tokenizer: PreTrainedTokenizerFast) -> list[_Example]:
    numbers = frozenset(at for word, at in tokenizer.get_vocab().items() if word.strip().isdigit())
    turns = [[to_builtins(message) for message in row.messages] for row in rows]
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


def plan_batches(examples: Sequence[_Example], tokens: int, draw: random.Random) -> Iterator[list[_Example]]:
    """Rows of like length together, so that little is padding; what comes later in the corpus comes later."""
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

    longest = max(len(ids) for ids, _ in batch)
    ids_BT = torch.full((len(batch), longest), pad)
    weight_BT = torch.zeros(len(batch), longest)
    for at, (ids, weights) in enumerate(batch):
        ids_BT[at, : len(ids)] = torch.tensor(ids)
        weight_BT[at, len(ids) - len(weights) : len(ids)] = torch.tensor(weights)
    return ids_BT, weight_BT


def train(
    model: Any, examples: Sequence[_Example], recipe: Recipe, pad: int, on_step: OnStep | None = None
) -> None:
    """One pass over the rows, two batches a step."""
    import torch
    from torch.nn import functional as F

    batches = list(plan_batches(examples, recipe.tokens_per_batch, random.Random(recipe.seed)))
    steps = len(batches) // 2
    matrices = {name: one for name, one in model.named_parameters() if one.ndim == 2 and "embed" not in name}
    others = [one for name, one in model.named_parameters() if name not in matrices]
    optimisers = (
        torch.optim.AdamW(others, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01),
        torch.optim.Muon(matrices.values(), lr=recipe.matrix_rate, weight_decay=0.0),
    )
    schedules = [torch.optim.lr_scheduler.LambdaLR(one, height_of(steps)) for one in optimisers]
    model.train()
    for number in range(1, steps + 1):
        for batch in batches[2 * number - 2 : 2 * number]:
            ids_BT, weight_BT = collated(batch, pad)
            hidden_BTD = model.model(input_ids=ids_BT, use_cache=False).last_hidden_state
            answer_BT = weight_BT[:, 1:] > 0
            # The head is the dearest part: over the answers only.
            logits_NV = model.lm_head(hidden_BTD[:, :-1][answer_BT])
            loss_N = F.cross_entropy(logits_NV, ids_BT[:, 1:][answer_BT], reduction="none")
            weight_N = weight_BT[:, 1:][answer_BT]
            loss = (weight_N * loss_N).sum() / weight_N.sum()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser, schedule in zip(optimisers, schedules, strict=True):
            optimiser.step()
            schedule.step()
        model.zero_grad()
        if on_step is not None:
            on_step(number, steps, loss.item())
    model.eval()


def height_of(steps: int) -> Callable[[int], float]:
    """Of the learning rate after so many steps: up at once, level, and down to nothing."""
    return lambda done: min(1.0, (done + 1) / steps / 0.05, (1.0 - (done + 1) / steps) / 0.7)


def _name(recipe: Recipe) -> str:
    """From the recipe, some of its rows, the code that learns them, and the libraries."""
    here = Path(__file__).parent
    made_by = [(here / f"{part}.py").read_text("utf-8") for part in ("tokenizer", "model")]
    rows = [to_builtins(row) for row in corpus(400)]
    try:
        libraries = [version("torch"), version("transformers")]
    except ModuleNotFoundError:
        raise MissingExtra(_PURPOSE, "torch and transformers", "train") from None
    return content_id(recipe, made_by, rows, libraries)[:12]
