"""Which labels a person should read, so that a few hundred tell of a million.

Labels are put into strata: domain, stakes, how sure the label is, and whether the longer answer won. Each
stratum gets its share by size and by how uncertain its labels are (Neyman 1934), and never fewer than a few,
so that small domains are seen too. A label stands for as many as its stratum has for each one drawn: that
weight goes with it, and whoever estimates from these labels has to use it. The draw follows from content and
seed, whatever order the run was written in.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import numpy as np

from .sheet import Array, Sheet

FEWEST: Final = 2
"""Of each stratum, so that its spread can be seen."""
SURE: Final = (0.6, 0.8)
"""Where confidence is cut into little, some and much."""
LONGER: Final = 0.2
"""From what part of their mean length one answer counts as longer than the other."""
LEAST_ERROR: Final = 0.1
"""No stratum is taken to be surer than this: judges say 1 too easily."""


@dataclass(frozen=True)
class Drawn:
    """In the order in which they should be read: one who stops half-way has seen a sample all the same."""

    matchup: Array
    weight: Array
    of: int
    """How many labels there are."""
    strata: int


def draw(sheet: Sheet, n: int, seed: int = 0) -> Drawn:
    """n of the labels, or of the matchups that were read where no labels were made."""
    matchup, p = _decided(sheet)
    if not len(matchup) or n < 1:
        return Drawn(np.empty(0, dtype=np.int64), np.empty(0), len(matchup), 0)
    stratum = _strata(sheet, matchup, p, n)
    sizes = np.bincount(stratum)
    unsure = np.bincount(stratum, np.minimum(p, 1 - p)) / sizes
    error = np.clip(unsure, LEAST_ERROR, 0.5)
    shares = allot(sizes, sizes * np.sqrt(error * (1 - error)), n)
    lots = _lots(sheet, matchup, seed)
    order = np.lexsort((lots, stratum))
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    taken = order[place < np.repeat(shares, sizes)]
    taken = taken[np.argsort(lots[taken], kind="stable")]
    weight = (sizes / np.maximum(shares, 1))[stratum[taken]]
    return Drawn(matchup[taken], weight, len(matchup), len(sizes))


def allot(sizes: Array, wanted: Array, n: int) -> Array:
    """How many of each stratum: a few of every one, the rest in proportion, no more than there are."""
    n = min(n, int(sizes.sum()))
    least = np.minimum(sizes, FEWEST)
    if least.sum() > n:
        least = np.zeros_like(sizes)
    given = least.astype(float)
    open_ = given < sizes
    while open_.any() and given.sum() < n - 1e-9:
        more = np.where(open_, wanted, 0.0)
        given = np.minimum(sizes, given + (n - given.sum()) * more / more.sum())
        open_ = given < sizes - 1e-12
    whole = np.floor(given + 1e-9).astype(np.int64)
    short = n - int(whole.sum())
    rest = np.where(whole < sizes, given - whole, -1.0)
    whole[np.argsort(-rest, kind="stable")[:short]] += 1
    return whole


def _decided(sheet: Sheet) -> tuple[Array, Array]:
    if len(sheet.labels):
        matchup, at = np.unique(sheet.labels.matchup, return_index=True)
        return matchup, sheet.labels.p[at]
    p = sheet.mean_opinion
    read = np.flatnonzero(~np.isnan(p))
    return read, p[read]


def _strata(sheet: Sheet, matchup: Array, p: Array, n: int) -> Array:
    """A number for each; the finest division of which every part can have its few."""
    prompt = sheet.matchups.prompt[matchup]
    domain, high = sheet.prompts.domain[prompt], sheet.prompts.high[prompt].astype(np.int64)
    sure = np.digitize(np.maximum(p, 1 - p), SURE)
    chars = sheet.answers.chars
    first, second = chars[sheet.matchups.first[matchup]], chars[sheet.matchups.second[matchup]]
    gap = (first - second) / np.maximum((first + second) / 2, 1) * np.sign(p - 0.5)
    longer = np.digitize(gap, (-LONGER, LONGER))
    parts = [domain, high, sure, longer]
    stratum = np.zeros(len(matchup), dtype=np.int64)
    for many in range(len(parts), 0, -1):
        name = np.zeros(len(matchup), dtype=np.int64)
        for part in parts[:many]:
            name = name * (int(part.max()) + 1) + part
        kinds, stratum = np.unique(name, return_inverse=True)
        if 2 * FEWEST * len(kinds) <= n:
            return stratum
    # More domains than labels: then the draw is a plain one.
    return stratum if len(kinds) * FEWEST <= n else np.zeros(len(matchup), dtype=np.int64)


def _lots(sheet: Sheet, matchup: Array, seed: int) -> Array:
    """A random number for each that follows from its content and the seed."""
    salt = str(seed).encode()
    ids = sheet.matchups.id
    made = (blake2b(ids[one].encode(), digest_size=8, key=salt).digest() for one in matchup.tolist())
    return np.frombuffer(b"".join(made), dtype=">u8").astype(np.uint64)
