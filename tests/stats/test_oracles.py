"""The statistics against other people's libraries, to 1e-6 or with the reason why not."""

import math

import numpy as np
import pytest

from jurist import stats
from jurist.stats import chance, prediction, special
from jurist.stats import clusters as clusters_of
from jurist.stats.confidence import aurc, auroc, risk_coverage
from jurist.verdicts.dawid_skene import fit_tables
from jurist.verdicts.jury import JuryConfig, combine
from jurist.verdicts.opinion import Opinion

CLOSE = 1e-6
pytestmark = pytest.mark.filterwarnings("ignore")  # of pandas, at crowd-kit


def test_the_incomplete_beta_function_agrees_with_scipy_to_ten_digits():
    from scipy.special import betainc

    for a in (0.5, 1, 3, 70, 5000):
        for b in (0.5, 2, 30, 900, 20000):
            for x in (0.0, 0.001, 0.1, 0.5, 0.9, 0.999, 1.0):
                assert special.beta_cdf(x, a, b) == pytest.approx(betainc(a, b, x), abs=1e-10)


def test_clopper_and_pearsons_interval_agrees_with_scipy():
    from scipy.stats import binomtest

    for hits, n in ((0, 7), (3, 7), (7, 7), (87, 1000), (5, 100_000)):
        for level in (0.9, 0.95):
            want = binomtest(hits, n).proportion_ci(level, "exact")
            assert stats.clopper_pearson(hits, n, level) == pytest.approx((want.low, want.high), abs=CLOSE)


def test_students_quantile_and_test_agree_with_scipy():
    from scipy.stats import t, ttest_1samp

    values = np.random.default_rng(0).normal(0.1, 1, 40)
    for freedom in (1, 2, 3, 9, 40, 1000, 100_000):
        assert special.student(0.95, freedom) == pytest.approx(t.ppf(0.975, freedom), rel=1e-8)
    mean, error = values.mean(), values.std(ddof=1) / math.sqrt(40)
    want = ttest_1samp(values, 0.3, alternative="less").pvalue
    assert stats.student_test(mean, error, 40, 0.3) == pytest.approx(want, abs=CLOSE)


def test_a_weighted_mean_is_as_sure_as_the_linearised_ratio_of_two_sums():
    """Särndal, Swensson & Wretman (1992), 5.6: residuals of the ratio, summed over clusters."""
    dice = np.random.default_rng(1)
    values, weights = dice.random(60), dice.uniform(1, 9, 60)
    clusters = np.repeat(np.arange(20), 3)
    mean, error, n = clusters_of.weighted_mean(values, clusters, weights)
    residuals = (weights * (values - np.average(values, weights=weights))).reshape(20, 3).sum(axis=1)

    assert n == 20
    assert mean == pytest.approx(np.average(values, weights=weights))
    assert error == pytest.approx(math.sqrt(20 / 19 * (residuals**2).sum()) / weights.sum())
    exact = stats.clustered_share(np.ones(9), np.arange(9), weights=np.full(9, 1.1))
    assert exact == pytest.approx(stats.clustered_share(np.ones(9), np.arange(9)))


def test_mcnemars_test_agrees_with_scipys_binomial_exact_and_mid_p():
    from scipy.stats import binom, binomtest

    for one, other in ((0, 0), (1, 0), (10, 3), (25, 25), (300, 241)):
        n = one + other
        exact = binomtest(one, n).pvalue if n else 1.0
        assert stats.mcnemar(one, other, mid=False) == pytest.approx(exact, abs=CLOSE)
        if n and one != other:
            mid = exact - binom.pmf(max(one, other), n, 0.5)
            assert stats.mcnemar(one, other) == pytest.approx(mid, abs=CLOSE)


def test_benjamini_and_yekutielis_choice_agrees_with_scipy():
    from scipy.stats import false_discovery_control

    dice = np.random.default_rng(0)
    for _ in range(20):
        ps = dice.beta(0.3, 2, 6)
        want = false_discovery_control(ps, method="by") <= 0.05
        assert stats.benjamini_yekutieli(ps.tolist()) == want.tolist()


