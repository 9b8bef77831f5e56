"""How many labels it takes: the figures as worked out beforehand."""

import math

import pytest

from jurist.stats import intervals


@pytest.mark.parametrize(
    ("share", "wanted"), [(0.75, [289, 801, 1801]), (0.8, [246, 683, 1537]), (0.9, [139, 385, 865])]
)
def test_labels_for_an_interval(share, wanted):
    assert [intervals.labels_for_interval(share, half) for half in (0.05, 0.03, 0.02)] == wanted


@pytest.mark.parametrize(
    ("difference", "wanted"), [(0.05, [312, 626, 940]), (0.03, [870, 1742, 2614]), (0.02, [1960, 3923, 5885])]
)
def test_labels_to_tell_two_judges_apart_on_the_same_pairs(difference, wanted):
    assert [
        intervals.labels_for_two_judges(difference, discordance) for discordance in (0.1, 0.2, 0.3)
    ] == wanted


def test_flipped_pairs_to_find_a_slot_bias():
    assert [intervals.labels_for_position_bias(share) for share in (0.6, 0.65, 0.7, 0.8)] == [194, 85, 47, 20]


def test_the_ceiling_that_people_set():
    assert intervals.human_accuracy(0.745) == pytest.approx(0.85)
    assert intervals.human_accuracy(0.4) == 0.5


@pytest.mark.parametrize(("rho", "saves"), [(0.636, 1.68), (0.664, 1.79), (0.596, 1.55), (0.568, 1.48)])
def test_what_a_label_is_worth_with_a_judge_beside_it(rho, saves):
    assert intervals.saved_by_judge(rho, math.inf, 0) == pytest.approx(saves, abs=0.01)
    assert 1 < intervals.saved_by_judge(rho, 500, 500) < saves


def test_the_smallest_error_that_can_be_certified():
    assert intervals.labels_for_no_error(0.05) == 59
    assert intervals.smallest_certified(59) == pytest.approx(0.0495, abs=1e-3)
    assert intervals.smallest_certified(0) == 1.0
