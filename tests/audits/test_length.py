"""Length bias is found beside that of humans, and what it lent a policy is taken back."""

import numpy as np
import pytest
from finding import findings

from jurist.audits.finding import Finding, Measure
from jurist.audits.length import length
from jurist.audits.length_debt import length_debt
from support.simulated import Simulated, World, simulate

FAIR, WORDY = Simulated("fair"), Simulated("wordy", length=1.0)


def audited(*judges, seed=0, **world):
    found = length(simulate(judges, World(**world), seed)[0])
    old = [one for one in found if isinstance(one, Finding)]
    return findings([one for one in found if isinstance(one, Measure)]) + old


def the(found, name, about=None):
    return next(one for one in found if one.name == name and about in (None, one.about))


def drawn(n, grown=0.0, slope=1.0, lead=0.0, seed=0):
    """p, our lengths, theirs."""
    dice = np.random.default_rng(seed)
    ours, theirs = 500 + 100 * dice.normal(grown, 1, n), 500 + 100 * dice.normal(0, 1, n)
    odds = lead + slope * np.tanh((ours - theirs) / 141)
    return (dice.random(n) < 1 / (1 + np.exp(-odds))).astype(float), ours, theirs


def test_a_judge_that_likes_length_more_than_humans_do_is_an_alarm_with_its_defences():
    excess = the(audited(WORDY, prompts=500, long=0.3), "length.excess")

    assert excess.grade == "alarm"
    assert excess.low > 0.05
    for defence in ("--judge.against_length true", "--prefer.length_penalty 1", "--prefer.rule rho"):
        assert defence in excess.advice
    assert excess.examples


def test_a_judge_that_prefers_the_longer_only_as_humans_do_is_cleared():
    found = [audited(FAIR, prompts=200, long=0.6, seed=seed) for seed in range(20)]

    assert all(the(some, "length.prefers_longer").value > 0.55 for some in found)
    assert sum(one.grade in ("alarm", "warning") for some in found for one in some) <= 2


@pytest.mark.parametrize(
    ("judge", "grade", "correlation"),
    [
        (Simulated("longest", sharpness=0.0, length=20.0), "warning", "note"),
        (WORDY, "note", "fine"),
        (Simulated("brief", length=-1.0), "note", "fine"),
        (Simulated("shortest", sharpness=0.0, length=-20.0), "warning", "note"),
    ],
)
def test_without_human_labels_only_a_share_that_humans_never_have_is_warned_of(judge, grade, correlation):
    share, by_length = (
        the(audited(judge, prompts=200, people=0), f"length.{name}")
        for name in ("prefers_longer", "correlation")
    )

    assert (share.grade, by_length.grade) == (grade, correlation)
    # What is said against length is no help where the shorter is preferred.
    assert ("length_penalty" in share.advice) == (judge.name == "longest")
    assert ("spotcheck" in share.advice) == (grade == "warning")
    assert the(audited(judge, prompts=200), "length.prefers_longer").grade == "fine"


def test_one_chart_shows_all_judges_beside_humans():
    found = audited(WORDY, FAIR, prompts=200)
    (chart,) = [one.chart for one in found if one.name == "length.prefers_longer" and one.chart]

    assert [point.x for point in chart.series[0].points] == ["wordy", "fair"]
    assert chart.mark == the(found, "length.human_prefers_longer").value
    assert chart.marked == "humans"


def test_a_win_that_was_length_is_none_at_equal_length():
    found = length_debt(*drawn(3000, grown=1.5, slope=1.5))

    assert found.raw.low > 0.6
    assert found.corrected.low < 0.5 < found.corrected.high
    assert found.debt.low > 0.1


def test_a_gain_that_is_no_length_stays():
    found = length_debt(*drawn(3000, grown=1.5, slope=0.0, lead=1.0))

    assert found.debt.low < 0 < found.debt.high
    assert found.corrected.low < 0.731 < found.corrected.high


def test_the_rate_at_equal_length_is_the_same_told_from_either_side():
    p, ours, theirs = drawn(200, grown=0.5, lead=0.4)
    easier = np.random.default_rng(1).normal(size=200)
    one = length_debt(p, ours, theirs, easier=easier)
    other = length_debt(1 - p, theirs, ours, easier=-easier)

    assert one.corrected.value + other.corrected.value == pytest.approx(1, abs=1e-9)
    assert one.debt.value + other.debt.value == pytest.approx(0, abs=1e-9)


def test_a_policy_against_itself_has_one_half():
    _, ours, theirs = drawn(100, grown=2.0)

    assert length_debt(np.full(100, 0.5), ours, theirs).corrected.value == pytest.approx(0.5)


def test_the_rate_at_a_length_ratio_of_one_is_a_logistic_read_off_there():
    lengths = np.repeat([50.0, 100.0, 200.0], 400)
    odds = 0.5 + 1.0 * ((lengths + 1) / 101 - 1)
    found = length_debt(1 / (1 + np.exp(-odds)), lengths, np.full(1200, 100.0))

    assert found.by_ratio == pytest.approx(1 / (1 + np.exp(-0.5)), abs=1e-3)


def test_a_hard_prompt_is_not_held_against_length():
    """Where we are weak we answer at length: without the difficulty of prompts that is taken for length."""
    dice = np.random.default_rng(0)
    easier = dice.normal(size=4000)
    ours, theirs = 500 - 100 * easier + 50 * dice.normal(size=4000), np.full(4000, 400.0)
    p = (dice.random(4000) < 1 / (1 + np.exp(-1.5 * easier))).astype(float)
    without, with_it = length_debt(p, ours, theirs), length_debt(p, ours, theirs, easier=easier)

    assert with_it.corrected.low < 0.5 < with_it.corrected.high
    assert without.corrected.low > 0.6


@pytest.mark.parametrize("n", [0, 1, 10])
def test_too_few_answers_have_no_debt(n):
    assert length_debt(*drawn(n)) is None


def test_who_never_lost_and_who_never_differs_in_length_have_no_debt():
    _, ours, theirs = drawn(100)

    assert length_debt(np.ones(100), ours, theirs) is None
    assert length_debt(np.arange(100) % 2, ours, ours) is None


def test_every_policy_gets_its_debt_against_the_one_that_met_most():
    found = [
        one for one in audited(WORDY, prompts=300, policies=("a", "b", "c")) if one.name == "length.debt"
    ]

    assert len(found) == 2
    assert found[0].chart is not None
    assert "equal length" in found[0].says


@pytest.mark.parametrize(("prompts", "people"), [(0, 0), (1, 0), (1, 1)])
def test_with_next_to_nothing_there_is_no_crash_and_no_verdict(prompts, people):
    assert {one.grade for one in audited(FAIR, prompts=prompts, people=people)} <= {"silent", "fine"}
