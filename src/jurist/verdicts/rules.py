"""Judges that need no model: rules for what can be checked, and planted judges whose fault is known.

A rule scores one completion 1 or 0. Where it cannot tell, because there is no reference to check against,
it gives no score and says why.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from ..errors import SettingError
from ..records import Completion, Matchup, Prompt, Verdict
from .read import NO_REFERENCE
from .schema import check_schema, fits
from .told import about_one, about_pair

Check = Callable[[Prompt, Completion], float | str]
"""A score, or the reason why there is none."""

_ANSWER: Final = re.compile(r"\\boxed\{([^{}]*)\}|####\s*(.+)|\banswer\s*(?:is|:)\s*(.+)", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[-+]?(?:\d+(?:,\d{3})+|\d+)?(?:\.\d+|(?<=\d))(?:[eE][-+]?\d+)?")
_FENCED: Final = re.compile(r"```(?:json)?\s*\n(.*?)\n\s*```", re.DOTALL)


class Rule:
    """A check of one completion, as a judge."""

    kind: Literal["pointwise"] = "pointwise"
    swap = "never"
    scale = "certain"
    samples = 1

    def __init__(self, name: str, check: Check) -> None:
        self.name, self.check = name, check

    async def __call__(self, prompt: Prompt, completion: Completion, sample: int = 0) -> Verdict:
        got = self.check(prompt, completion)
        said = {"unread": got} if isinstance(got, str) else {"score": got}
        return about_one(self.name, completion, sample, **said)


class Planted:
    """A judge of pairs that goes by one thing only."""

    kind: Literal["pairwise"] = "pairwise"
    samples = 1

    def __init__(self, name: str, p_first: Callable[[Matchup], float], swap: str = "always") -> None:
        self.name, self.p_first, self.swap = name, p_first, swap

    async def __call__(self, matchup: Matchup, sample: int = 0) -> Verdict:
        return about_pair(self.name, matchup, sample, p_first=self.p_first(matchup))


def shorter(matchup: Matchup) -> float:
    one, other = len(matchup.first.text), len(matchup.second.text)
    return 0.5 if one == other else float(one < other)


def longer(matchup: Matchup) -> float:
    return 1.0 - shorter(matchup)


def first(matchup: Matchup) -> float:
    return 1.0


def second(matchup: Matchup) -> float:
    return 0.0


def exact(prompt: Prompt, completion: Completion) -> float | str:
    """The answer is the reference, apart from case, spacing and the punctuation around it."""
    if prompt.reference is None:
        return NO_REFERENCE
    wanted = normalised(prompt.reference)
    return float(wanted in (normalised(completion.text), normalised(final_answer(completion.text))))


def numeric(tolerance: float) -> Check:
    """The answer's last number is the reference's, within the tolerance (relative or absolute)."""

    def check(prompt: Prompt, completion: Completion) -> float | str:
        if prompt.reference is None:
            return NO_REFERENCE
        wanted, got = last_number(prompt.reference), last_number(final_answer(completion.text))
        if wanted is None:
            return NO_REFERENCE
        return float(got is not None and math.isclose(got, wanted, rel_tol=tolerance, abs_tol=tolerance))

    return check


def regex(pattern: str) -> Check:
    """The pattern is found somewhere in the answer."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SettingError(
            f"regex:{pattern} is not a regular expression: {error}. Try: kind: 'regex:^\\d+$'"
        ) from None
    return lambda prompt, completion: float(compiled.search(completion.text) is not None)


def json_schema(path: str) -> Check:
    """The answer is JSON, bare or in a code block, and follows the schema in this file."""
    try:
        schema: Any = msgspec.json.decode(Path(path).read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise SettingError(
            f"no JSON schema can be read at '{path}': {error}. Set kind: json_schema:schema.json"
        ) from None
    check_schema(schema, path)
    return lambda prompt, completion: float(_follows(completion.text, schema))


def _follows(text: str, schema: Any) -> bool:
    found = _FENCED.search(text)
    try:
        return fits(msgspec.json.decode((found[1] if found else text).strip()), schema)
    except msgspec.DecodeError:
        return False


def final_answer(text: str) -> str:
    """What follows the last "answer is" or `####`, or stands in \\boxed{}; all of it where there is none."""
    found = list(_ANSWER.finditer(text))
    return next((part for part in found[-1].groups() if part is not None), text) if found else text


def last_number(text: str) -> float | None:
    found = [one for one in _NUMBER.findall(text) if any(map(str.isdigit, one))]
    return float(found[-1].replace(",", "")) if found else None


def normalised(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split()).strip(" .,;:!?\"'`*$()[]{}")
