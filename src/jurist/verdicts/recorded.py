"""Replies that other pipelines recorded, read in their own form: `--read NAME | regex | module:function`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ..engines.scripted import describe_fault, load_function
from ..errors import DataError, SettingError, nearest
from .rules import probability_of

Reader = Callable[[str], tuple[float | None, str]]
"""From a reply to the probability that the first is better as shown, or the reason why it is unread."""

LABELS: Final = (
    dict.fromkeys(("a", "1", "first"), 1.0)
    | dict.fromkeys(("b", "2", "second"), 0.0)
    | dict.fromkeys(("c", "3", "0", "tie"), 0.5)
)
UNREADABLE: Final = (None, "no_verdict")


def open_reader(spec: str) -> Reader:
    """A named reader, a user's `module:function`, or a regular expression whose one group is the label; its
    last match decides.
    """
    if spec in READERS:
        return READERS[spec]
    if re.fullmatch(r"[\w.]+:\w+", spec):
        return _by_function(spec, load_function(spec))
    try:
        pattern = re.compile(spec, re.MULTILINE)
    except re.error as error:
        raise SettingError(
            f"--read {spec!r} is not a regular expression: {error}. Or name a reader: {', '.join(READERS)}"
        ) from None
    if pattern.groups != 1:
        raise SettingError(
            nearest("reader", spec, READERS)
            + r" Or write a regular expression with one group, which is the label: 'verdict: (A|B|C)'"
        )
    return lambda reply: _last_match(pattern, reply)


def _by_function(spec: str, function: Any) -> Reader:
    def read(reply: str) -> tuple[float | None, str]:
        try:
            got = function(reply)
        except Exception as error:
            raise DataError(f"the reader {spec} failed: {describe_fault(error)}") from error
        p = probability_of(got, f"the reader {spec}")
        return UNREADABLE if p is None else (p, "")

    return read


def _last_match(pattern: re.Pattern[str], reply: str) -> tuple[float | None, str]:
    matches = list(pattern.finditer(reply))
    if not matches:
        return UNREADABLE
    p = LABELS.get((matches[-1][1] or "").strip().lower())
    return (None, "off_menu") if p is None else (p, "")


def llmbar(reply: str) -> tuple[float | None, str]:
    """LLMBar (Zeng et al. 2024) without reasoning: a line that starts with "Output (a)"."""
    return _output(re.findall(r"(?:^|\n) ?Output \((a|b)\)", reply))


def llmbar_cot(reply: str) -> tuple[float | None, str]:
    """LLMBar with reasoning: "Output (a) is better." """
    return _output(re.findall(r"Output \((a|b)\) is better.", reply))


def _output(found: list[str]) -> tuple[float | None, str]:
    # As in the authors' own reading, (a) is tried first.
    return (float("a" in found), "") if found else UNREADABLE


def mt_bench(reply: str) -> tuple[float | None, str]:
    """MT-Bench (Zheng et al. 2023): `[[A]]`, `[[B]]`, and `[[C]]` for a tie."""
    found = set(re.findall(r"\[\[([ABC])\]\]", reply))
    if len(found) > 1:
        return None, "contradictory"
    return ({"A": 1.0, "B": 0.0, "C": 0.5}[found.pop()], "") if found else UNREADABLE


def vicuna(reply: str) -> tuple[float | None, str]:
    """QLoRA's reviews (Dettmers et al. 2023): the last line is 1, 2, or 3 for a tie."""
    last = reply.strip().rpartition("\n")[2].strip()
    p = {"1": 1.0, "2": 0.0, "3": 0.5}.get(last)
    return UNREADABLE if p is None else (p, "")


_PAIR: Final = re.compile(r"\(? ?(\d+(?:\.\d+)?) ?[ ,] ?(\d+(?:\.\d+)?) ?\)?")
_TAGGED: Final = re.compile(r"<(\w+)>\s*(\d+(?:\.\d+)?)\s*</\1>")


def score_pair(reply: str) -> tuple[float | None, str]:
    """Two scores on the first line (`8 9`, as in Vicuna's reviews), or in two tags whose names are in order:
    `<a>8</a><b>9</b>`.
    """
    lines = reply.strip().splitlines()
    pair = _PAIR.fullmatch(" ".join(lines[0].split())) if lines else None
    tags = _TAGGED.findall(reply)
    scores = pair.groups() if pair else [score for _, score in tags]
    if len(scores) != 2 or (pair is None and sorted(tags) != tags and tags[0][0] != tags[1][0]):
        return UNREADABLE
    first, second = map(float, scores)
    return (0.5 if first == second else float(first > second)), ""


def alpaca_eval(reply: str) -> tuple[float | None, str]:
    """AlpacaEval: a list of `{"model": "model_1", "rank": 1}`, where the lowest rank is the best."""
    start, end = reply.find("["), reply.rfind("]")
    try:
        rows = msgspec.json.decode(reply[start : end + 1].replace("'", '"'))
        ranks = {str(row["model"])[-1]: int(row["rank"]) for row in rows}
        first, second = ranks.get("1", ranks.get("m")), ranks.get("2", ranks.get("M"))
    except (msgspec.DecodeError, UnicodeError, RecursionError, TypeError, KeyError, ValueError, IndexError):
        return UNREADABLE
    if first is None or second is None:
        return UNREADABLE
    return (0.5 if first == second else float(first < second)), ""


READERS: Final[dict[str, Reader]] = {
    "llmbar": llmbar,
    "llmbar_cot": llmbar_cot,
    "mt_bench": mt_bench,
    "vicuna": vicuna,
    "score_pair": score_pair,
    "alpaca_eval": alpaca_eval,
}
