"""Judges that ask no model: rules for what can be checked, planted judges whose fault is known, and functions
of a user's own.

A rule scores one completion 1 or 0. Where it cannot tell, because there is no reference to check against,
it gives no score and says why.
"""

from __future__ import annotations

import inspect
import math
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from ..completions.answers import SIDES
from ..engines.scripted import describe_fault
from ..errors import DataError, JuristError, SettingError
from ..prompts.rows import first_line, require
from ..records import Completion, Matchup, Prompt, Verdict
from .read import UNREAD
from .settings import JudgeConfig
from .settle import ScoreScale

_Check = Callable[[Prompt, Completion], float | str]
"""A score, or the reason why there is none."""

_ANSWER: Final = re.compile(r"\\boxed\{([^{}]*)\}|####|\banswer\s*(?:is|:)", re.IGNORECASE)
_NUMBER: Final = re.compile(
    r"([-+]?(?:\d+(?:,\d{3})+|\d+)?(?:\.\d+|(?<=\d))(?:[eE][-+]?\d+)?)(?: ?/ ?(\d+))?"
)


class FunctionJudge:
    """A function of a matchup as a judge: it returns what `probability_of` reads, or a Verdict."""

    kind: Literal["pairwise"] = "pairwise"

    def __init__(self, cfg: JudgeConfig, function: Callable[[Matchup], Any]) -> None:
        self.name, self.swap, self.samples = cfg.name or cfg.kind, cfg.swap, cfg.samples
        self._function = function

    async def __call__(self, matchup: Matchup, sample: int = 0) -> Verdict:
        got = await _call(self.name, self._function, matchup)
        if isinstance(got, Verdict):
            return got
        p = probability_of(got, f"the judge {self.name}, asked about {matchup.id},")
        unread = "" if p is not None else "no_verdict"
        return Verdict.of_pair(self.name, matchup, sample, p_first=p, unread=unread)


class FunctionScorer:
    """A function of a prompt and a completion as a scorer; a user's says so by its `kind = "pointwise"`."""

    kind: Literal["pointwise"] = "pointwise"

    def __init__(
        self, cfg: JudgeConfig, function: Callable[..., Any], scale: ScoreScale | None = None
    ) -> None:
        self.name, self.samples = cfg.name or cfg.kind, cfg.samples
        self.scale = scale or getattr(function, "scale", None)
        """Lowest and highest score, where the function has such an attribute."""
        self._function = function

    async def __call__(self, prompt: Prompt, completion: Completion, sample: int = 0) -> Verdict:
        got = await _call(self.name, self._function, prompt, completion)
        if isinstance(got, Verdict):
            return got
        if got is None or (isinstance(got, str) and got in UNREAD):
            return Verdict.of_one(self.name, completion, sample, unread=got or "no_verdict")
        if not (isinstance(got, int | float) and math.isfinite(got)):
            about = f"the scorer {self.name}, asked about {completion.id}, returned {got!r}"
            raise DataError(f"{about}. Return a number, None or a Verdict")
        return Verdict.of_one(self.name, completion, sample, score=float(got))


async def _call(judge: str, function: Callable[..., Any], *about: Any) -> Any:
    """What a function returns; a fault in it is named with its line."""
    try:
        got = function(*about)
        if inspect.isawaitable(got):
            got = await got
    except JuristError:
        raise
    except Exception as error:
        raise DataError(f"the judge {judge} failed: {describe_fault(error)}") from error
    # a single number of numpy's or torch's
    return got.item() if getattr(got, "ndim", None) == 0 else got


def probability_of(got: Any, who: str) -> float | None:
    """What a user's function said of two completions, as the probability that the first is better."""
    p = SIDES.get(got, got) if isinstance(got, str) else got
    if p is not None and not (isinstance(p, int | float) and 0 <= p <= 1):
        ways = "a probability from 0 to 1, 'first', 'second', 'tie' or None"
        raise DataError(f"{who} returned {got!r}. Return {ways}")
    return None if p is None else float(p)


def shorter(matchup: Matchup) -> float:
    one, other = len(matchup.first.text), len(matchup.second.text)
    return 0.5 if one == other else float(one < other)


BASELINES: Final[dict[str, Callable[[Matchup], float]]] = {
    "shorter": shorter,
    "longer": lambda matchup: 1.0 - shorter(matchup),
    "first": lambda matchup: 1.0,
    "second": lambda matchup: 0.0,
}
"""Judges of pairs that go by one thing only."""


def exact(prompt: Prompt, completion: Completion) -> float | str:
    """The answer is the reference, apart from case, spacing and the punctuation around it."""
    if prompt.reference is None:
        return "no_reference"
    wanted = normalised(prompt.reference)
    answers = normalised(completion.text), normalised(final_answer(completion.text))
    return float(bool(wanted) and wanted in answers)


def numeric(argument: str) -> _Check:
    """The number after "answer is", or else the last one, is the reference's within the tolerance."""
    try:
        tolerance = float(argument or 1e-6)
    except ValueError:
        raise SettingError(f"a tolerance is a number, got '{argument}'; set kind: numeric:0.01") from None

    def check(prompt: Prompt, completion: Completion) -> float | str:
        wanted = answer_number(prompt.reference) if prompt.reference else None
        if wanted is None:
            return "no_reference"
        got = answer_number(completion.text)
        return float(got is not None and math.isclose(got, wanted, rel_tol=tolerance, abs_tol=tolerance))

    return check


def regex(pattern: str) -> _Check:
    """The pattern is found somewhere in the answer."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SettingError(f"regex:{pattern} is no regular expression: {error}. Try: regex:^\\d+$") from None
    return lambda prompt, completion: float(compiled.search(completion.text) is not None)


def json_schema(path: str) -> _Check:
    """The answer is JSON, bare or in a code block, and follows the schema in this file."""
    jsonschema = require("jsonschema", "the judge json_schema", "schema")
    try:
        schema = msgspec.json.decode(Path(path).read_bytes())
        jsonschema.Draft202012Validator.check_schema(schema)
    except (OSError, msgspec.DecodeError, jsonschema.SchemaError) as error:
        raise SettingError(
            f"no JSON schema can be read at '{path}': {first_line(error)}. Set kind: json_schema:schema.json"
        ) from None
    validator = jsonschema.Draft202012Validator(schema)

    def check(prompt: Prompt, completion: Completion) -> float | str:
        _, fence, block = completion.text.partition("```")
        text = block.partition("```")[0].removeprefix("json") if fence else completion.text
        try:
            answer = msgspec.json.decode(text.strip())
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            return 0.0
        return float(validator.is_valid(answer))

    return check


CHECKS: Final[dict[str, Callable[[str], _Check]]] = {
    "exact": lambda argument: exact,
    "numeric": numeric,
    "regex": regex,
    "json_schema": json_schema,
}
"""Each made from what stands behind its name: `numeric:0.01`."""


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
