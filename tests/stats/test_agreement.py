"""Agreement, calibration and prediction-powered means against other people's libraries."""

import math

import numpy as np
import pytest

from jurist.stats import agreement
from jurist.stats.intervals import student, z_of

CLOSE = 1e-6


def test_correlation_is_pearsons_and_undefined_for_a_constant():
    x, y = np.random.default_rng(0).normal(size=(2, 50)).tolist()

    assert agreement.correlation(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)
    assert math.isnan(agreement.correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]))
    assert math.isnan(agreement.correlation([], []))


def test_alpha_agrees_with_the_package_of_its_name_where_ratings_are_missing():
    krippendorff = pytest.importorskip("krippendorff", reason="pip install krippendorff")
    dice = np.random.default_rng(2)
    truth = dice.integers(0, 4, 80)
    rated = np.where(dice.random((5, 80)) < 0.7, truth, dice.integers(0, 4, (5, 80))).astype(float)
    rated[dice.random((5, 80)) < 0.4] = np.nan
    items = np.broadcast_to(np.arange(80), rated.shape).reshape(-1)
    for level in ("nominal", "interval"):
        want = krippendorff.alpha(rated, level_of_measurement=level)
        parts = agreement.alpha_parts(items, rated.reshape(-1), level)
        assert float(agreement.alpha_of(parts.sum(axis=0), level)) == pytest.approx(want, abs=CLOSE)


def test_kappa_agrees_with_scikit_learn():
    from sklearn.metrics import cohen_kappa_score, confusion_matrix

    dice = np.random.default_rng(3)
    one = dice.integers(0, 3, 200)
    other = np.where(dice.random(200) < 0.6, one, dice.integers(0, 3, 200))
    table = confusion_matrix(one, other).astype(float)

    assert float(agreement.kappa(table)) == pytest.approx(cohen_kappa_score(one, other), abs=1e-12)
    assert math.isnan(float(agreement.kappa(np.array([[5.0, 0.0], [0.0, 0.0]]))))


def test_gwets_coefficient_by_hand():
    """Gwet (2014), two raters: AC1 = (pa - pe) / (1 - pe) with pe = sum of pi (1 - pi) over q - 1."""
    table = np.array([[118.0, 5.0], [2.0, 0.0]])
    share = (118 + 5 + 118 + 2) / 250
    by_chance = 2 * share * (1 - share)

    assert float(agreement.ac1(table)) == pytest.approx((118 / 125 - by_chance) / (1 - by_chance))
    assert float(agreement.kappa(table)) < 0 < 0.9 < float(agreement.ac1(table))  # what AC1 is for


def test_a_judge_as_sure_as_it_is_right_has_no_calibration_error():
    p, y = np.array([0.75] * 4 + [0.25] * 4), np.array([1, 1, 1, 0, 0, 0, 0, 1.0])

    assert agreement.ece(p, y) == pytest.approx(0)
    assert agreement.ece(np.ones(4), y[:4]) == pytest.approx(0.25)
    assert agreement.log_loss(np.full(2, 0.5), np.array([0.0, 1.0])) == pytest.approx(math.log(2))
    assert math.isnan(agreement.ece(np.empty(0), np.empty(0)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_prediction_powered_intervals_agree_with_ppi_python():
    ppi_py = pytest.importorskip("ppi_py", reason="the oracles are not installed: pip install ppi-python")
    dice = np.random.default_rng(5)
    for n, rest, noise in ((40, 400, 0.5), (200, 300, 1.0), (60, 5000, 3.0)):
        truth = dice.normal(size=n + rest)
        f = truth + noise * dice.normal(size=n + rest)
        y = truth[:n]
        ours = agreement.powered_mean(y, f[:n], f[n:])
        low, high = ppi_py.ppi_mean_ci(y, f[:n], f[n:], alpha=0.05)
        assert ours.value == pytest.approx(ppi_py.ppi_mean_pointestimate(y, f[:n], f[n:]).item(), abs=CLOSE)
        assert ours.value == pytest.approx((low + high).item() / 2, abs=CLOSE)
        # Theirs divides by n and takes the normal's quantile; ours divides by n - 1 and takes Student's.
        errors = np.array([(y - ours.judge_weight * f[:n]).std(), ours.judge_weight * f[n:].std()])
        theirs = z_of(0.95) * math.hypot(*(errors / np.sqrt([n, rest])))
        assert (high - low).item() / 2 == pytest.approx(theirs, abs=CLOSE)
        ours_wide = student(0.95, n - 1) * math.hypot(*(errors / np.sqrt([n - 1, rest - 1])))
        assert (ours.high - ours.low) / 2 == pytest.approx(ours_wide, abs=CLOSE)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_weighted_prediction_powered_means_agree_with_ppi_python():
    ppi_py = pytest.importorskip("ppi_py", reason="the oracles are not installed: pip install ppi-python")
    dice = np.random.default_rng(6)
    f = dice.normal(size=2000)
    y = f[:100] + dice.normal(size=100)
    weights = dice.uniform(1, 9, 100)
    ours = agreement.powered_mean(y, f[:100], f, weights=weights)
    theirs = ppi_py.ppi_mean_pointestimate(y, f[:100], f, lam=ours.judge_weight, w=weights)

    # The interval is not theirs: they take the sum of the weights as drawn by chance, and the mean of a
    # sample drawn by strata has a weight it was divided by.
    assert ours.value == pytest.approx(theirs.item(), abs=CLOSE)
