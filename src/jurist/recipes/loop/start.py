"""What a loop starts from: a checkpoint, and what people wrote."""

from __future__ import annotations

from collections.abc import Callable

from ...records import Preference
from .folder import Along
from .rounds import Target


def checkpoint(policy: str, tell: Callable[[Along], None] | None = None) -> str:
    """The folder of a checkpoint; `tiny` is the small model, made on the spot."""
    if policy == "tiny":
        from ...tiny.model import tiny_checkpoint

        return str(tiny_checkpoint(watch=tell and (lambda done, of, _: tell(Along(done, of)))))
    from ...engines.checkpoints import find_checkpoint

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
