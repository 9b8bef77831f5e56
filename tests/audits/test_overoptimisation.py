"""A fall is one only if it was measured, the forecast is where it was planted, and distances are exact."""

import math
from itertools import combinations

import numpy as np
import pytest
from finding import findings

from jurist.audits.collect import Collector, VerdictRow
from jurist.audits.overoptimisation import (
    Checkpoint,
    best_of_n,
    best_of_n_curve,
    fit_gao,
    measured_fall,
    overoptimisation,
    past_peak,
    policy_to_use,
)
from jurist.records import Completion, Prompt
from jurist.stats.fits import sigmoid

PEAK = math.exp(1.5)


def walk(*wins, se=0.03, proxies=None, distances=None, n=200):
    """Checkpoints with these win rates, and a proxy that rises."""
    proxies = proxies or range(len(wins))
    distances = distances or range(1, len(wins) + 1)
    rows = enumerate(zip(wins, proxies, distances, strict=True), 1)
    return [Checkpoint(f"round {at}", d * d, win, se, n, proxy) for at, (win, proxy, d) in rows]


def along(a, b, *distances, form="rl", se=0.002):
    """Win rates on one of Gao's curves."""
    heights = [d * (a - b * (d if form == "best_of_n" else math.log(d))) for d in distances]
    return walk(*map(sigmoid, heights), se=se, distances=distances)


@pytest.mark.parametrize(
    ("rounds", "grade", "use"),
    [
        (walk(0.6, 0.7, 0.8, 0.75, 0.6), "alarm", "round 3"),
        (walk(0.35), "alarm", "the initial policy"),
        (walk(0.6, 0.7, 0.8, 0.75, 0.6, proxies=[1, 2, 3, 2, 1]), "warning", "round 3"),
        (walk(0.6, 0.7, 0.8, 0.75, 0.6, proxies=[None] * 5), "alarm", "round 3"),
        (walk(0.6, 0.7, 0.8, 0.75, 0.7), "fine", ""),  # as much falls by chance: 2.4 standard errors of four
        (walk(0.75, 0.75, 0.75, 0.75), "fine", ""),
        (walk(0.5, 0.6, 0.7, 0.8), "fine", ""),
    ],
)
def test_an_alarm_is_a_measured_fall_and_names_the_policy_to_use(rounds, grade, use):
    fallen = findings(overoptimisation(rounds))[0]

    assert fallen.grade == grade
    assert use in fallen.advice
    assert (fallen.low > 0) == (grade != "fine")
    assert all(len(one.name) <= 18 for one in fallen.chart.series)


def test_a_flat_curve_does_not_stop_a_run_though_its_forecast_turned():
    """Fast to 0.75, and there it stays: the curve has its peak, and no fall was measured."""
    stopped = turned = 0
    for seed in range(200):
        wins = np.random.default_rng(seed).binomial(200, [0.68, 0.73, 0.745, *[0.75] * 5]) / 200
        rounds = walk(*wins, se=0.031, distances=[1, 1.6, 2.1, 2.5, 2.9, 3.2, 3.5, 3.8])
        turned += fit_gao(rounds).peak < 3.8
        stopped += any(past_peak(rounds[:seen]) is not None for seen in range(3, 9))

    assert turned > 100
    assert stopped <= 10


def test_a_fall_is_seen_more_closely_on_the_same_prompts():
    dice = np.random.default_rng(0)
    shared = dice.normal(size=200)
    rows = [(shared + 0.5 * dice.normal(size=200) < cut).astype(float) for cut in (0.7, 0.7, 0.4)]
    paired = [
        Checkpoint(f"{at}", at, p.mean(), p.std() / 200**0.5, 200, at, dict(enumerate(p)))
        for at, p in enumerate(rows, 1)
    ]
    apart = [Checkpoint(one.name, one.kl, one.win_rate, one.se, one.n, one.proxy) for one in paired]

    assert measured_fall(paired).size.low > measured_fall(apart).size.low


