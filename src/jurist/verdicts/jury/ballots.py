"""One pass over a jury's opinions, and what it leaves behind.

Only what people labelled is kept row by row, in flat arrays; for Dawid-Skene the rest is counted by
pattern. A million matchups take no more memory than ten thousand.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import DataError
from ...stats.intervals import mean
from ..dawid_skene import MISSING
from ..opinion import Opinion
from .members import answer_of
from .weights import EVEN

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Gold = Mapping[str, "Opinion | float"]
"""People's labels by matchup id: an Opinion, aligned by completion ids, or p as seen from the first
opinion's seats.
"""


class Ballots:
    """What one pass over the opinions leaves behind."""

    def __init__(self, keep_patterns: bool) -> None:
        self.keep_patterns = keep_patterns
        self.place: dict[str, int] = {}
        self.gaps: list[list[float]] = []
        self.unread: list[int] = []
        self.patterns: Counter[tuple[tuple[int, ...], float | None]] = Counter()
        self.labels = array("d")
        self.row, self.judge = array("q"), array("q")
        self.p, self.gap = array("d"), array("d")

    def add(self, opinions: Sequence[Opinion], gold: Gold) -> None:
        head = opinions[0]
        label = label_of(gold.get(head.matchup_id), head)
        pattern = [MISSING] * len(self.place)
        for o in opinions:
            j = self.place.get(o.judge)
            if j is None:
                j = self.place[o.judge] = len(self.place)
                self.gaps.append([0.0, 0.0])
                self.unread.append(0)
                pattern.append(MISSING)
            if o.p_first is None:
                self.unread[j] += 1
                continue
            p, gap = o.p_first, o.position_gap
            if gap is not None:
                self.gaps[j][0] += gap
                self.gaps[j][1] += 1
            if o.first_id != head.first_id:
                p = 1.0 - p
            pattern[j] = answer_of(p)
            if label is not None:
                self.row.append(len(self.labels))
                self.judge.append(j)
                self.p.append(p)
                self.gap.append(abs(gap or 0.0))
        if label is not None:
            self.labels.append(label)
        if self.keep_patterns:
            self.patterns[tuple(pattern), label] += 1

    def table(self) -> tuple[Array, Array, Array]:
        """Labelled rows: p of each judge (nan: none), its seat gap, and the label (1: first is better)."""
        import numpy as np

        shape = (len(self.labels), len(self.place))
        p, gap = np.full(shape, np.nan), np.zeros(shape)
        rows, judges = np.asarray(self.row), np.asarray(self.judge)
        if len(rows):
            p[rows, judges], gap[rows, judges] = np.asarray(self.p), np.asarray(self.gap)
        return p, gap, np.asarray(self.labels)


def label_of(said: Opinion | float | None, head: Opinion) -> float | None:
    """1 where people prefer the first seat, 0 the second; None where they are split or silent."""
    p = said.p_first if isinstance(said, Opinion) else said
    if p is None or abs(p - 0.5) < EVEN:
        return None
    # A label without completion ids was given to the matchup as it came.
    if isinstance(said, Opinion) and said.first_id and said.first_id != head.first_id:
        if said.first_id != head.second_id:
            raise DataError(
                f"the label of matchup {head.matchup_id} is about completion {said.first_id}, not one of the "
                "two; make the labels again from this run's matchups"
            )
        p = 1.0 - p
    return 1.0 if p > 0.5 else 0.0


def answers(p: Array) -> Array:
    """0 where p favours the first seat, 1 the second, 2 neither; nan where there is no p."""
    import numpy as np

    named = np.where(p > 0.5 + EVEN, 0.0, np.where(p < 0.5 - EVEN, 1.0, 2.0))
    return np.where(np.isnan(p), np.nan, named)


def sided(p: Array, y: Array) -> Array:
    """1 where the judge sided with people, 0 where not, a half where it named neither, nan where unread."""
    import numpy as np

    said, truth = answers(p), np.where(y > 0.5, 0.0, 1.0)[:, None]
    return np.where(np.isnan(said), np.nan, np.where(said == 2, 0.5, said == truth))


def error_correlation(right: Array) -> float | None:
    """Mean correlation of the judges' errors, over the pairs of judges for which there is one."""
    import numpy as np

    found = []
    for a in range(right.shape[1]):
        for b in range(a):
            both = ~np.isnan(right[:, a]) & ~np.isnan(right[:, b])
            x, z = right[both, a], right[both, b]
            if len(x) > 2 and x.std() > 0 and z.std() > 0:
                found.append(float(np.corrcoef(x, z)[0, 1]))
    return mean(found) if found else None


def average(values: Array) -> float | None:
    import numpy as np

    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else None
