import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from jurist.stats.agreement import log_loss
from jurist.stats.fits import expit, log_odds
from jurist.verdicts.calibrate import (
    HOTTEST,
    apply,
    calibrate,
    fit_calibration,
    fit_temperature,
)
from jurist.verdicts.jury import agrees_with_labels, measure_agreement
from jurist.verdicts.settle import Opinion


def overconfident(n, by, seed=0):
    """Probabilities whose log-odds are `by` times what they should be, and labels drawn as they should be."""
    dice = np.random.default_rng(seed)
    honest = dice.normal(0, 1.5, n)
    return expit(by * honest), (dice.random(n) < expit(honest)).astype(float)


@pytest.mark.parametrize("by", [0.5, 1.0, 2.5])
def test_the_temperature_is_the_one_that_minimises_the_loss(by):
    p, y = overconfident(4000, by)
    best = minimize_scalar(
        lambda t: log_loss(expit(log_odds(p) / t), y), bounds=(0.05, 100), method="bounded"
    )

    assert fit_temperature(p, y) == pytest.approx(best.x, rel=0.01)
    assert fit_temperature(p, y) == pytest.approx(by, rel=0.15)


def test_a_calibration_reports_what_it_does_to_labels_it_was_not_learnt_from():
    p, y = overconfident(2000, by=2.5)
    found = fit_calibration("loud", p, y, np.arange(2000))

    assert found.temperature == pytest.approx(2.5, rel=0.2)
    assert found.loss_after < found.loss_before
    assert found.ece_after < 0.05 < found.ece_before
    assert (found.n, found.warning) == (2000, "")


def test_a_temperature_that_does_not_lower_the_held_out_loss_is_not_used():
    """Of judges as sure as they are right, most fits on 40 labels make things worse."""
    used, unused = [], []
    for seed in range(60):
        p, y = overconfident(40, by=1.0, seed=seed)
        found = fit_calibration("honest", p, y, np.arange(40))
        (used if found.temperature != 1 else unused).append(found)

    assert len(unused) > 20
    assert all(one.loss_after >= one.loss_before for one in unused)
    assert all(one.loss_after < one.loss_before for one in used)


def test_folds_are_made_of_prompts():
    """Every prompt is asked a hundred times; its judge's fault is another in each of the two prompts."""
    p = np.tile([0.9, 0.1], 100)
    y = np.where(np.arange(200) < 100, p, 1 - p) > 0.5
    by_prompt = fit_calibration("j", p, y.astype(float), np.arange(200) // 100)
    by_row = fit_calibration("j", p, y.astype(float), np.arange(200))

    assert by_row.loss_after == pytest.approx(0.693, abs=0.01)
    assert by_prompt.loss_after > 1
    alone = fit_calibration("j", p, y.astype(float), np.zeros(200))
    assert (alone.temperature, alone.warning) == (1.0, "j is not calibrated: one prompt has all labels")


def test_a_judge_that_is_wrong_more_often_than_right_says_nothing_and_is_warned_of():
    p, y = overconfident(500, by=2.0)
    found = fit_calibration("liar", p, 1 - y, np.arange(500))

    assert found.temperature == pytest.approx(HOTTEST)
    assert "the temperature of liar is at its bound (100.00)" in found.warning


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 50))
def test_a_temperature_keeps_the_order_of_two_probabilities_and_the_tie(p, q, temperature):
    low, high = sorted((p, q))

    assert apply(low, temperature) <= apply(high, temperature)
    assert apply(0.5, temperature) == 0.5
    assert apply(1 - p, temperature) == pytest.approx(1 - apply(p, temperature), abs=1e-9)


@pytest.mark.parametrize("flipped", [True, False])
def test_a_calibrated_opinion_keeps_its_winner_and_whether_it_flipped(flipped):
    """0.999 in one order and 0.55 in the other are no flip, at any temperature."""
    before = Opinion("m", "a", "b", "loud", (0.999 + 0.55) / 2, position_gap=0.999 - 0.55, flipped=flipped)
    after = calibrate(before, 3.0)

    assert 0.5 < after.p_first < before.p_first
    assert 0 < after.position_gap < before.position_gap
    assert after.flipped is flipped
    assert calibrate(before.swapped(), 3.0).p_first == pytest.approx(1 - after.p_first)
    unread = Opinion("m", "a", "b", "loud", unread="refused")
    assert calibrate(unread, 3.0) == unread


def test_agreement_counts_ties_of_the_judge_half_and_leaves_out_ties_of_the_label_and_what_was_not_read():
    lean = np.array([0.4, -0.1, 0.0, np.nan, 0.3, 1e-12])
    y = np.array([1.0, 1.0, 0.0, 1.0, 0.5, 1.0])
    agrees = agrees_with_labels(lean, y)

    assert agrees[[0, 1, 2, 5]].tolist() == [1, 0, 0.5, 0.5]
    assert np.isnan(agrees[[3, 4]]).all()
    found = measure_agreement(lean, y, np.arange(6))
    assert (found.accuracy, found.n) == (0.5, 4)
    assert measure_agreement(lean[3:5], y[3:5], np.arange(2)) is None


def test_the_interval_of_an_agreement_takes_the_prompt_as_its_unit():
    dice = np.random.default_rng(0)
    right = np.repeat(dice.random(50) < 0.7, 10)
    lean = np.where(right, 1.0, -1.0)
    by_prompt = measure_agreement(lean, np.ones(500), np.repeat(np.arange(50), 10))
    by_row = measure_agreement(lean, np.ones(500), np.arange(500))

    assert by_prompt.accuracy == by_row.accuracy
    assert by_prompt.high - by_prompt.low > 2.5 * (by_row.high - by_row.low)
