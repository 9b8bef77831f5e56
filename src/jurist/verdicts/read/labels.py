"""The labels of a menu, found in a reply however they are dressed: `A`, `(a)`, `**Response A**`, `[[A]]`,
`回答A`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from .reading import Menu
from .words import NOUNS, NOUNS_UNSPACED

FIRST, SECOND, TIE = 0, 1, 2
P_FIRST = (1.0, 0.0, 0.5)

OPENERS = "([{<\"'`*_“‘«「『【《（［\\$"
CLOSERS = ")]}>\"'`*_”’»」』】》）］$"
_POSSESSIVE = ("'s", "’s")
_DRESS = " \t\r\n.:;,!#" + OPENERS + CLOSERS + "。！：\u3000\ufeff"
# Letters and digits of spaced scripts. Chinese, Japanese, Korean and Thai are written on without a space,
# so their characters may stand next to a label.
_WORD = r"[^\W\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\u0e00-\u0e7f]"


class Mention(NamedTuple):
    """One place where a label stands in the text."""

    side: int
    start: int
    """With its noun and opening marks: `**Response A**` starts at the first asterisk."""
    noun: int
    """Without the marks: where `Response` starts, or `A` where there is no noun."""
    core: int
    """Where the part starts that tells the labels apart."""
    core_end: int
    end: int
    """With its closing marks."""
    named: bool
    """With a noun or brackets; a bare `A` may be an article."""


@dataclass(frozen=True)
class Labels:
    """A menu made ready for reading."""

    exact: dict[str, tuple[int, int]]
    """Whole replies that are nothing but a label, without their dress: its side, and where its core
    starts."""
    pattern: re.Pattern[str] | None
    """None: the labels cannot be told apart, and nothing can be read."""
    cores: dict[str, int]
    """What tells the labels apart, and whose it is: `a` and `b` of `Output (a)` and `Output (b)`."""
    fold: bool
    """Whether `a` may stand for `A`."""
    letters: frozenset[str]
    """Cores that are a single letter: bare, they are read in capitals or as offered."""
    head: str
    """The words before the core which all labels share, lowercased: `output`, `model answer`."""
    tie_offered: bool
    one_char: bool
    """Whether every core is a single character."""

    def mentions(self, text: str, low: str, start: int = 0) -> Mentions:
        """All places from `start` on, in order; of very many, the first few and the last."""
        if self.pattern is None:
            return Mentions(text, low, self, [])
        places = [hit.start() for hit in self.pattern.finditer(text, start)]
        if len(places) > _MOST:  # a reply that repeats itself: verdicts stand at its ends
            places = places[:_FIRST_FEW] + places[_FIRST_FEW - _MOST :]
        return Mentions(text, low, self, places)

    def dressed(self, text: str, low: str, core: int) -> Mention:
        """The label whose core starts here, with the marks around it and the noun before it."""
        core_end = core + 1 if self.one_char else self.ends(text, core)
        left, right = core, core_end
        floor, ceiling = max(0, core - 12), min(core_end + 12, len(text))
        while left > floor and text[left - 1] in OPENERS:
            left -= 1
        while right < ceiling and text[right] in CLOSERS and text[right : right + 2] not in _POSSESSIVE:
            right += 1
        bracketed = left < core and text[left] in "([{<【「『（［《" and right > core_end
        gap = left
        while gap > floor and low[gap - 1] in " \t#-_:*（(":
            gap -= 1
        before = low[max(0, gap - 16) : gap].split()
        word = before[-1].lstrip(OPENERS) if before and not low[gap - 1].isspace() else ""
        side = self.cores[text[core:core_end].lower() if self.fold else text[core:core_end]]
        if word in NOUNS or (word and self.head.endswith(word)):
            if ":" not in low[gap:left]:
                noun = gap - len(word)
                if self.head and low.startswith(self.head, gap - len(self.head)):
                    noun = gap - len(self.head)
                start = noun
                while start > 0 and start > noun - 12 and text[start - 1] in OPENERS:
                    start -= 1
                return Mention(side, start, noun, core, core_end, right, True)
        elif word.endswith(NOUNS_UNSPACED):
            bracketed = True
        return Mention(side, left, core, core, core_end, right, bracketed)

    def ends(self, text: str, core: int) -> int:
        found = self.pattern.match(text, core) if self.pattern is not None else None
        return found.end() if found is not None else core + 1


class Mentions:
    """The places where labels stand, looked at closely only when asked for: most never are."""

    def __init__(self, text: str, low: str, labels: Labels, places: list[int]) -> None:
        self.text, self.low, self.labels, self.places = text, low, labels, places
        self._seen: dict[int, Mention] = {}

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, i: int) -> Mention:
        seen = self._seen.get(i)
        if seen is None:
            seen = self._seen[i] = self.labels.dressed(self.text, self.low, self.places[i])
        return seen


_FIRST_FEW, _MOST = 16, 96


@lru_cache(maxsize=256)
def labels_of(menu: Menu) -> Labels:
    """The cores that tell the labels apart, and the pattern that finds them."""
    given = [menu.first, menu.second] + ([menu.tie] if menu.tie is not None else [])
    heads, cores = _split([" ".join(label.split()) for label in given])
    lowered = [core.lower() for core in cores]
    fold = len(set(lowered)) == len(lowered)
    known = {(core.lower() if fold else core): side for side, core in enumerate(cores)}
    usable = len(known) == len(cores) and all(known)
    exact: dict[str, tuple[int, int]] = {}
    for side, (label, core) in enumerate(zip(given, cores, strict=True)):
        for form in (label.strip(_DRESS), core, f"{heads}{core}", *(f"{n} {core}" for n in _COMMON)):
            for cased in {form, form.lower(), form.upper(), form.capitalize()} if fold else {form}:
                if cased and usable:
                    exact.setdefault(cased, (side, max(0, cased.lower().rfind(core.lower()))))
    letters = frozenset(core for core in cores if len(core) == 1 and core.isalpha())
    return Labels(
        exact, _pattern(cores, fold) if usable else None, known, fold, letters, heads.strip().lower(),
        menu.tie is not None, all(len(core) == 1 for core in cores),
    )  # fmt: skip


_COMMON = ("Response", "Answer", "Output", "Assistant", "Option", "Model", "Completion", "Candidate")


def undressed(text: str) -> str:
    """Without brackets, quotation marks, asterisks and full stops around it."""
    return text.strip(_DRESS)


def undressed_at(text: str) -> int:
    return len(text) - len(text.lstrip(_DRESS))


def _split(labels: list[str]) -> tuple[str, list[str]]:
    """`Output (a)`, `Output (b)` -> `Output `, [`a`, `b`]: what the labels share at either end is not the
    label."""
    first, second = (label.split(" ") for label in labels[:2])
    least = min(len(first), len(second)) - 1
    head = 0
    while head < least and first[head].lower() == second[head].lower():
        head += 1
    tail = 0
    while tail < least - head and first[-1 - tail].lower() == second[-1 - tail].lower():
        tail += 1
    shared = " ".join(first[:head])
    cores = [" ".join(words[head : len(words) - tail]) for words in (first, second)]
    for label in labels[2:]:
        inside = (
            label[len(shared) + 1 :] if shared and label.lower().startswith(shared.lower() + " ") else label
        )
        cores.append(inside)
    bare = [core.strip(_DRESS) for core in cores]
    if all(bare) and len(set(bare)) == len(bare):
        cores = bare
    return (f"{shared} " if shared else ""), cores


def _pattern(cores: list[str], fold: bool) -> re.Pattern[str]:
    """One scan for all labels. It opens with a set of first letters, which `re` skips to quickly; the
    look-behind for a word's beginning comes after that letter."""
    longest = sorted(set(cores), key=lambda core: (-len(core), core))
    if all(len(core) == 1 and core.isalpha() for core in longest):
        chars = "".join(re.escape(char) for core in longest for char in sorted(_cases(core, fold)))
        return re.compile(rf"[{chars}](?<!{_WORD}.)(?!{_WORD})", re.DOTALL)
    starts = "".join(re.escape(char) for core in longest for char in sorted(_cases(core[0], fold)))
    bodies = []
    for core in longest:
        lead = "".join(re.escape(char) for char in sorted(_cases(core[0], fold)))
        rest = "".join(_either(char, fold) for char in core[1:])
        before = rf"(?<!{_WORD}.)" if core[0].isalnum() else ""
        after = rf"(?!{_WORD})" if core[-1].isalnum() else ""
        if core[0].isdigit():
            before += r"(?<![0-9][.,].)(?<![\s:=(\[]-.)"
        if core[-1].isdigit():
            after += r"(?![.,]?[0-9]|\s?[%°])"
        bodies.append(rf"(?<=[{lead}]){before}{rest}{after}")
    return re.compile(rf"[{starts}](?:{'|'.join(bodies)})", re.DOTALL)


def _cases(char: str, fold: bool) -> set[str]:
    return {c for c in (char, char.lower(), char.upper()) if len(c) == 1} if fold else {char}


def _either(char: str, fold: bool) -> str:
    return r"\s+" if char == " " else f"[{''.join(re.escape(c) for c in sorted(_cases(char, fold)))}]"
