"""Judges with a planted position bias are found and sized; judges without one are cleared."""

import numpy as np
import pytest
from finding import findings

from jurist.audits.collect import Collector
from jurist.audits.position import position
from jurist.records import Completion, Matchup, Prompt, Verdict
from jurist.verdicts.cases import Case
from support.simulated import Simulated, World, simulate

FAIR, BIASED = Simulated("fair"), Simulated("biased", slot=1.0)
STEADY = Simulated("steady", soft=True)


def audited(*judges, seed=0, **world):
    return findings(position(simulate(judges, World(**world), seed)[0]))


def the(found, name, about=None):
    return next(one for one in found if one.name == f"position.{name}" and about in (None, one.about))


def audited_rows(verdicts):
    """One matchup a prompt; p of the matchup's first in each order, None where unread, "" where not asked."""
    collector = Collector()
    for number, both in enumerate(verdicts):
        prompt = Prompt.of(f"question {number}")
        answers = Completion.of(prompt.id, "an answer"), Completion.of(prompt.id, "another, longer one")
        matchup = Matchup.of(prompt, *answers)
        said = [
            Verdict(
                f"{number}{order}",
                "judge",
                matchup.id,
                shown.first.id,
                shown.second.id,
                order,
                p if p is None or order == "given" else 1 - p,
                unread="" if p is not None else "refused",
            )
            for order, p, shown in zip(("given", "swapped"), both, (matchup, matchup.swapped()), strict=True)
            if p != ""
        ]
        collector.add_case(Case(prompt, answers, (matchup,), tuple(said)))
    return findings(position(collector.sheet()))


def test_a_bias_to_the_first_position_is_found_and_sized():
    found = audited(BIASED, prompts=600)
    share, log_odds = the(found, "first_position"), the(found, "between_equals")

    assert share.low < 0.624 < share.high
    assert log_odds.low < 1.0 < log_odds.high
    # Both orders were asked, so the labels are free of it.
    assert share.grade == "warning"
    assert "averaging both orders" in share.reason


def test_the_same_bias_asked_in_one_order_is_an_alarm_with_the_way_out():
    share = the(audited(BIASED, prompts=1000, orders="given"), "first_position")

    assert share.grade == "alarm"
    assert "--judge.swap always" in share.advice


@pytest.mark.slow
def test_a_fair_judge_is_cleared():
    wrong = sum(
        one.grade in ("alarm", "warning")
        for seed in range(10)
        for one in audited(FAIR, STEADY, prompts=150, pairs=2, seed=seed, domains=("a", "b"))
    )

    assert wrong <= 1


def test_the_two_orders_of_a_matchup_make_the_interval_as_narrow_as_it_is(monkeypatch):
    """The texts cancel, so the shares of fair judges scatter less than independent verdicts would."""
    monkeypatch.setattr("jurist.audits.position.fit_columns", lambda *_: None)  # the log-odds take long
    found = [the(audited(FAIR, prompts=150, seed=seed), "first_position") for seed in range(40)]
    spread = np.std([one.value for one in found])
    reach = np.mean([one.high - one.low for one in found]) / 2

    assert reach == pytest.approx(1.96 * spread, rel=0.25)
    assert reach < 0.8 * 1.96 * 0.5 / np.sqrt(300)


def test_log_odds_of_verdicts_without_probabilities_are_given_no_more_closely_than_they_are_known():
    always, often = [(1.0, 0.0)] * 60, [(1.0, 0.0)] * 40 + [(1.0, 1.0), (0.0, 0.0)] * 180

    bound, wide = (the(audited_rows(rows), "between_equals") for rows in (always, often))

    assert "at least 99.0%" in bound.says
    assert (round(bound.value, 3), bound.low, bound.high) == (4.595, None, None)
    assert wide.high - wide.low > 0.5


def test_a_judge_that_contradicts_itself_is_said_to_before_its_flips_are():
    found = audited(Simulated("coin", sharpness=0.0), prompts=300, samples=3)
    repeats, beyond = found[0], the(found, "flips_beyond_repeats")

    assert (repeats.name, repeats.grade) == ("position.repeats", "alarm")
    assert beyond.grade == "fine"
    assert beyond.low < 0 < beyond.high


def test_what_the_order_adds_to_a_judges_own_wavering_is_found():
    beyond = the(audited(BIASED, prompts=400, samples=3), "flips_beyond_repeats")

    assert beyond.grade == "warning"
    assert beyond.low > 0


def test_flips_ties_and_unread_orders_are_told_apart():
    flips = the(audited_rows([(1.0, 1.0), (1.0, 0.0), (0.5, 1.0), (1.0, None), (0.5, 0.5)]), "flip_rate")

    assert flips.value == pytest.approx(1 / 4)
    assert flips.n == 4
    assert "2 of 4 matchups" in flips.says
    assert len(flips.examples) == 1


def test_asked_once_with_the_longer_answer_always_first_nothing_is_said_about_positions():
    share = the(audited_rows([("", 0.0)] * 40), "first_position")

    assert (share.grade, share.value) == ("silent", None)
    assert "longer answer" in share.says


@pytest.mark.parametrize(
    "verdicts", [[], [("", "")], [(None, None)], [(0.5, 0.5)] * 40, [(1.0, "")], [(1.0, 0.0)]]
)
def test_with_next_to_nothing_there_is_no_crash_and_no_false_number(verdicts):
    for one in audited_rows(verdicts):
        assert one.grade in ("silent", "note", "fine")
        assert (one.value is None) == (one.grade == "silent")


def test_a_domain_where_the_position_decides_is_named():
    blind = Simulated("judge", slot=1.5, soft=True, ignorant=("doses",))
    found = the(audited(blind, prompts=400, domains=("sums", "doses")), "by_domain")

    assert found.grade == "warning"
    assert "doses" in found.says
    assert found.value == 1.0
    alike = the(audited(Simulated("judge", slot=3.0), prompts=400, domains=("sums", "doses")), "by_domain")
    assert (alike.low > 0.4, alike.grade) == (True, "fine")
    assert "not significantly above the share in all" in alike.reason


def test_a_matchup_that_flips_costs_labels_where_it_is_asked_once():
    cost = the(audited(BIASED, prompts=800, people=3), "cost")

    assert cost.low > 0
    assert "become ties" in cost.says
