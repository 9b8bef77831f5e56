"""Does a judge favour answers of its own family?

Where people labelled the same pairs, by the equal-opportunity gap of Wataoka et al. (2024): how much more
often the judge agrees with people when they prefer its relative than when they prefer the other. Where
nobody did, by how much more often its relatives win with it than with judges of other families. Where there
is neither, the kinship itself is worth a warning.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np

from ..stats.intervals import clustered_mean
from .charts import bars, shown_by
from .families import Families, our_families
from .finding import Finding
from .grade import WRONG, at_most, graded
from .sheet import Array, Sheet
from .words import JUDGE_THEM, count, listed, measured, percent, points, silent, span

TOLERATED: Final = 0.05
"""Judges of GPT-4's day favoured their own by 10 to 25 points (Zheng et al. 2023); half of the least."""
FEWEST: Final = 10
"""Matchups of each kind, people for its own and people for the other, below which there is no gap to take."""
JURY: Final = "Ask a jury of families that wrote none of these answers, or have people label some of them"


def self_preference(sheet: Sheet, families: Families | None = None) -> list[Finding]:
    """For each judge that saw answers of its own family beside others."""
    table = families or our_families()
    policies = [table.of_policy(name) for name in sheet.policies]
    judges = [table.of_judge(name) for name in sheet.judges]
    if not len(sheet.opinions):
        said = "No judge gave a verdict on two answers."
        return [silent("self_preference.gap", said, JUDGE_THEM)]
    if not any(policies):
        said = "Who wrote the answers is not known, so neither is which are a judge's relatives."
        return [silent("self_preference.gap", said, "Name the author of each answer in a column: policy")]
    met = Met(sheet, policies, judges)
    found: list[Finding] = []
    for judge, family in enumerate(judges):
        matchup, p = met.own(judge, family)
        if len(matchup):
            found += _of_judge(met, judge, family, matchup, p)
    if found:
        return _charted(found)
    said = "No judge had to choose between an answer of its own family and another's."
    return [Finding("self_preference.gap", says=said, grade="fine", n=len(sheet.matchups))]


class Met:
    """Opinions by the families of the two answers that met."""

    def __init__(self, sheet: Sheet, policies: list[str], judges: list[str]) -> None:
        self.sheet, self.names = sheet, policies
        self._policies, self._judges = np.array(policies, dtype=object), judges

    def own(self, judge: int, family: str) -> tuple[Array, Array]:
        """The matchups with its own family on one side and another on the other, and p that its own won."""
        o = self.sheet.opinions
        mine = np.flatnonzero((o.judge == judge) & ~np.isnan(o.p))
        kin, known = self._policies == family, self._policies != ""
        first, second = (side[o.matchup[mine]] for side in self._sides)
        mixed = (kin[first] != kin[second]) & known[first] & known[second]
        matchup, p = o.matchup[mine][mixed], o.p[mine][mixed]
        return matchup, self.told(matchup, p, family)

    def told(self, matchup: Array, p: Array, family: str) -> Array:
        """p of the matchup's first, told from the family's answer."""
        own: Array = np.where((self._policies == family)[self._sides[0][matchup]], p, 1 - p)
        return own

    def unrelated(self) -> tuple[Array, Array]:
        """For each matchup the mean of what judges said that are related to neither answer; and how many."""
        o, n = self.sheet.opinions, len(self.sheet.matchups)
        asked = ~np.isnan(o.p)
        for judge, family in enumerate(self._judges):
            kin = self._policies == family
            asked &= (o.judge != judge) | ~(kin[self._sides[0]] | kin[self._sides[1]])[o.matchup]
        counts = np.bincount(o.matchup[asked], minlength=n)
        return np.bincount(o.matchup[asked], o.p[asked], minlength=n) / np.maximum(counts, 1), counts

    def kin(self, matchup: Array, family: str) -> list[str]:
        """Who of the family wrote answers here."""
        wrote = np.unique(np.concatenate([side[matchup] for side in self._sides])).tolist()
        return [self.sheet.policies[one] for one in wrote if self.names[one] == family]

    @cached_property
    def _sides(self) -> tuple[Array, Array]:
        """Whose the two answers of each matchup are."""
        matchups, policy = self.sheet.matchups, self.sheet.answers.policy
        return policy[matchups.first], policy[matchups.second]


