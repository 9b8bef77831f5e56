"""How varied meanings are: answers as points, near each other where they say the same.

Without an encoder a point is an answer's weighed words (TF-IDF); with one it is what the encoder makes of it.
Precision and recall are those of Kynkäänniemi et al. 2019, with which Alemohammad et al. 2023 watch a loop
contract.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from ...errors import MissingExtra
from ..sheet import Array
from .words import ngrams, words_of

Encode = Callable[[Sequence[str]], Array]
"""Texts to points, a row each."""
VOCABULARY: Final = 2000
NEIGHBOURS: Final = 5


def encoder(name: str) -> Encode:
    """A model of sentence-transformers, by its folder or its name on the hub."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise MissingExtra("an encoder of meanings", "sentence-transformers", "diversity") from None
    model = SentenceTransformer(name)
    return lambda texts: np.asarray(model.encode(list(texts), show_progress_bar=False), dtype=float)


def points(texts: Sequence[str], encode: Encode | None = None) -> Array:
    """Each text as a point on the unit sphere."""
    raw = weighed_words(texts) if encode is None else encode(texts)
    lengths = np.linalg.norm(raw, axis=1, keepdims=True)
    found: Array = np.divide(raw, lengths, out=np.zeros_like(raw, dtype=float), where=lengths > 0)
    return found


def weighed_words(texts: Sequence[str]) -> Array:
    """TF-IDF of words and pairs of words. Not brought down to fewer directions, as is usual: the strongest
    ones are those of answers that are repeated, and repeating would look like variety.
    """
    bags = [Counter(words + ngrams(words, 2)) for words in map(words_of, texts)]
    in_texts = Counter(gram for bag in bags for gram in bag)
    # Of equally frequent ones the first in the alphabet, not the first met: that favours who wrote first.
    often = sorted((-times, gram) for gram, times in in_texts.items() if times > 1)[:VOCABULARY]
    known = {gram: at for at, (_, gram) in enumerate(often)}
    cells = np.zeros((len(texts), max(1, len(known))))
    for row, bag in enumerate(bags):
        for gram, times in bag.items():
            if gram in known:
                cells[row, known[gram]] = (1 + math.log(times)) * math.log(1 + len(texts) / in_texts[gram])
    return cells


def apart(alike: Array) -> float:
    """One minus the mean cosine of two different answers, from the cosines of all."""
    n = len(alike)
    return float(1 - (alike.sum() - np.trace(alike)) / (n * (n - 1))) if n > 1 else math.nan


def distances(some: Array, others: Array) -> Array:
    # Rounded, so that equal answers are at no distance, whatever the order in which they were added up.
    found: Array = np.sqrt(np.maximum(0.0, 2 - 2 * some @ others.T)).round(6)
    return found


def radii(within: Array) -> Array:
    """How far from each point its fifth neighbour lies, from their distances to each other."""
    at = min(NEIGHBOURS, len(within) - 1)
    found: Array = np.partition(within, at, axis=1)[:, at]
    return found


def covered(of: Array, by: Array) -> float:
    """Share of the points that lie as near to one of the others as that one's fifth neighbour; `of` are the
    distances from each to each other, `by` the others' radii. Of real points: recall. By them: precision.
    """
    return float((of <= by).any(axis=1).mean())


def kinds(alike: Array) -> float:
    """How many quite different answers would be as varied as these: the exponential of the entropy of their
    cosines' eigenvalues (Vendi score, Friedman and Dieng 2023).
    """
    if not len(alike):
        return math.nan
    share = np.linalg.eigvalsh(alike / len(alike))
    share = share[share > 1e-12]
    return float(np.exp(-(share @ np.log(share))))
