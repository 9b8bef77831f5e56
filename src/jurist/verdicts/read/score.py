"""A judge's reply becomes a score, or unread with a reason.

A number is a score where the reply declares it (`Score: 7`, `8/10`, `I give it a 9`, a line with nothing
else, a JSON field); any other number is prose. The last declared one counts. One that lies off the scale is
not clipped: it is unread. With log-probs the score becomes the expectation over the score tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec.structs import replace

from ...engines.engine import Token
from .fields import deciding, fields
from .reading import CONTRADICTORY, CUT_OFF, EMPTY, NO_VERDICT, OFF_MENU, REFUSED, Reading
from .thinking import hide_thinking
from .tokens import expected
from .words import REFUSAL, word_set

NUMBER = r"-?[0-9]{1,6}(?:[.,][0-9]{1,4})?"
_PLAIN = re.compile(NUMBER)
OPEN, CLOSE = r"[\"'“*_`(\[{<【\s$]{0,6}", r"[\"'”*_`)\]}>】$]{0,6}"
_NOUN = (
    r"(?:scores?|ratings?|rate|grade|marks?|total(?:\s+points)?|overall|final|verdict|points|judge?ment|evaluation|"
    r"assessment|result|answer|quality|bewertung|punkte|punktzahl|note|gesamt|puntuación|calificación|pontuação|nota|"
    r"punteggio|voto|score\s+final|оценка|балл|итог)"
)
_NOUN_UNSPACED = r"(?:评分|得分|分数|打分|总分|评价|スコア|点数|評価|得点|点|점수|평점)"
_DECLARED = re.compile(
    rf"(?:(?<!\w){_NOUN}(?!\w)(?:\s+(?:for|of)\s+(?:the\s+|this\s+)?[a-z]+(?:\s+[ab12])?(?![\w:]))?|{_NOUN_UNSPACED})"
    r"(?:\s?\([^()\n]{1,20}\))?"
    rf"[\"'”*_`)\]]{{0,4}}\s{{0,3}}(?:(?:is|of|would\s+be|as|at|ist|est|es|é|è|为|是|は)(?!\w)|[:=：→–—-])*[:=：]?{OPEN}"
    rf"(?P<score>{NUMBER}){CLOSE}(?P<over>\s{{0,2}}(?:/|out\s+of|von|sur|de|из)\s{{0,2}}(?P<whole>[0-9]{{1,4}}))?"
    rf"(?!\s{{0,2}}(?:-|–|to|bis)\s{{0,2}}[0-9]|[0-9]|[.,][0-9])"
)
_GIVEN = re.compile(
    rf"(?<!\w)(?:give|gives|assign|award|deserves?|rate|merits?|earns?|score|receives?|scores|rated|gave|say|gebe|donne|doy|"
    rf"dou)\s(?:[a-z]+\s){{0,5}}?{OPEN}(?P<score>{NUMBER}){CLOSE}"
    rf"(?P<over>\s{{0,2}}(?:/|out\s+of|von|sur|de)\s{{0,2}}(?P<whole>[0-9]{{1,4}}))?"
    rf"(?=\s{{0,2}}(?:points?)?\s{{0,2}}(?:$|[.,;!\n)]|because|for|since|as|due|overall|out))"
)
_OVER = re.compile(
    rf"(?<![\w./])(?P<score>{NUMBER}){CLOSE}\s{{0,2}}(?P<over>/|out\s+of|von|sur|из)\s{{0,2}}"
    rf"(?P<whole>[0-9]{{1,4}})(?![\w/]|[.,][0-9])"
)
_LINE = re.compile(
    rf"^[ \t#>*]{{0,8}}{OPEN}(?P<score>{NUMBER}){CLOSE}[ \t]{{0,4}}"
    r"(?:points?|punkte|分|点|점)?[ \t.!。*]{0,6}$",
    re.MULTILINE,
)
_LEADS = re.compile(
    rf"\s{{0,9}}[*\"'`(\[]{{0,4}}(?P<score>{NUMBER}){CLOSE}\s?(?:[:–—-]|,\s?(?:because|since|as))\s+(?![0-9])"
)
_TAGGED = re.compile(
    rf"<(?:score|rating|grade|points|answer|verdict)>\s{{0,9}}(?P<score>{NUMBER})\s{{0,9}}</|"
    rf"\[\[\s{{0,3}}(?P<marked>{NUMBER})\s{{0,3}}\]\]|\\boxed\{{\s{{0,3}}(?P<boxed>{NUMBER})\s{{0,3}}\}}"
)
_KEYS = word_set(
    """score rating grade points total mark marks overall quality verdict result evaluation assessment answer
    value bewertung note nota"""
)
_NOT_KEYS = word_set("max maximum min minimum scale out confidence weight")


def read_score(
    text: str, low: float = 1, high: float = 10, finish: str = "stop", tokens: Sequence[Token] = ()
) -> Reading:
    """The score from `low` to `high` that the reply gives."""
    if finish == REFUSED:
        return Reading(unread=REFUSED)
    shown, cut = hide_thinking(text)
    shown = shown.rstrip()
    cut = cut or finish == "length"
    bare = shown.strip(" \t\r\n.*`\"'()[]")
    if _PLAIN.fullmatch(bare):
        reading = placed(bare, shown.index(bare), low, high)
    elif not bare:
        return Reading(unread=CUT_OFF if cut else NO_VERDICT if text.strip() else EMPTY)
    else:
        reading = _read(shown, low, high)
    if reading.unread:
        return replace(reading, unread=CUT_OFF) if cut and reading.unread == NO_VERDICT else reading
    return expected(reading, text, low, high, tokens) if tokens else reading


def placed(number: str, at: int, low: float, high: float) -> Reading:
    """A number on the scale, or the reason why it is no score."""
    score = float(number.replace(",", "."))
    if not low <= score <= high:
        return Reading(unread=OFF_MENU, at=at)
    return Reading(score=score, at=at, source="text")


def _read(text: str, low: float, high: float) -> Reading:
    found = _from_fields(text, low, high) if "{" in text else None
    if found is not None:
        return found
    words = text.lower()
    words = words if len(words) == len(text) else text
    declared = [(at, number) for at, number, whole in _declared(words) if whole is None or whole == high]
    if declared:
        at, number = max(declared)
        return placed(number, at, low, high)
    off = any(True for _ in _declared(words))
    return Reading(unread=OFF_MENU if off else REFUSED if REFUSAL.search(words) else NO_VERDICT)


def _declared(words: str) -> list[tuple[int, str, float | None]]:
    """Every declared number: where it starts, as written, and out of how many it is said to be."""
    found: list[tuple[int, str, float | None]] = []
    start = max(0, len(words) - _READ)
    for pattern in (_DECLARED, _GIVEN, _OVER):
        for hit in pattern.finditer(words, start):
            found.append((hit.start("score"), hit["score"], float(hit["whole"]) if hit["whole"] else None))
    for hit in _TAGGED.finditer(words, start):
        group = hit.lastgroup or "score"
        found.append((hit.start(group), hit[group], None))
    first = _LINE.search(words, 0, _READ)
    if first is not None and not words[: first.start()].strip():
        found.append((first.start("score"), first["score"], None))
    leads = _LEADS.match(words)
    if leads is not None:
        found.append((leads.start("score"), leads["score"], None))
    last = _LINE.match(words, words.rfind("\n") + 1)
    if last is not None:
        found.append((last.start("score"), last["score"], None))
    return found


_READ = 20_000
"""Of a reply longer than this, a loop in all likelihood, the end is read and the first line."""


def _from_fields(text: str, low: float, high: float) -> Reading | None:
    found = [
        (field, number)
        for field in fields(text)
        if field.key & _KEYS and not field.key & _NOT_KEYS and (number := _number(field.value))
    ]
    chosen = deciding(text, found, str.__eq__)
    if len(chosen) > 1:
        return Reading(unread=CONTRADICTORY)
    if not chosen:
        return None
    field, number = chosen[0]
    reading = placed(number, field.at + field.value.find(number), low, high)
    return reading if reading.unread else replace(reading, source="json")


def _number(value: str) -> str:
    """`8`, `8/10`, `[[8]]` -> `8`; nothing where the value says more than a number."""
    inside = value.strip(" *[(")
    found = _PLAIN.match(inside)
    if found is None or inside[found.end() :].strip(" *])")[:1] not in ("", "/"):
        return ""
    return found[0]
