"""Log-odds and strengths against values worked out by hand and against other people's libraries."""

import math

import numpy as np
import pytest

from jurist.stats import fits


def test_sigmoid_and_logit_undo_each_other_and_never_overflow():
    assert [fits.sigmoid(-1e6), fits.sigmoid(1e6)] == [0.0, 1.0]
    assert fits.logit(0.0) == pytest.approx(-fits.logit(1.0))
    assert fits.sigmoid(fits.logit(0.3)) == pytest.approx(0.3)


def test_a_logistic_regression_ends_where_its_loss_is_flat():
    dice = np.random.default_rng(0)
    x = dice.normal(size=(200, 4))
    y = (x @ [1.0, -0.5, 0, 0.2] + dice.normal(size=200) > 0).astype(float)
    weights = dice.uniform(0.5, 2, 200)
    fitted = fits.fit_logistic(x, y, 1.0, weights)
    slope = x.T @ (weights * (1 / (1 + np.exp(-x @ fitted)) - y)) + fitted

    assert slope == pytest.approx(np.zeros(4), abs=1e-8)
    soft = fits.fit_logistic(np.ones((3, 1)), np.array([0.2, 0.3, 0.7]), 0.0)
    assert fits.sigmoid(soft[0]) == pytest.approx(0.4)


def test_a_regression_with_nothing_to_stop_it_stays_finite():
    x = np.array([[1000.0], [-1000.0], [900.0]])
    assert 0 < fits.fit_logistic(x, np.array([1.0, 0.0, 1.0]), 1e-6)[0] < math.inf


def test_bisection_finds_the_root_of_a_rising_function():
    assert fits.bisect(lambda x: x**3 - 2, 0, 5) == pytest.approx(2 ** (1 / 3), abs=1e-15)
    assert fits.bisect(lambda x: 1.0, 0.5, 4) == pytest.approx(0.5)


def test_strengths_by_hand_and_of_one_who_never_loses():
    scores = fits.bradley_terry([("a", "b", 3), ("b", "a", 1)])
    assert scores["a"] - scores["b"] == pytest.approx(math.log(3), abs=1e-8)
    assert scores["a"] + scores["b"] == pytest.approx(0, abs=1e-12)

    scores = fits.bradley_terry([("a", "b", 5), ("b", "c", 1), ("c", "b", 1)])
    assert math.inf > scores["a"] > scores["b"]
    assert fits.bradley_terry([]) == {}


def test_strengths_agree_with_choix():
    import choix

    rows = [(int(a), int(b)) for a, b in np.random.default_rng(1).integers(0, 6, (400, 2)) if a != b]
    want = choix.opt_pairwise(6, rows, tol=1e-12)
    scores = fits.bradley_terry([(a, b, 1.0) for a, b in rows])

    assert [scores[i] for i in range(6)] == pytest.approx(want - want.mean(), abs=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_strengths_agree_with_crowd_kit():
    crowdkit = pytest.importorskip("crowdkit.aggregation", reason="pip install crowd-kit")
    import pandas

    dice = np.random.default_rng(8)
    met = [(int(a), int(b)) for a, b in dice.integers(0, 5, (400, 2)) if a != b]
    won = [(a, b, 1.0) if dice.random() < 1 / (1 + math.exp((b - a) / 2)) else (b, a, 1.0) for a, b in met]
    rows = pandas.DataFrame([{"left": a, "right": b, "label": a, "worker": 0} for a, b, _ in won])
    # With a tolerance it would stop after two rounds: it compares its strengths with themselves.
    theirs = crowdkit.BradleyTerry(n_iter=3000, tol=0.0).fit_predict(rows)
    ours = np.array([score for _, score in sorted(fits.bradley_terry(won).items())])

    assert np.exp(ours) / np.exp(ours).sum() == pytest.approx(theirs.sort_index().to_numpy(), abs=1e-6)
