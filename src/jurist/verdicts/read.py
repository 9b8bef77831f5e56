"""A judge's reply becomes a verdict, or unread with a reason: pure, total, never raises.

A reply counts only if it declares its verdict in the form it was asked for: the whole reply is a label, or a
JSON object with the field `verdict`, or its last line is a label or `Verdict: A`. Nothing else decides: no
adjective, no heading, no label that is merely mentioned. With log-probs the label's token gives the
probability, and the labels have to hold at least half of it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ..engines.engine import Reply
from .tokens import choice_chances, first_token, score_chances, token_at

UNREAD: Final = {
    "refused": "the judge declined to answer",
    "cut_off": "the reply ended at the token limit before a verdict",
    "no_verdict": "the reply declares no verdict in the form it was asked for",
    "off_menu": "the reply gives an answer that was not on offer",
    "contradictory": "the reply declares two different verdicts",
    "low_mass": "the labels hold less than half of the probability where the verdict should stand",
    "empty": "the reply is empty",
    "call_failed": "the call gave nothing, however often it was tried",
    "call_refused": "the server refused the call",
    "no_reference": "a rule checks against a reference answer, and the prompt has none",
    "not_asked": "no judge was asked about this matchup",
}
"""Why a verdict can be unread."""
LEAST_MASS: Final = 0.5
_KEY: Final = r"(?:(?:the|my)\s+)?(?:final\s+|overall\s+)?{word}\W{{0,3}}\s*(?:is\s*:?|[:=])\s*"
_LINE: Final = re.compile(r"[^\n]+")
_NOUN: Final = r"(?:(?:response|answer|assistant|output|option|completion|candidate)\s+)?"
_OPEN, _CLOSE = r"[\s*_\"'`(\[{<#>-]{0,8}", r"[\s*_\"'`)\]}>.!]{0,8}"


class Reading(Struct, frozen=True):
    """A verdict, or the reason why there is none: exactly one of value and unread is set."""

    value: float | None = None
    """Probability that the first is better (0.5 is a tie), or a score."""
    unread: str = ""
    label_mass: float | None = None
    """What the labels hold together where the verdict stands; None without log-probs."""
    at: int = -1
    """Where the verdict's line starts in the reply."""


class Choices(Struct, frozen=True):
    """The labels a judge was offered for two completions."""

    first: str = "A"
    second: str = "B"
    tie: str | None = None

    word = "(?:verdict|decision|judge?ment)"

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(label for label in (self.first, self.second, self.tie) if label)

    @property
    def pattern(self) -> str:
        """A label that was on offer, or one that could have been."""
        return rf"{_NOUN}{_OPEN}({'|'.join(map(re.escape, self.labels))}|(?-i:[A-E])|tie|neither|both)"

    def value(self, label: str) -> float | None:
        known = dict(zip(self.labels, (1.0, 0.0, 0.5), strict=False))
        return known.get(label)

    def weigh(self, reply: Reply, place: int) -> tuple[float | None, float]:
        chances, mass = choice_chances(reply.tokens[place], self.labels)
        tie = chances[2] if len(chances) > 2 else 0.0
        total = chances[0] + chances[1] + tie
        return (min(1.0, (chances[0] + 0.5 * tie) / total) if mass else None), mass


class Scale(Struct, frozen=True):
    """The scores a judge may give."""

    low: int = 1
    high: int = 9

    word = "(?:score|rating)"

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(map(str, range(self.low, self.high + 1))) if self.high - self.low < 20 else ()

    @property
    def pattern(self) -> str:
        return rf"(-?\d{{1,4}}(?:\.\d{{1,4}})?)(?:\s*(?:/|out of)\s*{self.high}(?![\d.]))?"

    def value(self, label: str) -> float | None:
        return float(label) if self.low <= float(label) <= self.high else None

    def weigh(self, reply: Reply, place: int) -> tuple[float | None, float]:
        """The expectation over the scores, which tells near-equals apart (Lee et al. 2023)."""
        chances, mass = score_chances(reply.tokens, place, self.low, self.high)
        total = sum(chances.values())
        return (sum(score * p for score, p in chances.items()) / total if total else None), mass


Form = Choices | Scale