@pytest.mark.parametrize(("form", "peak"), [("rl", PEAK), ("best_of_n", 1.25)])
def test_the_peak_is_forecast_before_it_is_reached(form, peak):
    distances = (0.5, 1.0, 1.1, 1.2) if form == "best_of_n" else (1.0, 2.0, 3.0, 4.0)
    curve = fit_gao(along(0.3, 0.12, *distances, form=form), form)

    assert curve.peak == pytest.approx(peak)
    assert curve.low < peak < curve.high
    assert curve.at(peak) > max(curve.at(0.9 * peak), curve.at(1.1 * peak))


def test_where_it_only_rises_there_is_no_peak_and_few_rounds_give_no_forecast():
    (_, rises), (_, few), (nothing,) = (
        findings(overoptimisation(one)) for one in (along(0.3, -0.05, 1, 2, 3, 4), along(0.3, 0.1, 1, 2), [])
    )

    assert (rises.grade, rises.value) == ("fine", None)
    assert "rises up to round 4" in rises.says
    assert (few.grade, few.value, nothing.grade) == ("silent", None, "silent")
    assert "--rounds" in few.advice


def test_a_lucky_round_is_not_the_policy_to_use():
    assert policy_to_use(walk(0.6, 0.78, 0.8, 0.79, 0.6, 0.82, 0.5)).name == "round 3"
    assert policy_to_use(walk(0.4, 0.3)).name == "the initial policy"


# ---- the best of n


def test_the_distance_is_exact_with_ties_and_without():
    dice = np.random.default_rng(0)
    ns = [2, 4, 16, 64]
    apart, marks = dice.normal(size=(3, 64)), np.tile(np.repeat(np.arange(5.0), 20), (2, 1))

    kl, _ = best_of_n_curve(apart, apart, ns)
    assert kl[0] == pytest.approx([math.log(n) - (n - 1) / n for n in ns])
    kl, _ = best_of_n_curve(marks, marks, ns)
    best = np.diff((np.arange(6) / 5)[:, None] ** ns, axis=0)  # how often the best of n has each mark
    assert kl[0] == pytest.approx((best * np.log(5 * best)).sum(axis=0))
    assert kl[0][:2] == pytest.approx([0.180, 0.607], abs=6e-4)


def test_what_the_best_of_n_is_worth_is_the_mean_over_all_ways_to_draw_n():
    dice = np.random.default_rng(1)
    proxy, other = dice.integers(0, 4, size=(1, 6)).astype(float), dice.normal(size=(1, 6))

    def chosen(some):
        return np.mean([other[0, i] for i in some if proxy[0, i] == max(proxy[0, list(some)])])

    _, worth = best_of_n_curve(proxy, other, [1, 2, 3, 6])
    for n, got in zip((1, 2, 3, 6), worth[0], strict=True):
        assert got == pytest.approx(np.mean([chosen(some) for some in combinations(range(6), n)]))


def sheet_of_scores(proxy, other):
    collector = Collector()
    for number, both in enumerate(zip(proxy, other, strict=True)):
        prompt = Prompt.of(f"question {number}")
        answers = [Completion.of(prompt.id, f"answer {at}") for at in range(len(both[0]))]
        scores = [
            VerdictRow(judge, first_id=answer.id, score=float(score))
            for judge, row in zip(("proxy", "outside"), both, strict=True)
            for answer, score in zip(answers, row, strict=True)
        ]
        collector.add(prompt, answers, (), scores)
    return collector.sheet()


def test_choosing_by_a_judge_that_is_wrong_at_the_top_is_an_alarm():
    other = np.random.default_rng(4).normal(size=(300, 8))
    wrong = np.where(other < -1, 3.0, other)
    found = {one.about: one for one in findings(best_of_n(sheet_of_scores(wrong, other)))}

    assert found["proxy"].grade == "alarm"
    assert "-k 4" in found["proxy"].advice
    assert found["outside"].grade == "fine"
    assert best_of_n(sheet_of_scores(other[:5], other[:5])) == []
