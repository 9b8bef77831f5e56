"""Judges with a planted leaning to a seat are found; judges without one are cleared."""

import numpy as np
import pytest

from jurist.audits.collect import Collector
from jurist.audits.position import position
from jurist.records import Completion, Matchup, Prompt, Verdict
from jurist.verdicts.cases import Case
from support.simulated import Simulated, World, simulate

FAIR, LEANING = Simulated("fair"), Simulated("leaning", slot=1.0)
STEADY = Simulated("steady", soft=True)


def audited(*judges, seed=0, **world):
    return position(simulate(judges, World(**world), seed)[0])


def the(found, name, about=None):
    return next(one for one in found if one.name == name and about in (None, one.about))


def sheet_of(*verdicts):
    """One matchup a prompt; p of the matchup's first in each order, None where unread, "" where not asked."""
    collector = Collector()
    for number, both in enumerate(verdicts):
        prompt = Prompt.of(f"question {number}")
        one, other = Completion.of(prompt.id, "an answer"), Completion.of(prompt.id, "another, longer one")
        matchup = Matchup.of(prompt, one, other)
        said = []
        for order, p in zip(("given", "swapped"), both, strict=True):
            if p == "":
                continue
            shown = matchup if order == "given" else matchup.swapped()
            told = p if p is None or order == "given" else 1 - p
            said.append(
                Verdict(
                    f"{number}{order}",
                    "judge",
                    matchup.id,
                    shown.first.id,
                    shown.second.id,
                    order,
                    told,
                    unread="" if p is not None else "refused",
                )
            )
        collector.add_case(Case(prompt, (one, other), (matchup,), tuple(said)))
    return collector.sheet()


def test_a_leaning_to_the_first_seat_is_found_and_sized():
    found = audited(LEANING, prompts=600)
    share, slot = the(found, "position.first_seat"), the(found, "position.slot")

    assert share.grade == "warning"  # both orders were asked, so the labels are free of it
    assert share.low < 0.624 < share.high
    assert slot.low < 1.0 < slot.high


def test_the_same_leaning_asked_in_one_order_is_an_alarm_with_the_way_out():
    share = the(audited(LEANING, prompts=1000, orders="given"), "position.first_seat")

    assert share.grade == "alarm"
    assert "--judge.swap" in share.advice


def test_a_fair_judge_is_cleared():
    called = sum(
        one.grade in ("alarm", "warning")
        for seed in range(20)
        for one in audited(FAIR, STEADY, prompts=150, pairs=2, seed=seed, domains=("a", "b"))
    )

    assert called <= 3


def test_the_two_orders_of_a_matchup_make_the_first_seats_interval_as_narrow_as_it_is():
    """The texts cancel, so the shares of fair judges scatter less than independent verdicts would."""
    found = [the(audited(FAIR, prompts=150, seed=seed), "position.first_seat") for seed in range(40)]
    spread = np.std([one.value for one in found])
    reach = np.mean([one.high - one.low for one in found]) / 2

    assert reach == pytest.approx(1.96 * spread, rel=0.25)
    assert reach < 0.8 * 1.96 * 0.5 / np.sqrt(300)


def test_the_slot_of_verdicts_without_probabilities_is_never_told_more_closely_than_it_is_known():
    always, often = [(1.0, 0.0)] * 60, [(1.0, 0.0)] * 40 + [(1.0, 1.0), (0.0, 0.0)] * 180

    told = the(position(sheet_of(*always)), "position.slot")
    wide = the(position(sheet_of(*often)), "position.slot")

    assert "at least 99.0%" in told.says
    assert (round(told.value, 3), told.low, told.high) == (4.595, None, None)
    assert wide.high - wide.low > 0.5


def test_a_judge_that_disagrees_with_itself_is_said_to_before_its_flips_are():
    found = audited(Simulated("coin", sharpness=0.0), prompts=300, samples=3)
    repeats, beyond = found[0], the(found, "position.flips_beyond_repeats")

    assert (repeats.name, repeats.grade) == ("position.repeats", "alarm")
    assert "disagrees with itself" in repeats.says
    assert beyond.grade == "fine"
    assert beyond.low < 0 < beyond.high
    assert "chance" in the(found, "position.flip_rate").says


def test_what_the_seats_add_to_a_judges_own_wavering_is_found():
    beyond = the(audited(LEANING, prompts=400, samples=3), "position.flips_beyond_repeats")

    assert beyond.grade == "warning"
    assert beyond.low > 0


def test_flips_ties_and_unread_orders_are_told_apart():
    found = position(sheet_of((1.0, 1.0), (1.0, 0.0), (0.5, 1.0), (1.0, None), (0.5, 0.5)))
    flips = the(found, "position.flip_rate")

    assert flips.value == pytest.approx(1 / 4)
    assert flips.n == 4
    assert "2 of 4 matchups" in flips.says
    assert len(flips.examples) == 1


def test_asked_once_with_the_longer_answer_always_first_nothing_is_said_about_seats():
    share = the(position(sheet_of(*[("", 0.0)] * 40)), "position.first_seat")

    assert share.grade == "silent"
    assert share.value is None
    assert "longer answer" in share.says


@pytest.mark.parametrize(
    "verdicts", [[], [("", "")], [(None, None)], [(0.5, 0.5)] * 40, [(1.0, "")], [(1.0, 0.0)]]
)
def test_with_next_to_nothing_there_is_no_crash_and_no_false_number(verdicts):
    for one in position(sheet_of(*verdicts)):
        assert one.grade in ("silent", "fine")
        assert (one.value is None) == (one.grade == "silent")


def test_flips_gather_where_the_other_judges_are_unsure():
    sharp = Simulated("sharp", sharpness=4.0, slot=1.0, soft=True)
    found = the(audited(sharp, STEADY, prompts=600), "position.by_margin", "sharp")
    rates = [point.y for point in found.chart.series[0].points]

    assert rates[0] > 0.4
    assert rates[-1] < 0.1


def test_a_domain_where_seats_decide_is_named():
    blind = Simulated("judge", slot=1.5, soft=True, ignorant=("doses",))
    found = the(audited(blind, prompts=400, domains=("sums", "doses")), "position.by_domain")

    assert found.grade == "warning"
    assert "doses" in found.says
    assert found.value == 1.0


def test_a_matchup_that_flips_costs_labels_where_it_is_asked_once():
    cost = the(audited(LEANING, prompts=800, people=3), "position.cost")

    assert cost.low > 0
    assert "become ties" in cost.says