def read(reply: Reply, form: Form, *, label_only: bool = False, forced: bool = False) -> Reading:
    """`label_only`: nothing but a label was asked for, so its first token counts, and the token limit behind
    it is no fault. `forced`: a constraint wrote the label, whatever the labels hold.
    """
    if reply.finish == "refused":
        return Reading(unread="refused")
    start, cut_off = thinking_end(reply.text)
    if cut_off or not reply.text[start:].strip():
        return Reading(unread="cut_off" if cut_off or reply.finish == "length" else "empty")
    found = _declared(reply.text, start, form, label_only, reply.finish == "length")
    place = token_at(reply.tokens, found.at) if not found.unread else None
    if place is None and label_only:
        place = first_token(reply.tokens, start)
    if place is None:
        return found
    value, mass = form.weigh(reply, place)
    if mass < LEAST_MASS and not forced:
        return Reading(unread="low_mass", label_mass=mass)
    if value is None or (found.value is not None and not found.value.is_integer()):
        value = found.value  # a score like 7.5 is read as it is written
    if value is None:
        return Reading(unread=found.unread or "no_verdict", label_mass=mass)
    return Reading(value, label_mass=mass, at=max(found.at, 0))


def _declared(text: str, start: int, form: Form, label_only: bool, cut_off: bool) -> Reading:
    """The verdict as text, and where its label stands."""
    patterns = _compiled(form)
    start += len(text[start:]) - len(text[start:].lstrip())
    whole = patterns.line.fullmatch(text, start, len(text.rstrip()))
    if whole is not None:
        return _read_label(whole, form)
    field = _json_field(text[start:])
    if field is not None:
        label = patterns.line.fullmatch(field)
        found = _read_label(label, form) if label else Reading(unread="off_menu")
        key = max(text.find('"verdict"'), text.find('"score"'))
        return found if found.unread else replace(found, at=text.find(field, key))
    if label_only or cut_off:
        return Reading(unread="cut_off" if cut_off and not label_only else "no_verdict")
    lines = [line.span() for line in _LINE.finditer(text, start) if not line[0].isspace()]
    declared = [_line(patterns.declared, text, line, form) for line in lines]
    last = _line(patterns.line, text, lines[-1], form)
    if last is None:
        return Reading(unread="no_verdict")
    others = {one.value for one in declared if one is not None and one.value is not None}
    return Reading(unread="contradictory") if others - {last.value} else last


def _line(pattern: re.Pattern[str], text: str, line: tuple[int, int], form: Form) -> Reading | None:
    found = pattern.fullmatch(text, *line)
    return None if found is None else _read_label(found, form)


def _read_label(found: re.Match[str], form: Form) -> Reading:
    value = form.value(found[1])
    return Reading(unread="off_menu") if value is None else Reading(value, at=found.start(1))


class _Patterns(Struct, frozen=True):
    line: re.Pattern[str]
    """A line that is a label, with or without `Verdict:` before it."""
    declared: re.Pattern[str]
    """Only with it."""


@lru_cache(maxsize=64)
def _compiled(form: Form) -> _Patterns:
    key = _KEY.format(word=form.word)
    line, declared = (
        rf"(?i:{_OPEN}(?:{key}){times}{_OPEN}{form.pattern}{_CLOSE}(?:\(?(?:for )?(?:a )?tie\)?{_CLOSE})?)"
        for times in ("?", "")
    )
    return _Patterns(re.compile(line), re.compile(declared))


_FENCED: Final = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n\s*```\s*", re.DOTALL)


def _json_field(text: str) -> str | None:
    """The field `verdict` or `score` of a reply that is one JSON object and nothing else."""
    fenced = _FENCED.fullmatch(text)
    bare = (fenced[1] if fenced else text).strip()
    if not bare.startswith("{"):
        return None
    try:
        got: Any = msgspec.json.decode(bare)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    field = next((got[name] for name in ("verdict", "score") if isinstance(got, dict) and name in got), None)
    return str(field) if isinstance(field, str | int | float) and not isinstance(field, bool) else None


_THINKING: Final = re.compile(
    r"<(?P<angle>/?)(?:seed:)?(?:think|thinking|thought|thoughts|antthinking|scratchpad)(?:\s[^<>]{0,80})?>"
    r"|\[(?P<square>/?)THINK\]|◁(?P<kimi>/?)think▷|<\|(?P<word>begin|end)_of_thought\|>"
    r"|<\|channel\|>(?P<channel>analysis|final<\|message\|>)",
    re.IGNORECASE,
)


def thinking_end(text: str) -> tuple[int, bool]:
    """Where the answer starts behind a model's thinking, and whether the reply ended in the middle of it.

    A closing tag without an opening one closes what the prompt's template opened.
    """
    end, opened = 0, False
    for tag in _THINKING.finditer(text):
        channel = (tag["channel"] or "").lower()
        closes = bool(tag["angle"] or tag["square"] or tag["kimi"]) or tag["word"] == "end"
        opened = channel == "analysis" if channel else not closes
        end = tag.end()
    return (len(text), True) if opened else (end, False)


def rationale_of(text: str, reading: Reading) -> str:
    """What a reply says before its verdict."""
    if reading.at <= 0:
        return ""
    return text[: text.rfind("\n", 0, reading.at) + 1].strip()
