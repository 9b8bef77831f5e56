"""Agreement, calibration and prediction-powered means against other people's libraries."""

import math

import numpy as np
import pytest

from jurist.stats import agreement

CLOSE = 1e-6


def test_correlation_is_pearsons_and_undefined_for_a_constant():
    x, y = np.random.default_rng(0).normal(size=(2, 50)).tolist()

    assert agreement.correlation(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)
    assert math.isnan(agreement.correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]))
    assert math.isnan(agreement.correlation([], []))


@pytest.mark.slow
def test_errors_in_common_are_found_as_planted_and_by_pairs_as_numpy_has_them():
    """Each judge takes over a common error with chance c, so that errors correlate by c squared."""
    held, dice = [], np.random.default_rng(3)
    for _ in range(300):
        common, own = dice.random((150, 1)) < 0.7, dice.random((150, 4)) < 0.7
        right = np.where(dice.random((150, 4)) < 0.6, common, own).astype(float)
        found = agreement.error_correlation(right, np.arange(150))
        held.append(found.low <= 0.36 <= found.high)
    assert 0.92 <= np.mean(held) <= 0.98
    right[::3, 1], right[1::4, 2], right[:, 3] = np.nan, np.nan, 1.0
    both = ~np.isnan(right)
    pairs = [(a, b, both[:, a] & both[:, b]) for a, b in [(0, 1), (0, 2), (1, 2)]]
    want = [np.corrcoef(right[rows, a], right[rows, b])[0, 1] for a, b, rows in pairs]
    # One that is always right has no errors to share.
    assert agreement.error_correlation(right, np.arange(150)).value == pytest.approx(np.mean(want), abs=1e-12)
    assert math.isnan(agreement.error_correlation(np.ones((9, 2)), np.arange(9)).value)
    assert [agreement.independent_judges(5, rho) for rho in (-0.1, 0, 0.5, 1)] == [5, 5, 5 / 3, 1]


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


def test_kappa_by_hand():
    # 35 of 50 alike; by chance 25 * 30 + 25 * 20 of 2500
    assert float(agreement.kappa(np.array([[20.0, 5], [10, 15]]))) == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert math.isnan(float(agreement.kappa(np.array([[5.0, 0.0], [0.0, 0.0]]))))


def test_a_judge_as_sure_as_it_is_right_has_no_calibration_error():
    p, y = np.array([0.75] * 4 + [0.25] * 4), np.array([1, 1, 1, 0, 0, 0, 0, 1.0])

    assert agreement.ece(p, y) == pytest.approx(0)
    assert agreement.ece(np.ones(4), y[:4]) == pytest.approx(0.25)
    assert agreement.log_loss(np.full(2, 0.5), np.array([0.0, 1.0])) == pytest.approx(math.log(2))
    assert math.isnan(agreement.ece(np.empty(0), np.empty(0)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("weighted", [False, True])
def test_prediction_powered_shares_agree_with_ppi_python(weighted):
    ppi_py = pytest.importorskip("ppi_py", reason="the oracles are not installed: pip install ppi-python")
    dice = np.random.default_rng(5)
    for n, rest, right in ((40, 400, 0.9), (200, 300, 0.75), (60, 5000, 0.6)):
        truth = (dice.random(n + rest) < 0.7).astype(float)
        said = np.where(dice.random(n + rest) < right, truth, 1 - truth)
        y, f, others, alone = truth[:n], said[:n], said if weighted else said[n:], np.arange(n)
        weights = dice.uniform(1, 9, n) if weighted else None
        ours = agreement.powered_share(y, f, others, alone, np.arange(len(others)), weights)
        lam = ours.judge_weight if weighted else None
        theirs = ppi_py.ppi_mean_pointestimate(y, f, others, lam=lam, w=weights)
        assert ours.share.value == pytest.approx(theirs.item(), abs=CLOSE)
        assert 0 <= ours.judge_weight < 1 <= ours.gain
        if not weighted:
            # Theirs is the normal's interval; ours is Wilson's at the same error, which is a little shorter.
            low, high = ppi_py.ppi_mean_ci(y, f, others, alpha=0.05)
            assert ours.share.high - ours.share.low == pytest.approx((high - low).item(), rel=0.06)
            # They take weights as drawn by chance; the mean of a sample by strata was divided by theirs.
