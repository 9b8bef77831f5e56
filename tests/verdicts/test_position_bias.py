"""A judge planted with a leaning towards the first position, asked in both orders only now and then."""

import subprocess
import sys

import numpy as np
import pytest

from jurist.records import Verdict
from jurist.stats.agreement import ece
from jurist.verdicts.calibrate import debias, fit_columns, fit_position_biases

LEAN = 1.2  # gives the first position about 70 %


def verdicts(hard, bias, n=20_000, swapped=0.2, better_first=False, seed=0):
    """p as shown in the given and in the swapped order, and which matchups are asked in both."""
    dice = np.random.default_rng(seed)
    apart = dice.normal(0, 1.5, n)
    apart = np.abs(apart) if better_first else apart
    given, other = 1 / (1 + np.exp(-apart - bias)), 1 / (1 + np.exp(apart - bias))
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
    given, other, both = verdicts(hard, LEAN, better_first=better_first)
    found, once = fitted(given, other, both), ~both
    mended = np.array([debias(p, found) for p in given[once].tolist()])
    asked_twice = (given + 1 - other)[once] / 2

    assert found.first_share == pytest.approx(0.70, abs=0.015)
    assert abs((mended - asked_twice).mean()) < 0.01
    if not better_first:
        assert ece(mended, asked_twice) < 0.01


def test_the_interval_holds_the_truth_and_clears_a_fair_judge():
    held, biases = 0, []
    for seed in range(10):
        found = fitted(*verdicts(True, LEAN, n=1500, seed=seed))
        biases.append(found.bias)
        held += found.bias_low < LEAN < found.bias_high
        assert found.low < found.first_share < found.high

    assert held >= 8
    assert np.mean(biases) == pytest.approx(LEAN, abs=0.15)
    fair = fitted(*verdicts(True, 0.0))
    assert fair.low < 0.5 < fair.high
    assert fair.bias_low < 0 < fair.bias_high


def test_matchups_asked_once_make_the_interval_narrower():
    given, other, both = verdicts(True, LEAN, n=4000)
    everything, swapped = fitted(given, other, both), fitted(given[both], other[both], both[both])

    assert everything.high - everything.low < 0.8 * (swapped.high - swapped.low)


@pytest.mark.parametrize("says", [1.0, 0.0])
def test_a_judge_that_only_looks_at_the_position_is_left_with_nothing(says):
    found = fitted(np.full(500, says), np.full(500, says), np.arange(500) < 100)

    assert debias(says, found) == pytest.approx(0.5, abs=0.01)


def recorded(judge, bias, n=400, read=lambda i: i % 10 > 0):
    given, other, both = verdicts(False, bias, n=n)
    asked = [(i, "given", given[i]) for i in range(n)] + [
        (i, "swapped", other[i]) for i in range(n) if both[i]
    ]
    return [
        Verdict(
            f"{judge}{i}{order}",
            judge,
            f"m{i}",
            order=order,
            p_first=float(p) if read(i) else None,
            unread="" if read(i) else "refused",
        )
        for i, order, p in asked
    ]


def test_judges_are_kept_apart_and_one_read_too_rarely_is_warned_of_and_not_corrected():
    rows = recorded("fair", 0.0) + recorded("leaning", LEAN) + recorded("few", LEAN, n=100)
    np.random.default_rng(0).shuffle(rows)
    found, warnings = fit_position_biases(rows)

    assert found["fair"].bias == pytest.approx(0, abs=0.25)
    assert found["leaning"].bias == pytest.approx(LEAN, abs=0.25)
    assert set(found) == {"fair", "leaning"}
    (warning,) = warnings
    assert "few is not corrected" in warning
    assert "--judge.swap fraction:0.5" in warning


def test_the_fit_is_the_same_in_every_process():
    code = (
        "from test_position_bias import *; found, _ = fit_position_biases(recorded('j', LEAN));"
        "print(repr(found['j']))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=__file__.rpartition("/")[0],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
