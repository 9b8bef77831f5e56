"""Policies that follow Gao's curves to a known peak and beyond, some that have none, and choosing the best of
some answers by a judge whose errors have heavy tails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from jurist.audits.finding import Finding
from jurist.audits.overoptimisation import Checkpoint, best_of_n, overoptimisation
from jurist.audits.overoptimisation.forecast import Form
from jurist.audits.sheet import Answers, HumanLabels, Labels, Matchups, Prompts, Scores, Sheet, Verdicts

from . import Case, finding

PROMPTS = 200
A, B = 0.30, 0.12
"""By these the curve of learning by reward peaks at d = exp(1.5), that of the best of n at 1.25."""
PEAKS: dict[Form, float] = {"rl": math.exp(A / B - 1), "best_of_n": A / B / 2}
FAR: dict[Form, tuple[float, ...]] = {
    "rl": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0),
    "best_of_n": (0.4, 0.8, 1.1, 1.4, 1.7, 2.0, 2.2),
}


def walked(form: Form, b: float, seed: int, *, paired: bool, upto: int = 7) -> list[Checkpoint]:
    """Checkpoints whose outside marks scatter over prompts, and, with the same prompts, together."""
    dice = np.random.default_rng(seed)
    shared = dice.normal(size=PROMPTS)
    found = []
    for at, d in enumerate(FAR[form][:upto]):
        gold = d * (A - b * (d if form == "best_of_n" else math.log(d)))
        marks = gold + 0.5 * dice.normal(size=PROMPTS) + (0.3 * shared if paired else 0.0)
        half = 1.96 * float(marks.std(ddof=1)) / math.sqrt(PROMPTS)
        mean = float(marks.mean())
        by = {str(row): float(one) for row, one in enumerate(marks)} if paired else {}
        found.append(Checkpoint(f"round {at + 1}", d * d, mean, mean - half, mean + half, float(at), by))
    return found


def said(checkpoints: Sequence[Checkpoint], form: Form, name: str) -> Finding:
    return finding(overoptimisation(checkpoints, form), name)


def cases() -> list[Case]:
    found = []
    for form, called in (("rl", "learning by reward"), ("best_of_n", "the best of n")):
        for paired in (True, False):
            about = f"{called}, {'the same' if paired else 'other'} prompts each time"
            found.append(peak(form, paired, about))
        found.append(rising("overoptimisation.peak", form, f"{called} still rises"))
        found.append(rising("overoptimisation.fallen", form, f"{called} still rises"))
    found.append(level())
    return [*found, chosen(2.0), chosen(0.0)]


def peak(form: Form, paired: bool, about: str) -> Case:
    def simulate(seed: int) -> Finding:
        one = said(walked(form, B, seed, paired=paired), form, "overoptimisation.peak")
        # The far end may be open, which covers every peak.
        return one if one.high is not None else _open(one)

    return Case("overoptimisation", "overoptimisation.peak", simulate, PEAKS[form], about=about)


def _open(one: Finding) -> Finding:
    from msgspec.structs import replace

    return replace(one, low=one.low or 0.0, high=math.inf)


def rising(name: str, form: Form, about: str) -> Case:
    """Gold that rises all the way: the curve's own part up to its peak."""

    def simulate(seed: int) -> Finding:
        return said(walked(form, B / 4, seed, paired=True), form, name)

    return Case("overoptimisation", name, simulate, None, True, about)


def level() -> Case:
    """Every checkpoint as good as the others, while the proxy rises."""

    def simulate(seed: int) -> Finding:
        dice = np.random.default_rng(seed)
        marks = 0.2 + 0.035 * dice.normal(size=6)
        rows = [
            Checkpoint(f"round {at}", at + 1.0, mark, mark - 0.0686, mark + 0.0686, float(at))
            for at, mark in enumerate(marks.tolist())
        ]
        return said(rows, "rl", "overoptimisation.fallen")

    name = "overoptimisation.fallen"
    return Case("overoptimisation", name, simulate, None, True, "as good as before, round after round")


def scored(prompts: int, k: int, tails: float, seed: int) -> Sheet:
    """Two judges that scored k answers to each prompt: a proxy, wrong in a heavy-tailed way, and another."""
    dice = np.random.default_rng(seed)
    truth = dice.normal(size=(prompts, k))
    proxy = truth + (
        dice.standard_t(tails, size=truth.shape) if tails else 0.5 * dice.normal(size=truth.shape)
    )
    gold = truth + 0.5 * dice.normal(size=truth.shape) + 0.5 * dice.normal(size=(prompts, 1))
    n = prompts * k
    none, nothing = np.empty(0, dtype=int), np.empty(0)
    judge, answer = np.repeat([0, 1], n), np.tile(np.arange(n), 2)
    zero = np.zeros(2 * n)
    return Sheet(
        Prompts(tuple(map(str, range(prompts))), np.zeros(prompts, dtype=int), np.zeros(prompts, dtype=bool)),
        Answers(np.repeat(np.arange(prompts), k), *(np.zeros(n, dtype=int) for _ in range(2)), np.arange(n)),
        Matchups((), none, none, none),
        Verdicts(none, none, none > 0, nothing, none, nothing, none > 0, nothing),
        Scores(judge, answer, np.concatenate([proxy.ravel(), gold.ravel()]), zero.astype(int), zero),
        Labels(none, nothing, nothing),
        HumanLabels(none, none, nothing, nothing),
        policies=("policy",),
        judges=("proxy", "outside"),
    )


@lru_cache
def worth(k: int, tails: float) -> float:
    value = finding(
        best_of_n(scored(200_000, k, tails, 987_654_321)), "overoptimisation.best_of_n", "proxy"
    ).value
    assert value is not None
    return value


def chosen(tails: float) -> Case:
    name, k = "overoptimisation.best_of_n", 8
    about = f"best of {k}, {'heavy tails' if tails else 'honest noise'}"

    def simulate(seed: int) -> Finding:
        return finding(best_of_n(scored(PROMPTS, k, tails, seed)), name, "proxy")

    return Case("overoptimisation", name, simulate, worth(k, tails), not tails, about)
