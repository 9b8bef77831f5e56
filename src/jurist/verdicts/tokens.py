"""From the log-probs at the token where the label stands to a value and the labels' share of the probability.

A label may be written as several tokens (`A`, ` A`, `(A`): their probabilities are summed. One that is not
among the alternatives reported is no likelier than the least of them; that bound stands in for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import exp, isfinite

from ..engines.dialects import SPACES
from ..engines.engine import Token

_MARKS = " \t\r\n.:;,!#()[]{}<>\"'`*_“”‘’「」【】"


@lru_cache(maxsize=4096)
def bare(text: str) -> str:
    """A token without the spaces and marks around it."""
    return text.translate(SPACES).strip(_MARKS)


def alternatives(token: Token) -> list[tuple[str, float]]:
    """What could have stood at a token's place, with probabilities, itself included."""
    listed = [
        (text, exp(logprob) if logprob < 0 else 1.0) for text, logprob in token.top if isfinite(logprob)
    ]
    if all(text != token.text for text, _ in listed) and isfinite(token.logprob):
        listed.append((token.text, exp(min(0.0, token.logprob))))
    return listed


def token_at(tokens: Sequence[Token], text: str, at: int) -> int | None:
    """Which token writes the label at this place of the text; None where that one was not kept."""
    for i, token in enumerate(tokens):
        if token.at <= at < token.at + len(token.text):
            word = bare(token.text)
            return i if word and text.startswith(word, at) else None
    return None


def first_token(tokens: Sequence[Token], text: str, start: int) -> int | None:
    """The first token with a sign in it, from a place in the text on."""
    for i, token in enumerate(tokens):
        if token.at + len(token.text) > start and bare(token.text):
            return i if not bare(text[start : token.at]) else None
    return None


def choice_chances(token: Token, labels: Sequence[str]) -> tuple[list[float], float]:
    """The chance of each label at this token, and what they hold together."""
    chances: dict[str, float] = {}
    least, total = 1.0, 0.0
    for text, chance in alternatives(token):
        total += chance
        if chance < least:
            least = chance
        word = bare(text)
        if word in labels:
            chances[word] = chances.get(word, 0.0) + chance
    bound = min(least, max(0.0, 1.0 - total))
    return [chances.get(label, bound) for label in labels], sum(chances.values())


def score_chances(tokens: Sequence[Token], place: int, low: int, high: int) -> tuple[dict[int, float], float]:
    """The chance of each score at this token, and what they hold together.

    Most tokenizers write 10 as `1`, `0`, so a `1` may be a 10 that has only begun. Where the reply itself
    took that branch, the next token says how likely the 0 was; where it did not, nobody knows, and that `1`
    is left out. A token says nothing about scores below 0 or above 10, but that a number begins.
    """
    token = tokens[place]
    listed = alternatives(token)
    if low < 0 or high > 10:
        return {}, sum(
            chance for text, chance in listed if bare(text).lstrip("-")[:1].isdecimal() or bare(text) == "-"
        )
    chances: dict[int, float] = {}
    for text, chance in listed:
        score = _number(text)
        if score is not None and (low <= score <= high or (score == 1 and high >= 10)):
            chances[score] = chances.get(score, 0.0) + chance
    mass = sum(chances.values())
    if high >= 10 and 1 in chances and all(_number(text) != 10 for text, _ in listed):
        one = chances.pop(1)
        if _number(token.text) == 1:
            after = tokens[place + 1] if place + 1 < len(tokens) else None
            if after is not None and after.at != token.at + len(token.text):
                return {}, mass  # it was not kept: the score is what is written
            zero = (
                min(1.0, sum(p for text, p in alternatives(after) if text.startswith("0"))) if after else 0.0
            )
            chances |= {10: one * zero} | ({1: one * (1.0 - zero)} if low <= 1 else {})
    return chances, mass


def _number(text: str) -> int | None:
    word = bare(text)
    return int(word) if word.isascii() and word.isdigit() and len(word) <= 4 else None
