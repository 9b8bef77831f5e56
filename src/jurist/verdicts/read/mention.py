"""What a reply says of one label at one place: that it is the verdict, that it is better, or nothing."""

from __future__ import annotations

import re
from typing import NamedTuple

from .labels import CLOSERS, FIRST, SECOND, TIE, Labels, Mention, Mentions
from .words import (
    AFTER,
    ARTICLES,
    ASPECT,
    BESIDE,
    BESIDE_PHRASES,
    BESIDE_UNSPACED,
    CHOOSING,
    CHOOSING_PHRASES,
    CONCESSION,
    CONCLUDES,
    CONDITIONAL,
    DECLARED,
    DECLARING_END,
    DOUBTED,
    DOUBTING,
    FINDS,
    FOUND_BETTER,
    HEADED,
    IF_NEXT,
    NOUNS,
    ONLY_IF,
    QUALIFIED,
    UNCHOOSING,
)

DECLARES, CLAIMS, IMPLIES = 3, 2, 1
_SEEN_BEFORE, _SEEN_AFTER, _DECLARING, _SENTENCE, _HEADINGS = 110, 160, 80, 300, 24

STOP = re.compile(r"\s*(?:[.!;。！]|\n|$|[\"'”*_`)\]]*\s*(?:$|[.!\n]))")
_SPOKEN_END = re.compile(
    r"[\"'”’*_`)\]]*\s*(?:$|[.!,;:。！，\n(–—]|(?:because|since|as|for|over|than|due|by|is|in|here|with|which|to|instead|"
    r"rather|and|but|weil|da|car|porque|parce|perché|потому|так)(?!\w)|因为|，)"
)
_LEAD = re.compile(
    r"[\"'”*_`)\]]*\s*(?:$|[,;(\n–—]|-\s|\.\s|:[ \t]+(?![0-9\n])|"
    r"(?:because|since|as\s|due\s|is\s+better|weil|car|porque|因为))"
)
_TAGGED = re.compile(r"<([a-z_]{2,20})>\s*$")
_PLAIN_TAGS = frozenset(("strong", "em", "span", "div", "li", "td", "think", "reasoning", "analysis"))


class Claim(NamedTuple):
    """One place that says which side is better."""

    side: int
    strength: int
    """DECLARES, CLAIMS or IMPLIES."""
    at: int
    """Where the label starts."""
    core: int
    """Where the part starts that tells the labels apart."""
    start: int
    end: int
    """What it covers, so that two claims of one statement can be told from two statements."""


def claim_at(text: str, low: str, labels: Labels, mention: Mention, mentions: Mentions) -> Claim | None:
    """What the words around a label make of it."""
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
    if mention.core - mention.start < 1 and not low.startswith("<", mention.end):
        return 0
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
    if opens and text[mention.start] != "{" and _LEAD.match(text, mention.end, mention.end + 40) is not None:
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


def _object(text: str, low: str, labels: Labels, mention: Mention, tail: str, reach: int) -> int:
    """What comes before names the label as the answer: `the winner is A`, `I prefer A`, `Verdict: A`."""
    if not tail:
        return 0
    bare = not mention.named and mention.core_end - mention.core == 1
    stops = STOP.match(low, mention.end, reach) is not None
    if not stops and tail[-1] in ".!?;":  # opens a sentence: whatever is said of it comes after
        return 0
    small = bare and text[mention.core].isalpha() and text[mention.core] not in labels.letters
    if small and not (stops and tail[-1] in ":：="):
        return 0
    last = tail.rsplit(" ", 1)[-1]
    word = last.strip("\"'“*_`(,[")
    if _beside(tail, word):
        return 0
    strength = 0
    chosen = _choosing(tail, word)
    if chosen is not None:
        strength = 0 if UNCHOOSING.search(chosen[-60:]) else DECLARES
    elif (
        last[-1] in ":：=→>—–-|*\"'“(" or not last[-1].isascii() or word in DECLARING_END
    ) and DECLARED.search(tail[-_DECLARING:]):
        strength = DECLARES
    if not strength and stops:
        sentence = low[sentence_start(low, mention.start) : mention.start]
        if len(sentence) <= 40 and CONCLUDES.search(sentence) and word.rstrip(",:") not in NOUNS:
            strength = DECLARES if sentence.rstrip().endswith((",", ":", "overall", "therefore")) else 0
    if not strength:
        return 0
    if (bare and not _SPOKEN_END.match(low, mention.end, reach)) or IF_NEXT.match(low, mention.end, reach):
        return 0
    sentence = low[sentence_start(low, mention.start) : mention.start]
    if _doubted(sentence) or (CONDITIONAL.search(sentence) and last[-1] not in ":：="):
        return 0
    return strength


def _beside(tail: str, word: str) -> bool:
    """Whether a label after these words is only what another is measured by."""
    return (
        word in BESIDE
        or tail.endswith(BESIDE_PHRASES)
        or (not word.isascii() and BESIDE_UNSPACED.search(word) is not None)
    )


def _choosing(tail: str, word: str) -> str | None:
    """What comes before a verb of choosing that ends here, `I would` of `I would go with the`; or None."""
    if word in ARTICLES:
        tail = tail[: tail.rfind(word)].rstrip()
        word = tail.rsplit(" ", 1)[-1]
    if word in CHOOSING:
        return tail[: tail.rfind(word)]
    tail = tail.rstrip("\"'“*_`([ ")
    if tail.endswith(CHOOSING_PHRASES):
        return tail[: -max(len(phrase) for phrase in CHOOSING_PHRASES if tail.endswith(phrase))]
    return None


def _subject(low: str, mention: Mention, tail: str, reach: int) -> tuple[int, int, int]:
    """What comes after says that the label is better, or worse."""
    said = AFTER.match(low, mention.end, reach)
    nothing = (0, mention.side, mention.end)
    if said is None:
        found = FOUND_BETTER.match(low, mention.end, reach)
        if found is None or not FINDS.search(f"{tail[-30:]} ") or UNCHOOSING.search(tail.rsplit(" ", 1)[0]):
            return nothing
        return DECLARES, mention.side, found.end()
    last = tail.rsplit(" ", 1)[-1].strip("\"'“*_`([") if tail else ""
    if _beside(tail, last) or ONLY_IF.match(low, said.end(), reach):
        return nothing
    sentence = low[sentence_start(low, mention.start) : mention.start]
    asked = low[said.end() : said.end() + 3].lstrip().startswith("?")
    if asked or granted(sentence):
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
    if said["lean"] and ASPECT.match(sentence):  # `In terms of detail, A is more detailed`
        return nothing
    headed = strength == DECLARES and _headed(sentence) and not CONCLUDES.search(sentence)
    if headed or CONCESSION.match(sentence) or ASPECT.match(sentence):
        strength = IMPLIES
    return strength, side, said.end()


def granted(sentence: str) -> bool:
    """Whether what follows this beginning of a sentence is asked, doubted or only supposed."""
    return _doubted(sentence) or CONDITIONAL.search(sentence) is not None


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


_ENDS = ("\n", ". ", "! ", "? ", "。", "; ")


def sentence_start(low: str, at: int) -> int:
    """Where the sentence or line around `at` begins, as far back as it is worth looking."""
    begin = max(0, at - _SENTENCE)
    for mark in _ENDS:
        found = low.rfind(mark, begin, at)
        if found >= 0:
            begin = found + len(mark)
    return begin
