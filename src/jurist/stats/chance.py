"""Agreement beyond chance, from sums of counts: so a jackknife can leave out a part and count again at once.

Kappa (Cohen 1960) and AC1 (Gwet 2008) take a table of two raters, one row and one column a label. Alpha
(Krippendorff 2004) takes any number of raters, each of whom may have skipped items.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from .clusters import Estimate
from .intervals import clopper_pearson
from .special import student

Array = np.ndarray[Any, Any]

Statistic = Callable[[Array], Array]
BLOCKS = 200
"""Clusters are left out in so many groups: enough for an interval, whatever the number of rows."""


def kappa(table: Array) -> Array:
    """Of one table, or of many stacked on each other."""
    n, seen = _seen(table)
    return _beyond(seen, (table.sum(-1) * table.sum(-2)).sum(-1) / n**2)


def ac1(table: Array) -> Array:
    """Gwet's coefficient: unlike kappa it stays where it was when nearly all labels are the same."""
    n, seen = _seen(table)
    share = (table.sum(-1) + table.sum(-2)) / (2 * n[..., None])
    return _beyond(seen, (share * (1 - share)).sum(-1) / (table.shape[-1] - 1))


def ac2(table: Array, labels: Array) -> Array:
    """AC1 for labels that are numbers: near ones half agree, by the square of their distance (Gwet 2014)."""
    apart = (labels[:, None] - labels[None, :]) ** 2
    near = 1 - apart / apart.max()
    n, _ = _seen(table)
    share = (table.sum(-1) + table.sum(-2)) / (2 * n[..., None])
    q = table.shape[-1]
    chance = near.sum() * (share * (1 - share)).sum(-1) / (q * (q - 1))
    return _beyond((table * near).sum((-1, -2)) / n, chance)


def _seen(table: Array) -> tuple[Array, Array]:
    """How many there are (nan where there is none), and the share on which both say the same."""
    n = np.asarray(table.sum((-1, -2)), dtype=float)
    n = np.where(n > 0, n, np.nan)
    return n, np.trace(table, axis1=-2, axis2=-1) / n


def _beyond(seen: Array, chance: Array) -> Array:
    """nan where chance alone agrees always: then there is nothing to agree about."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(chance < 1, (seen - chance) / (1 - chance), np.nan))


def alpha(items: Array, values: Array, level: Literal["nominal", "interval"] = "nominal") -> float:
    """Krippendorff's alpha of ratings, one row for each rater and item; what is missing has no row."""
    return float(alpha_of(alpha_parts(items, values, level).sum(axis=0), level))


def alpha_parts(items: Array, values: Array, level: Literal["nominal", "interval"]) -> Array:
    """What each item adds to alpha, in the order of its number; items rated once add nothing."""
    items, values = items[~np.isnan(values)], values[~np.isnan(values)]
    names, item = np.unique(items, return_inverse=True)
    m = np.bincount(item, minlength=len(names)).astype(float)
    paired = (m > 1).astype(float)
    if level == "interval":
        sums, squares = np.bincount(item, values), np.bincount(item, values**2)
        apart = 2 * (m * squares - sums**2) / np.maximum(m - 1, 1)
        return np.asarray(np.stack([apart, m, sums, squares], axis=1) * paired[:, None])
    labels, label = np.unique(values, return_inverse=True)
    said = np.bincount(item * len(labels) + label, minlength=len(names) * len(labels))
    said = said.reshape(len(names), len(labels)).astype(float)
    apart = (m**2 - (said**2).sum(axis=1)) / np.maximum(m - 1, 1)
    return np.asarray(np.concatenate([apart[:, None], said], axis=1) * paired[:, None])


def alpha_of(sums: Array, level: Literal["nominal", "interval"] = "nominal") -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        if level == "interval":
            apart, n, total, squares = (sums[..., i] for i in range(4))
            expected = 2 * (n * squares - total**2) / (n - 1)
            # Rounding leaves dust where every rating was the same.
            expected = np.where(expected > 1e-12 * np.abs(squares), expected, np.nan)
        else:
            apart, said = sums[..., 0], sums[..., 1:]
            n = said.sum(axis=-1)
            expected = (n**2 - (said**2).sum(axis=-1)) / (n - 1)
            expected = np.where(expected > 0, expected, np.nan)
        return np.asarray(1 - apart / expected)


def in_blocks(parts: Array, clusters: Array) -> Array:
    """The parts of the same cluster together, and clusters in at most so many blocks."""
    _, row = np.unique(clusters, return_inverse=True)
    block = row % BLOCKS
    flat = parts.reshape(len(parts), -1)
    size = int(block.max(initial=-1)) + 1
    sums = [np.bincount(block, flat[:, i], minlength=size) for i in range(flat.shape[1])]
    return np.stack(sums, axis=1).reshape(size, *parts.shape[1:])


def jackknifed(blocks: Array, statistic: Statistic, n: int, level: float = 0.95) -> Estimate:
    """A statistic of sums, with the interval that leaving out one block after another gives."""
    whole = blocks.sum(axis=0)
    value = float(statistic(whole))
    left = statistic(whole - blocks)
    left = left[~np.isnan(left)]
    g = len(left)
    if g < 2:
        return Estimate(value, float("-inf"), float("inf"), n)
    if value > 1 - 1e-12:
        # Nothing varies, and few labels are only few: one disagreement costs about two where chance has half.
        return Estimate(value, 1 - 2 * clopper_pearson(0, n, level)[1], 1.0, n)
    # What is left to perfect agreement is a ratio, whose logarithm is more nearly normal.
    rest = np.log(np.maximum(1 - left, 1e-12))
    reach = student(level, g - 1) * float(np.sqrt((g - 1) / g * ((rest - rest.mean()) ** 2).sum()))
    return Estimate(value, 1 - (1 - value) * float(np.exp(reach)), 1 - (1 - value) * float(np.exp(-reach)), n)
