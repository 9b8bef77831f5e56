import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurist.errors import DataError
from jurist.stats.fits import sigmoid
from jurist.verdicts.calibrate import apply, calibrate, fit_calibration, fit_temperature
from jurist.verdicts.opinion import Opinion


def overconfident(n: int, by: float, seed: int = 0) -> tuple[list[float], list[float]]:
    """A judge that knows the right log-odds and states them `by` times too loudly."""
    dice = np.random.default_rng(seed)
    truth = dice.normal(0, 1.2, n)
    labels = (dice.random(n) < 1 / (1 + np.exp(-truth))).astype(float)
    return [sigmoid(by * t) for t in truth], labels.tolist()


def test_the_temperature_finds_how_overconfident_a_judge_is():
    ps, labels = overconfident(5000, by=2.5)
    found = fit_calibration("loud", ps, labels)

    assert found.temperature == pytest.approx(2.5, rel=0.08)
    assert found.ece_before > 0.1
    assert found.ece_after < 0.03
    assert found.loss_after < found.loss_before


def test_a_calibrated_judge_is_left_alone():
    ps, labels = overconfident(5000, by=1.0)

    assert fit_temperature(ps, labels) == pytest.approx(1.0, abs=0.08)


def test_the_temperature_agrees_with_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    ps, labels = overconfident(400, by=2.0)
    x = np.log(np.array(ps) / (1 - np.array(ps)))[:, None]
    slope = LogisticRegression(C=1e9, fit_intercept=False, tol=1e-12).fit(x, labels).coef_[0, 0]

    assert 1 / fit_temperature(ps, labels) == pytest.approx(slope, abs=1e-5)


def test_a_few_labels_that_all_agree_do_not_make_a_judge_certain():
    found = fit_calibration("lucky", [0.9] * 10, [1.0] * 10)

    assert apply(0.9, found.temperature) < 0.95


def test_a_judge_that_is_wrong_says_nothing_afterwards_and_is_not_turned_round():
    found = fit_calibration("wrong", [0.9, 0.1] * 50, [0.0, 1.0] * 50)

    assert 0.5 < apply(0.9, found.temperature) < 0.51


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 10))
def test_cooling_keeps_the_order_of_two_probabilities_and_the_tie(p, q, temperature):
    low, high = sorted((p, q))

    assert apply(low, temperature) <= apply(high, temperature)
    assert apply(0.5, temperature) == 0.5
    assert apply(1 - p, temperature) == pytest.approx(1 - apply(p, temperature), abs=1e-9)


def test_an_opinion_is_calibrated_with_its_seat_gap_and_unread_stays_unread():
    how = fit_calibration("loud", *overconfident(2000, by=2.5))
    before = Opinion("m", "a", "b", "loud", 0.8, position_gap=0.2)
    after = calibrate(before, how)

    assert 0.5 < after.p_first < 0.8
    assert 0 < after.position_gap < 0.3
    assert calibrate(before.swapped(), how).p_first == pytest.approx(1 - after.p_first)
    unread = Opinion("m", "a", "b", "loud", unread="refused")
    assert calibrate(unread, how) == unread


def test_no_labels_no_temperature():
    with pytest.raises(DataError, match="--labels"):
        fit_temperature([], [])
