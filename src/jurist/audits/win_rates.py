"""How often a policy beats a baseline: as judged, and between answers of equal length.

The logistic model of Dubois et al. (2024), AlpacaEval 2: that policy m beats the baseline b on prompt x has
the log-odds

    theta_m - theta_b + phi_m tanh((length_m - length_b) / sd_m) + psi_m gamma_x

and the length-controlled win rate is its mean prediction with the length term set to 0. gamma_x says how much
easier than usual the baseline is to beat on that prompt. It is estimated once, from the other policies'
matchups on the prompt, so that no matchup explains itself. Without it a policy that writes at length where it
is weak is corrected wrongly, so nothing is corrected.

AlpacaEval fits each policy alone, with an L1 penalty: it has 800 prompts, and gamma_x from 200 policies. A
run has fewer of both. Here phi_m and psi_m are pulled towards their means over all policies (L2), as strongly
as five-fold cross-validation by prompt asks for. `experiments/length_control.py` compares the two.

This is no defence against an answer made to please the judge: a constant one has 86.5% in AlpacaEval 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np

from ..stats.fits import expit
from ..stats.intervals import Estimate, clustered_share, student
from .finding import Measure, Point, Series
from .sheet import Array, Sheet

FEWEST: Final = 20
"""Prompts below which nothing is fitted to a policy."""
OTHERS: Final = 2.0
"""Other policies' matchups on a prompt, on average, that tell how hard it is."""
MOST: Final = 12
"""Policies that are compared with the baseline, those with most matchups."""
STRENGTHS: Final = (1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)
"""Of the pull, in observations."""
SHARED: Final = 1e6
"""A pull that leaves one coefficient for all policies."""
RIDGE: Final = 0.01
"""A hundredth of an observation: keeps finite who hardly ever lost, and is not seen otherwise."""
FOLDS: Final = 5
CHOOSE_ON: Final = 2000
"""Prompts that the strength is chosen on, at most."""


@dataclass(frozen=True)
class AgainstBaseline:
    """A row for each matchup of a policy with the baseline."""

    p: Array
    """That the policy's answer is better."""
    longer: Array
    """Characters by which it is longer."""
    policy: Array
    """0, 1, 2, ..., each at least once."""
    prompt: Array

    @property
    def policies(self) -> int:
        return int(self.policy.max(initial=-1)) + 1

    @cached_property
    def others(self) -> Array:
        """How many matchups other policies had on the prompt of each row."""
        return self.sum_of_others(np.ones(len(self.p)))

    def sum_of_others(self, values: Array) -> Array:
        """For each row the sum over other policies' rows of its prompt."""
        own = np.unique(self.prompt * self.policies + self.policy, return_inverse=True)[1]
        return np.asarray(np.bincount(self.prompt, values)[self.prompt] - np.bincount(own, values)[own])


class WinRate(NamedTuple):
    """Of one policy against the baseline."""

    raw: Estimate
    others: float
    """Mean number of other policies' matchups on its prompts."""
    missing: str = ""
    """Why it is not corrected: a key into the words of `length.controlled`."""
    controlled: Estimate | None = None
    length: Estimate | None = None
    """What length accounts for: raw less controlled."""


class LogisticFit(NamedTuple):
    """Of a logistic model with the same columns for every policy."""

    coefficients: Array
    """Those of policy 0, of policy 1, ...; at the end the means of all columns but the first."""
    curve: Array
    pull: Array
    """Second derivatives of the penalised loss, and of its penalty alone."""

    def log_odds(self, x: Array, policy: Array) -> Array:
        return np.asarray((x * self.coefficients[_places(x, policy)]).sum(axis=1))


def length_controlled(sheet: Sheet, baseline: str | None = None) -> list[Measure]:
    """Every policy against the baseline, which is the one that met most others unless it is named."""
    against, names, rows = against_baseline(sheet, baseline)
    return [_measure(name, rate, against) for name, rate in zip(names, fit_win_rates(rows), strict=True)]


def _measure(name: str, rate: WinRate, baseline: str) -> Measure:
    figures: dict[str, Any] = {"baseline": baseline, "raw": rate.raw.value, "policy": True}
    if rate.controlled is None:
        figures |= {"prompts": rate.raw.n, "others": rate.others, "wanted": OTHERS}
        return Measure("length.controlled", name, figures=figures, missing=rate.missing)
    value, low, high, _ = rate.controlled
    figures |= {"controlled": value, "low": low, "high": high}
    series = tuple(
        Series(how, (Point(name, *one),))
        for how, one in (("as judged", rate.raw), ("at equal length", rate.controlled))
    )
    return Measure("length.controlled", name, rate.length, figures, series=series)


