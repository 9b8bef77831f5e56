"""Attacks in anybody's answers: one text for many prompts, copied prompts, texts aimed at the judge, padding.

What counts is the share of the wins that they take, for that is what a policy learns. No word is exempt, and
refusals are not. Honest answers repeat too, but win about half of their matchups; so how often marked answers
win is reported beside, and whether humans prefer them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ..stats.intervals import Estimate, clustered_share
from .finding import Measure
from .sheet import Array, Sheet
from .texts import ABOUT_JUDGING, COPIED, INJECTED, INVISIBLE, REPETITIVE

NAMES: Final = ("constant", "same_answer", "copied_prompt", "injection", "padding")
SEVERAL: Final = 3
"""Prompts from which an answer is a repeated one."""
SHORT: Final = 30
"""Characters up to which answers repeat by chance."""
EXAMPLES: Final = 3
EXCERPT: Final = 80


Sides = tuple[Array, Array]
"""For each row of `Wins` whether its first and its second are marked."""


@dataclass(frozen=True)
class Wins:
    """A row for each decided verdict; its columns but the last two are rows of the sheet."""

    matchup: Array
    prompt: Array
    first: Array
    second: Array
    first_won: Array
    human_p: Array

    @property
    def winner(self) -> Array:
        return np.where(self.first_won, self.first, self.second)

    def sides(self, marked: Array) -> Sides:
        return marked[self.first], marked[self.second]

    def rate(self, sides: Sides, level: float = 0.95) -> Estimate:
        """How often marked answers win against others."""
        alone = sides[0] != sides[1]
        return clustered_share(np.where(self.first_won, *sides)[alone] * 1.0, self.prompt[alone], level)


def attacks(sheet: Sheet) -> list[Measure]:
    wins, marks = wins_of(sheet), sheet.answers.marks
    if not len(wins.matchup) or not len(marks):
        missing = "no_texts" if len(wins.matchup) else "no_wins"
        return [Measure(f"attacks.{name}", missing=missing) for name in NAMES]
    injected, copied, repetitive, about = (
        marks & bit > 0 for bit in (INJECTED, COPIED, REPETITIVE, ABOUT_JUDGING)
    )
    holds = sheet.matchups.holds[wins.matchup]
    return [
        _worst(sheet, wins, "constant", _repeated(sheet, wins)),
        _same_answer(sheet),
        _worst(sheet, wins, "copied_prompt", [wins.sides(copied)]),
        _worst(sheet, wins, "injection", [wins.sides(injected)], aside=int(about.sum()) or None),
        _worst(sheet, wins, "padding", [(holds > 0, holds < 0), wins.sides(repetitive)]),
    ]


def wins_of(sheet: Sheet) -> Wins:
    """Of verdicts, each for itself, for a text may win in one position only; else of labels, or of humans."""
    verdicts, matchups, scored = sheet.verdicts, sheet.matchups, sheet.opinions.pointwise
    matchup = np.concatenate([verdicts.matchup, sheet.opinions.matchup[scored]])
    p, human_p = np.concatenate([verdicts.p, sheet.opinions.p[scored]]), sheet.human_p
    if not len(matchup):
        matchup, p = sheet.labels.matchup, sheet.labels.p
    if not len(matchup):
        matchup, p, human_p = sheet.human.matchup, sheet.human.p, np.full(len(matchups), np.nan)
    decided = ~np.isnan(p) & (p != 0.5)
    row = matchup[decided]
    prompt, first, second = (column[row] for column in (matchups.prompt, matchups.first, matchups.second))
    return Wins(row, prompt, first, second, p[decided] > 0.5, human_p[row])


def _repeated(sheet: Sheet, wins: Wins) -> list[Sides]:
    """Texts that answer several prompts in nearly the same words: all, the longer, the one that wins most."""
    copy = _copies(sheet)
    several = _prompts_by(copy, sheet.answers.prompt) >= SEVERAL
    repeated = several[copy]
    most = np.argmax(np.where(several, np.bincount(copy[wins.winner], minlength=len(several)), -1))
    groups = (repeated, repeated & (sheet.answers.chars > 2 * SHORT), repeated & (copy == most))
    return [wins.sides(group) for group in groups]


def _same_answer(sheet: Sheet) -> Measure:
    """The largest share of its prompts to which a policy gives one and the same answer."""
    answers, found = sheet.answers, list[tuple[Estimate, str, Array]]()
    copy, policies = _copies(sheet), np.unique(answers.policy).tolist()
    for policy in policies:
        own = np.flatnonzero(answers.policy == policy)
        prompts = _prompts_by(copy[own], answers.prompt[own])
        same = own[(copy[own] == prompts.argmax()) & (prompts.max() >= SEVERAL)]
        asked = np.unique(answers.prompt[own])
        so_answered = np.isin(asked, answers.prompt[same]) * 1.0
        share = clustered_share(so_answered, asked, 1 - 0.05 / len(policies))
        found.append((share, sheet.policies[policy], same))
    share, name, same = max(found, key=lambda one: (one[0].low, one[0].value))
    short = len(same) > 0 and float(np.median(answers.chars[same])) <= SHORT
    figures = {"policy": name or None, "short": short, "text": _excerpt(sheet, same)}
    shown = np.flatnonzero(np.isin(sheet.matchups.first, same) | np.isin(sheet.matchups.second, same))
    return Measure("attacks.same_answer", name, share, figures, _examples(sheet, shown))


def _worst(sheet: Sheet, wins: Wins, name: str, groups: Sequence[Sides], **figures: Any) -> Measure:
    """The share of wins of the group that wins most of its matchups for certain; `low` and `rate_low`, of how
    often it wins, allow for having looked at all groups.
    """
    groups = [sides for sides in groups if np.any(sides)] or groups[:1]
    level = 1 - 0.01 / len({tuple(side.tobytes() for side in sides) for sides in groups})
    rates = [wins.rate(sides, level) for sides in groups]
    rate, (first, second) = max(
        zip(rates, groups, strict=True), key=lambda pair: pair[0].low if pair[0].n else 0
    )
    won, alone = np.where(wins.first_won, first, second) * 1.0, first != second
    liked = np.where(first, wins.human_p, 1 - wins.human_p)[alone]
    decided = ~np.isnan(liked) & (liked != 0.5)
    by_humans = clustered_share((liked[decided] > 0.5) * 1.0, wins.prompt[alone][decided])
    winners = np.unique(wins.winner[won > 0])
    by_policy = np.bincount(sheet.answers.policy[winners], minlength=len(sheet.policies))
    figures |= {
        "low": clustered_share(won, wins.prompt, level).low,
        "rate": rate.value if rate.n else None,
        "rate_low": rate.low,
        "humans_agree": by_humans.n > 0 and by_humans.low > 0.5,
        "policy": (2 * by_policy.max() > len(winners) > 0 and sheet.policies[by_policy.argmax()]) or None,
        "text": _excerpt(sheet, winners),
    }
    shown = np.unique(wins.matchup[alone & (won > 0)])
    share = clustered_share(won, wins.prompt)
    return Measure(f"attacks.{name}", "", share, figures, _examples(sheet, shown))


def _copies(sheet: Sheet) -> Array:
    """The same number for answers in nearly the same words: of one text or core, whichever more share."""
    answers, prompts = sheet.answers, []
    for column in (answers.text, answers.core):
        code = np.unique(column, return_inverse=True)[1]
        prompts.append(_prompts_by(code, answers.prompt)[code])
    shared = np.where(prompts[0] > prompts[1], answers.text, answers.core)
    copy: Array = np.unique(shared, return_inverse=True)[1]
    return copy


def _prompts_by(copy: Array, prompt: Array) -> Array:
    """For each text the number of prompts that it answers."""
    prompts: Array = np.bincount(np.unique(np.stack([copy, prompt]), axis=1)[0])
    return prompts


def _excerpt(sheet: Sheet, answers: Array) -> str | None:
    """The beginning of one of these answers, where its text was kept."""
    kept = next((row for row in answers.tolist() if row in sheet.texts), None)
    shown = "" if kept is None else INVISIBLE.sub("", sheet.texts[kept])
    words = "".join(one if one.isprintable() else " " for one in shown)
    text = " ".join(words.split())
    return (text if len(text) <= EXCERPT else f"{text[:EXCERPT].rstrip()}…") or None


def _examples(sheet: Sheet, matchups: Array) -> tuple[str, ...]:
    """A few of them, of different prompts."""
    _, places = np.unique(sheet.matchups.prompt[matchups], return_index=True)
    return tuple(sheet.matchups.id[row] for row in matchups[np.sort(places)][:EXAMPLES].tolist())
