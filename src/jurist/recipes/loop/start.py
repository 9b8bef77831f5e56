"""What a loop starts from: a checkpoint, and what people wrote."""

from __future__ import annotations

from collections.abc import Callable

from ...prompts.load import split_of
from ...records import Preference, Prompt
from .folder import Along
from .rounds import Target
from .settings import LoopConfig


def checkpoint(policy: str, tell: Callable[[Along], None] | None = None) -> str:
    """The folder of a checkpoint; `tiny` is the small model, made on the spot."""
    if policy == "tiny":
        from ...tiny.model import tiny_checkpoint

        return str(tiny_checkpoint(on_step=tell and (lambda done, of, _: tell(Along(done, of)))))
    from ...engines.checkpoints import find_checkpoint

    return str(find_checkpoint(policy))


def real_pairs(cfg: LoopConfig) -> list[Preference]:
    """Pairs that people labelled, but for those about held-out prompts; none where no file is named."""
    if not cfg.real.file:
        return []
    from ...models.rows import load_preferences

    return [one for one in load_preferences(cfg.real.file) if is_learnt(one.prompt, cfg)]


def real_answers(cfg: LoopConfig) -> list[Target]:
    """Answers that people wrote, but for those to held-out prompts; none where no file is named."""
    if not cfg.real.file:
        return []
    from ...models.rows import load_targets

    return [one for one in load_targets(cfg.real.file) if is_learnt(one[0], cfg)]


def is_learnt(prompt: Prompt, cfg: LoopConfig) -> bool:
    """By content: what a policy is compared on stays unseen, whoever answered it."""
    return split_of(prompt.id, cfg.compare.held_out) == "train"
