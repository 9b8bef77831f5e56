"""A constitution: written principles, one of which is drawn for each question.

Each principle comes in three wordings: what to compare two responses by, and a request to criticise and a
request to revise one response (the supervised phase of Bai et al. 2022). Drawing is by content, so a
matchup is asked about under the same principle in both orders and whenever the run is taken up again.
"""

from __future__ import annotations

from bisect import bisect
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from ..config import parse_yaml
from ..errors import DataError, SettingError
from ..records import content_id
from .cases import key_of

_OURS: Final = Path(__file__).parent / "constitution.yaml"


class Principle(Struct, frozen=True, forbid_unknown_fields=True):
    """One written criterion."""

    id: Annotated[str, Meta(min_length=1)]
    title: str
    text: Annotated[str, Meta(pattern=r"\S")]
    """What to choose the better of two responses by."""
    critique: str
    """The request to find fault with one response."""
    revise: str
    """The request to write it anew."""
    tags: tuple[str, ...] = ()
    """`helpful`, `honest`, `harmless`, `not_preachy`."""
    weight: Annotated[float, Meta(ge=0)] = 1.0
    """How often it is drawn, next to the others."""


class Constitution(Struct, frozen=True, dict=True):
    """The principles of one file."""

    principles: tuple[Principle, ...]

    @cached_property
    def id(self) -> str:
        """A name for what it says."""
        return content_id("constitution", self.principles)

    @cached_property
    def steps(self) -> tuple[float, ...]:
        """Running totals of the weights."""
        return tuple(accumulate(principle.weight for principle in self.principles))


def draw(constitution: Constitution, matchup_id: str, seed: int = 0, sample: int = 0) -> Principle:
    """The principle for this question: by chance as far as the content goes, and always the same one."""
    steps = constitution.steps
    place = key_of(f"{matchup_id} {seed} {sample}") / 2**64 * steps[-1]
    return constitution.principles[bisect(steps[:-1], place)]


def load_constitution(path: str | Path = "") -> Constitution:
    """The file's principles; ours when no path is given."""
    where = Path(path) if path else _OURS
    try:
        tree = parse_yaml(where.read_text(encoding="utf-8"))
        rows = tree.get("principles") if isinstance(tree, dict) else tree
        principles = msgspec.convert(rows, tuple[Principle, ...])
    except FileNotFoundError:
        raise DataError(f"there is no constitution at {where}. Start from a copy of: {_OURS}") from None
    except (SettingError, UnicodeDecodeError, OSError, msgspec.ValidationError) as error:
        raise DataError(f"the constitution {where}: {error}. Compare it with: {_OURS}") from None
    ids = [principle.id for principle in principles]
    for name in ids:
        if ids.count(name) > 1:
            raise DataError(f"two principles of {where} are called '{name}'. Rename one: $EDITOR {where}")
    if not sum(principle.weight for principle in principles) > 0:
        raise DataError(f"the constitution {where} has no principle to draw. Start from a copy of: {_OURS}")
    return Constitution(principles)
