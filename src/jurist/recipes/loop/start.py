"""What a loop starts from: a checkpoint, and what people wrote."""

from __future__ import annotations

from ...records import Preference
from .rounds import Target


def checkpoint(policy: str) -> str:
    """The folder of a checkpoint; `tiny` is the small model, made on the spot."""
    if policy == "tiny":
        from ...tiny.model import tiny_checkpoint

        return str(tiny_checkpoint())
    from ...models.folder import find_checkpoint

    return str(find_checkpoint(policy))


def real_pairs(file: str) -> list[Preference]:
    """Pairs that people labelled; none where no file is named."""
    if not file:
        return []
    from ...models.rows import load_preferences

    return list(load_preferences(file))


def real_answers(file: str) -> list[Target]:
    """Answers that people wrote; none where no file is named."""
    if not file:
        return []
    from ...models.rows import load_targets

    return list(load_targets(file))
