"""One judge against another: on what people said, and where both gave scores, on the scores themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, islice
from typing import Final

import numpy as np

from ...stats.intervals import clustered_mean, clustered_share, mcnemar
from ..finding import Finding, Grade
from ..humans import AgainstHumans
from ..sheet import Array, Sheet
from ..words import count, measured, percent, points, span

MOST: Final = 10
"""Pairs of judges whose scores are held against each other."""


def better_judge(judges: Sequence[AgainstHumans]) -> list[Finding]:
    """The judge that is right most often against each of the others, on the matchups that both read."""
    decided = [one.decided for one in judges]
    ranked = sorted((one for one in decided if len(one)), key=lambda one: (-one.right.mean(), one.name))
    return [found for other in ranked[1:] for found in _compared(ranked[0], other)]


def _compared(best: AgainstHumans, other: AgainstHumans) -> Iterator[Finding]:
    _, ours, theirs = np.intersect1d(best.item, other.item, return_indices=True)
    if len(ours) < 2:
        return
    right, wrong = best.right[ours], other.right[theirs]
    one, two = int((right > wrong).sum()), int((right < wrong).sum())
    ahead = clustered_mean(right - wrong, best.prompt[ours], weights=best.weight[ours])
    p = mcnemar(one, two)
    told = ahead.low > 0 or ahead.high < 0
    says = (
        f"On {count(len(ours), 'matchup')} that both read, {best.name} is right {points(ahead.value)} more "
        f"often than {other.name} (95% interval {points(ahead.low)} to {points(ahead.high)}): only the one "
        f"is right in {one}, only the other in {two}; chance alone would do that with probability {p:.2g} "
        "(McNemar's test, mid-p)."
    )
    grade: Grade = "note" if told else "fine"
    advice = (
        f"Prefer {best.name}, or weigh both with people's labels: --labels FILE"
        if told
        else "To tell them apart takes more labels; how many: jurist plan RUN"
    )
    yield measured(
        "agreement.better_judge", f"{best.name} against {other.name}", says, grade, ahead, 0.0, advice=advice
    )


def scores_apart(sheet: Sheet) -> list[Finding]:
    """Two judges that scored the same answers: one's six may be the other's seven."""
    scores = sheet.scores
    judges = np.unique(scores.judge[~np.isnan(scores.score)]).tolist()
    found: list[Finding] = []
    for one, other in islice(combinations(judges, 2), MOST):
        found += _scores_apart(sheet, one, other)
    return found


def _scores_apart(sheet: Sheet, one: int, other: int) -> Iterator[Finding]:
    ours, theirs = _mean_scores(sheet, one), _mean_scores(sheet, other)
    both = np.flatnonzero(~np.isnan(ours) & ~np.isnan(theirs))
    if len(both) < 2:
        return
    apart, prompts = ours[both] - theirs[both], sheet.answers.prompt[both]
    gap, same = clustered_mean(apart, prompts), clustered_share((apart == 0).astype(float), prompts)
    names = sheet.judges[one], sheet.judges[other]
    about = f"{names[0]} against {names[1]}"
    says = (
        f"On the same {count(len(both), 'answer')} {names[0]} scores {abs(gap.value):.2f} "
        f"{'higher' if gap.value >= 0 else 'lower'} than {names[1]} (95% interval of the difference "
        f"{gap.low:.2f} to {gap.high:.2f})."
    )
    grade: Grade = "note" if gap.low > 0 or gap.high < 0 else "fine"
    advice = (
        "" if grade == "fine" else "Compare scores of one judge only with each other, never across judges"
    )
    yield measured("agreement.score_gap", about, says, grade, gap, 0.0, advice=advice, unit="number")
    exact = (
        f"{names[0]} and {names[1]} give an answer the same score in {percent(same.value)} of the cases "
        f"({span(same)})."
    )
    yield measured("agreement.same_score", about, exact, "note", same)


def _mean_scores(sheet: Sheet, judge: int) -> Array:
    """Its mean score of each answer, nan where it gave none."""
    scores, n = sheet.scores, len(sheet.answers)
    own = (scores.judge == judge) & ~np.isnan(scores.score)
    counts = np.bincount(scores.answer[own], minlength=n)
    sums = np.bincount(scores.answer[own], scores.score[own], minlength=n)
    means: Array = np.divide(sums, counts, out=np.full(n, np.nan), where=counts > 0)
    return means
