"""A judge's reply becomes a verdict, or unread with a reason. Nothing read is not a tie.

Pure and total: any text, any finish and any tokens give a Reading and never an exception. The reader knows
the labels that were offered and nothing else about the judge. It looks for JSON first, then for what the text
says of the labels (`claims`), or says after the JSON; the firmest verdict wins, and of equally firm ones
the last. Where the engine gave log-probs, the verdict becomes a probability at the token where the deciding
label stands (`tokens`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...engines.engine import Token
from .claims import claims
from .fields import Field, deciding, fields, reasons
from .labels import P_FIRST, TIE, Labels, labels_of, undressed, undressed_at
from .mention import DECLARES, IMPLIES, Claim
from .reading import CONTRADICTORY, CUT_OFF, EMPTY, NO_VERDICT, OFF_MENU, REFUSED, Menu, Reading
from .thinking import hide_thinking
from .tokens import weighed
from .words import REFUSAL, word_set
from .words import TIE as TIE_WORDS

_PLAIN = Menu()


def read_choice(
    text: str, menu: Menu = _PLAIN, finish: str = "stop", tokens: Sequence[Token] = ()
) -> Reading:
    """Which of the two on the menu the reply prefers."""
    if finish == REFUSED:
        return Reading(unread=REFUSED)
    labels = labels_of(menu)
    whole = labels.exact.get(undressed(text))
    if whole is not None:
        side, inside = whole
        at = undressed_at(text)
        reading, core = Reading(P_FIRST[side], at=at, source="text"), at + inside
    else:
        reading, core = _read(text, labels, finish)
    return weighed(reading, text, core, tokens, labels) if tokens else reading


def _read(text: str, labels: Labels, finish: str) -> tuple[Reading, int]:
    shown, cut = hide_thinking(text)
    shown, cut = shown.rstrip(), cut or finish == "length"
    if not shown:
        return Reading(unread=CUT_OFF if cut else NO_VERDICT if text.strip() else EMPTY), -1
    if shown is not text and (whole := labels.exact.get(undressed(shown))) is not None:
        at = undressed_at(shown)
        return Reading(P_FIRST[whole[0]], at=at, source="text"), at + whole[1]
    low = lowered(shown)
    found = _fields(shown, labels) if "{" in shown else []
    if len(found) > 1:
        return Reading(unread=CONTRADICTORY), -1
    if found:
        (field, (side, inside)) = found[0]
        # JSON may be quoted from a candidate: a verdict declared after it takes its place.
        later = _last(
            claims(shown, low, labels, field.at + len(field.value), DECLARES), labels, low, DECLARES
        )
        if isinstance(later, Claim):
            return Reading(P_FIRST[later.side], at=later.at, source="text"), later.core
        at = field.at + undressed_at(field.value)
        return Reading(P_FIRST[side], at=at, source="json"), at + inside
    decided = _decide(shown, low, labels, cut)
    if isinstance(decided, Claim):
        return Reading(P_FIRST[decided.side], at=decided.at, source="text"), decided.core
    return Reading(unread=decided or _reason(low, labels, cut)), -1


_VERDICT_KEYS = word_set(
    """verdict winner winning preferred preference choice chosen choose answer better best decision judgment
    judgement label result selection selected pick vote conclusion prediction output response option"""
)
_OTHER_KEYS = word_set(
    """score scores rating reason reasons reasoning explanation rationale confidence analysis criteria thought
    thoughts why justification feedback comment comments strengths weaknesses"""
)


def _fields(text: str, labels: Labels) -> list[tuple[Field, tuple[int, int]]]:
    """The field whose key asks for a verdict and whose value is a label; two of them if they disagree."""
    found = [
        (field, whole)
        for field in fields(text)
        if field.key & _VERDICT_KEYS
        and not field.key & _OTHER_KEYS
        and (whole := labels.exact.get(undressed(field.value))) is not None
    ]
    return deciding(text, found, _same_side)


def _same_side(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] == other[0]


_NEAR_THE_END = (420, 1_200, 4_000)


def _decide(text: str, low: str, labels: Labels, cut: bool) -> Claim | str | None:
    """The claim that decides, CONTRADICTORY, or None.

    A verdict declared near the end makes the rest not worth reading, so ever longer ends are tried first.
    """
    for length in _NEAR_THE_END:
        start = low.find(" ", len(low) - length) + 1 if len(low) > 1.5 * length else 0
        if start:
            near = _last(claims(text, low, labels, start, DECLARES), labels, low, DECLARES)
            if near is not None:
                return near
    return _last(claims(text, low, labels), labels, low, DECLARES if cut else IMPLIES)


_NOTHING_BETWEEN = re.compile(r"[\s\W]*(?:(?:and|or|but|also|so|is|und|et|y|и|和|better)[\s\W]*){0,2}")


def _last(found: list[Claim], labels: Labels, low: str, least: int) -> Claim | str | None:
    """The firmest claim, and the last of equally firm ones, unless the same statement names both."""
    valid = [claim for claim in found if claim.side != TIE or labels.tie_offered]
    strength = max((claim.strength for claim in valid), default=0)
    if strength < least:
        return None
    firmest = [claim for claim in valid if claim.strength == strength]
    last = firmest[-1]
    if strength == IMPLIES:
        return last if all(claim.side == last.side for claim in firmest) else CONTRADICTORY
    for claim in firmest[-2:-1]:
        if claim.side != last.side and _NOTHING_BETWEEN.fullmatch(low, claim.end, max(claim.end, last.start)):
            return CONTRADICTORY
    return last


_ANSWERED = re.compile(
    r"\[\[([^\[\]]{1,40})\]\]|\\boxed\{([^{}]{1,40})\}|"
    r"(?<!\w)(?:verdict|winner|answer|choice|decision|preferred|preference|judge?ment)"
    r"[\"'*]{0,3}\s{0,3}[:=]\s{0,3}[\"'*(\[]{0,3}([^\s\"'*()\[\]]{1,20})[\"'*)\].]{0,3}\s{0,3}(?:$|[\n,}])"
)


_ENDS = 4_000


def _reason(low: str, labels: Labels, cut: bool) -> str:
    """Why there is no verdict."""
    if cut:
        return CUT_OFF
    low = low[:_ENDS] + low[-_ENDS:] if len(low) > 2 * _ENDS else low
    if REFUSAL.search(low):
        return REFUSED
    if not labels.tie_offered and TIE_WORDS.search(low):
        return OFF_MENU
    for answered in _ANSWERED.finditer(low):
        if labels.exact.get(undressed(answered[answered.lastindex or 0])) is None:
            return OFF_MENU
    return NO_VERDICT


def lowered(text: str) -> str:
    """In lower case and of the same length, so that offsets hold in both."""
    low = text.lower()
    if len(low) == len(text):
        return low
    return "".join(small if len(small := char.lower()) == 1 else char for char in text)


def rationale_of(text: str, reading: Reading) -> str:
    """The judge's reasons: what stands before the sentence with the verdict, or after it when it came
    first."""
    if reading.at < 0:
        return ""
    shown, _ = hide_thinking(text)
    if reading.source == "json" and (given := reasons(shown)):
        return given
    begin = max(shown.rfind(mark, 0, reading.at) + len(mark) for mark in ("\n", ". "))
    before = shown[:begin].strip() if begin > 1 else ""
    if before.strip("#*-{[(\"'` \n"):
        return before
    after = shown[reading.at :]
    stop = min((at for mark in ("\n", ". ") if (at := after.find(mark)) >= 0), default=len(after))
    return after[stop + 1 :].strip()
