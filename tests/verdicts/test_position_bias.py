"""A judge planted with a leaning towards the first seat, asked in both orders only now and then."""

import numpy as np
import pytest

from jurist.errors import SettingError
from jurist.records import Verdict
from jurist.stats.agreement import ece
from jurist.verdicts.position_bias import correct, fit_position_bias, fit_position_biases

LEAN = 1.2  # gives the first seat about 70 %


def verdicts(
    hard: bool, bias: float, n: int = 20_000, swapped: float = 0.2, better_first: bool = False, seed: int = 0
):
    """p as shown in the given and in the turned order, and which matchups are asked in both."""
    dice = np.random.default_rng(seed)
    apart = dice.normal(0, 1.5, n)
    apart = np.abs(apart) if better_first else apart
    given, turned = 1 / (1 + np.exp(-apart - bias)), 1 / (1 + np.exp(apart - bias))
    if hard:
        given, turned = (dice.random(n) < given).astype(float), (dice.random(n) < turned).astype(float)
    return given, turned, dice.random(n) < swapped


def triples(given, turned, both):
    for i in range(len(given)):
        yield f"m{i}", "given", float(given[i])
        if both[i]:
            yield f"m{i}", "swapped", float(turned[i])


@pytest.mark.parametrize("hard", [True, False])
def test_a_bias_of_twenty_points_is_removed_to_within_one_from_a_fifth_asked_twice(hard):
    given, turned, both = verdicts(hard, LEAN)
    found = fit_position_bias(triples(given, turned, both), "leaning")
    once = ~both
    mended = np.array([correct(p, found) for p in given[once].tolist()])
    asked_twice = (given + 1 - turned)[once] / 2

    assert given[once].mean() == pytest.approx(0.70, abs=0.01)
    assert mended.mean() == pytest.approx(0.50, abs=0.01)
    assert abs((mended - asked_twice).mean()) < 0.01
    assert ece(mended.tolist(), asked_twice.tolist()) < 0.01


def test_the_slot_bias_comes_with_an_interval_that_holds_the_truth():
    held, biases, spreads = 0, [], []
    for seed in range(10):
        found = fit_position_bias(triples(*verdicts(True, LEAN, n=1500, seed=seed)))
        biases.append(found.bias)
        spreads.append(found.spread)
        held += found.bias_low < LEAN < found.bias_high
        assert found.low < found.first_share < found.high

    assert held >= 8
    assert np.mean(biases) == pytest.approx(LEAN, abs=0.15)
    assert np.mean(spreads) == pytest.approx(1.5, abs=0.25)


def test_matchups_asked_once_make_the_interval_narrower():
    given, turned, both = verdicts(True, LEAN, n=4000)
    all_asked = fit_position_bias(triples(given, turned, both))
    swapped_only = fit_position_bias(triples(given[both], turned[both], both[both]))

    assert all_asked.high - all_asked.low < 0.8 * (swapped_only.high - swapped_only.low)


def test_a_fair_judge_is_cleared():
    found = fit_position_bias(triples(*verdicts(True, 0.0)))

    assert found.low < 0.5 < found.high
    assert found.bias_low < 0 < found.bias_high


def test_better_texts_kept_in_the_first_seat_are_not_taken_for_bias():
    given, turned, both = verdicts(True, LEAN, better_first=True)
    found = fit_position_bias(triples(given, turned, both))
    once = ~both
    mended = np.array([correct(p, found) for p in given[once].tolist()])

    assert not found.singles_used
    assert found.first_share == pytest.approx(0.70, abs=0.015)
    assert abs((mended - (given + 1 - turned)[once] / 2).mean()) < 0.01


@pytest.mark.parametrize("says", [1.0, 0.0])
def test_a_judge_that_only_looks_at_the_seat_is_left_with_nothing(says):
    n = 500
    found = fit_position_bias(triples(np.full(n, says), np.full(n, says), np.arange(n) < 100))

    assert correct(says, found) == pytest.approx(0.5, abs=0.01)


def test_verdicts_of_several_judges_in_any_order_are_kept_apart_and_unread_ones_left_out():
    rows = []
    for judge, bias in (("fair", 0.0), ("leaning", LEAN)):
        for i, (matchup, order, p) in enumerate(triples(*verdicts(False, bias, n=400))):
            read = i % 10 > 0
            rows.append(
                Verdict(
                    f"{judge}{i}",
                    judge,
                    matchup,
                    order=order,
                    p_first=p if read else None,
                    unread="" if read else "refused",
                )
            )
    np.random.default_rng(0).shuffle(rows)
    found = fit_position_biases(rows)

    assert found["fair"].bias == pytest.approx(0, abs=0.25)
    assert found["leaning"].bias == pytest.approx(LEAN, abs=0.25)


def test_too_few_matchups_in_both_orders_is_refused_with_the_way_out():
    with pytest.raises(SettingError, match=r"--judge\.swap fraction:0\.2"):
        fit_position_bias([("m", "given", 1.0), ("m", "swapped", 0.0)])
