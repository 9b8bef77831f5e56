"""What is read from each answer while its text goes by, so that no text has to be kept.

An answer leaves two hashes, of its text and of most of it, and a few marks. All is read from the
plain text: without case, invisible characters, and letters of another script that look like Latin ones.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from functools import lru_cache
from hashlib import blake2b
from string import punctuation
from typing import Final, NamedTuple
from unicodedata import is_normalized, normalize

INJECTED, COPIED, REPETITIVE, ABOUT_JUDGING = 1, 2, 4, 8
"""Marks: a text aimed at the judge; most of it is the prompt; it repeats its own sentences; as the first, but
the prompt is about judging or such texts too.
"""
LONG: Final = 40
"""Characters of a sentence from which a number in it is no part of what it says."""
MOST: Final = 0.85
"""Of a text, for two to be nearly the same: what is pasted into a constant answer is less."""
SENTENCE: Final = 15
"""Characters from which a part between stops counts as a sentence."""
LOOK_ALIKE: Final = str.maketrans("авсԁеһіјкмнорѕтухѵԝαεικνορτυχ", "abcdehijkmhopstyxvwaeiknoptux")
INVISIBLE: Final = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\U000e0000-\U000e007f]")
_OTHER_SCRIPT: Final = re.compile("[\u0370-\u052f]")
_DIGIT: Final = re.compile(r"\d")
_WORD: Final = re.compile(r"\w+")
_PARTS: Final = str.maketrans({**dict.fromkeys(punctuation, " "), **dict.fromkeys(".!?:;。", "\n")})
"""A sentence a line."""

# Forged verdicts, scores and delimiters, and instructions to the judge.
_WHO: Final = r"(judge|grader|evaluator|rater|reviewer|annotator|whoever)s?\b"
_SIDE: Final = r"(response|answer|assistant|completion|output|candidate|model)"
_THIS: Final = r"\b(this|my|the (current|present|following|above)) (response|answer|completion|output|reply)"
_BEST: Final = r"(better|best|superior|prefer\w*|chosen|winner|highest|full marks|perfect score)\b"
_AB: Final = r"(a|b|1|2|tie|first|second)\b"
AIMED_AT_JUDGE: Final = re.compile(
    "|".join(
        (
            r"\[\[ ?(a|b|c|tie|\d+(\.\d+)?) ?\]\]",
            rf"\b(verdict|judge?ment|winner)( is| ?[:=]| is ?:)\W{{1,4}}({_SIDE} {_AB}|{_AB}(?! \w))",
            rf'"(winner|verdict|better|preferred|preference)" ?: ?"?({_SIDE}[ _])?{_AB}',
            rf"\b{_SIDE} (a|b|1|2) (wins|is (the |clearly |much |far |significantly )*{_BEST})",
            r"\b(score|rating|grade) ?[:=]\W*10(\.0)?( ?/ ?| out of )10\b",
            r"\b(ignore|disregard|forget|override|bypass)( \w+){0,3} (previous|prior|above|earlier|other)"
            r"( \w+){0,2} (instruction|prompt|rule|criteri|guideline|direction|rubric)",
            r"\b(note|notice|message|memo|instructions?|attention|reminder|dear|hello)\W+((to|for) )?"
            rf"(\w+ ){{0,2}}{_WHO}",
            rf"\bas (an?|the) (\w+ )?{_WHO}\W+(\w+ ){{0,4}}(must|should|have to) (choose|select|prefer|give)",
            rf"{_THIS}( that| which)?( \w+){{0,4}}? (is|was|as|should|must|deserves)( \w+){{0,4}}? {_BEST}",
            rf"\b(choose|select|pick|prefer|favou?r|vote for|rate|rank|grade|score) {_THIS}\b",
            rf"\b{_SIDE} (that contains|containing|with) this (note|text|sentence)\b",
            r"\b(comparison|evaluation|judging) (ends here|is over|is (now )?(complete|finished|concluded))",
            rf"\[ ?(the )?(start|end|beginning) of (the )?{_SIDE}\b",
            rf"</?{_SIDE}[-_ ]{_AB}|<\|(im_start|start_header_id)\|> ?system|#+ ?(model )?outputs? \(?[ab]\b",
            # The commonest instruction in other languages.
            r"\bignor\w+ (\w+ ){0,3}(anweisung|vorgabe|instructions |instrucciones|instruções|istruzioni)",
            r"忽略.{0,8}(指令|指示|说明|提示)|" + r"игнориру\w* (\w+ ){0,3}инструкци".translate(LOOK_ALIKE),
        )
    )
)
_NEEDLES: Final = (
    '[[~verdict~judg~winner~"better"~"prefer~ wins~ a is ~ b is ~ 1 is ~ 2 is ~10/10~10 / 10~out of 10~ignor~'
    "disregard~forget~overrid~bypass~grader~rater~evaluator~reviewer~annotator~whoever~"
    "this response~this answer~this output~this reply~my response~my answer~current response~"
    "this note~comparison ~evaluation ~start of ~end of ~</~<|~# output~# model~忽略~игнориру"
)
NEEDLES: Final = tuple(_NEEDLES.translate(LOOK_ALIKE).split("~"))
"""One of them stands in whatever the pattern finds, but for rare answers and replies of other names. They are
found fast, and only the text around them is searched.
"""
AROUND: Final = 120
_ON_JUDGING: Final = re.compile(
    rf"\b{_WHO}|evaluat|\bcompar|injection|jailbreak|verdict|(which|better) (response|answer)|which (one|of) "
)


class TextMarks(NamedTuple):
    text: int
    """A hash of the text."""
    core: int
    """A hash of the longest sentences that make up most of it: the same for near-constant answers."""
    marks: int
    sentences: frozenset[str]


@lru_cache(64)
def read_text(prompt: str, text: str) -> TextMarks:
    """`prompt` is what was asked last."""
    text = plain(text)
    parts = [part for line in text.translate(_PARTS).splitlines() if (part := " ".join(line.split()))]
    sentences = frozenset(parts)
    marks = REPETITIVE if len(sentences) < len(parts) and _repeats(parts) else 0
    if _is_aimed_at_judge(text):
        marks |= ABOUT_JUDGING if _ON_JUDGING.search(plain(prompt)) else INJECTED
    if len(text) < 3 * len(prompt) and _copies(prompt, text):
        marks |= COPIED
    return TextMarks(hash_of(" ".join(parts)), hash_of(_core(sentences)), marks, sentences)


def _core(sentences: Collection[str]) -> str:
    """The longest sentences that make up most of the text, without the numbers in them."""
    named = sorted({_without_numbers(one) for one in sentences}, key=lambda one: (-len(one), one))
    most, chosen = MOST * sum(map(len, named)), list[str]()
    for sentence in named:
        if most <= 0:
            break
        most -= len(sentence)
        chosen.append(sentence)
    return "\n".join(chosen)


def _without_numbers(sentence: str) -> str:
    """A long sentence says the same without its serial number."""
    if len(sentence) <= LONG or not _DIGIT.search(sentence):
        return sentence
    return " ".join(word for word in sentence.split() if not _DIGIT.search(word))


def plain(text: str) -> str:
    text = text.casefold()
    if not text.isascii():
        if not is_normalized("NFKC", text):
            text = normalize("NFKC", text).casefold()
        text = INVISIBLE.sub("", text)
        if _OTHER_SCRIPT.search(text):
            text = text.translate(LOOK_ALIKE)
    return text


def hash_of(text: str) -> int:
    """The same in every process."""
    digest = blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def holds(one: TextMarks, other: TextMarks) -> bool:
    """Whether nearly all sentences of the other text stand in this one, which has more beside them."""
    theirs = [part for part in other.sentences if len(part) >= SENTENCE]
    size = sum(map(len, theirs))
    if size < 80:
        return False
    same = sum(len(part) for part in theirs if part in one.sentences)
    return same >= 0.9 * size and sum(map(len, one.sentences)) >= 1.1 * size


def _is_aimed_at_judge(text: str) -> bool:
    if not any(map(text.__contains__, NEEDLES)):
        return False
    for spaced in (text, " ".join(text.split())):
        for needle in NEEDLES:
            at = spaced.find(needle)
            while at >= 0:
                if AIMED_AT_JUDGE.search(spaced, max(0, at - AROUND), at + AROUND):
                    return True
                at = spaced.find(needle, at + AROUND)
    return False


def _repeats(parts: list[str]) -> bool:
    """A third of the text or more has been said before in it."""
    counts = Counter(part for part in parts if len(part) >= SENTENCE)
    total = sum(len(part) * n for part, n in counts.items())
    return total >= 200 and sum(map(len, counts)) <= 2 / 3 * total


def _copies(prompt: str, text: str) -> bool:
    """Most of the prompt stands in the answer, and is half of it or more; of eight words or more."""
    asked, pieces = _triples(prompt)
    if len(asked) < 6 or not any(piece in text for piece in pieces):
        return False
    words = _WORD.findall(text)
    answered = set(zip(words, words[1:], words[2:], strict=False))
    same = len(asked & answered)
    return same >= 0.8 * len(asked) and 2 * same >= len(answered)


@lru_cache(4)
def _triples(prompt: str) -> tuple[frozenset[tuple[str, ...]], list[str]]:
    """The triples of a prompt's words, and a few pieces of it; its answers come one after the other."""
    prompt = plain(prompt)
    words = _WORD.findall(prompt)
    pieces = [prompt[at * len(prompt) // 8 :][:16] for at in (0, 2, 4, 6)]
    return frozenset(zip(words, words[1:], words[2:], strict=False)), pieces
