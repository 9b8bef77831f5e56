"""What length lends to a win rate is taken out, and nothing else is."""

from dataclasses import replace

import numpy as np
import pytest
from finding import findings
from sklearn.linear_model import LogisticRegression

from jurist.audits.finding import Measure
from jurist.audits.win_rates import (
    RIDGE,
    SHARED,
    AgainstBaseline,
    against_baseline,
    difficulty,
    fit_glm,
    fit_win_rates,
    length_controlled,
    squash,
)
from jurist.stats.intervals import Estimate
from support.policies import simulate_policies
from support.simulated import Simulated, World, simulate

WORDY = Simulated("wordy", length=1.5)


def rates(rows):
    return np.array([rate.raw.value for rate in rows]), np.array([rate.controlled.value for rate in rows])


def rms(x):
    return float(np.sqrt(np.mean(np.square(x))))


@pytest.mark.parametrize("strength", [1.0, 30.0, 1000.0])
def test_the_fit_is_that_of_scikit_learn(strength):
    """A column of the length of its penalty's root; a probability is two rows with its weights."""
    dice = np.random.default_rng(0)
    policy = np.repeat(np.arange(3), 80)
    x = np.concatenate([np.ones((240, 1)), dice.normal(size=(240, 2))], axis=1)
    p = 1 / (1 + np.exp(-x.sum(axis=1) * (policy - 1) - dice.normal(size=240)))
    own = np.eye(3)[policy]
    apart = (own[:, :, None] * x[:, None, 1:]).reshape(240, -1)
    columns = np.concatenate([own, x[:, 1:]], axis=1) / RIDGE**0.5, apart / strength**0.5
    both = np.concatenate(columns, axis=1)
    model = LogisticRegression(fit_intercept=False, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    said = np.repeat([1, 0], 240)
    model.fit(np.concatenate([both, both]), said, sample_weight=np.concatenate([p, 1 - p]))
    found = model.coef_[0]
    means = found[3:5] / RIDGE**0.5
    want = np.concatenate(
        [found[:3, None] / RIDGE**0.5, means + found[5:].reshape(3, 2) / strength**0.5], axis=1
    )

    fit = fit_glm(x, p, policy, strength, 3)

    assert fit.coefficients[:9].reshape(3, 3) == pytest.approx(want, abs=1e-6)
    assert fit.coefficients[9:] == pytest.approx(means, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["tanh", "log"])
def test_what_length_lent_is_taken_back(form):
    draws = [simulate_policies(seed, taste=1.2, form=form) for seed in range(8)]
    found = [rates(fit_win_rates(rows)) for rows, _ in draws]

    for (raw, controlled), (_, truth) in zip(found, draws, strict=True):
        assert rms(controlled - truth) < rms(raw - truth)
    errors = [[rms(rate - truth) for rate in both] for both, (_, truth) in zip(found, draws, strict=True)]
    raw, controlled = np.mean(errors, axis=0)
    assert controlled < 0.55 * raw


@pytest.mark.slow
def test_a_gain_that_is_no_length_stays_and_intervals_cover():
    draws = [simulate_policies(seed) for seed in range(12)]
    found = [fit_win_rates(rows) for rows, _ in draws]
    off = [[of - truth for of in rates(some)] for some, (_, truth) in zip(found, draws, strict=True)]
    raw, controlled = np.transpose(off, (1, 0, 2))
    covered = [
        rate.controlled.low <= true <= rate.controlled.high
        for some, (_, truth) in zip(found, draws, strict=True)
        for rate, true in zip(some, truth, strict=True)
    ]

    assert rms(controlled) <= 1.15 * rms(raw)
    assert np.mean(covered) > 0.9
    assert np.mean([rate.length.low <= 0 <= rate.length.high for some in found for rate in some]) > 0.88


@pytest.mark.slow
def test_a_hard_prompt_is_not_held_against_length():
    """Policies write longer where they are weak: without the prompts' difficulty that is taken for length."""
    off, without = [], []
    for seed in range(6):
        rows, truth = simulate_policies(seed, prompts=600, hard=0.3)
        off.append(rates(fit_win_rates(rows))[1] - truth)
        length = np.concatenate([squash(rows.longer[rows.policy == one]) for one in range(rows.policies)])
        x = np.stack([np.ones(len(length)), length], axis=1)
        fit = fit_glm(x, rows.p, rows.policy, 1.0, rows.policies)
        even = 1 / (1 + np.exp(-fit.log_odds(x * (1, 0), rows.policy)))
        without.append(np.bincount(rows.policy, even) / np.bincount(rows.policy) - truth)

    assert rms(off) < 0.6 * rms(without)


def test_no_matchup_explains_itself():
    rows, _ = simulate_policies(1)
    here = (rows.prompt == 3) & (rows.policy == 0)
    lost, won = (difficulty(replace(rows, p=np.where(here, p, rows.p)), squash(rows.longer)) for p in (0, 1))
    moved = np.abs(won - lost)[rows.prompt == 3]

    assert moved[0] < 0.02 < 0.1 < moved[1:].min()


def test_the_rate_at_equal_length_is_the_same_told_from_either_side():
    rows, _ = simulate_policies(2, taste=1.0)
    one, other = (fit_win_rates(some) for some in (rows, replace(rows, p=1 - rows.p, longer=-rows.longer)))

    for here, there in zip(one, other, strict=True):
        assert here.controlled.value + there.controlled.value == pytest.approx(1, abs=1e-9)
        assert here.controlled.low + there.controlled.high == pytest.approx(1, abs=1e-9)
        assert here.length.value + there.length.value == pytest.approx(0, abs=1e-9)


def test_the_baseline_against_itself_has_one_half():
    rows, _ = simulate_policies(3, taste=1.0)
    itself = rows.policy == 0
    same = replace(rows, p=np.where(itself, 0.5, rows.p), longer=np.where(itself, 0.0, rows.longer))

    assert fit_win_rates(same)[0].controlled.value == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({"policies": 2}, "no_difficulty"),
        ({"prompts": 19}, "too_few"),
        ({"quality": [50, 0, 0, 0]}, "one_sided"),
        ({"quality": [-50, 0, 0, 0]}, "one_sided"),
        ({"policies": 3}, ""),
    ],
)
def test_what_cannot_be_corrected_is_left_as_judged_with_the_reason(change, missing):
    rows, _ = simulate_policies(0, **change)
    rate = fit_win_rates(rows)[0]

    assert rate.missing == missing
    assert (rate.controlled is None) == bool(missing)
    assert rate.raw.value == pytest.approx(rows.p[rows.policy == 0].mean())