def against_baseline(sheet: Sheet, baseline: str | None = None) -> tuple[str, list[str], AgainstBaseline]:
    """The baseline, the policies that met it often enough, and their matchups."""
    answers, matchups, p, n = sheet.answers, sheet.matchups, sheet.mean_opinion, len(sheet.policies)
    first, second = answers.policy[matchups.first], answers.policy[matchups.second]
    known = ~np.isnan(p) & (first != second)
    met = np.bincount(first[known] * n + second[known], minlength=n * n).reshape(n, n)
    met = met + met.T
    order = [((row >= FEWEST).sum(), row.sum()) for row in met]
    base = sheet.policies.index(baseline) if baseline else max(range(n), key=order.__getitem__, default=-1)
    often = np.argsort(-met[base], kind="stable")[:MOST].tolist() if n else []
    place = np.full(n, -1)
    policies = [one for one in often if met[base, one] >= FEWEST]
    place[policies] = range(len(policies))
    ahead = (second == base) & (place[first] >= 0)
    rows = np.flatnonzero(known & (ahead | ((first == base) & (place[second] >= 0))))
    ahead = ahead[rows]
    names = [sheet.policies[one] or "the unnamed policy" for one in (*policies, *([base] if n else []))]
    return (
        names[-1] if n else "",
        names[:-1],
        AgainstBaseline(
            np.where(ahead, p[rows], 1 - p[rows]),
            np.where(ahead, 1.0, -1.0) * sheet.longer_by[rows],
            place[np.where(ahead, first[rows], second[rows])],
            matchups.prompt[rows],
        ),
    )


def fit_win_rates(rows: AgainstBaseline) -> list[WinRate]:
    """Of policies 0, 1, 2, ... against the baseline."""
    own = [rows.policy == policy for policy in range(rows.policies)]
    rates = [_as_judged(rows, those) for those in own]
    return rates if all(rate.missing for rate in rates) else list(_controlled(rows, own, rates))


def _as_judged(rows: AgainstBaseline, own: Array) -> WinRate:
    p, others = rows.p[own], float(rows.others[own].mean())
    raw = clustered_share(p, rows.prompt[own])
    why_not = {
        "too_few": raw.n < FEWEST,
        "one_sided": p.min() == 1 or p.max() == 0,
        "no_difficulty": others < OTHERS,
    }
    return WinRate(raw, others, next((why for why, true in why_not.items() if true), ""))


def _controlled(rows: AgainstBaseline, own: list[Array], rates: list[WinRate]) -> Iterator[WinRate]:
    """The joint fit, and its mean predictions at equal length.

    Intervals come from what each prompt does to a rate: by its own prediction, and by way of the coefficients
    (the sandwich estimator). What the penalty may have pulled them off is added.
    """
    length = np.zeros(len(rows.p))
    for those in own:
        length[those] = squash(rows.longer[those])
    x = np.stack([np.ones(len(rows.p)), length, difficulty(rows, length)], axis=1)
    fit = fit_glm(x, rows.p, rows.policy, choose_strength(x, rows), rows.policies)
    left, level = rows.p - expit(fit.log_odds(x, rows.policy)), x * (1.0, 0.0, 1.0)
    even = expit(fit.log_odds(level, rows.policy))
    for policy, (those, rate) in enumerate(zip(own, rates, strict=True)):
        if rate.missing:
            yield rate
            continue
        p, predicted, n = rows.p[those], even[those], those.sum()
        value, slope = float(predicted.mean()), np.zeros(len(fit.coefficients))
        slope[_places(x, policy)] = level[those].T @ (predicted * (1 - predicted)) / n
        moved: Array = np.linalg.solve(fit.curve, slope)
        each = (x * moved[_places(x, rows.policy)]).sum(axis=1) * left
        each[those] += (predicted - value) / n
        of_length = -each
        of_length[those] += (p - p.mean()) / n
        pulled_off = float(moved @ fit.pull @ moved)
        reach, reach_of_length = (_reach(part, rows.prompt, pulled_off) for part in (each, of_length))
        less = float(p.mean()) - value
        yield rate._replace(
            controlled=_by_log_odds(value, reach, rate.raw.n),
            length=Estimate(less, less - reach_of_length, less + reach_of_length, rate.raw.n),
        )


def _reach(each: Array, prompt: Array, pulled_off: float) -> float:
    """Half of a 95% interval, from what each row does to the value."""
    by_prompt = np.bincount(np.unique(prompt, return_inverse=True)[1], each)
    n = len(by_prompt)
    return student(0.95, n - 1) * math.sqrt(n / (n - 1) * float(by_prompt @ by_prompt) + pulled_off)


