"""A judge's reply becomes a verdict, or unread with a reason: pure, total, never raises.

A reply counts only if it declares its verdict in the form it was asked for: the whole reply is a label, or a
JSON object with the field `verdict`, or its last line is a label or `Verdict: A`, and nothing in it declares
another. No adjective, heading or label that is merely mentioned decides. With log-probs the label's token
gives the probability, and the labels have to hold at least half of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from math import exp, isfinite
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from ..engines.dialects import SPACES
from ..engines.engine import Reply, Token

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
_OPEN, _CLOSE = r"[\s*_\"'`(\[{<#>-]{0,8}", r"[\s*_\"'`)\]}>.!]{0,8}"
_TIGHT: Final = r"[*_\"'`)\]}.!]{0,8}"
"""Closing marks behind which no next sentence, list or heading has begun."""
_KEY: Final = (
    r"(?:(?:the|my)\s{1,4})?(?:(?:final|overall)\s{1,4})?WORD"
    r"[\s*_\"'`)\]]{0,8}(?:is\s?:?|[:=]|(?=\W{0,8}\n))"
)
_CHOICE: Final = re.compile(
    r"(?i:\b(?:I (?:would )?choose|(?:my|the) choice|my (?:answer|evaluation)|better answer is)[^.:]*:\W*\Z)"
)
_HEADING: Final = re.compile(r"\s*(?:#|\*\*.*\*\*\s*\Z|\w[\w'-]*(?: [\w'-]+){0,3}\s*\Z|.*[:?][\s*_]*\Z)")
_COMPLETE: Final = re.compile(  # a sentence, `B > A`; a long item of a list; `name: value`
    r"(?s:.*)(?:(?<!\.)[.!。！]|[\d)\]}`|]|\b[A-Z])[\s*_\"'”]*\Z|\s*[-*•] (?:\S+ ){4}|.*:\s+(?:\d|\S+\s*\Z)"
)
_LINE: Final = re.compile(r"[^\n]+")


class Reading(Struct, frozen=True):
    """A verdict, or the reason why there is none: exactly one of value and unread is set."""

    value: float | None = None
    """Probability that the first is better (0.5 is a tie), or a score."""
    unread: str = ""
    label_mass: float | None = None
    """What the labels hold together where the verdict stands; None without log-probs."""
    at: int = -1
    """Where the label stands in the reply; -1 where that is not known."""


class Choices(Struct, frozen=True):
    """The labels a judge was offered for two completions."""

    labels: tuple[str, ...] = ("A", "B")
    """For the first, the second, and perhaps a tie."""

    word = "(?:verdict|decision|judge?ment)"
    fields = ("verdict",)
    noun = r"(?:(?:response|answer|assistant|output|option|completion|candidate)\s{1,4})?"
    final = r"(?:(?<=final\s)|(?<=overall\s))\w{1,20}"
    suffix = r"(?P<tie>(?<!\w)\(?(?:for )?(?:a )?tie\)?)?"

    @property
    def pattern(self) -> str:
        """A label that was on offer, or one that could have been."""
        return rf"({'|'.join(map(re.escape, self.labels))}|(?-i:[A-E])|tie|neither|both)"

    def value(self, label: str) -> float | None:
        return dict(zip(self.labels, (1.0, 0.0, 0.5), strict=False)).get(label)

    def weigh(self, tokens: Sequence[Token], place: int) -> tuple[float | None, float]:
        """The value at this token, and what the labels hold together.

        A label that is not among the alternatives is no likelier than the least of them, nor than the rest.
        """
        chances, total, least = dict.fromkeys(self.labels, 0.0), 0.0, 1.0
        for text, chance in _alternatives(tokens[place]):
            total, least = total + chance, min(least, chance)
            if (word := _bare(text)) in chances:
                chances[word] += chance
        bound = min(least, max(0.0, 1.0 - total))
        first, second, tie = [*(chance or bound for chance in chances.values()), 0.0][:3]
        mass = sum(chances.values())
        return ((first + 0.5 * tie) / (first + second + tie) if mass else None), mass


class Scale(Struct, frozen=True):
    """The scores a judge may give."""

    low: int = 1
    high: int = 9

    word = final = "(?:score|rating)"
    fields = ("score", "verdict")
    noun = suffix = ""

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(map(str, range(self.low, self.high + 1)))

    @property
    def pattern(self) -> str:
        return rf"(?<!-)(-?\d{{1,4}}(?:\.\d{{1,4}})?)(?:\s{{0,4}}(?:/|out of)\s{{0,4}}{self.high}(?![\d.]))?"

    def value(self, label: str) -> float | None:
        return float(label) if self.low <= float(label) <= self.high else None

    def weigh(self, tokens: Sequence[Token], place: int) -> tuple[float | None, float]:
        """The expectation over the scores, which tells near-equals apart (Lee et al. 2023), and their mass.

        Most tokenizers write 10 as `1`, `0`, so a `1` may be a 10 that has only begun. Where the reply itself
        took that branch, the next token says how likely the 0 was; where it did not, nobody knows, and that
        `1` is left out. A token says nothing of scores below 0 or above 10, but that a number begins.
        """
        token, chances = tokens[place], dict[int, float]()
        if self.low < 0 or self.high > 10:
            listed = ((_bare(text), chance) for text, chance in _alternatives(token))
            return None, sum(p for word, p in listed if word == "-" or word.lstrip("-")[:1].isdecimal())
        for text, chance in _alternatives(token):
            score = _number(text)
            if score is not None and (self.low <= score <= self.high or (score == 1 and self.high == 10)):
                chances[score] = chances.get(score, 0.0) + chance
        mass = sum(chances.values())
        if self.high == 10 and 1 in chances and 10 not in chances:
            one = chances.pop(1)
            if _number(token.text) == 1:
                after = tokens[place + 1] if place + 1 < len(tokens) else None
                if after is not None and after.at != token.at + len(token.text):
                    return None, mass  # it was not kept: the score is what is written
                zeros = (p for text, p in _alternatives(after) if text.startswith("0")) if after else ()
                zero = min(1.0, sum(zeros))
                chances |= {10: one * zero} | ({1: one * (1.0 - zero)} if self.low <= 1 else {})
        total = sum(chances.values())
        return (sum(score * p for score, p in chances.items()) / total if total else None), mass


Form = Choices | Scale


def read(reply: Reply, form: Form, *, label_only: bool = False, forced: bool = False) -> Reading:
    """`label_only`: nothing but a label was asked for, so its first token counts, and the token limit behind
    it is no fault. `forced`: a constraint wrote the label, whatever the labels hold.
    """
    if reply.finish == "refused":
        return Reading(unread="refused")
    start, thinks = thinking_end(reply.text)
    if thinks or not reply.text[start:].strip():
        return Reading(unread="cut_off" if thinks or reply.finish == "length" else "empty")
    found = _declared(reply, start, form, label_only)
    at = found.at if not found.unread else start if label_only and not forced else -1
    place = _token_at(reply.tokens, reply.text, at) if at >= 0 else None
    if place is None:
        return found
    value, mass = form.weigh(reply.tokens, place)
    if mass < LEAST_MASS and not forced:
        return Reading(unread="low_mass", label_mass=mass)
    says_more = found.unread and _compiled(form).line.fullmatch(_bare(reply.tokens[place].text))
    if says_more or value is None or (isinstance(form, Scale) and (found.value or 0) % 1):
        value = found.value  # as it is written: a score like 7.5, or nothing where a sentence only begins
    if value is None:
        return Reading(unread=found.unread, label_mass=mass)
    return Reading(value, label_mass=mass, at=max(found.at, 0))


def _declared(reply: Reply, start: int, form: Form, label_only: bool) -> Reading:
    """The verdict as text, and where its label stands."""
    patterns, text, cut_off = _compiled(form), reply.text, reply.finish == "length"
    start += len(text[start:]) - len(text[start:].lstrip())
    end = len(text.rstrip())
    whole = patterns.alone.match(text, start) if cut_off else patterns.line.fullmatch(text, start, end)
    if whole is not None and (label_only or not cut_off):
        return _read_label(whole, form)
    field = _json_field(text, start, form)
    if field is not None or label_only or cut_off:
        return field or Reading(unread="cut_off" if cut_off and not label_only else "no_verdict")
    return _last_line(text, start, end, form)


def _last_line(text: str, start: int, end: int, form: Form) -> Reading:
    """The verdict in the last line, if no line above states another and the nearest leaves it open."""
    patterns, last = _compiled(form), max(start, text.rfind("\n", start, end) + 1)
    found, bare = patterns.line.fullmatch(text, last, end), not patterns.stated.match(text, last)
    above = [line[0] for line in _LINE.finditer(text, start, last) if line[0].strip().strip("-*_=`")]
    stated = [patterns.stated.match(line) or patterns.alone.match(line) for line in {*above}]
    values = {form.value(one[1]) for one in (found, *stated) if one}
    named = {form.value(one[1]) for line in {*above} if (one := patterns.line.fullmatch(line))}
    if bare or len(named) == 1:  # several above `Verdict: A` may be headings
        values |= named
    if found is not None and len(values) > 1:
        return Reading(unread="contradictory")
    if found is None or (above and not _leaves_open(above[-1], bare, patterns)):
        return Reading(unread="no_verdict")
    return _read_label(found, form)


def _leaves_open(line: str, bare: bool, patterns: _Patterns) -> bool:
    """Whether this line does not announce what is below as something else, nor runs on into a bare label."""
    asks = patterns.key.fullmatch(f"{line}\n") or _CHOICE.search(line[-200:])
    return bool(asks or not (_HEADING.match(line) or (bare and not _COMPLETE.match(line))))


def _read_label(found: re.Match[str], form: Form, at: int = 0) -> Reading:
    """`at`: where in the reply the text begins in which the label was found."""
    value = form.value(found[1])
    if value is None or (form.suffix and found["tie"] and value != 0.5):
        return Reading(unread="off_menu")
    return Reading(value, at=at + found.start(1) if at >= 0 else -1)


class _Patterns(NamedTuple):
    line: re.Pattern[str]
    """A line that is a label, with or without `Verdict:` before it."""
    key: re.Pattern[str]
    """A line that is only `Verdict:`."""
    stated: re.Pattern[str]
    """The beginning of a line that states a verdict: `Verdict: B, since`, `Final answer: B`."""
    alone: re.Pattern[str]
    """The first line of a reply that was cut off: a label, and its line goes on no further."""


@lru_cache(maxsize=64)
def _compiled(form: Form) -> _Patterns:
    key, final = (_KEY.replace("WORD", word) for word in (form.word, f"(?:{form.word}|{form.final})"))
    behind = rf"{_OPEN}{form.noun}{_OPEN}{form.pattern}{_CLOSE}{form.suffix}{_CLOSE}"
    alone = rf"[\s*_\"'`(\[]{{0,8}}{form.pattern}{_TIGHT}{form.suffix}{_TIGHT}[ \t]{{0,8}}(?:[\r\n]|\Z)"
    stated = rf"{_OPEN}{final}{_OPEN}{form.noun}{_OPEN}(?!a\s){form.pattern}(?![^\W_])"
    patterns = f"{_OPEN}(?:{key})?{behind}", f"{_OPEN}{key}{_OPEN}", stated, alone
    return _Patterns(*(re.compile(one, re.IGNORECASE) for one in patterns))


def _json_field(text: str, start: int, form: Form) -> Reading | None:
    """The label in the field of a reply that is one JSON object and nothing else."""
    json = text[start:].strip()
    if json.startswith("```") and json.endswith("```"):
        json = json[3:-3].removeprefix("json").strip()
    try:
        got: Any = msgspec.json.decode(json) if json.startswith("{") else {}
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    name = next((name for name in form.fields if name in got), "")
    value, key = got.get(name), f'"{name}"'
    if not isinstance(value, str | int | float):
        return None
    label = _compiled(form).line.fullmatch(str(value))
    if label is None or text.count(key, start) > 1:
        return Reading(unread="contradictory" if label else "off_menu")
    at = text.find(str(value), text.find(key, start) + len(key))
    return _read_label(label, form, at)


_THINKING: Final = re.compile(
    r"<(/?)(?:seed:)?(?:think|thinking|thought|thoughts|antthinking|scratchpad)(?:\s[^<>]{0,80})?>"
    r"|\[(/?)THINK\]|◁(/?)think▷|<\|(?:begin|(end))_of_thought\|>"
    r"|<\|channel\|>(?P<channel>analysis|final<\|message\|>)",
    re.IGNORECASE,
)
"""Tags around thinking; of the groups one is filled where it ends."""


def thinking_end(text: str) -> tuple[int, bool]:
    """Where the answer starts behind a model's thinking, and whether the reply ended in the middle of it.

    A closing tag without an opening one closes what the prompt's template opened.
    """
    end, opened = 0, False
    for tag in _THINKING.finditer(text):
        opened = not any(tag.groups()) or (tag["channel"] or "").lower() == "analysis"
        end = tag.end()
    return (len(text), True) if opened else (end, False)


def rationale_of(text: str, reading: Reading) -> str:
    """What a reply says before its verdict."""
    return text[: text.rfind("\n", 0, reading.at) + 1].strip() if reading.at > 0 else ""


_MARKS = " \t\r\n.:;,!#()[]{}<>\"'`*_“”‘’「」【】"


@lru_cache(maxsize=4096)
def _bare(text: str) -> str:
    """A token without the spaces and marks around it."""
    return text.translate(SPACES).strip(_MARKS)


def _alternatives(token: Token) -> list[tuple[str, float]]:
    """What could have stood at a token's place, with probabilities, itself included."""
    listed = [(text, exp(p) if p < 0 else 1.0) for text, p in token.top if isfinite(p)]
    if all(text != token.text for text, _ in listed) and isfinite(token.logprob):
        listed.append((token.text, exp(min(0.0, token.logprob))))
    return listed


def _token_at(tokens: Sequence[Token], text: str, place: int) -> int | None:
    """Which token writes the first word from this place of the text on; None where that one was not kept."""
    for i, token in enumerate(tokens):
        end = token.at + len(token.text)
        if end > place and (word := _bare(token.text)):
            return i if _bare(text[place:end]) == word else None
    return None


def _number(text: str) -> int | None:
    word = _bare(text)
    return int(word) if word.isascii() and word.isdigit() and len(word) <= 4 else None
