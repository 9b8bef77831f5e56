"""Replies that other pipelines recorded, read in their own form: `--read NAME | regex | module:function`."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from ..completions.answers import WORDS
from ..completions.load import Reader
from ..engines.scripted import describe_fault, load_function
from ..errors import DataError, SettingError, nearest
from .rules import probability_of

_LABELS: Final = WORDS | {"1": 1.0, "2": 0.0} | dict.fromkeys(("c", "3", "0"), 0.5)


def open_reader(spec: str) -> Reader:
    """A named reader, a user's `module:function`, or a regular expression whose one group is the label; its
    last match decides.
    """
    if spec in READERS:
        return READERS[spec]
    if re.fullmatch(r"[\w.]+:\w+", spec):
        function = load_function(spec)

        def by_function(reply: str) -> tuple[float | None, str]:
            try:
                got = function(reply)
            except Exception as error:
                raise DataError(f"the reader {spec} failed: {describe_fault(error)}") from error
            return _as_read(probability_of(got, f"the reader {spec}"))

        return by_function
    try:
        pattern = re.compile(spec, re.MULTILINE)
    except re.error as error:
        known = ", ".join(READERS)
        raise SettingError(
            f"--read {spec!r} is no regular expression: {error}. Or name a reader: {known}"
        ) from None
    if pattern.groups != 1:
        ways = "Or write a regular expression with one group, which is the label: 'verdict: (A|B|C)'"
        raise SettingError(f"{nearest('reader', spec, READERS)} {ways}")

    def by_last_match(reply: str) -> tuple[float | None, str]:
        labels = pattern.findall(reply)
        p = _LABELS.get(labels[-1].strip().lower()) if labels else None
        return (None, "off_menu") if labels and p is None else _as_read(p)

    return by_last_match


def _as_read(p: float | None) -> tuple[float | None, str]:
    return (None, "no_verdict") if p is None else (p, "")


def llmbar(reply: str) -> tuple[float | None, str]:
    """LLMBar (Zeng et al. 2024) without reasoning: a line that starts with "Output (a)"."""
    return _output(re.findall(r"(?:^|\n) ?Output \((a|b)\)", reply))


def llmbar_cot(reply: str) -> tuple[float | None, str]:
    """LLMBar with reasoning: "Output (a) is better." """
    return _output(re.findall(r"Output \((a|b)\) is better.", reply))


def _output(found: list[str]) -> tuple[float | None, str]:
    # As in the authors' own reading, (a) is tried first.
    return _as_read(float("a" in found) if found else None)


def mt_bench(reply: str) -> tuple[float | None, str]:
    """MT-Bench (Zheng et al. 2023): `[[A]]`, `[[B]]`, and `[[C]]` for a tie."""
    found = set(re.findall(r"\[\[([ABC])\]\]", reply))
    if len(found) > 1:
        return None, "contradictory"
    return _as_read(_LABELS[found.pop().lower()] if found else None)


def vicuna(reply: str) -> tuple[float | None, str]:
    """QLoRA's reviews (Dettmers et al. 2023): the last line is 1, 2, or 3 for a tie."""
    last = reply.strip().rpartition("\n")[2].strip()
    return _as_read({"1": 1.0, "2": 0.0, "3": 0.5}.get(last))


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
        return _as_read(None)
    first, second = map(float, scores)
    return _as_read(0.5 if first == second else float(first > second))


def alpaca_eval(reply: str) -> tuple[float | None, str]:
    """AlpacaEval: a list of `{"model": "model_1", "rank": 1}`, where the lowest rank is the best."""
    start, end = reply.find("["), reply.rfind("]")
    try:
        rows = msgspec.json.decode(reply[start : end + 1].replace("'", '"'))
        ranks = {str(row["model"])[-1]: int(row["rank"]) for row in rows}
        first, second = (ranks["1"], ranks["2"]) if "1" in ranks else (ranks["m"], ranks["M"])
    except (msgspec.DecodeError, UnicodeError, RecursionError, TypeError, KeyError, ValueError, IndexError):
        return _as_read(None)
    return _as_read(0.5 if first == second else float(first < second))


READERS: Final[dict[str, Reader]] = {
    read.__name__: read for read in (llmbar, llmbar_cot, mt_bench, vicuna, score_pair, alpaca_eval)
}
