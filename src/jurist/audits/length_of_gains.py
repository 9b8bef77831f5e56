"""How much of what a policy gains on another is length."""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec.structs import replace

from .finding import Chart, Finding, Point, Series
from .grade import at_most, graded
from .length_debt import FEWEST, LengthDebt, length_debt
from .sheet import Array, Sheet
from .words import count, measured, percent, points, span

TOLERATED: Final = 0.1
"""A difference of 10 points between the raw and the length-controlled win rate is where AlpacaEval warns."""
MOST: Final = 12
"""Policies that are set against the commonest one, those with most matchups first."""


def gains(sheet: Sheet) -> list[Finding]:
    """Every policy against the one that met most others, by the mean of all judges."""
    met = Met(sheet)
    if not met.others:
        return []
    found = {policy: debt for policy in met.others if (debt := met.debt(policy)) is not None}
    findings = [_said(sheet, met, policy, debt) for policy, debt in found.items()]
    if findings:
        findings[0] = _charted(sheet, met, found, findings[0])
    return findings


class Met:
    """Who met whom, with the mean of what all judges said."""

    def __init__(self, sheet: Sheet) -> None:
        opinions, matchups, policy = sheet.opinions, sheet.matchups, sheet.answers.policy
        read = ~np.isnan(opinions.p)
        row, place = np.unique(opinions.matchup[read], return_inverse=True)
        self.p = np.bincount(place, opinions.p[read]) / np.bincount(place) if len(row) else np.empty(0)
        self.first, self.second = policy[matchups.first[row]], policy[matchups.second[row]]
        self.prompt, self.prompts = matchups.prompt[row], len(sheet.prompts)
        self.chars = sheet.answers.chars[matchups.first[row]], sheet.answers.chars[matchups.second[row]]
        self.base, self.others = self._seeded(len(sheet.policies))

    def _seeded(self, policies: int) -> tuple[int, list[int]]:
        """The policy that met the most others, and those others."""
        table = np.zeros((policies, policies), dtype=np.int64)
        apart = self.first != self.second
        np.add.at(table, (self.first[apart], self.second[apart]), 1)
        table += table.T
        if not table.any():
            return 0, []
        enough = table >= FEWEST
        base = max(range(policies), key=lambda one: (enough[one].sum(), table[one].sum(), -one))
        others = sorted(np.flatnonzero(enough[base]).tolist(), key=lambda one: -table[base, one])
        return base, others[:MOST]

    def told_from(self, policy: int, against: Array) -> tuple[Array, Array]:
        """The rows in which it met one of those, and p that it won."""
        here, there = self.first == policy, self.second == policy
        rows = np.flatnonzero((here & against[self.second]) | (there & against[self.first]))
        return rows, np.where(here[rows], self.p[rows], 1 - self.p[rows])

    def debt(self, policy: int) -> LengthDebt | None:
        rows, p = self.told_from(policy, self._only(self.base))
        ours, theirs = (
            np.where(self.first[rows] == policy, self.chars[side][rows], self.chars[1 - side][rows])
            for side in (0, 1)
        )
        prompt = self.prompt[rows]
        ease = self._ease(policy, self.base) - self._ease(self.base, policy)
        return length_debt(p, ours, theirs, prompt, ease[prompt] if ease[prompt].any() else None)

    def _only(self, policy: int) -> Array:
        alone = np.zeros(int(max(self.first.max(), self.second.max())) + 1, dtype=bool)
        alone[policy] = True
        return alone

    def _ease(self, policy: int, but: int) -> Array:
        """How much better than usual it did on each prompt against anybody but this one; 0 where unknown."""
        others = ~self._only(but)
        others[policy] = False
        rows, p = self.told_from(policy, others)
        if not len(rows):
            return np.zeros(self.prompts)
        opponent = np.where(self.first[rows] == policy, self.second[rows], self.first[rows])
        usual = np.bincount(opponent, p) / np.maximum(np.bincount(opponent), 1)
        counts = np.bincount(self.prompt[rows], minlength=self.prompts)
        sums = np.bincount(self.prompt[rows], p - usual[opponent], minlength=self.prompts)
        ease: Array = sums / np.maximum(counts, 1)
        return ease


def _said(sheet: Sheet, met: Met, policy: int, debt: LengthDebt) -> Finding:
    who, base = (_name(sheet, one) for one in (policy, met.base))
    says = (
        f"{who} beats {base} in {percent(debt.raw.value)} of {count(debt.raw.n, 'prompt')}; between answers "
        f"of equal length it would in {percent(debt.corrected.value)} ({span(debt.corrected)}). Length "
        f"accounts for {points(debt.debt.value)} ({span(debt.debt)})."
    )
    grade = at_most(graded(debt.debt.low, debt.debt.high, 0.0, TOLERATED), "warning")
    advice = (
        f"Report the win rate at equal length, {percent(debt.corrected.value)}" if grade == "warning" else ""
    )
    return measured("length.debt", f"{who} against {base}", says, grade, debt.debt, 0.0, advice=advice)


def _charted(sheet: Sheet, met: Met, found: dict[int, LengthDebt], one: Finding) -> Finding:
    raw, even = (
        tuple(
            Point(_name(sheet, policy), rate.value, rate.low, rate.high, rate.n)
            for policy, debt in found.items()
            for rate in (debt.raw if side == "raw" else debt.corrected,)
        )
        for side in ("raw", "corrected")
    )
    chart = Chart(
        "bars",
        f"Win rate against {_name(sheet, met.base)}, and at equal length",
        (Series("as judged", raw), Series("at equal length", even)),
        y="win rate",
        mark=0.5,
        marked="even",
    )
    return replace(one, chart=chart)


def _name(sheet: Sheet, policy: int) -> str:
    return sheet.policies[policy] or "the unnamed policy"
