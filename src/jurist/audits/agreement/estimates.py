"""What people would say of everything, from what they said of some and judges of all (prediction-powered)."""

from __future__ import annotations

from typing import Final

import numpy as np

from ...stats.agreement import Powered, powered_share
from ..finding import Finding
from ..grade import graded
from ..humans import HumanVotes, labels_against_humans
from ..sheet import Array, Sheet
from ..words import count, measured, percent, silent, span
from .judges import DRAW

TOLERATED: Final = 0.3
"""The people who labelled for InstructGPT (Ouyang et al. 2022) went against each other in 27 of 100 pairs."""
FEWEST: Final = 10
"""Labels from people below which no policy is told how it does."""
MOST: Final = 20
"""Policies, those with most labels from people."""


def label_error(sheet: Sheet, people: HumanVotes) -> list[Finding]:
    """How many of the labels to train on people would give otherwise."""
    if not len(sheet.labels):
        return []
    ours = labels_against_humans(sheet, people)
    if not len(ours):
        says = "Humans labelled none of the matchups that became labels: how many are wrong is not known."
        return [silent("agreement.label_error", says, DRAW)]
    unsure = np.minimum(sheet.labels.p, 1 - sheet.labels.p)
    matchup = people.matchup[ours.item]
    rest = np.ones(len(unsure), dtype=bool) if people.weighted else ~np.isin(sheet.labels.matchup, matchup)
    prompts = sheet.matchups.prompt[sheet.labels.matchup]
    found = powered_share(
        1 - ours.right,
        np.minimum(ours.p, 1 - ours.p),
        unsure[rest],
        ours.prompt,
        prompts[rest],
        ours.weight if people.weighted else None,
    )
    one = found.share
    says = (
        f"Humans would give {percent(one.value)} of the {count(len(sheet.labels), 'label')} otherwise "
        f"({span(one)}), from {count(len(ours), 'label')} of theirs{_helped(found)}. Where people are "
        "divided a label counts half."
    )
    grade = graded(one.low, one.high, 0.0, TOLERATED)
    # No set of labels is without error; what is tolerable is worth a note and not a warning.
    grade = "note" if grade == "fine" or (grade == "warning" and one.value < TOLERATED) else grade
    advice = "" if grade == "note" else "See where they are wrong: the findings called ceiling, by domain"
    return [measured("agreement.label_error", "", says, grade, one, advice=advice)]


def win_rates(sheet: Sheet, people: HumanVotes) -> list[Finding]:
    """How often each policy beats the others in people's eyes."""
    if len(sheet.policies) < 2 or not len(sheet.opinions):
        return []
    judged = sheet.mean_opinion
    met = sheet.answers.policy[np.stack([sheet.matchups.first, sheet.matchups.second])]
    differ = met[0] != met[1]
    labelled = np.zeros(len(sheet.matchups), dtype=bool)
    labelled[people.matchup] = True
    known = labelled & differ & ~np.isnan(judged)
    often = np.bincount(met[:, known].reshape(-1), minlength=len(sheet.policies))
    chosen = [one for one in np.argsort(-often, kind="stable")[:MOST].tolist() if often[one] >= FEWEST]
    return [_win_rate(sheet, people, one, met, differ & ~np.isnan(judged), judged) for one in sorted(chosen)]


def _win_rate(
    sheet: Sheet, people: HumanVotes, policy: int, met: Array, usable: Array, judged: Array
) -> Finding:
    rows = np.flatnonzero(usable & (met == policy).any(axis=0))
    ours = met[0, rows] == policy
    f = np.where(ours, judged[rows], 1 - judged[rows])
    place = np.minimum(np.searchsorted(people.matchup, rows), len(people) - 1)
    known = people.matchup[place] == rows
    place = place[known]
    y = np.where(ours[known], people.mean[place], 1 - people.mean[place])
    rest = np.ones(len(rows), dtype=bool) if people.weighted else ~known
    prompts = sheet.matchups.prompt[rows]
    weights = people.weight[place] if people.weighted else None
    found = powered_share(y, f[known], f[rest], prompts[known], prompts[rest], weights)
    name = sheet.policies[policy] or "the policy without a name"
    one = found.share
    says = (
        f"In people's eyes {name} wins {percent(one.value)} of its matchups against other policies "
        f"({span(one)}), from {count(len(y), 'label')} of people and {count(len(rows), 'verdict')} of "
        f"judges{_helped(found)}."
    )
    return measured("agreement.win_rate", name, says, "note", one, 0.5)


def _helped(found: Powered) -> str:
    if found.judge_weight <= 0 or not found.gain > 1.005:
        return "; the judges' word does not shorten the interval"
    return f"; with the judges' help each of these is worth {found.gain:.2f}"
