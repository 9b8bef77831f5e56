"""A model of the small world, trained on the spot: an ordinary Llama of some 250,000 parameters.

The first use trains it, in well under a minute on one core, and keeps it in the user's cache folder under a
name made from everything it depends on; later uses read it. It is saved like any other checkpoint, so
whatever opens a Hugging Face folder opens it.
"""

from __future__ import annotations

import os
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, to_builtins

from ..errors import MissingExtra
from ..records import content_id
from .corpus import corpus
from .learning import Watch, as_example, plan_steps, train
from .tokenizer import make_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LONGEST: Final = 512
_PURPOSE: Final = "the tiny policy"


class Recipe(Struct, frozen=True):
    """Everything the small model depends on."""

    rows: int = 15_000
    tokens_per_batch: int = 600
    learning_rate: float = 4.5e-3
    turning_rate: float = 0.02
    """That of the matrices, which learn by Muon."""
    hidden: int = 80
    inner: int = 160
    layers: int = 3
    heads: int = 4
    spread: float = 0.08
    """Standard deviation of the first weights: a narrow model starts slowly from the usual 0.02."""
    seed: int = 0


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
            plan = plan_steps(examples, recipe.tokens_per_batch, recipe.seed)
            train(model, plan, recipe.learning_rate, recipe.turning_rate, tokenizer.pad_token_id, watch)
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


def _name(recipe: Recipe) -> str:
    """From the recipe, the code that makes the rows, and the libraries that turn them into weights."""
    here = Path(__file__).parent
    made_by = [
        (here / f"{part}.py").read_text("utf-8")
        for part in ("world", "answers", "corpus", "tokenizer", "model", "learning")
    ]
    rows = [to_builtins(row) for row in corpus(200)]
    try:
        libraries = [version("torch"), version("transformers")]
    except ModuleNotFoundError:
        raise MissingExtra(_PURPOSE, "torch and transformers", "train") from None
    return content_id(recipe, made_by, rows, libraries)[:12]