def test_alpha_agrees_with_the_package_of_its_name_where_ratings_are_missing():
    krippendorff = pytest.importorskip("krippendorff", reason="pip install krippendorff")
    dice = np.random.default_rng(2)
    truth = dice.integers(0, 4, 80)
    rated = np.where(dice.random((5, 80)) < 0.7, truth, dice.integers(0, 4, (5, 80))).astype(float)
    rated[dice.random((5, 80)) < 0.4] = np.nan
    items = np.broadcast_to(np.arange(80), rated.shape).reshape(-1)
    for level in ("nominal", "interval"):
        want = krippendorff.alpha(rated, level_of_measurement=level)
        assert chance.alpha(items, rated.reshape(-1), level) == pytest.approx(want, abs=CLOSE)


def test_kappa_of_a_table_is_kappa_of_its_labels_and_agrees_with_scikit_learn():
    from sklearn.metrics import cohen_kappa_score, confusion_matrix

    dice = np.random.default_rng(3)
    one = dice.integers(0, 3, 200)
    other = np.where(dice.random(200) < 0.6, one, dice.integers(0, 3, 200))
    table = confusion_matrix(one, other).astype(float)

    assert float(chance.kappa(table)) == pytest.approx(cohen_kappa_score(one, other), abs=1e-12)
    assert float(chance.kappa(table)) == pytest.approx(stats.cohen_kappa(one.tolist(), other.tolist()))


def test_gwets_coefficients_by_hand():
    """Gwet (2014), two raters: AC1 = (pa - pe) / (1 - pe) with pe = sum of pi (1 - pi) over q - 1."""
    table = np.array([[118.0, 5.0], [2.0, 0.0]])
    share = (118 + 5 + 118 + 2) / 250
    by_chance = 2 * share * (1 - share)

    assert float(chance.ac1(table)) == pytest.approx((118 / 125 - by_chance) / (1 - by_chance))
    assert float(chance.kappa(table)) < 0 < 0.9 < float(chance.ac1(table))  # what AC1 is for
    assert float(chance.ac2(table, np.array([0.0, 1.0]))) == pytest.approx(float(chance.ac1(table)))
    near = np.array([[30.0, 10.0, 0.0], [10.0, 30.0, 10.0], [0.0, 10.0, 30.0]])
    assert float(chance.ac2(near, np.array([0.0, 1.0, 2.0]))) > float(chance.ac1(near))


def test_auroc_and_its_interval_agree_with_scikit_learn_and_delong():
    from sklearn.metrics import roc_auc_score

    dice = np.random.default_rng(4)
    right = dice.random(300) < 0.7
    scores = np.round(dice.normal(right * 0.8, 1), 1)
    found = auroc(scores, right)
    beats = (scores[right][:, None] > scores[~right]) + 0.5 * (scores[right][:, None] == scores[~right])
    ones, zeros = beats.mean(axis=1), beats.mean(axis=0)
    variance = ones.var(ddof=1) / len(ones) + zeros.var(ddof=1) / len(zeros)

    assert found.value == pytest.approx(roc_auc_score(right, scores), abs=1e-12)
    # Two samples in one sum: DeLong's n - 1 in each becomes n - 1 in all.
    assert (found.high - found.low) / 2 / special.student(0.95, 299) == pytest.approx(
        math.sqrt(variance), rel=0.01
    )


def test_the_risk_coverage_curve_by_hand():
    kept, risk = risk_coverage(np.array([0.9, 0.8, 0.7, 0.6]), np.array([0.0, 1.0, 0.0, 1.0]))

    assert kept.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert aurc(np.array([0.9, 0.8, 0.7, 0.6]), np.array([0.0, 1.0, 0.0, 1.0])) == pytest.approx(1 / 3)
    assert aurc(np.full(4, 0.9), np.array([0.0, 1.0, 0.0, 1.0])) == pytest.approx(0.5)  # no order in ties


