"""How often two raters say the same, with and without what chance alone would give."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from .odds import mean


def agreement(ours: Iterable[Hashable], theirs: Iterable[Hashable]) -> float:
    """Share of items with the same label. A label of None was not read: the item is left out."""
    both = _labelled(ours, theirs)
    return sum(a == b for a, b in both) / len(both) if both else math.nan


def cohen_kappa(ours: Iterable[Hashable], theirs: Iterable[Hashable]) -> float:
    """Agreement beyond what their label frequencies alone would give (Cohen 1960). None is left out."""
    both = _labelled(ours, theirs)
    if not both:
        return math.nan
    n = len(both)
    seen = sum(a == b for a, b in both) / n
    one, other = Counter(a for a, _ in both), Counter(b for _, b in both)
    chance = sum(one[label] * other[label] for label in one) / (n * n)
    # Both used one label throughout: there is nothing to agree about beyond chance.
    return math.nan if chance == 1.0 else (seen - chance) / (1 - chance)


def _labelled(ours: Iterable[Hashable], theirs: Iterable[Hashable]) -> list[tuple[Hashable, Hashable]]:
    return [(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]


def correlation(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Pearson's r; `nan` where one of the two never varies."""
    if len(xs) < 2:
        return math.nan
    mx, my = mean(xs), mean(ys)
    xx = math.fsum((x - mx) ** 2 for x in xs)
    yy = math.fsum((y - my) ** 2 for y in ys)
    xy = math.fsum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True))
    # Rounding leaves dust where a constant was meant.
    if xx <= 1e-24 * len(xs) or yy <= 1e-24 * len(ys):
        return math.nan
    return max(-1.0, min(1.0, xy / math.sqrt(xx * yy)))


def effective_jurors(k: int, rho: float) -> float:
    """k judges whose errors correlate by rho are worth this many independent ones: k / (1 + (k - 1) rho)."""
    # Errors that repel each other would promise more jurors than there are; we do not count on that.
    return k / (1 + (k - 1) * max(rho, 0.0))