def _by_log_odds(value: float, reach: float, n: int) -> Estimate:
    """An interval that does not leave 0 to 1."""
    inside = min(max(value, 1e-9), 1 - 1e-9)
    odds, reach = math.log(inside / (1 - inside)), reach / (inside * (1 - inside))
    low, high = expit(np.array([odds - reach, odds + reach])).tolist()
    return Estimate(value, low, high, n)


def squash(longer: Array) -> Array:
    """tanh(difference / sd): the first few hundred characters count, the next thousand hardly."""
    return np.asarray(np.tanh(longer / max(float(longer.std()), 1e-9)))


def difficulty(rows: AgainstBaseline, length: Array) -> Array:
    """gamma_x for each row: how much better than usual other policies did on its prompt, in log-odds.

    What a joint fit leaves of their matchups is shrunk as a random effect of the prompt, whose variance is
    what the rests of different policies on a prompt have in common. Their lengths there count too: policies
    that write at length where prompts are hard say by it that they are.
    """
    usual = np.bincount(rows.policy, length) / np.bincount(rows.policy)
    length_there = rows.sum_of_others(length - usual[rows.policy]) / np.maximum(rows.others, 1)
    x = np.stack([np.ones(len(length)), length, length_there], axis=1)
    fit = fit_glm(x, rows.p, rows.policy, SHARED, rows.policies)
    p = expit(fit.log_odds(x, rows.policy))
    weight, left = p * (1 - p), rows.p - p
    left_there, weight_there = rows.sum_of_others(left), rows.sum_of_others(weight)
    common = max(float(left @ left_there) / max(float(weight @ weight_there), 1e-9), 1e-9)
    noise = max(float(left @ left - common * (weight @ weight)) / float(weight.sum()), 1e-9)
    return np.asarray(fit.coefficients[-1] * length_there + left_there / (noise / common + weight_there))


def fit_glm(x: Array, p: Array, policy: Array, strength: float, policies: int) -> LogisticFit:
    """A logistic model for each policy. All columns but the first are pulled towards their means over
    policies: half the squared distance, times the strength, is added to the loss.

    By Newton's method. p may be any probability; the strength is in observations.
    """
    columns = x.shape[1]
    size = policies * columns + columns - 1
    place = _places(x, policy)
    cell = (place[:, :, None] * size + place[:, None, :]).ravel()
    products = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)
    pull = RIDGE * np.eye(size)
    for column in range(1, columns):
        here, mean = np.arange(policies) * columns + column, policies * columns + column - 1
        pull[here, here] = strength
        pull[here, mean] = pull[mean, here] = -strength
        pull[mean, mean] += policies * strength
    fitted = np.zeros(size)
    for _ in range(100):
        predicted = expit((x * fitted[place]).sum(axis=1))
        slope = np.bincount(place.ravel(), (x * (predicted - p)[:, None]).ravel(), size) + pull @ fitted
        curvature = (products * (predicted * (1 - predicted))[:, None]).ravel()
        curve = np.bincount(cell, curvature, size * size).reshape(size, size) + pull
        step = np.linalg.solve(curve, slope)
        longest = float(np.abs(step).max())
        # Where one side nearly always wins, a full step leaps too far.
        fitted = fitted - step * min(1.0, 3.0 / max(longest, 1e-12))
        if longest < 1e-9:
            break
    return LogisticFit(fitted, curve, pull)


def _places(x: Array, policy: Array | int) -> Array:
    """Where the coefficients of a row's policy stand."""
    return np.asarray(np.asarray(policy)[..., None] * x.shape[1] + np.arange(x.shape[1]))


def choose_strength(x: Array, rows: AgainstBaseline) -> float:
    """By cross-validation over prompts."""
    prompts, place = np.unique(rows.prompt, return_inverse=True)
    stride = -(-len(prompts) // CHOOSE_ON)
    fold = np.where(place % stride == 0, place // stride % FOLDS, -1)

    def loss(strength: float) -> float:
        total = 0.0
        for out in range(FOLDS):
            learnt, held_out = (fold != out) & (fold >= 0), fold == out
            fit = fit_glm(x[learnt], rows.p[learnt], rows.policy[learnt], strength, rows.policies)
            odds = fit.log_odds(x[held_out], rows.policy[held_out])
            total += float((np.logaddexp(0, odds) - rows.p[held_out] * odds).sum())
        return total

    return min(STRENGTHS, key=loss)
