"""Intervals and tests against scipy and against their own promise: to hold the truth as often as they say."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from scipy.special import betainc

from jurist.stats import intervals

CLOSE = 1e-6


def test_the_incomplete_beta_function_agrees_with_scipy_to_ten_digits():
    for a in (0.5, 1, 3, 70, 5000):
        for b in (0.5, 2, 30, 900, 20000):
            for x in (0.0, 0.001, 0.1, 0.5, 0.9, 0.999, 1.0):
                assert intervals.beta_cdf(x, a, b) == pytest.approx(betainc(a, b, x), abs=1e-10)


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (3, 7), (7, 7), (87, 1000), (5, 100_000)])
def test_intervals_of_a_share_agree_with_scipy(hits, n):
    for ours, name in ((intervals.wilson, "wilson"), (intervals.clopper_pearson, "exact")):
        for level in (0.9, 0.95):
            want = scipy_stats.binomtest(hits, n).proportion_ci(level, name)
            assert ours(hits, n, level) == pytest.approx((want.low, want.high), abs=CLOSE)


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40))
def test_an_interval_lies_within_zero_and_one_and_holds_the_share(hits, misses):
    low, high = intervals.wilson(hits, hits + misses)
    share = hits / (hits + misses) if hits + misses else 0.5
    assert 0 <= low <= share <= high <= 1


def test_students_quantile_and_test_agree_with_scipy():
    values = np.random.default_rng(0).normal(0.1, 1, 40)
    for freedom in (1, 2, 3, 9, 40, 1000, 100_000):
        want = scipy_stats.t.ppf(0.975, freedom)
        assert intervals.student(0.95, freedom) == pytest.approx(want, rel=1e-8)
    want = scipy_stats.ttest_1samp(values, 0.3, alternative="less").pvalue
    ours = intervals.student_test(values.mean(), values.std(ddof=1) / math.sqrt(40), 40, 0.3)
    assert ours == pytest.approx(want, abs=CLOSE)


@pytest.mark.parametrize(("one", "other"), [(0, 0), (1, 0), (5, 0), (10, 3), (3, 10), (25, 25), (300, 241)])
def test_sign_test_and_mcnemar_agree_with_scipys_binomial(one, other):
    n = one + other
    greater = scipy_stats.binomtest(one, n, alternative="greater").pvalue if n else 1.0
    exact = scipy_stats.binomtest(one, n).pvalue if n else 1.0
    assert intervals.sign_test(one, other) == pytest.approx(greater, abs=CLOSE)
    if one != other:
        mid = exact - scipy_stats.binom.pmf(max(one, other), n, 0.5)
        assert intervals.mcnemar(one, other) == pytest.approx(mid, abs=CLOSE)


def test_benjamini_and_yekutielis_choice_agrees_with_scipy():
    dice = np.random.default_rng(0)
    for _ in range(20):
        ps = dice.beta(0.3, 2, 6)
        want = scipy_stats.false_discovery_control(ps, method="by") <= 0.05
        assert intervals.benjamini_yekutieli(ps.tolist()) == want.tolist()


def test_without_data_there_is_no_number():
    assert intervals.wilson(0, 0) == intervals.clopper_pearson(0, 0) == (0.0, 1.0)
    assert math.isnan(intervals.mean([]))
    assert math.isnan(intervals.clustered_share(np.empty(0), np.empty(0)).value)


def test_a_weighted_mean_has_the_error_of_the_linearised_ratio_of_two_sums():
    """Särndal, Swensson & Wretman (1992), 5.6: residuals of the ratio, summed over clusters."""
    dice = np.random.default_rng(1)
    values, weights = dice.random(60), dice.uniform(1, 9, 60)
    mean, error, n = intervals.weighted_mean(values, np.repeat(np.arange(20), 3), weights)
    residuals = (weights * (values - np.average(values, weights=weights))).reshape(20, 3).sum(axis=1)

    assert n == 20
    assert mean == pytest.approx(np.average(values, weights=weights))
    assert error == pytest.approx(math.sqrt(20 / 19 * (residuals**2).sum()) / weights.sum())
    ones = np.ones(9), np.arange(9)
    assert intervals.clustered_share(*ones, weights=np.full(9, 1.1)) == pytest.approx(
        intervals.clustered_share(*ones)
    )
    assert intervals.clustered_share(*ones).low < 0.75


def coverage(draw, truth, seeds=300):
    found = [draw(np.random.default_rng(seed)) for seed in range(seeds)]
    return np.mean([one.low <= truth <= one.high for one in found])


def test_fractions_that_scatter_little_have_a_narrow_interval_that_holds():
    """Means of two orders that cancel: between 0.25 and 0.75, far from a coin's scatter."""

    def draw(dice):
        return intervals.clustered_share(0.25 + 0.5 * dice.random(60), np.arange(60))

    assert 0.91 <= coverage(draw, 0.5) <= 0.98
    assert draw(np.random.default_rng(0)).high < 0.56


def test_ones_and_zeros_are_worth_no_more_than_they_are_many():
    values = np.array([0.0, 1.0] * 19 + [1.0, 1.0])
    one = intervals.clustered_share(values, np.repeat(np.arange(20), 2))

    assert (one.low, one.high) == pytest.approx(intervals.wilson(21, 40))


def test_how_many_labels_it_takes_by_figures_worked_out_beforehand():
    for share, wanted in {0.75: [289, 801, 1801], 0.8: [246, 683, 1537], 0.9: [139, 385, 865]}.items():
        assert [intervals.labels_for_interval(share, half) for half in (0.05, 0.03, 0.02)] == wanted
    for difference, wanted in {
        0.05: [312, 626, 940],
        0.03: [870, 1742, 2614],
        0.02: [1960, 3923, 5885],
    }.items():
        assert [intervals.labels_for_two_judges(difference, apart) for apart in (0.1, 0.2, 0.3)] == wanted
    assert [intervals.labels_for_position_bias(share) for share in (0.6, 0.65, 0.7, 0.8)] == [194, 85, 47, 20]
    for rho, saves in {0.636: 1.68, 0.664: 1.79, 0.596: 1.55, 0.568: 1.48}.items():
        assert 400 / intervals.labels_with_judges(400, rho, 1e7) == pytest.approx(saves, abs=0.01)
        n = intervals.labels_with_judges(400, rho, 500)
        assert n == pytest.approx(400 * (1 - rho**2 * 500 / (500 + n)))
    assert intervals.labels_with_judges(400, 0.9, 0) == pytest.approx(400)
    assert intervals.labels_for_no_error(0.05) == 59
    assert [intervals.smallest_certified(n) for n in (59, 0)] == [pytest.approx(0.0495, abs=1e-3), 1.0]
    assert [intervals.human_accuracy(alike) for alike in (0.745, 0.4)] == [pytest.approx(0.85), 0.5]


def test_a_mean_and_its_interval_are_students_and_one_cluster_has_none():
    values = np.array([0.5, -0.2, 0.9, 0.1, 0.4])
    found = intervals.clustered_mean(values, np.arange(5))
    low, high = scipy_stats.t.interval(0.95, 4, values.mean(), values.std(ddof=1) / math.sqrt(5))

    assert found == pytest.approx((values.mean(), low, high, 5))
    assert intervals.clustered_mean(values, np.arange(5), most=0.5).high == 0.5
    alone = intervals.clustered_mean(values, np.zeros(5))
    assert (alone.value, alone.n) == (pytest.approx(values.mean()), 1)
    assert np.isnan([alone.low, alone.high]).all()
