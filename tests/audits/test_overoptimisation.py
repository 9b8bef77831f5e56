"""The peak is found where it was planted, no peak where there is none, and the distance is the right one."""

from __future__ import annotations

import math
from itertools import combinations

import msgspec
import numpy as np
import pytest

from jurist.audits.overoptimisation import (
    Checkpoint,
    best_of_n,
    best_of_n_curve,
    best_of_n_kl,
    fitted,
    overoptimisation,
    past_peak,
    tied_kl,
    to_use,
    turned,
)
from jurist.audits.sheet import Answers, HumanLabels, Labels, Matchups, Prompts, Scores, Sheet, Verdicts


def way(a, b, distances, form="rl", half=0.01, proxy=True):
    """Checkpoints on one of Gao's curves."""
    return [
        Checkpoint(
            f"round {at}",
            d * d,
            gold := d * (a - b * (d if form == "best_of_n" else math.log(d))),
            gold - half,
            gold + half,
            float(at) if proxy else None,
        )
        for at, d in enumerate(distances, 1)
    ]


def test_the_distance_of_the_best_of_n():
    assert [round(best_of_n_kl(n), 4) for n in (2, 4, 16, 64, 256)] == [
        0.1931,
        0.6363,
        1.8351,
        3.1745,
        4.5491,
    ]


def test_scores_with_five_marks_tell_answers_apart_only_so_far():
    by_hand = sum((2 * g - 1) / 25 * math.log((2 * g - 1) / 5) for g in range(1, 6))

    assert tied_kl(np.ones(5), 2) == pytest.approx(by_hand)
    assert [round(tied_kl(np.ones(5), n), 2) for n in (2, 4, 16)] == [0.18, 0.61, 1.48]
    assert tied_kl(np.ones(5), 256) == pytest.approx(math.log(5))
    for seed in range(20):
        masses = np.random.default_rng(seed).dirichlet(np.ones(7))
        assert all(tied_kl(masses, n) <= best_of_n_kl(n) for n in (2, 5, 40))


def test_the_distance_read_from_scores_is_exact_with_ties_and_without():
    dice = np.random.default_rng(0)
    apart, marks = dice.normal(size=(3, 64)), np.tile(np.repeat(np.arange(5.0), 20), (2, 1))

    assert best_of_n_curve(apart, apart, [16]).kl == pytest.approx(best_of_n_kl(16))
    assert best_of_n_curve(marks, marks, [16]).kl == pytest.approx(tied_kl(np.ones(5), 16))


def test_what_the_best_of_n_is_worth_is_the_mean_over_all_ways_to_draw_n():
    dice = np.random.default_rng(1)
    proxy, gold = dice.integers(0, 4, size=(1, 6)).astype(float), dice.normal(size=(1, 6))

    def chosen(some):
        top = [i for i in some if proxy[0, i] == max(proxy[0, list(some)])]
        return np.mean([gold[0, i] for i in top])

    for n in (1, 2, 3, 6):
        want = np.mean([chosen(some) for some in combinations(range(6), n)])
        assert best_of_n_curve(proxy, gold, [n]).gold[0, 0] == pytest.approx(want)


def test_heavy_tails_turn_the_truth_down_and_light_ones_do_not():
    dice = np.random.default_rng(2)
    gold = dice.normal(size=(200, 512))
    heavy = best_of_n_curve(gold + dice.standard_t(2, gold.shape), gold)
    light = best_of_n_curve(gold + dice.normal(size=gold.shape), gold)
    heavy_means, light_means = heavy.gold.mean(axis=0), light.gold.mean(axis=0)

    assert heavy.n[int(heavy_means.argmax())] in (8, 16, 32)
    assert heavy_means[-1] < 0.5 * heavy_means.max()
    assert light_means[-1] == light_means.max()


@pytest.mark.parametrize(("form", "peak"), [("rl", math.exp(1.5)), ("best_of_n", 1.25)])
def test_the_peak_is_forecast_before_it_is_reached(form, peak):
    distances = (0.5, 1.0, 1.1, 1.2) if form == "best_of_n" else (1.0, 2.0, 3.0, 4.0)
    fit = fitted(way(0.3, 0.12, distances, form, half=0.005), form)

    assert fit.peak == pytest.approx(peak)
    assert fit.low < peak < fit.high
    assert fit.at(fit.peak) > max(fit.at(0.9 * fit.peak), fit.at(1.1 * fit.peak))