def _of_judge(met: Met, judge: int, family: str, matchup: Array, p: Array) -> list[Finding]:
    name = met.sheet.judges[judge]
    truth = met.told(matchup, met.sheet.human_p[matchup], family)
    decided = ~np.isnan(truth) & (truth != 0.5)
    if min((truth[decided] > 0.5).sum(), (truth[decided] < 0.5).sum()) >= FEWEST:
        return [_gap(met.sheet, name, family, matchup[decided], p[decided], truth[decided])]
    beside = _beside(met, name, family, matchup, p)
    return [_kin(met, name, family, matchup, measured=bool(beside)), *beside]


def _gap(sheet: Sheet, name: str, family: str, matchup: Array, p: Array, truth: Array) -> Finding:
    """P(judge says own | people say own) - P(judge says other | people say other)."""
    won = (1 + np.sign(np.round(p - 0.5, 9))) / 2
    theirs = truth > 0.5
    right_own, right_other = float(won[theirs].mean()), float(1 - won[~theirs].mean())
    n, k = len(won), int(theirs.sum())
    # What each row adds to the difference of the two shares.
    each = np.where(theirs, n / k * (won - right_own), -n / (n - k) * (1 - won - right_other))
    prompt = sheet.matchups.prompt[matchup]
    one = clustered_mean(each + right_own - right_other, prompt)
    more = clustered_mean(won - theirs, prompt)
    says = (
        f"Where people preferred the answer of its own family ({family}), {name} agreed {percent(right_own)} "
        f"of the time; where they preferred the other, {percent(right_other)}: a gap of {points(one.value)} "
        f"({span(one)}). Its own won {points(more.value)} more often with it than with people ({span(more)})."
    )
    # A better family also agrees more often where it wins; then it wins as often with people.
    grade = at_most(
        graded(one.low, one.high, 0.0, TOLERATED), graded(more.low, more.high, 0.0, TOLERATED / 2)
    )
    if one.value < 0:
        grade = at_most(grade, "note")
    advice = JURY if grade in WRONG else ""
    wrong = np.flatnonzero((won == 1) & ~theirs)[:5]
    examples = tuple(sheet.matchups.id[row] for row in matchup[wrong].tolist())
    return measured("self_preference.gap", name, says, grade, one, 0.0, advice=advice, examples=examples)


def _beside(met: Met, name: str, family: str, matchup: Array, p: Array) -> list[Finding]:
    """How much more often its own family wins with it than with judges related to neither answer."""
    mean, counts = met.unrelated()
    both = counts[matchup] > 0
    if both.sum() < 2 * FEWEST:
        return []
    theirs = met.told(matchup[both], mean[matchup[both]], family)
    one = clustered_mean(p[both] - theirs, met.sheet.matchups.prompt[matchup[both]])
    says = (
        f"On {count(int(both.sum()), 'matchup')}, answers of its own family ({family}) won "
        f"{percent(float(p[both].mean()))} with {name} and {percent(float(theirs.mean()))} with judges "
        f"related to neither answer: a difference of {points(one.value)} ({span(one)})."
    )
    grade = graded(one.low, one.high, 0.0, TOLERATED)
    if one.value < 0:
        grade = at_most(grade, "note")
    advice = JURY if grade in WRONG else ""
    return [measured("self_preference.excess", name, says, grade, one, 0.0, advice=advice)]


def _kin(met: Met, name: str, family: str, matchup: Array, *, measured: bool) -> Finding:
    """A relative was judged, and too few people labelled what would show whether it was favoured."""
    anybody = not np.isnan(met.sheet.human_p[matchup]).all()
    labelled = "too few people labelled" if anybody else "nobody labelled"
    says = (
        f"{name} judged answers of its own family ({family}: {listed(met.kin(matchup, family)[:3])}) beside "
        f"others in {count(len(matchup), 'matchup')}; {labelled} them to see whether it favours its own."
    )
    n = len(np.unique(met.sheet.matchups.prompt[matchup]))
    return Finding("self_preference.kin", name, says, "note" if measured else "warning", n, advice=JURY)


def _charted(found: list[Finding]) -> list[Finding]:
    """One chart of all judges that were measured, with the finding of the one with the widest gap."""
    told = [one for one in found if one.value is not None]
    if not told:
        return found
    chart = bars(
        "How much each judge favours its own family",
        "own family",
        told,
        y="difference of shares",
        mark=0.0,
        marked="not at all",
    )
    widest = max(told, key=lambda one: one.value or 0.0)
    return shown_by(widest, chart, found)
