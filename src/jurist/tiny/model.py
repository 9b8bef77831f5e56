"""A model of the small world, trained on the spot: an ordinary Llama of some 250,000 parameters.

The first use trains it, in well under a minute on one core, and keeps it in the user's cache folder under a
name made from everything it depends on; later uses read it. It is saved like any other checkpoint, so
whatever opens a Hugging Face folder opens it. The loop is as plain as a training loop gets: the trainers
proper are in `models/`.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, to_builtins

from ..errors import MissingExtra
from ..records import content_id
from .corpus import Row, corpus
from .tokenizer import make_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LONGEST: Final = 512
_PURPOSE: Final = "the tiny policy"


class Recipe(Struct, frozen=True):
    """Everything the small model depends on."""

    rows: int = 16_000
    tokens_per_batch: int = 800
    learning_rate: float = 4.5e-3
    hidden: int = 80
    inner: int = 160
    layers: int = 3
    heads: int = 4
    spread: float = 0.08
    """Standard deviation of the first weights: a narrow model starts slowly from the usual 0.02."""
    seed: int = 0


class Example(Struct, frozen=True):
    ids: list[int]
    answer: int
    """Where the answer starts; the loss is on what follows."""


Step = tuple[list[Example], list[Example]]
"""A batch of short rows and one of long rows."""

Watch = Callable[[int, int, float], None]
"""Told after each step: how many are done, of how many, and the loss."""


def tiny_checkpoint(recipe: Recipe | None = None, watch: Watch | None = None) -> Path:
    """The folder of the trained model; trains it where this recipe has not been trained before."""
    recipe = recipe or Recipe()
    folder = cache_folder() / f"tiny-{_name(recipe)}"
    if not (folder / "config.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".training-") as draft:
            make(recipe, Path(draft) / "model", watch)
            try:
                (Path(draft) / "model").rename(folder)
            except OSError:
                if not (folder / "config.json").exists():  # another process was quicker, or we may not write
                    raise
    return folder


def cache_folder() -> Path:
    """`$JURIST_CACHE`, or `jurist` in the user's cache folder."""
    if said := os.environ.get("JURIST_CACHE"):
        return Path(said)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jurist"


def make(recipe: Recipe, folder: Path, watch: Watch | None = None) -> None:
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
    examples = [as_example(row, tokenizer) for row in rows]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a model this small is quicker on one core than on several
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            model = new_model(recipe, tokenizer)
            train(model, plan_steps(examples, recipe), recipe, tokenizer.pad_token_id, watch)
    finally:
        torch.set_num_threads(threads)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model.generation_config = GenerationConfig(**ends)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.inner,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        max_position_embeddings=LONGEST,
        initializer_range=recipe.spread,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def train(model: Any, plan: Sequence[Step], recipe: Recipe, pad: int, watch: Watch | None) -> None:
    """One pass over the rows, the loss on the answers only."""
    import torch
    from torch.nn import functional as F

    optimiser = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, len(plan), pct_start=0.1)
    model.train()
    for number, step in enumerate(plan, 1):
        for batch in step:
            ids_BT, target_BT = collated(batch, pad)
            hidden_BTD = model.model(input_ids=ids_BT).last_hidden_state
            spoken_BT = target_BT != pad
            logits_NV = model.lm_head(hidden_BTD[spoken_BT])  # the head is the dearest part: answers only
            loss = F.cross_entropy(logits_NV, target_BT[spoken_BT])
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        if watch is not None:
            watch(number, len(plan), loss.item())
    model.eval()


def as_example(row: Row, tokenizer: PreTrainedTokenizerFast) -> Example:
    asked = [to_builtins(message) for message in row.messages]
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(prompt, add_special_tokens=False).input_ids
    answer = tokenizer(row.answer, add_special_tokens=False).input_ids
    return Example([*ids, *answer, tokenizer.eos_token_id], len(ids))


def plan_steps(examples: Sequence[Example], recipe: Recipe) -> list[Step]:
    """A batch of short rows and one of long rows in each step: answers and judgements both. The rows of a
    batch are of like length, so that little is padding."""
    draw = random.Random(recipe.seed)
    batches = list(_by_length(sorted(examples, key=lambda one: (len(one.ids), draw.random())), recipe))
    half = len(batches) // 2
    steps = list(zip(batches[:half], batches[half:], strict=False))
    draw.shuffle(steps)
    return steps


def _by_length(ordered: Sequence[Example], recipe: Recipe) -> Iterator[list[Example]]:
    waiting = iter(ordered)
    while first := next(waiting, None):
        room = max(1, recipe.tokens_per_batch // len(first.ids))
        yield [first, *islice(waiting, room - 1)]


def collated(batch: Sequence[Example], pad: int) -> tuple[Any, Any]:
    """Ids, padded on the right; and at each place the token to come next, or `pad` where it is not ours."""
    import torch

    longest = max(len(one.ids) for one in batch)
    ids = [one.ids + [pad] * (longest - len(one.ids)) for one in batch]
    targets = [
        [pad] * (one.answer - 1) + one.ids[one.answer :] + [pad] * (longest - len(one.ids) + 1)
        for one in batch
    ]
    return torch.tensor(ids), torch.tensor(targets)


def _name(recipe: Recipe) -> str:
    """From the recipe, the code that makes the rows, and the libraries that turn them into weights."""
    here = Path(__file__).parent
    made_by = [
        (here / f"{part}.py").read_text("utf-8")
        for part in ("world", "answers", "corpus", "tokenizer", "model")
    ]
    rows = [to_builtins(row) for row in corpus(200)]
    try:
        libraries = [version("torch"), version("transformers")]
    except ModuleNotFoundError:
        raise MissingExtra(_PURPOSE, "torch and transformers", "train") from None
    return content_id(recipe, made_by, rows, libraries)[:12]