def test_where_it_only_rises_there_is_no_peak():
    fit = fitted(way(0.3, -0.05, (1.0, 2.0, 3.0, 4.0)))
    _, forecast = overoptimisation(way(0.3, -0.05, (1.0, 2.0, 3.0, 4.0)))

    assert fit.peak == fit.low == fit.high == math.inf
    assert (forecast.grade, forecast.value) == ("fine", None)


def test_a_policy_surely_past_its_peak_is_an_alarm_that_names_the_one_to_use():
    far = way(0.3, 0.12, (1.0, 2.0, 3.0, 3.6, 4.4, 7.0, 10.0))
    fallen, forecast = overoptimisation(far)

    assert past_peak(far)
    assert turned(far).name == "round 5"
    assert (fallen.grade, forecast.grade) == ("alarm", "alarm")
    assert to_use(far).name == "round 5"
    assert "round 5" in fallen.advice
    assert "kl_target" in forecast.advice


def test_a_policy_surely_worse_than_its_start_is_an_alarm_in_its_first_round():
    (fallen, _) = overoptimisation([Checkpoint("round 1", 4.0, -0.2, -0.3, -0.1, 1.0)])

    assert fallen.grade == "alarm"
    assert "the start" in fallen.advice


def test_a_fall_within_what_chance_does_is_no_alarm():
    level = [Checkpoint(f"round {at}", at + 1.0, 0.2 - 0.01 * at, 0.1, 0.3, float(at)) for at in range(5)]

    assert turned(level) is None
    assert overoptimisation(level)[0].grade == "fine"


def test_a_reward_that_falls_too_is_no_over_optimisation():
    rows = way(0.3, 0.12, (1.0, 4.0, 12.0))
    back = [Checkpoint(one.name, one.kl, one.gold, one.low, one.high, -one.proxy) for one in rows]

    assert turned(rows)
    assert turned(back) is None


def test_too_few_checkpoints_give_no_forecast_and_none_give_nothing():
    _, forecast = overoptimisation(way(0.3, 0.12, (1.0, 2.0)))
    (nothing,) = overoptimisation([])

    assert (forecast.grade, nothing.grade) == ("silent", "silent")
    assert (forecast.n, forecast.value, nothing.value) == (0, None, None)
    assert "--rounds" in forecast.advice


def scored(proxy, gold):
    prompts, k = proxy.shape
    n, none, nothing = prompts * k, np.empty(0, dtype=int), np.empty(0)
    zero = np.zeros(2 * n)
    return Sheet(
        Prompts(tuple(map(str, range(prompts))), np.zeros(prompts, int), np.zeros(prompts, bool)),
        Answers(np.repeat(np.arange(prompts), k), *(np.zeros(n, int) for _ in range(2)), np.arange(n)),
        Matchups((), none, none, none),
        Verdicts(none, none, none > 0, nothing, none, nothing, none > 0, nothing),
        Scores(
            np.repeat([0, 1], n),
            np.tile(np.arange(n), 2),
            np.concatenate([proxy.ravel(), gold.ravel()]),
            zero.astype(int),
            zero,
        ),
        Labels(none, nothing, nothing),
        HumanLabels(none, none, nothing, nothing),
        policies=("policy",),
        judges=("proxy", "outside"),
    )


def test_choosing_by_a_judge_that_is_wrong_at_the_top_is_found():
    dice = np.random.default_rng(4)
    gold = dice.normal(size=(300, 8))
    wrong = np.where(gold < -1, 3.0, gold)
    found = {one.about: one for one in best_of_n(scored(wrong, gold))}

    assert found["proxy"].grade == "alarm"
    assert found["outside"].grade == "fine"
    assert msgspec.json.encode(list(found.values())), "it can be kept"


def test_a_run_without_scores_says_nothing_of_the_best_of_n():
    assert best_of_n(scored(np.zeros((2, 2)), np.zeros((2, 2)))) == []
