"""A user's own function as a judge."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, Literal

from ..engines.scripted import blame
from ..errors import DataError, JuristError
from ..records import Completion, Matchup, Prompt, Verdict
from .read import NO_VERDICT
from .settings import JudgeConfig
from .told import about_one, about_pair


class TheirJudge:
    """A user's function as a judge: it returns a probability, `first`, `second`, `tie`, None or a Verdict."""

    kind: Literal["pairwise"] = "pairwise"

    def __init__(self, cfg: JudgeConfig, function: Callable[[Matchup], Any]) -> None:
        self.name, self.swap, self.samples = cfg.name or cfg.kind, cfg.swap, cfg.samples
        self._function = function

    async def __call__(self, matchup: Matchup, sample: int = 0) -> Verdict:
        said = await _heard(self.name, self._function, matchup)
        if isinstance(said, Verdict):
            return said
        if isinstance(said, str):
            said = {"first": 1.0, "second": 0.0, "tie": 0.5}.get(said, said)
        if said is not None and not (isinstance(said, int | float) and 0 <= said <= 1):
            raise DataError(
                f"the judge {self.name} answered {said!r} about matchup {matchup.id}. "
                "Return a probability from 0 to 1, 'first', 'second', 'tie', None or a Verdict"
            )
        told = {"unread": NO_VERDICT} if said is None else {"p_first": float(said)}
        return about_pair(self.name, matchup, sample, **told)


class TheirScorer:
    """A user's function as a scorer; it says so by its attribute `kind = "pointwise"`.

    Its attribute `scale` may be its lowest and highest score, `logits` or `certain`.
    """

    kind: Literal["pointwise"] = "pointwise"
    swap = "never"

    def __init__(self, cfg: JudgeConfig, function: Callable[[Prompt, Completion], Any]) -> None:
        self.name, self.samples = cfg.name or cfg.kind, cfg.samples
        self.scale = getattr(function, "scale", None)
        self._function = function

    async def __call__(self, prompt: Prompt, completion: Completion, sample: int = 0) -> Verdict:
        said = await _heard(self.name, self._function, prompt, completion)
        if isinstance(said, Verdict):
            return said
        if said is not None and not (isinstance(said, int | float) and math.isfinite(said)):
            raise DataError(
                f"the scorer {self.name} answered {said!r} about completion {completion.id}. "
                "Return a number, None or a Verdict"
            )
        told = {"unread": NO_VERDICT} if said is None else {"score": float(said)}
        return about_one(self.name, completion, sample, **told)


async def _heard(judge: str, function: Callable[..., Any], *about: Any) -> Any:
    """What their function says. A fault in it is theirs to mend, so it is named with its line."""
    try:
        said = function(*about)
        if inspect.isawaitable(said):
            said = await said
    except JuristError:
        raise
    except Exception as why:
        raise DataError(f"the judge {judge} failed: {blame(why)}") from why
    # a single number of numpy's or torch's
    return said.item() if getattr(said, "ndim", None) == 0 else said
