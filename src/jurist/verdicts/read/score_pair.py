"""Two scores from one reply: `8 7` on a line, `Assistant 1: 8 ... Assistant 2: 7`, `Output: (8, 7)`,
JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .fields import fields
from .reading import CUT_OFF, EMPTY, NO_VERDICT, OFF_MENU, REFUSED, Reading
from .score import OPEN, placed
from .thinking import hide_thinking

_N = r"-?[0-9]{1,4}(?:\.[0-9]{1,3})?"
_TWO = (
    rf"[(\[*]{{0,3}}(?P<one>{_N})(?:\s?/\s?10)?(?:\s{{0,2}}[,;|&/]\s{{0,2}}|[ \t]{{1,4}}(?:and\s)?)"
    rf"(?P<two>{_N})(?:\s?/\s?10)?(?![\w/]|[.,][0-9])"
)
_LINE = re.compile(rf"^[ \t>*#\"'`]{{0,6}}{_TWO}[)\]*.\"'` \t]{{0,6}}$", re.MULTILINE)
_CALLED = re.compile(
    rf"(?<!\w)(?:tuple|scores?|output|ratings?)"
    rf"(?:(?:\s(?:is|are|of))?\s?[:=]?\s{{0,3}}|[^\n()]{{0,60}}(?=\()){_TWO}"
)
_SEATED = re.compile(
    r"(?<!\w)(?:assistant|response|answer|output|model|option|candidate|completion|score|ai|rating)"
    r"(?:\s(?:for|of)\s(?:assistant|response|answer|output|model))?[\s_#(]{0,2}(?P<seat>[12ab])\)?(?!\w)(?:['’]s?)?"
    r"(?:\s?\([^()\n]{0,60}\))?[^\w\n.,]{0,6}"
    r"(?:(?:gets|receives|scores?|score|rating|is|a|of|with|would|get|earns|deserves|at|rated|has|final)[\s:=*]{1,3}){0,5}"
    rf"{OPEN}(?P<score>{_N})(?![\w]|[.,][0-9])"
)
_BOTH = re.compile(
    rf"(?<!\w)both\s(?:[a-z0-9]+\s){{0,9}}(?:score|rating|receive|get)s?\s(?:of\s|a\s){{0,3}}(?P<one>{_N})(?!\w)"
)
_SEATS = {"1": 0, "a": 0, "first": 0, "2": 1, "b": 1, "second": 1}
_MOST = 64


def read_score_pair(
    text: str, low: float = 1, high: float = 10, finish: str = "stop"
) -> tuple[Reading, Reading]:
    """The scores of first and second, in the order shown to the judge; both unread unless both are given."""
    if finish == REFUSED:
        return _neither(REFUSED)
    shown, cut = hide_thinking(text)
    words = shown.rstrip().lower()
    words = words if len(words) <= len(shown) else shown
    if not words.strip():
        return _neither(CUT_OFF if cut or finish == "length" else EMPTY if not text.strip() else NO_VERDICT)
    reason = CUT_OFF if cut or finish == "length" else NO_VERDICT
    for one, two in _couples(words):
        first, second = placed(one[0], one[1], low, high), placed(two[0], two[1], low, high)
        if not first.unread and not second.unread:
            return first, second
        reason = OFF_MENU
    return _neither(reason)


def _neither(reason: str) -> tuple[Reading, Reading]:
    return Reading(unread=reason), Reading(unread=reason)


_Number = tuple[str, int]


def _couples(words: str) -> Iterator[tuple[_Number, _Number]]:
    """Pairs of numbers that may be the two scores, the most plainly declared first."""
    start = len(words) - len(words.lstrip())
    lines = list(_LINE.finditer(words))
    if lines and lines[0].start() <= start:
        yield _two(lines[0])
    for hit in reversed(list(_CALLED.finditer(words))[-_MOST:]):
        yield _two(hit)
    if lines and lines[-1].end() == len(words):
        yield _two(lines[-1])
    seated: dict[int, _Number] = {}
    for field in fields(words) if "{" in words else ():
        seat = next(
            (_SEATS[part] for part in re.split(r"[^a-z0-9]+", field.name.lower()) if part in _SEATS), None
        )
        if seat is not None and re.fullmatch(_N, field.value.strip()):
            seated[seat] = (field.value.strip(), field.at)
    if len(seated) < 2:
        for hit in list(_SEATED.finditer(words))[-_MOST:]:
            seated[_SEATS[hit["seat"]]] = (hit["score"], hit.start("score"))
    if len(seated) == 2:
        yield seated[0], seated[1]
    for hit in reversed(lines[-_MOST:]):
        yield _two(hit)
    for hit in list(_BOTH.finditer(words))[-1:]:
        yield (hit["one"], hit.start("one")), (hit["one"], hit.start("one"))


def _two(hit: re.Match[str]) -> tuple[_Number, _Number]:
    return (hit["one"], hit.start("one")), (hit["two"], hit.start("two"))
