"""Do the labels say what people would say? Beside how often people say the same as each other, and what a
judge that only looks at the length would come to.
"""

from __future__ import annotations

import numpy as np

from ..finding import Finding
from ..humans import human_votes, judge_against_humans
from ..sheet import Sheet
from ..words import silent
from .alternative import Kind, alternative
from .among import among_judges
from .between import better_judge, scores_apart
from .estimates import label_error, win_rates
from .judges import of_judge, of_people

__all__ = ["Kind", "agreement"]


def agreement(sheet: Sheet, *, people_are: Kind = "skilled") -> list[Finding]:
    """Judges and labels against people, and judges against each other."""
    people = human_votes(sheet)
    apart = [*among_judges(sheet), *scores_apart(sheet)]
    if not len(people):
        says = "No person has labelled any of these matchups, so nobody knows how often the judges are right."
        advice = (
            "Draw some to label: jurist spotcheck RUN -n 200 --out spot.jsonl, "
            "then: jurist audit RUN --human spot.jsonl"
        )
        return [silent("agreement.accuracy", says, advice), *apart]
    found = of_people(people)
    judges = [
        judge_against_humans(sheet, people, judge) for judge in np.unique(sheet.opinions.judge).tolist()
    ]
    for one in judges:
        found += of_judge(sheet, people, one)
        found += alternative(people, one, people_are)
    found += better_judge(judges)
    return [*found, *label_error(sheet, people), *win_rates(sheet, people), *apart]
