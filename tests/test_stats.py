"""The statistics against values worked out by hand and against other people's libraries."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurist import stats

LABELS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=2, max_size=60)


def test_importing_the_statistics_loads_no_numpy():
    code = "import jurist.stats, sys; sys.exit(bool({'numpy', 'scipy'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_wilson_gives_the_textbook_interval():
    low, high = stats.wilson(8, 10)

    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)


def test_nothing_seen_says_nothing():
    assert stats.wilson(0, 0) == (0.0, 1.0)
    assert math.isnan(stats.agreement([], []))
    assert math.isnan(stats.cohen_kappa([], []))
    assert math.isnan(stats.ece([], []))
    assert math.isnan(stats.correlation([], []))
    assert all(math.isnan(x) for x in stats.bootstrap([]))
    assert stats.bradley_terry([]) == {}


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(1, 40))
def test_an_interval_lies_within_zero_and_one_and_holds_the_share(hits, extra):
    n = max(hits, 1) + extra - 1 if hits else extra
    low, high = stats.wilson(hits, n)
    assert 0 <= low <= hits / n <= high <= 1


def test_wilson_agrees_with_scipy():
    from scipy.stats import binomtest

    for hits, n in ((0, 7), (3, 7), (7, 7), (87, 1000)):
        want = binomtest(hits, n).proportion_ci(0.9, "wilson")
        assert stats.wilson(hits, n, 0.9) == pytest.approx((want.low, want.high), abs=1e-9)


@settings(deadline=None)
@given(LABELS)
def test_kappa_agrees_with_scikit_learn(pairs):
    from sklearn.metrics import cohen_kappa_score

    gold, said = zip(*pairs, strict=True)
    ours = stats.cohen_kappa(gold, said)
    if len(set(gold) | set(said)) > 1:
        assert ours == pytest.approx(cohen_kappa_score(gold, said), abs=1e-9)
    else:
        assert math.isnan(ours)


def test_an_unread_label_is_left_out_and_is_not_a_category():
    gold, said = ["a", "b", "a", "b"], ["a", "b", None, "a"]

    assert stats.agreement(gold, said) == pytest.approx(2 / 3)
    assert stats.cohen_kappa(gold, said) == stats.cohen_kappa(["a", "b", "b"], ["a", "b", "a"])


def test_bradley_terry_by_hand():
    scores = stats.bradley_terry([("a", "b", 3), ("b", "a", 1)])

    assert scores["a"] - scores["b"] == pytest.approx(math.log(3), abs=1e-8)
    assert scores["a"] + scores["b"] == pytest.approx(0, abs=1e-12)


def test_bradley_terry_agrees_with_choix():
    import choix

    dice = np.random.default_rng(1)
    rows = [(int(a), int(b)) for a, b in dice.integers(0, 6, (400, 2)) if a != b]
    want = choix.opt_pairwise(6, rows, tol=1e-12)
    scores = stats.bradley_terry([(a, b, 1.0) for a, b in rows])

    assert [scores[i] for i in range(6)] == pytest.approx(want - want.mean(), abs=1e-6)


def test_one_who_never_loses_gets_a_finite_score():
    scores = stats.bradley_terry([("a", "b", 5), ("b", "c", 1), ("c", "b", 1)])

    assert math.isfinite(scores["a"])
    assert scores["a"] > scores["b"]


def test_four_hundred_elo_points_are_ten_to_one():
    ratings = stats.elo({"a": math.log(10), "b": 0.0})

    assert ratings["a"] - ratings["b"] == pytest.approx(400)
    assert sum(ratings.values()) == pytest.approx(2000)


def test_sigmoid_and_logit_undo_each_other_and_never_overflow():
    assert stats.sigmoid(-1e6) == 0.0
    assert stats.sigmoid(1e6) == 1.0
    assert math.isfinite(stats.logit(0.0))
    assert stats.logit(0.0) == pytest.approx(-stats.logit(1.0))
    assert stats.sigmoid(stats.logit(0.3)) == pytest.approx(0.3)


def test_a_judge_as_sure_as_it_is_right_has_no_calibration_error():
    ps, labels = [0.75] * 4 + [0.25] * 4, [1, 1, 1, 0, 0, 0, 0, 1]

    assert stats.ece(ps, labels) == pytest.approx(0)
    assert stats.ece([1.0] * 4, [1, 1, 1, 0]) == pytest.approx(0.25)
    assert stats.log_loss([0.5, 0.5], [0, 1]) == pytest.approx(math.log(2))


def test_correlation_is_pearsons_and_undefined_for_a_constant():
    dice = np.random.default_rng(0)
    x, y = dice.normal(size=(2, 50)).tolist()

    assert stats.correlation(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)
    assert math.isnan(stats.correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]))


def test_the_bootstrap_repeats_itself_and_covers_the_mean():
    values = np.random.default_rng(0).normal(3, 1, 200).tolist()
    low, high = stats.bootstrap(values, seed=4)

    assert (low, high) == stats.bootstrap(values, seed=4)
    assert low < 3 < high
    assert high - low == pytest.approx(2 * 1.96 / math.sqrt(200), rel=0.15)
    assert stats.bootstrap(values, lambda v: max(v), draws=50)[1] == max(values)


def test_effective_jurors_by_hand():
    assert stats.effective_jurors(3, 0.0) == 3
    assert stats.effective_jurors(3, 1.0) == 1
    assert round(stats.effective_jurors(3, (0.60 + 0.51 + 0.61) / 3), 2) == 1.40


def test_the_sign_test_is_exact():
    assert stats.sign_test(5, 0) == pytest.approx(1 / 32)
    assert stats.sign_test(0, 0) == 1.0
