"""Every place in a reply that says which side is better, with how firmly it says so.

A verdict is declared (`Answer: B`, `[[B]]`, `Therefore, B is better.`, a line with nothing but the label), claimed
(`B is better at this`), or implied (`B is more precise`). Mentions that say nothing of the kind are no claims,
and neither are listings (`A or B`), conditions (`[[A]] if ...`), doubts (`I don't think A is better`) and labels that
another is measured by (`better than A`).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .read_labels import CLOSERS, FIRST, SECOND, TIE, Labels, Mention, Mentions
from .read_words import (
    AFTER,
    ASPECT,
    BESIDE,
    CHOOSING,
    CHOOSING_PHRASES,
    CONCESSION,
    CONCLUDES,
    CONDITIONAL,
    DECLARED,
    DECLARING_END,
    DOUBTED,
    DOUBTING,
    HEADED,
    IF_NEXT,
    LINK,
    NOUNS,
    QUALIFIED,
    UNCHOOSING,
)
from .read_words import TIE as TIE_WORDS

DECLARES, CLAIMS, IMPLIES = 3, 2, 1
_SEEN_BEFORE, _SEEN_AFTER, _DECLARING = 110, 160, 80

_VERSUS = re.compile(r"\s*(>+|≫|<+|≪|=+|≈)\s*")
_STOP = re.compile(r"\s*(?:[.!;。！]|\n|$|[\"'”*_`)\]]*\s*(?:$|[.!\n]))")
_SPOKEN_END = re.compile(
    r"[\"'”’*_`)\]]*\s*(?:$|[.!,;:。！，\n(–—]|(?:because|since|as|for|over|than|due|by|is|in|here|with|which|to|instead|"
    r"rather|and|but|weil|da|car|porque|parce|perché|потому|так)(?!\w)|因为|，)"
)
_LEAD = re.compile(
    r"[\"'”*_`)\]]*\s*(?:$|[,;(\n–—]|-\s|[.:]\s|(?:because|since|as\s|due\s|is\s+better|weil|car|porque|因为))"
)
_TAGGED = re.compile(r"<([a-z_]{2,20})>\s*$")
_PLAIN_TAGS = frozenset(("strong", "em", "span", "div", "li", "td", "think", "reasoning", "analysis"))


class Claim(NamedTuple):
    side: int
    strength: int
    at: int
    core: int
    start: int
    end: int


def claims(text: str, low: str, labels: Labels, start: int = 0, enough: int = 9) -> list[Claim]:
    """The claims from `start` on, in the order they stand in the text.

    It is read from the end, and reading stops at a claim that is firm `enough`, once all that belongs to the same
    statement is read as well: only the last such claim matters.
    """
    mentions = labels.mentions(text, low, start)
    found: list[Claim] = []
    firm: Claim | None = None
    i = len(mentions) - 1
    while i >= 0:
        if firm is not None and firm.start - mentions.places[i] > _SAME_STATEMENT:
            break
        mention = mentions[i]
        contest = _contest(low, mentions, i)
        claim = contest or (
            None if _listed(low, mentions, i) else _claim(text, low, labels, mention, mentions)
        )
        if claim is not None:
            found.append(claim)
            if claim.strength >= enough and firm is None and (claim.side != TIE or labels.tie_offered):
                firm = claim
        i -= 1 if contest is None else 2
    found.reverse()
    if labels.tie_offered:
        found += _ties(low, firm.start if firm is not None else start)
        found.sort(key=_by_place)
    return found


_SAME_STATEMENT, _NEAR = 60, 40


def _by_place(claim: Claim) -> int:
    return claim.start


def _contest(low: str, mentions: Mentions, i: int) -> Claim | None:
    """`A>B`, `[[B>>A]]`, `A=B`: this label and the one before it."""
    if i == 0 or mentions.places[i] - mentions.places[i - 1] > _NEAR:
        return None
    one, other = mentions[i - 1], mentions[i]
    if one.side == other.side or TIE in (one.side, other.side):
        return None
    between = _VERSUS.fullmatch(low, one.core_end, other.core)
    if between is None and (between := _VERSUS.fullmatch(low, one.end, other.start)) is None:
        return None
    sign = between[1][0]
    side = one.side if sign in ">≫" else other.side if sign in "<≪" else TIE
    winner = one if side != other.side else other
    return Claim(side, DECLARES, winner.noun, winner.core, one.start, other.end)


def _listed(low: str, mentions: Mentions, i: int) -> bool:
    """Whether a label only stands in a list with its neighbour: `A or B`."""
    return _linked(low, mentions, i - 1) or _linked(low, mentions, i)


def _linked(low: str, mentions: Mentions, i: int) -> bool:
    """Whether this label and the next are only listed."""
    places = mentions.places
    if i < 0 or i + 1 >= len(places) or places[i + 1] - places[i] > _NEAR:
        return False
    one, other = mentions[i], mentions[i + 1]
    return one.side != other.side and LINK.fullmatch(low, one.end, max(one.end, other.start)) is not None


def _claim(text: str, low: str, labels: Labels, mention: Mention, mentions: Mentions) -> Claim | None:
    floor = max(0, mention.start - _SEEN_BEFORE)
    tail = " ".join(low[floor : mention.start].split())
    reach = mention.end + _SEEN_AFTER
    strength = (
        _marked(text, low, mention, tail, reach)
        or _alone(text, mention, mentions)
        or _object(text, low, labels, mention, tail, reach)
    )
    side = mention.side
    end = mention.end
    if not strength:
        strength, side, end = _subject(low, mention, tail, reach)
    if not strength:
        return None
    return Claim(side, strength, mention.noun, mention.core, mention.start, end)


def _marked(text: str, low: str, mention: Mention, tail: str, reach: int) -> int:
    """`[[A]]`, `\\boxed{A}`, `<verdict>A</verdict>`: the forms that prompts ask for."""
    inside, around = text[mention.start : mention.core], text[mention.core_end : mention.end]
    marked = ("[[" in inside and "]]" in around) or (
        "{" in inside
        and "}" in around
        and tail.endswith(("\\boxed", "\\boxed{\\text", "\\boxed{\\textbf", "\\fbox"))
    )
    if not marked and low.startswith("</", mention.end):
        tag = _TAGGED.search(tail)
        marked = tag is not None and tag[1] not in _PLAIN_TAGS
    if (
        marked
        and IF_NEXT.match(low, mention.end, reach) is None
        and not tail.endswith(("either", "not", "use"))
    ):
        return DECLARES
    return 0


def _alone(text: str, mention: Mention, mentions: Mentions) -> int:
    """A first or last line that is the label and nothing else, or a reply that opens with it."""
    line = text.rfind("\n", 0, mention.start) + 1
    if text[line : mention.start].strip(" \t#>-*"):
        return 0
    stop = text.find("\n", mention.end)
    stop = len(text) if stop < 0 else stop
    opens = not text[max(0, line - 40) : line].strip() and not text[:line].strip()
    if stop - mention.end <= 12 and not text[mention.end : stop].strip(" \t.!。" + CLOSERS):
        if not text[stop : stop + 40].strip() and not text[stop:].strip():
            return DECLARES
        return DECLARES if opens and not _heads(text, mention, mentions) else 0
    if opens and _LEAD.match(text, mention.end, mention.end + 40) is not None:
        numbered = text[mention.core].isdigit() and text.startswith(".", mention.end)
        return 0 if numbered or _heads(text, mention, mentions) else DECLARES
    return 0


def _heads(text: str, mention: Mention, mentions: Mentions) -> bool:
    """Whether the label opens a paragraph of its own, as the other one does further down."""
    after = text[mention.end : mention.end + 1]
    return any(
        other.side != mention.side
        and other.start > mention.start
        and text[max(0, other.start - 1) : other.start] in ("\n", "")
        and text[other.end : other.end + 1] == after
        and text[other.end :].strip(" .\n*")
        for other in (mentions[i] for i in range(min(_HEADINGS, len(mentions))))
    )


_HEADINGS = 24


def _object(text: str, low: str, labels: Labels, mention: Mention, tail: str, reach: int) -> int:
    """What comes before names the label as the answer: `the winner is A`, `I prefer A`, `Verdict: A`."""
    if not tail:
        return 0
    bare = not mention.named and mention.core_end - mention.core == 1
    if bare and text[mention.core].isalpha() and text[mention.core] not in labels.letters:
        clear = tail[-1] in ":：=" and _STOP.match(low, mention.end, reach) is not None
        if not clear:
            return 0
    last = tail.rsplit(" ", 1)[-1]
    word = last.strip("\"'“*_`(,[")
    if word in BESIDE:
        return 0
    strength = 0
    if word in CHOOSING or tail.endswith(CHOOSING_PHRASES):
        before = tail[: tail.rfind(word)]
        if not UNCHOOSING.search(before[-60:]):
            strength = DECLARES
    elif last[-1] in ":：=→>—–-|*\"'“(" or not last[-1].isascii() or word in DECLARING_END:
        if DECLARED.search(tail[-_DECLARING:]) is not None:
            strength = DECLARES
    if not strength and _STOP.match(low, mention.end, reach) is not None:
        sentence = low[_sentence_start(low, mention.start) : mention.start]
        if len(sentence) <= 40 and CONCLUDES.search(sentence) and word.rstrip(",:") not in NOUNS:
            strength = DECLARES if sentence.rstrip().endswith((",", ":", "overall", "therefore")) else 0
    if not strength:
        return 0
    if bare and _SPOKEN_END.match(low, mention.end, reach) is None:
        return 0
    if IF_NEXT.match(low, mention.end, reach) is not None:
        return 0
    sentence = low[_sentence_start(low, mention.start) : mention.start]
    if _doubted(sentence) or (CONDITIONAL.search(sentence) and last[-1] not in ":：="):
        return 0
    return strength


def _subject(low: str, mention: Mention, tail: str, reach: int) -> tuple[int, int, int]:
    """What comes after says that the label is better, or worse."""
    said = AFTER.match(low, mention.end, reach)
    nothing = (0, mention.side, mention.end)
    if said is None:
        return nothing
    last = tail.rsplit(" ", 1)[-1].strip("\"'“*_`([") if tail else ""
    if last in BESIDE:
        return nothing
    begin = _sentence_start(low, mention.start)
    sentence = low[begin : mention.start]
    asked = low[said.end() : said.end() + 3].lstrip().startswith("?")
    if asked or _doubted(sentence) or CONDITIONAL.search(sentence):
        return nothing
    side = mention.side
    if said["bad"]:
        if side == TIE:
            return nothing
        side, strength = (SECOND if side == FIRST else FIRST), CLAIMS
    elif said["lean"]:
        strength = IMPLIES
    else:
        strength = CLAIMS if QUALIFIED.match(low, said.end(), reach) else DECLARES
    if strength == CLAIMS and CONCLUDES.search(sentence) and not said["bad"]:
        strength = DECLARES
    if CONCESSION.match(sentence) or ASPECT.match(sentence):
        strength = IMPLIES
    elif strength == DECLARES and _headed(sentence) and not CONCLUDES.search(sentence):
        strength = IMPLIES
    return strength, side, said.end()


def _doubted(sentence: str) -> bool:
    """`I don't think that A is better`, `some might say A is better`."""
    last = sentence[-24:].rsplit(None, 1)
    return bool(last) and last[-1] in DOUBTING and DOUBTED.search(sentence[-60:]) is not None


def _headed(sentence: str) -> bool:
    """`Clarity: ` before a label names an aspect; `Verdict: ` does not."""
    return (
        sentence.rstrip(" *").endswith((":", "："))
        and HEADED.match(sentence) is not None
        and DECLARED.search(" ".join(sentence.split()) + " ") is None
    )


def _ties(low: str, start: int) -> list[Claim]:
    found = []
    for hit in TIE_WORDS.finditer(low, start):
        sentence = low[_sentence_start(low, hit.start()) : hit.start()]
        if CONDITIONAL.search(sentence) or _doubted(sentence) or CONCESSION.match(sentence):
            continue
        if ASPECT.match(sentence):
            strength = IMPLIES
        else:
            strength = DECLARES if CONCLUDES.search(sentence) else CLAIMS
        found.append(Claim(TIE, strength, hit.start(), hit.start(), hit.start(), hit.end()))
    return found[-8:]


_ENDS = ("\n", ". ", "! ", "? ", "。", "; ")


def _sentence_start(low: str, at: int) -> int:
    begin = max(0, at - 300)
    for mark in _ENDS:
        found = low.rfind(mark, begin, at)
        if found >= 0:
            begin = found + len(mark)
    return begin
