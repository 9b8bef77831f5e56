"""What judges and labels say of the same matchups, and how often they agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct

from ..records import Verdict, is_human
from ..stats.fits import Array
from ..stats.intervals import clustered_share, mean
from .cases import key_of
from .settle import Opinion

EVEN: Final = 1e-9
"""A p this close to a half is a half: adding up two orders leaves dust."""
UNSAID: Final = -1
MOST: Final = 30_000
"""Labelled matchups that are learnt from; of more, those whose ids hash lowest."""


class Agreement(Struct, frozen=True):
    """How often a judge agrees with labels that name one side; its ties count half."""

    accuracy: float
    low: float
    high: float
    """The 95 % interval, in which a prompt counts once."""
    n: int


def answer_of(p: float) -> int:
    """0 for first, 1 for second, 2 for a tie."""
    return 0 if p > 0.5 + EVEN else 1 if p < 0.5 - EVEN else 2


def answers_of(p: Array) -> Array:
    """`answer_of` for an array; `UNSAID` where there is no p."""
    named = np.where(p > 0.5 + EVEN, 0, np.where(p < 0.5 - EVEN, 1, 2))
    return np.where(np.isnan(p), UNSAID, named)


class Labelled(NamedTuple):
    """What judges said of labelled matchups, one row each, told from the completion with the lower id."""

    judges: tuple[str, ...]
    p: Array
    """[row, judge]; nan where nothing was read."""
    prompt: Array
    fit: Array
    """Mean of the labels to learn from, 1 for first; nan where there is none."""
    human: Array
    file: Array
    human_agreement: float | None
    """How often two humans who labelled the same matchup said the same."""


class _Row:
    """One labelled matchup."""

    __slots__ = ("labels", "prompt", "said")

    def __init__(self, prompt_id: str) -> None:
        self.prompt = key_of(prompt_id)
        self.said: dict[str, float] = {}
        self.labels: dict[tuple[str, int], tuple[float, bool]] = {}


class LabelTable:
    """Filled in one pass over a run; takes the same memory for any number of matchups."""

    def __init__(self, judges: Iterable[str] = (), count_patterns: bool = False) -> None:
        self.judges = {judge: j for j, judge in enumerate(judges)}
        self.patterns: Counter[tuple[int, ...]] = Counter()
        """How often the judges answered so, over all matchups: what Dawid-Skene learns from."""
        self._rows: dict[str, _Row] = {}
        self.counts_patterns, self._limit = count_patterns, 1 << 64

    def add(
        self, prompt_id: str, opinions: Sequence[Opinion], labels: Sequence[tuple[Verdict, bool]] = ()
    ) -> None:
        """One matchup: an opinion of each judge, and labels with whether to learn from them.

        A matchup may come again with more labels; the last one of each annotator counts.
        """
        said = {o.judge: _told(o) for o in opinions if o.p_first is not None}
        for o in opinions:
            self.judges.setdefault(o.judge, len(self.judges))
        if self.counts_patterns:
            answers = ((answer_of(said[judge]) if judge in said else UNSAID) for judge in self.judges)
            self.patterns[tuple(answers)] += 1
        for label, fits in labels:
            if label.p_first is not None and key_of(label.matchup_id) < self._limit:
                row = self._rows.setdefault(label.matchup_id, _Row(prompt_id))
                row.labels[label.judge, label.sample] = _told(label), fits
                row.said = said
        if len(self._rows) > MOST:
            keys = {name: key_of(name) for name in self._rows}
            self._limit = sorted(keys.values())[MOST // 2]
            self._rows = {name: row for name, row in self._rows.items() if keys[name] < self._limit}

    def labelled(self) -> Labelled:
        """The labelled matchups as columns."""
        shape = len(self._rows), len(self.judges)
        p, y = np.full(shape, np.nan), np.full((shape[0], 3), np.nan)
        same = pairs = 0
        for at, row in enumerate(self._rows.values()):
            for judge, said in row.said.items():
                p[at, self.judges[judge]] = said
            humans = [value for (judge, _), (value, _) in row.labels.items() if is_human(judge)]
            files = [value for (judge, _), (value, _) in row.labels.items() if not is_human(judge)]
            y[at] = mean(value for value, fits in row.labels.values() if fits), mean(humans), mean(files)
            same += sum(n * (n - 1) for n in Counter(map(answer_of, humans)).values())
            pairs += len(humans) * (len(humans) - 1)
        prompts = np.array([row.prompt for row in self._rows.values()], dtype=np.uint64)
        fit, human, file = y.T
        return Labelled(tuple(self.judges), p, prompts, fit, human, file, same / pairs if pairs else None)


def _told(said: Opinion | Verdict) -> float:
    """p, told from the completion with the lower id."""
    p = said.p_first or 0.0
    return p if said.first_id <= said.second_id else 1.0 - p


def agrees_with_labels(lean: Array, y: Array) -> Array:
    """1 where a judge that leans to first (above 0) or second agrees with the label, a half where it names
    neither; nan where it was not read, or the label names neither.
    """
    side, wanted = (np.where(np.abs(x) < EVEN, 0.0, np.sign(x)) for x in (lean, y - 0.5))
    agrees = np.where(side == 0, 0.5, side == wanted)
    return np.where(np.isnan(side) | np.isnan(wanted) | (wanted == 0), np.nan, agrees)


def measure_agreement(lean: Array, y: Array, prompts: Array, level: float = 0.95) -> Agreement | None:
    """None where there is no label to agree with."""
    agrees = agrees_with_labels(lean, y)
    read = ~np.isnan(agrees)
    found = clustered_share(agrees[read], prompts[read], level)
    return Agreement(found.value, found.low, found.high, int(read.sum())) if read.any() else None


def measure_agreements(seen: Labelled, leans: Mapping[str, Array]) -> dict[str, dict[str, Agreement]]:
    """With `human` labels and with `file` labels, of each judge about which there is one."""
    found: dict[str, dict[str, Agreement]] = {}
    for kind, y in (("human", seen.human), ("file", seen.file)):
        for judge, lean in leans.items():
            one = measure_agreement(lean, y, seen.prompt)
            if one is not None:
                found.setdefault(kind, {})[judge] = one
    return found
