"""How varied words are. Each measure is told as a diversity, higher is more varied: all fall together.

What depends on how much was written is taken at an equal amount: a longer text has fewer new words, and a
policy that has learnt to say more would look as if it had contracted.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from ..sheet import Array

WORD: Final = re.compile(r"[぀-ヿ一-鿿]|\w+|[^\w\s]")
SENTENCE: Final = re.compile(r"(?<=[.!?。！？])\s+|\n+")
BYTES: Final = 60_000
AMONG: Final = 1000
"""Words, or runs of words, among which the different ones are counted, wherever there are so many: a number
that is the same everywhere can be compared everywhere."""
TOP: Final = 10
"""Sentences that count as boilerplate: the most frequent ones."""


def words_of(text: str) -> list[str]:
    return WORD.findall(text.casefold())


def sentences_of(text: str) -> list[str]:
    return [part for raw in SENTENCE.split(text.casefold()) if (part := " ".join(raw.split()))]


class Grams:
    """Things that repeat (n-grams, sentences), each occurrence with the prompt it was said about."""

    def __init__(self, things: Sequence[Sequence[str]]) -> None:
        codes: dict[str, int] = {}
        said = [(row, codes.setdefault(one, len(codes))) for row, some in enumerate(things) for one in some]
        rows = np.array(said, dtype=np.int64).reshape(-1, 2)
        self._prompt, self._code, self.names = rows[:, 0], rows[:, 1], tuple(codes)

    def __len__(self) -> int:
        return len(self._code)

    def counts(self, kept: Array) -> Array:
        return np.bincount(self._code[kept[self._prompt]], minlength=max(1, len(self.names)))

    def distinct(self, kept: Array, among: int) -> float:
        """Share of different ones among so many drawn at random from all (Hurlbert 1971): no draw is made."""
        times = np.bincount(self.counts(kept))
        total = int(np.arange(len(times)) @ times)
        if not among or not total:
            return math.nan
        seen = np.flatnonzero(times[1:]) + 1
        missed = [_missed(total, int(count), min(among, total)) for count in seen]
        return float(times[seen] @ (1 - np.array(missed))) / min(among, total)

    def top_share(self, kept: Array) -> float:
        """Share of all that the most frequent make up."""
        counts = self.counts(kept)
        return float(np.sort(counts)[-TOP:].sum() / max(1, counts.sum()))

    @property
    def commonest(self) -> str:
        return self.names[int(np.bincount(self._code).argmax())] if self.names else ""


def _missed(total: int, count: int, among: int) -> float:
    """The chance that none of `count` is among those drawn, without putting any back."""
    if total - count < among:
        return 0.0
    left = math.lgamma(total - count + 1) - math.lgamma(total - count - among + 1)
    return math.exp(left - math.lgamma(total + 1) + math.lgamma(total - among + 1))


def grams(texts: Sequence[Sequence[str]], n: int) -> Grams:
    return Grams([[one for text in some for one in ngrams(words_of(text), n)] for some in texts])


def sentences(texts: Sequence[Sequence[str]]) -> Grams:
    return Grams([[one for text in some for one in sentences_of(text)] for some in texts])


def ngrams(words: Sequence[str], n: int) -> list[str]:
    return [" ".join(words[at : at + n]) for at in range(len(words) - n + 1)]


def compressed(texts: Sequence[Sequence[str]], kept: Array, size: int) -> float:
    """Bytes that zlib leaves of so many; 1 over the compression ratio."""
    k = max(map(len, texts), default=0)
    # First every prompt's first answer: zlib sees 32 kB back, and should see other prompts there.
    rows = [
        texts[row][at] for at in range(k) for row in np.flatnonzero(kept).tolist() if at < len(texts[row])
    ]
    raw = "\n".join(rows).encode()[:size]
    return len(zlib.compress(raw, 6)) / len(raw) if raw else math.nan


def size_of(texts: Sequence[Sequence[str]]) -> int:
    return sum(len(text.encode()) + 1 for some in texts for text in some)


def unique(texts: Sequence[Sequence[str]]) -> Array:
    """Share of different answers among those to one prompt, prompt by prompt."""
    return np.array([len({" ".join(one.split()) for one in some}) / len(some) for some in texts])


def self_bleu(texts: Sequence[Sequence[str]]) -> Array:
    """How far each answer can be put together from the others to the same prompt: BLEU-4, prompt by prompt
    (Zhu et al. 2018 take the answers to everything; then two prompts that differ look like diversity).
    """
    found = []
    for some in texts:
        known = [words_of(one) for one in some]
        counts = [[Counter(ngrams(words, n)) for n in range(1, 5)] for words in known]
        scores = [
            bleu(counts[i], counts[:i] + counts[i + 1 :], *_lengths(known, i)) for i in range(len(known))
        ]
        found.append(sum(scores) / len(scores))
    return np.array(found)


def _lengths(known: Sequence[Sequence[str]], i: int) -> tuple[int, int]:
    """Of the answer, and of the other that is nearest to it in length."""
    own = len(known[i])
    return own, min((abs(len(one) - own), len(one)) for j, one in enumerate(known) if j != i)[1]


def bleu(
    own: Sequence[Counter[str]], others: Sequence[Sequence[Counter[str]]], long: int, near: int
) -> float:
    """Papineni et al. 2002, with one added above and below from pairs of words on (Lin and Och 2004)."""
    logs = 0.0
    for n, counts in enumerate(own):
        met = sum(min(times, max(one[n][gram] for one in others)) for gram, times in counts.items())
        extra = n > 0
        if not met + extra:
            return 0.0
        logs += math.log((met + extra) / (sum(counts.values()) + extra)) / len(own)
    return math.exp(logs + min(0.0, 1 - near / long))
