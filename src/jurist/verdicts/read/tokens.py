"""From the log-probs at the token where the label stands to a probability.

`p = exp(lA) / (exp(lA) + exp(lB))`, each summed over the ways to write the label (`A`, ` A`, `▁A`, `(A`). A
label that is not among the alternatives reported is no likelier than the least of them; that bound stands in
for it. Where the labels together hold less than half of the probability the judge was about to say something
else, and nothing is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, isfinite

from msgspec.structs import replace

from ...engines.engine import Token
from .labels import P_FIRST, Labels, undressed
from .reading import LOW_MASS, Reading

_SPACES = str.maketrans({"Ġ": " ", "▁": " ", "Ċ": "\n"})
_LEAST_MASS = 0.5


def weighed(reading: Reading, text: str, core: int, tokens: Sequence[Token], labels: Labels) -> Reading:
    """The verdict that was read, with the probability its tokens give it. Without a token to hold on to: as
    it was."""
    if reading.unread:
        return _from_one(reading, tokens[0], labels) if len(tokens) == 1 else reading
    found = token_at(text, core, tokens)
    if found is None or _side(tokens[found].text, labels) is None:
        return reading
    return _p_first(reading, tokens[found], labels)


def _from_one(reading: Reading, token: Token, labels: Labels) -> Reading:
    """A reply of one token that is no label: the labels may still have been the likeliest things to say."""
    if not any(_side(text, labels) is not None for text, _ in token.top):
        return reading
    return _p_first(replace(reading, unread=""), token, labels)


def _p_first(reading: Reading, token: Token, labels: Labels) -> Reading:
    masses: list[float | None] = [None, None, None]
    least, total = 1.0, 0.0
    for text, chance in alternatives(token):
        least, total = min(least, chance), total + chance
        side = _side(text, labels)
        if side is not None:
            masses[side] = (masses[side] or 0.0) + chance
    if sum(mass or 0.0 for mass in masses) < _LEAST_MASS:
        return Reading(unread=LOW_MASS, at=reading.at, source="tokens")
    bound = min(least, max(0.0, 1.0 - total))
    first, second = (bound if mass is None else mass for mass in masses[:2])
    tie = masses[2] or 0.0
    return replace(
        reading,
        p_first=min(1.0, (first * P_FIRST[0] + tie * P_FIRST[2]) / (first + second + tie)),
        source="tokens",
    )


def _side(text: str, labels: Labels) -> int | None:
    """Which label a token is, or begins; none where it could begin two."""
    word = undressed(text.translate(_SPACES))
    if not word:
        return None
    whole = labels.exact.get(word)
    if whole is not None:
        return whole[0]
    word = word.lower() if labels.fold else word
    begun = [side for core, side in labels.cores.items() if core.startswith(word)]
    return begun[0] if len(begun) == 1 else None


def alternatives(token: Token) -> list[tuple[str, float]]:
    """What could have stood at a token's place, with probabilities; itself always among them, nothing
    unsound."""
    listed = [(text, exp(min(0.0, logprob))) for text, logprob in token.top if isfinite(logprob)]
    if all(text != token.text for text, _ in listed) and isfinite(token.logprob):
        listed.append((token.text, exp(min(0.0, token.logprob))))
    return listed


def token_at(text: str, at: int, tokens: Sequence[Token]) -> int | None:
    """Which token holds the character `at` of the text; None where tokens and text do not fit together."""
    pieces = [token.text for token in tokens]
    joined = "".join(pieces)
    if joined != text:
        pieces = [piece.translate(_SPACES) for piece in pieces]
        body = text.strip()
        shift = "".join(pieces).find(body) - text.find(body)
        if not body or shift < -text.find(body):
            return None
        at += shift
    end = 0
    for i, piece in enumerate(pieces):
        end += len(piece)
        if at < end:
            return i
    return None


def expected(reading: Reading, text: str, low: float, high: float, tokens: Sequence[Token]) -> Reading:
    """The score as an expectation over the score tokens: `sum i P(i) / sum P(i)`.

    Most tokenizers write 10 as `1`, `0`, so a `1` may be a 10 that has only begun. Where the reply itself
    took that branch, the next token says how likely the 0 was; where it did not, nobody knows, and that `1`
    is left out.
    """
    if reading.score is None or reading.score != int(reading.score):
        return reading
    found = token_at(text, reading.at, tokens)
    if found is None:
        return reading
    said, written = _number(tokens[found].text), str(int(reading.score))
    begun = said == 1 and written == "10"
    if said is None or not (begun or written == str(said)):
        return reading
    chances = _score_chances(tokens[found], low, high)
    listed = alternatives(tokens[found])
    if high >= 10 and 1 in chances and all(_number(other) != 10 for other, _ in listed):
        one = chances.pop(1)
        if said == 1:
            nought = _nought(tokens[found + 1]) if found + 1 < len(tokens) else 0.0
            if low <= 1:
                chances[1] = one * (1.0 - nought)
            chances[10] = one * nought
    mass = sum(chances.values())
    if mass < _LEAST_MASS:
        return Reading(unread=LOW_MASS, at=reading.at, source="tokens")
    mean = sum(score * chance for score, chance in chances.items()) / mass
    return replace(reading, score=min(max(mean, low), high), source="tokens")


def _score_chances(token: Token, low: float, high: float) -> dict[int, float]:
    chances: dict[int, float] = {}
    for text, chance in alternatives(token):
        score = _number(text)
        if score is not None and (low <= score <= high or (score == 1 and high >= 10)):
            chances[score] = chances.get(score, 0.0) + chance
    return chances


def _nought(token: Token) -> float:
    return min(1.0, sum(chance for text, chance in alternatives(token) if text.startswith("0")))


def _number(text: str) -> int | None:
    word = undressed(text.translate(_SPACES))
    return int(word) if word.isascii() and word.isdigit() and len(word) <= 4 else None
