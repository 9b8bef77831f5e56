"""Temperatures learnt from labels; and a planted leaning to the first position, taken out again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from jurist.records import Verdict
from jurist.stats.agreement import ece, log_loss
from jurist.stats.fits import expit, log_odds
from jurist.verdicts.calibrate import (
    HOTTEST,
    apply,
    calibrate,
    debias,
    fit_calibration,
    fit_columns,
    fit_position_biases,
    fit_temperature,
)
from jurist.verdicts.cases import key_of
from jurist.verdicts.settle import Opinion

LEAN = 1.2  # gives the first position about 70 %


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
    assert (found.n, found.warning) == (2000, "")
    liar = fit_calibration("liar", p, 1 - y, np.arange(2000))
    assert liar.temperature == pytest.approx(HOTTEST)
    assert "the temperature of liar is at its bound (100.00)" in liar.warning


def test_a_temperature_that_does_not_lower_the_held_out_loss_is_not_used():
    """Of judges as sure as they are right, most fits on 40 labels make things worse."""
    found = [
        fit_calibration("honest", *overconfident(40, by=1.0, seed=seed), np.arange(40)) for seed in range(20)
    ]
    assert {(one.temperature == 1, one.loss_after < one.loss_before) for one in found} == {
        (True, False),
        (False, True),
    }


def test_folds_are_made_of_prompts():
    """Every prompt is asked a hundred times; its judge's fault is another in each of the two prompts."""
    p = np.tile([0.9, 0.1], 100)
    y = (np.where(np.arange(200) < 100, p, 1 - p) > 0.5).astype(float)
    by_prompt = fit_calibration("j", p, y, np.arange(200) // 100)
    assert fit_calibration("j", p, y, np.arange(200)).loss_after == pytest.approx(0.693, abs=0.01)
    assert by_prompt.loss_after > 1
    alone = fit_calibration("j", p, y, np.zeros(200))
    assert (alone.temperature, alone.warning) == (1.0, "j is not calibrated: one prompt has all labels")


@settings(max_examples=30)
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


def leaning(hard, bias, n=10_000, swapped=0.2, better_first=False, seed=0):
    """p as shown in the given and in the swapped order, and which matchups are asked in both."""
    dice = np.random.default_rng(seed)
    apart = dice.normal(0, 1.5, n)
    apart = np.abs(apart) if better_first else apart
    given, other = expit(apart + bias), expit(bias - apart)
    if hard:
        given, other = (dice.random(n) < given).astype(float), (dice.random(n) < other).astype(float)
    return given, other, dice.random(n) < swapped


def fitted(given, other, both):
    twice = np.flatnonzero(both)
    swapped = np.arange(len(given) + len(twice)) >= len(given)
    matchup = np.concatenate([np.arange(len(given)), twice])
    return fit_columns(matchup, swapped, np.concatenate([given, other[twice]]))


@pytest.mark.parametrize(("hard", "better_first"), [(True, False), (False, False), (True, True)])
def test_a_bias_of_twenty_points_is_removed_to_within_one_from_a_fifth_asked_twice(hard, better_first):
    """Also where the better texts were kept in the first position, which is no bias."""
    given, other, both = leaning(hard, LEAN, 20_000, better_first=better_first)
    found, once = fitted(given, other, both), ~both
    mended = np.array([debias(p, found) for p in given[once].tolist()])
    asked_twice = (given + 1 - other)[once] / 2
    assert found.first_share == pytest.approx(0.70, abs=0.015)
    assert abs((mended - asked_twice).mean()) < 0.01
    if not better_first:
        assert ece(mended, asked_twice) < 0.01


@pytest.mark.slow
def test_the_interval_of_a_bias_holds_the_truth_and_clears_a_fair_judge():
    found = [fitted(*leaning(True, LEAN, n=1500, seed=seed)) for seed in range(5)]
    assert sum(one.bias_low < LEAN < one.bias_high for one in found) >= 4
    assert np.mean([one.bias for one in found]) == pytest.approx(LEAN, abs=0.2)
    given, other, both = leaning(True, 0.0, n=4000)
    fair, swapped = fitted(given, other, both), fitted(given[both], other[both], both[both])
    assert fair.low < 0.5 < fair.high
    assert fair.bias_low < 0 < fair.bias_high
    assert fair.high - fair.low < 0.8 * (swapped.high - swapped.low)  # those asked once make it narrower


@pytest.mark.parametrize("says", [1.0, 0.0])
def test_a_judge_that_only_looks_at_the_position_is_left_with_nothing(says):
    found = fitted(np.full(500, says), np.full(500, says), np.arange(500) < 100)
    assert debias(says, found) == pytest.approx(0.5, abs=0.01)


def recorded(judge, bias, n=400):
    given, other, both = leaning(False, bias, n=n)
    asked = [(i, "given", given[i]) for i in range(n)]
    asked += [(i, "swapped", other[i]) for i in range(n) if both[i]]
    return [
        Verdict(f"{judge}{i}{order}", judge, f"m{i}", order=order, p_first=float(p) if i % 10 else None)
        for i, order, p in asked
    ]


def test_judges_are_kept_apart_and_one_read_too_rarely_is_warned_of_and_not_corrected():
    rows = recorded("fair", 0.0) + recorded("leaning", LEAN) + recorded("few", LEAN, n=100)
    np.random.default_rng(0).shuffle(rows)
    found, warnings = fit_position_biases(rows)
    assert {name: one.bias for name, one in found.items()} == {
        "fair": pytest.approx(0, abs=0.25),
        "leaning": pytest.approx(LEAN, abs=0.25),
    }
    (warning,) = warnings
    assert "few is not corrected" in warning
    assert "--judge.swap fraction:0.5" in warning
    assert key_of("m1") == 15068896832674379348  # the same in every process
