"""Intervals of values in clusters hold the truth as often as they say, and are no wider than they need be."""

import numpy as np
import pytest

from jurist.stats import clustered_share, correlation_through_zero, wilson


def covered(draw, truth, seeds=300):
    found = [draw(np.random.default_rng(seed)) for seed in range(seeds)]
    return np.mean([one.low <= truth <= one.high for one in found])


def test_fractions_that_scatter_little_have_a_narrow_interval_that_holds():
    """Means of two orders that cancel: between 0.25 and 0.75, far from a coin's scatter."""

    def draw(dice):
        return clustered_share(0.25 + 0.5 * dice.random(60), np.arange(60))

    assert 0.91 <= covered(draw, 0.5) <= 0.98
    assert draw(np.random.default_rng(0)).high < 0.56


def test_ones_and_zeros_are_worth_no_more_than_they_are_many():
    values = np.array([0.0, 1.0] * 19 + [1.0, 1.0])
    one = clustered_share(values, np.repeat(np.arange(20), 2))

    assert (one.low, one.high) == pytest.approx(wilson(21, 40))


def test_a_share_of_nothing_but_ones_is_not_sure():
    assert clustered_share(np.ones(10), np.arange(10)).low < 0.75


def test_a_correlation_through_zero_holds_the_truth_and_knows_its_clusters():
    def draw(dice):
        shared = np.repeat(dice.normal(size=80), 3)
        x = dice.normal(size=240) + shared
        y = 0.5 * x + dice.normal(size=240) + 0.5 * shared
        return correlation_through_zero(x, y, np.repeat(np.arange(80), 3))

    # Var x = 2, cov = 0.5 * 2 + 0.5, var y = 0.25 * 2 + 1 + 0.25 + 2 * 0.5 * 0.5.
    assert 0.90 <= covered(draw, 1.5 / np.sqrt(2 * 2.25)) <= 0.98


def test_a_correlation_of_what_does_not_vary_is_none_and_of_one_with_itself_is_one():
    assert np.isnan(correlation_through_zero(np.zeros(5), np.ones(5), np.arange(5)).value)
    assert correlation_through_zero(np.arange(5.0), np.arange(5.0), np.arange(5)).value == 1.0
