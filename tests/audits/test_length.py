"""Length bias is found beside that of humans."""

import pytest
from finding import findings

from jurist.audits.length import length
from support.simulated import Simulated, World, simulate

FAIR, WORDY = Simulated("fair"), Simulated("wordy", length=1.0)


def audited(*judges, seed=0, **world):
    return findings(length(simulate(judges, World(**world), seed)[0]))


def the(found, name, about=None):
    return next(one for one in found if one.name == name and about in (None, one.about))


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
    ("judge", "grade"),
    [
        (Simulated("longest", sharpness=0.0, length=20.0), "warning"),
        (WORDY, "note"),
        (Simulated("brief", length=-1.0), "note"),
        (Simulated("shortest", sharpness=0.0, length=-20.0), "warning"),
    ],
)
def test_without_human_labels_only_a_share_that_humans_never_have_is_warned_of(judge, grade):
    share = the(audited(judge, prompts=200, people=0), "length.prefers_longer")

    assert share.grade == grade
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


@pytest.mark.parametrize(("prompts", "people"), [(0, 0), (1, 0), (1, 1)])
def test_with_next_to_nothing_there_is_no_crash_and_no_verdict(prompts, people):
    assert {one.grade for one in audited(FAIR, prompts=prompts, people=people)} <= {"silent", "fine"}
