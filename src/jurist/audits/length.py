"""Length bias: is the longer answer preferred because it is longer?

Humans prefer the longer of two answers about 65 times in 100, since a longer answer often says more. So a
share above one half shows nothing by itself: what counts is how much further a judge goes than humans do on
the same pairs. What length lends to a policy's wins is in `win_rates.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from ..stats.intervals import Estimate, clustered_mean, clustered_share
from .finding import Measure
from .sheet import Array, Sheet

ENOUGH: Final = 30
"""Prompts with human labels from which a judge is compared with humans, and not with what is usual."""


def length(sheet: Sheet) -> list[Measure]:
    """For humans, each judge and the labels."""
    longer = np.sign(sheet.longer_by).astype(float)
    if not longer.any():
        return [Measure("length.prefers_longer", missing="same" if len(sheet.matchups) else "no_matchup")]
    human = np.where(longer == 0, np.nan, (1 + longer * (2 * sheet.human_p - 1)) / 2)
    labelled = np.flatnonzero(~np.isnan(human))
    by_humans = clustered_share(human[labelled], sheet.matchups.prompt[labelled]) if len(labelled) else None
    measures = [
        one
        for name, matchup, p in _judges_and_labels(sheet)
        for one in _of_judge(sheet, name, matchup, p, longer, human, by_humans)
    ]
    if not measures:
        asked = len(sheet.verdicts) + len(sheet.scores)
        measures = [Measure("length.prefers_longer", missing="unread" if asked else "no_judge")]
    if by_humans is not None:
        found = Measure("length.human_prefers_longer", "", by_humans, {"of": len(labelled)})
        measures.insert(0, found)
    return measures


def _judges_and_labels(sheet: Sheet) -> Iterator[tuple[str, Array, Array]]:
    """A name, the matchups it decided, and p of their first."""
    opinions, labels = sheet.opinions, sheet.labels
    for judge in np.unique(opinions.judge).tolist():
        own = (opinions.judge == judge) & ~np.isnan(opinions.p)
        if own.any():
            yield sheet.judges[judge], opinions.matchup[own], opinions.p[own]
    if len(labels):
        yield "labels", labels.matchup, labels.p


def _of_judge(
    sheet: Sheet,
    name: str,
    matchup: Array,
    p: Array,
    longer: Array,
    human: Array,
    by_humans: Estimate | None,
) -> Iterator[Measure]:
    prompt, side = sheet.matchups.prompt[matchup], longer[matchup]
    toward = np.sign(np.round(p - 0.5, 9)) * side
    decided = toward != 0
    if not decided.any():
        yield Measure("length.prefers_longer", name, missing="ties")
        return
    share = clustered_share((toward[decided] > 0).astype(float), prompt[decided])
    both = np.flatnonzero(~np.isnan(human[matchup]))
    labelled = len(np.unique(prompt[both])) >= ENOUGH
    figures: dict[str, Any] = {"of": int(decided.sum()), "labelled": labelled, "unlabelled": not len(both)}
    figures |= {"elsewhere": True} if by_humans is None else {"mark": by_humans.value}
    if share.value < 0.5:
        # What is said against length does not help a judge that goes for the shorter.
        figures["advice_for"] = 0
    yield Measure("length.prefers_longer", name, share, figures)
    if len(both):
        yield _excess(sheet, name, matchup[both], (1 + (2 * p[both] - 1) * side[both]) / 2, human)


def _excess(sheet: Sheet, name: str, matchup: Array, p: Array, human: Array) -> Measure:
    """How much further than humans on the same pairs; p, as human, is that of the longer answer."""
    humans = human[matchup]
    excess = clustered_mean(p - humans, sheet.matchups.prompt[matchup], most=1.0)
    figures = {"of": len(matchup), "p": float(p.mean()), "human": float(humans.mean())}
    against = np.flatnonzero((p > 0.5) & (humans < 0.5))
    widest = against[np.argsort(-np.abs(sheet.longer_by[matchup[against]]), kind="stable")[:5]]
    examples = tuple(sheet.matchups.id[row] for row in matchup[widest].tolist())
    return Measure("length.excess", name, excess, figures, examples)
