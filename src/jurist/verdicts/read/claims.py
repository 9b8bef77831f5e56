"""Every place in a reply that says which side is better, with how firmly it says so.

A verdict is declared (`Answer: B`, `[[B]]`, `Therefore, B is better.`, a line with nothing but the label),
claimed (`B is better at this`), or implied (`B is more precise`). Mentions that say nothing of the kind are
no claims, and neither are listings (`A or B`), conditions (`[[A]] if ...`), doubts (`I don't think A is
better`) and labels that another is measured by (`better than A`).
"""

from __future__ import annotations

import re

from .labels import TIE, Labels, Mentions
from .mention import CLAIMS, DECLARES, IMPLIES, STOP, Claim, claim_at, granted, sentence_start
from .words import ASPECT, COMMA, CONCESSION, CONCLUDES, LINK
from .words import TIE as TIE_WORDS

_VERSUS = re.compile(r"\s*(>+|≫|<+|≪|=+|≈)\s*")
_SAME_STATEMENT, _NEAR, _MOST_TIES = 60, 40, 8
_NEVER = DECLARES + 1


def claims(text: str, low: str, labels: Labels, start: int = 0, enough: int = _NEVER) -> list[Claim]:
    """The claims from `start` on, in the order they stand in the text.

    It is read from the end, and reading stops at a claim that is firm `enough`, once all that belongs to the
    same statement is read as well: only the last such claim matters.
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
            None if _listed(low, mentions, i) else claim_at(text, low, labels, mention, mentions)
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
    between = (one.end, max(one.end, other.start))
    if one.side == other.side:
        return False
    return LINK.fullmatch(low, *between) is not None or (
        COMMA.fullmatch(low, *between) is not None and STOP.match(low, other.end) is not None
    )


def _ties(low: str, start: int) -> list[Claim]:
    """Words for a tie: `both are equally good`."""
    found = []
    for hit in TIE_WORDS.finditer(low, start):
        sentence = low[sentence_start(low, hit.start()) : hit.start()]
        if granted(sentence) or CONCESSION.match(sentence) or sentence.endswith("for "):
            continue
        if ASPECT.match(sentence):
            strength = IMPLIES
        else:
            strength = DECLARES if CONCLUDES.search(sentence) else CLAIMS
        found.append(Claim(TIE, strength, hit.start(), hit.start(), hit.start(), hit.end()))
    return found[-_MOST_TIES:]
