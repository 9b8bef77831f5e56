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

from ..errors import MissingExtra, SettingError
from ..records import Completion, Matchup, Prompt, Verdict

Check = Callable[[Prompt, Completion], float | str]
"""A score, or the reason why there is none."""

_ANSWER: Final = re.compile(r"\\boxed\{([^{}]*)\}|####|\banswer\s*(?:is|:)", re.IGNORECASE)
_NUMBER: Final = re.compile(
    r"([-+]?(?:\d+(?:,\d{3})+|\d+)?(?:\.\d+|(?<=\d))(?:[eE][-+]?\d+)?)(?: ?/ ?(\d+))?"
)


class Rule:
    """A check of one completion, as a judge."""

    kind: Literal["pointwise"] = "pointwise"
    swap = "never"
    samples = 1
    scale = "certain"
    """It knows: of two with different scores one is better with p = 1."""

    def __init__(self, name: str, check: Check) -> None:
        self.name, self.check = name, check

    async def __call__(self, prompt: Prompt, completion: Completion, sample: int = 0) -> Verdict:
        got = self.check(prompt, completion)
        said = {"unread": got} if isinstance(got, str) else {"score": got}
        return Verdict.of_one(self.name, completion, sample, **said)


class Heuristic:
    """A judge of pairs that goes by one thing only."""

    kind: Literal["pairwise"] = "pairwise"
    samples = 1

    def __init__(self, name: str, p_first: Callable[[Matchup], float], swap: str = "always") -> None:
        self.name, self.p_first, self.swap = name, p_first, swap

    async def __call__(self, matchup: Matchup, sample: int = 0) -> Verdict:
        return Verdict.of_pair(self.name, matchup, sample, p_first=self.p_first(matchup))


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
        return "no_reference"
    wanted = normalised(prompt.reference)
    return float(
        wanted in (normalised(completion.text), normalised(final_answer(completion.text))) and bool(wanted)
    )


def numeric(tolerance: float) -> Check:
    """The number after "answer is", or else the last one, is the reference's within the tolerance."""

    def check(prompt: Prompt, completion: Completion) -> float | str:
        if prompt.reference is None:
            return "no_reference"
        wanted, got = answer_number(prompt.reference), answer_number(completion.text)
        if wanted is None:
            return "no_reference"
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
        from jsonschema import Draft202012Validator, SchemaError
    except ImportError:
        raise MissingExtra("the judge json_schema", "jsonschema", "schema") from None
    try:
        schema: Any = msgspec.json.decode(Path(path).read_bytes())
        Draft202012Validator.check_schema(schema)
    except (OSError, msgspec.DecodeError) as error:
        raise SettingError(
            f"no JSON schema can be read at '{path}': {error}. Set kind: json_schema:schema.json"
        ) from None
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "its top"
        raise SettingError(
            f"{path} is not a JSON schema: {error.message} at {where}. Correct it there"
        ) from None
    validator = Draft202012Validator(schema)

    def check(prompt: Prompt, completion: Completion) -> float | str:
        _, fence, block = completion.text.partition("```")
        text = block.partition("```")[0].removeprefix("json") if fence else completion.text
        try:
            answer = msgspec.json.decode(text.strip())
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            return 0.0
        return float(validator.is_valid(answer))

    return check


def final_answer(text: str) -> str:
    """What stands behind the last "answer is" or `####` in its line, or in \\boxed{}; empty without one."""
    found = list(_ANSWER.finditer(text))
    if not found:
        return ""
    return found[-1][1] if found[-1][1] is not None else text[found[-1].end() :].lstrip().partition("\n")[0]


def answer_number(text: str) -> float | None:
    """The first number of the final answer; without one that is marked so, the last of the text."""
    answer, found = _numbers(final_answer(text)), _numbers(text)
    return answer[0] if answer else found[-1] if found else None


def _numbers(text: str) -> list[float]:
    """Numbers as written, and fractions like 1/2."""
    found = [(over, under) for over, under in _NUMBER.findall(text) if any(map(str.isdigit, over))]
    return [float(over.replace(",", "")) / (float(under or 1) or 1.0) for over, under in found]


def normalised(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split()).strip(" .,;:!?\"'`*$()[]{}")
