"""Log-odds and strengths against values worked out by hand and against other people's libraries."""

import math

import numpy as np
import pytest

from jurist.stats import fits


def test_sigmoid_and_logit_undo_each_other_and_never_overflow():
    assert [fits.sigmoid(-1e6), fits.sigmoid(1e6)] == [0.0, 1.0]
    assert fits.logit(0.0) == pytest.approx(-fits.logit(1.0))
    assert fits.sigmoid(fits.logit(0.3)) == pytest.approx(0.3)


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
