"""Estimates that only audits use, against scikit-learn, by hand, and as often right as they say."""

import math

import numpy as np
import pytest

from jurist.audits.confidence import aurc, auroc, risk_coverage
from jurist.audits.length import correlation_through_zero
from jurist.stats.intervals import student


def test_auroc_and_its_interval_agree_with_scikit_learn_and_delong():
    from sklearn.metrics import roc_auc_score

    dice = np.random.default_rng(4)
    right = dice.random(300) < 0.7
    scores = np.round(dice.normal(right * 0.8, 1), 1)
    found = auroc(scores, right)
    beats = (scores[right][:, None] > scores[~right]) + 0.5 * (scores[right][:, None] == scores[~right])
    ones, zeros = beats.mean(axis=1), beats.mean(axis=0)
    variance = ones.var(ddof=1) / len(ones) + zeros.var(ddof=1) / len(zeros)

    assert found.value == pytest.approx(roc_auc_score(right, scores), abs=1e-12)
    # Two samples in one sum: DeLong's n - 1 in each becomes n - 1 in all.
    reach = (found.high - found.low) / 2
    assert reach / student(0.95, 299) == pytest.approx(math.sqrt(variance), rel=0.01)


def test_the_risk_coverage_curve_by_hand():
    sure, wrong = np.array([0.9, 0.8, 0.7, 0.6]), np.array([0.0, 1.0, 0.0, 1.0])
    kept, risk = risk_coverage(sure, wrong)

    assert kept.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert aurc(sure, wrong) == pytest.approx(1 / 3)
    assert aurc(np.full(4, 0.9), wrong) == pytest.approx(0.5)  # no order in ties


def test_a_correlation_through_zero_holds_the_truth_and_knows_its_clusters():
    def draw(seed):
        dice = np.random.default_rng(seed)
        shared = np.repeat(dice.normal(size=80), 3)
        x = dice.normal(size=240) + shared
        y = 0.5 * x + dice.normal(size=240) + 0.5 * shared
        return correlation_through_zero(x, y, np.repeat(np.arange(80), 3))

    # Var x = 2, cov = 0.5 * 2 + 0.5, var y = 0.25 * 2 + 1 + 0.25 + 2 * 0.5 * 0.5.
    truth = 1.5 / np.sqrt(2 * 2.25)
    assert 0.90 <= np.mean([one.low <= truth <= one.high for one in map(draw, range(300))]) <= 0.98
    same = np.arange(5.0)
    assert correlation_through_zero(same, same, same).value == 1.0
    assert math.isnan(correlation_through_zero(np.zeros(5), np.ones(5), same).value)