def test_other_policies_count_only_on_the_same_prompts():
    rows, _ = simulate_policies(0, policies=4)
    apart = replace(rows, prompt=rows.prompt + 1000 * rows.policy)

    assert {rate.missing for rate in fit_win_rates(apart)} == {"no_difficulty"}


def test_one_coefficient_for_all_at_the_strongest_pull():
    rows, _ = simulate_policies(0, policies=3)
    x = np.stack([np.ones(len(rows.p)), squash(rows.longer)], axis=1)
    slopes = fit_glm(x, rows.p, rows.policy, SHARED, 3).coefficients[1:6:2]

    assert np.ptp(slopes) < 1e-4


# ---- of a sheet


def sheet(judge=WORDY, policies=("a", "b", "c", "d"), **world):
    return simulate((judge,), World(policies=policies, **world), 0)[0]


def test_every_policy_is_compared_with_the_one_that_met_most_others():
    found = findings(length_controlled(sheet(prompts=150, pairs=12)))
    (chart,) = [one.chart for one in found if one.chart]

    assert len(found) == 3
    assert {one.name for one in found} == {"length.controlled"}
    assert [one.name for one in chart.series] == ["as judged", "at equal length"]
    assert [len(one.points) for one in chart.series] == [3, 3]
    for one in found:
        assert "as judged, and between answers of equal length in" in one.says
        assert one.low < one.value < one.high


def test_matchups_are_told_from_the_side_of_the_policy_whichever_stands_first():
    some = sheet(prompts=60, pairs=6)
    _, names, rows = against_baseline(some, "a")
    chars, policy = some.answers.chars, [some.policies[one] for one in some.answers.policy]
    wanted = []
    for row, (first, second) in enumerate(zip(some.matchups.first, some.matchups.second, strict=True)):
        p, longer, prompt = some.mean_opinion[row], chars[first] - chars[second], some.matchups.prompt[row]
        if policy[second] == "a":
            wanted.append((p, longer, policy[first], prompt))
        elif policy[first] == "a":
            wanted.append((1 - p, -longer, policy[second], prompt))

    told = zip(rows.p, rows.longer, [names[one] for one in rows.policy], rows.prompt, strict=True)
    assert [*told] == wanted


def test_a_baseline_can_be_named():
    found = length_controlled(sheet(prompts=150, pairs=12), "c")

    assert sorted(one.about for one in found) == ["a", "b", "d"]
    assert {one.figures["baseline"] for one in found} == {"c"}


def test_two_policies_alone_are_reported_as_not_corrected():
    (one,) = findings(length_controlled(sheet(policies=("new", "old"), prompts=100)))

    assert (one.grade, one.value) == ("silent", None)
    assert "is not corrected for length" in one.says


@pytest.mark.parametrize(
    ("value", "grade"), [(0.3, "warning"), (-0.3, "warning"), (0.06, "note"), (0.01, "fine")]
)
def test_what_length_lent_is_no_worse_than_a_warning(value, grade):
    figures = {"baseline": "old", "raw": 0.6, "controlled": 0.6 - value, "low": 0, "high": 1, "policy": True}
    measure = Measure("length.controlled", "new", Estimate(value, value - 0.03, value + 0.03, 200), figures)
    (found,) = findings([measure])

    assert found.grade == grade
    assert (f"report the win rate at equal length, {0.6 - value:.1%}" in found.advice) == (grade == "warning")


@pytest.mark.parametrize("world", [{"prompts": 0}, {"prompts": 1}, {"policies": ("",), "prompts": 50}])
def test_nothing_to_compare_gives_no_finding(world):
    assert length_controlled(sheet(**world)) == []


def test_no_rows_give_no_rates():
    nothing = np.empty(0, dtype=int)

    assert fit_win_rates(AgainstBaseline(nothing.astype(float), nothing, nothing, nothing)) == []