@pytest.mark.slow
def test_prediction_powered_intervals_agree_with_ppi_python():
    ppi_py = pytest.importorskip("ppi_py", reason="the oracles are not installed: pip install ppi-python")
    dice = np.random.default_rng(5)
    for n, rest, noise in ((40, 400, 0.5), (200, 300, 1.0), (60, 5000, 3.0)):
        truth = dice.normal(size=n + rest)
        f = truth + noise * dice.normal(size=n + rest)
        y = truth[:n]
        ours = prediction.powered_mean(y, f[:n], f[n:])
        low, high = ppi_py.ppi_mean_ci(y, f[:n], f[n:], alpha=0.05)
        assert ours.value == pytest.approx(ppi_py.ppi_mean_pointestimate(y, f[:n], f[n:]).item(), abs=CLOSE)
        assert ours.value == pytest.approx((low + high).item() / 2, abs=CLOSE)
        # Theirs divides by n and takes the normal's quantile; ours divides by n - 1 and takes Student's.
        errors = np.array([(y - ours.trust * f[:n]).std(), ours.trust * f[n:].std()])
        theirs = stats.z_of(0.95) * math.hypot(*(errors / np.sqrt([n, rest])))
        assert (high - low).item() / 2 == pytest.approx(theirs, abs=CLOSE)
        ours_wide = special.student(0.95, n - 1) * math.hypot(*(errors / np.sqrt([n - 1, rest - 1])))
        assert (ours.high - ours.low) / 2 == pytest.approx(ours_wide, abs=CLOSE)


@pytest.mark.slow
def test_weighted_prediction_powered_means_agree_with_ppi_python():
    ppi_py = pytest.importorskip("ppi_py", reason="the oracles are not installed: pip install ppi-python")
    dice = np.random.default_rng(6)
    f = dice.normal(size=2000)
    y = f[:100] + dice.normal(size=100)
    weights = dice.uniform(1, 9, 100)
    ours = prediction.powered_mean(y, f[:100], f, weights=weights)
    theirs = ppi_py.ppi_mean_pointestimate(y, f[:100], f, lam=ours.trust, w=weights)

    # The interval is not theirs: they take the sum of the weights as drawn by chance, and the mean of a
    # sample drawn by strata has a weight it was divided by.
    assert ours.value == pytest.approx(theirs.item(), abs=CLOSE)


@pytest.mark.slow
def test_the_majority_agrees_with_crowd_kit():
    crowdkit = pytest.importorskip("crowdkit.aggregation", reason="pip install crowd-kit")
    rows, said = crowd()
    shares = crowdkit.MajorityVote().fit(rows).probas_
    for item in range(len(said)):
        opinions = [
            Opinion("m", "a", "b", f"judge{j}", float(vote == 0))
            for j, vote in enumerate(said[item])
            if vote >= 0
        ]
        ours = combine(opinions, None, JuryConfig("vote", quorum=0)).p_first
        assert (ours > 0.5) - (ours < 0.5) == np.sign(shares.loc[item].get(0, 0.0) - 0.5)
        mean = combine(opinions, None, JuryConfig("mean", quorum=0)).p_first
        assert mean == pytest.approx(shares.loc[item].get(0, 0.0), abs=CLOSE)


@pytest.mark.slow
def test_dawid_and_skenes_tables_agree_with_crowd_kit():
    crowdkit = pytest.importorskip("crowdkit.aggregation", reason="pip install crowd-kit")
    rows, said = crowd()
    theirs = crowdkit.DawidSkene(n_iter=300, tol=1e-13).fit(rows)
    ours = fit_tables(
        said.tolist(),
        [1.0] * len(said),
        [None] * len(said),
        answers=2,
        smoothing=0.0,
        rounds=3000,
        tolerance=0.0,
    )

    assert list(ours.prior) == pytest.approx([theirs.priors_[0], theirs.priors_[1]], abs=CLOSE)
    for judge in range(said.shape[1]):
        for answer in (0, 1):
            for truth in (0, 1):
                want = theirs.errors_.loc[(judge, answer), truth]
                assert ours.says[judge][truth][answer] == pytest.approx(want, abs=CLOSE)


