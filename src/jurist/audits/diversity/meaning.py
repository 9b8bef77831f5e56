"""How varied meanings are: answers as points, near each other where they say the same.

Without an encoder a point is an answer's weighed words (TF-IDF), brought down to fifty directions; with one
it is what the encoder makes of it. Precision and recall are those of Kynkäänniemi et al. 2019, with which
Alemohammad et al. 2023 watch a loop contract.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from ...errors import MissingExtra
from ..columns import Array
from .words import ngrams, words_of

Encode = Callable[[Sequence[str]], Array]
"""Texts to points, a row each."""
DIRECTIONS: Final = 50
VOCABULARY: Final = 2000
NEIGHBOURS: Final = 5
KINDS: Final = 20


def encoder(name: str) -> Encode:
    """A model of sentence-transformers, by its folder or its name on the hub."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise MissingExtra("an encoder of meanings", "sentence-transformers", "diversity") from None
    model = SentenceTransformer(name)
    return lambda texts: np.asarray(model.encode(list(texts), show_progress_bar=False), dtype=float)


def points(texts: Sequence[str], encode: Encode | None = None, seed: int = 0) -> Array:
    """Each text as a point on the unit sphere."""
    raw = weighed_words(texts, seed) if encode is None else encode(texts)
    lengths = np.linalg.norm(raw, axis=1, keepdims=True)
    found: Array = np.divide(raw, lengths, out=np.zeros_like(raw, dtype=float), where=lengths > 0)
    return found


def weighed_words(texts: Sequence[str], seed: int = 0) -> Array:
    """TF-IDF of words and pairs of words in the directions in which they differ most."""
    bags = [Counter(words + ngrams(words, 2)) for words in map(words_of, texts)]
    in_texts = Counter(gram for bag in bags for gram in bag)
    known = {gram: at for at, (gram, _) in enumerate(in_texts.most_common(VOCABULARY))}
    cells = np.zeros((len(texts), max(1, len(known))))
    for row, bag in enumerate(bags):
        for gram, times in bag.items():
            if gram in known:
                cells[row, known[gram]] = (1 + math.log(times)) * math.log(1 + len(texts) / in_texts[gram])
    return _main_directions(cells, seed)


def _main_directions(cells: Array, seed: int) -> Array:
    """A randomised singular value decomposition (Halko et al. 2011), two power steps."""
    width = min(DIRECTIONS + 10, *cells.shape)
    span = cells @ np.random.default_rng(seed).normal(size=(cells.shape[1], width))
    for _ in range(2):
        span, _ = np.linalg.qr(cells @ (cells.T @ span))
    span, _ = np.linalg.qr(span)
    left, sizes, _ = np.linalg.svd(span.T @ cells, full_matrices=False)
    directions: Array = (span @ left * sizes)[:, :DIRECTIONS]
    return directions


def apart(spots: Array) -> float:
    """One minus the mean cosine of two different answers."""
    n = len(spots)
    if n < 2:
        return math.nan
    together = np.square(spots.sum(axis=0)).sum() - np.square(spots).sum()
    return float(1 - together / (n * (n - 1)))


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


def kinds(spots: Array, seed: int = 0, among: Array | None = None) -> Array:
    """Which kind each answer is of: k-means on `among`, all of them unless told."""
    dice = np.random.default_rng(seed)
    learnt = spots if among is None else spots[among]
    middles = learnt[dice.permutation(len(learnt))[: max(2, min(KINDS, len(learnt) // 10))]]
    for _ in range(15):
        own = (learnt @ middles.T).argmax(axis=1)
        held = np.bincount(own, minlength=len(middles))[:, None]
        sums = np.stack([learnt[own == at].sum(axis=0) for at in range(len(middles))])
        middles = np.where(held > 0, sums / np.maximum(1, held), middles)
        middles = middles / np.maximum(1e-9, np.linalg.norm(middles, axis=1, keepdims=True))
    found: Array = (spots @ middles.T).argmax(axis=1)
    return found


def effective(own: Array) -> float:
    """How many kinds there are, were all of them equally frequent: the exponential of their entropy."""
    share = np.bincount(own) / max(1, len(own))
    share = share[share > 0]
    return float(np.exp(-(share @ np.log(share)))) if len(share) else math.nan