@pytest.mark.slow
def test_strengths_agree_with_crowd_kits_bradley_terry():
    crowdkit = pytest.importorskip("crowdkit.aggregation", reason="pip install crowd-kit")
    import pandas

    dice = np.random.default_rng(8)
    met = [(int(a), int(b)) for a, b in dice.integers(0, 5, (400, 2)) if a != b]
    won = [(a, b, 1.0) if dice.random() < 1 / (1 + math.exp((b - a) / 2)) else (b, a, 1.0) for a, b in met]
    rows = pandas.DataFrame([{"left": a, "right": b, "label": a, "worker": 0} for a, b, _ in won])
    # With a tolerance it would stop after two rounds: it compares its strengths with themselves.
    theirs = crowdkit.BradleyTerry(n_iter=3000, tol=0.0).fit_predict(rows)
    ours = np.array([score for _, score in sorted(stats.bradley_terry(won).items())])

    assert np.exp(ours) / np.exp(ours).sum() == pytest.approx(theirs.sort_index().to_numpy(), abs=CLOSE)


@pytest.mark.slow
def test_crowd_kits_noisy_bradley_terry_is_no_oracle_because_it_stops_short_of_its_own_optimum():
    """Our slot bias is another model (strengths drawn from a normal), and theirs cannot be held to a digit:
    its gradient keeps only the last row of a worker's skill and bias, so its fit is not where its own
    likelihood is flat. Both see the seat that is worth seven tenths.
    """
    crowdkit = pytest.importorskip("crowdkit.aggregation", reason="pip install crowd-kit")
    import pandas
    from scipy.optimize import check_grad

    from jurist.verdicts.slot_bias import fit_slot_bias

    dice = np.random.default_rng(9)
    left = dice.random(500) < 0.7
    pairs = [(f"a{i % 20}", f"b{i % 20}") for i in range(500)]
    rows = pandas.DataFrame(
        [
            {"worker": "judge", "left": a, "right": b, "label": a if won else b}
            for (a, b), won in zip(pairs, left, strict=True)
        ]
    )
    fit = crowdkit.NoisyBradleyTerry(n_iter=50)
    coded = np.array([[1 + i % 20, 21 + i % 20, (1 if won else 21) + i % 20] for i, won in enumerate(left)])
    more = (coded, np.zeros(500, dtype=int), 40, 1, 1e-5)
    off = check_grad(fit._compute_log_likelihood, fit._compute_gradient, np.full(43, 0.3), *more)
    ours = fit_slot_bias(
        [(f"m{i}", "given", float(won)) for i, won in enumerate(left)]
        + [(f"m{i}", "swapped", float(dice.random() < 0.7)) for i in range(100)]
    )

    assert off > 1
    assert fit.fit(rows).biases_["judge"] > 0.5
    assert ours.first_share == pytest.approx(0.7, abs=0.04)


def crowd():
    """Five judges of different ability on 200 items, one vote in four missing."""
    pandas = pytest.importorskip("pandas", reason="pip install crowd-kit")
    dice = np.random.default_rng(7)
    truth = dice.integers(0, 2, 200)
    able = dice.random((200, 5)) < np.array([0.9, 0.8, 0.75, 0.65, 0.6])
    said = np.where(able, truth[:, None], 1 - truth[:, None])
    said[dice.random(said.shape) < 0.25] = -1
    said = said[(said >= 0).any(axis=1)]
    rows = [
        {"task": i, "worker": j, "label": int(vote)}
        for i, votes in enumerate(said)
        for j, vote in enumerate(votes)
        if vote >= 0
    ]
    return pandas.DataFrame(rows), said
