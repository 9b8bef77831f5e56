"""Judges beside humans, humans beside each other: what is planted is found, and a fair judge is cleared."""

from dataclasses import replace

import numpy as np
import pytest
from finding import findings

from jurist.audits.agreement import agreement
from jurist.audits.calibration import calibration
from jurist.audits.ceiling import ceiling
from jurist.audits.humans import human_votes
from jurist.audits.sheet import HumanLabels, Labels, Sheet, Verdicts
from support.simulated import Simulated, World, simulate

WORLD = World(prompts=200)
GOOD = Simulated("good", soft=True)


def the(found, name, about=None):
    return next(one for one in found if one.name == f"agreement.{name}" and about in (None, one.about))


def sheet_of(*judges, world=WORLD, seed=0) -> Sheet:
    return simulate(judges, world, seed)[0]


def audited(*judges, world=WORLD, **more):
    return findings(agreement(sheet_of(*judges, world=world), **more))


def labelled_by(sheet, p):
    """Human labels: p of the first, a row for each human."""
    humans, n = p.shape
    who, matchup = np.repeat(np.arange(humans), n), np.tile(np.arange(n), humans)
    labels = HumanLabels(who, matchup, p.reshape(-1), np.ones(p.size))
    return replace(sheet, human=labels, humans=tuple(f"human:{i}" for i in range(humans)))


def judged_as(sheet, p):
    """The one judge says this, alike in both orders."""
    return replace(sheet, verdicts=replace(sheet.verdicts, p=p[sheet.verdicts.matchup]))


def trained_on(sheet, p):
    return replace(sheet, labels=Labels(np.arange(len(p)), p, np.ones(len(p))))


def two_judges(p):
    """Two judges and no human, asked in both orders; nan where one was not read."""
    sheet = sheet_of(GOOD, replace(GOOD, name="other"), world=World(prompts=p.shape[1], people=0))
    return replace(sheet, verdicts=replace(sheet.verdicts, p=p[sheet.verdicts.judge, sheet.verdicts.matchup]))


def test_a_good_judge_is_cleared_and_beside_it_stands_how_often_humans_agree():
    found = audited(GOOD)

    assert {one.grade for one in found} <= {"fine", "note"}
    assert found[0].name == "agreement.accuracy"
    assert found[0].low < found[0].value < found[0].high
    assert f"{the(found, 'humans').value:.1%}" in the(found, "with_a_human").says


def test_the_first_finding_is_about_the_labels_and_names_those_that_humans_would_not_give():
    sheet = sheet_of(GOOD, world=replace(WORLD, people=1))
    wrong = np.where(np.arange(200) < 40, 1 - sheet.human_p, sheet.human_p)
    found = findings(agreement(trained_on(sheet, 0.1 + 0.8 * wrong), tolerated=0.1))

    assert (found[0].about, found[0].value) == ("labels", 0.8)
    assert set(found[0].examples) < {f"matchup-{i}" for i in range(40)}
    error = the(found, "label_error")
    assert error.low < 0.2 < error.high
    assert (error.grade, error.reason) == ("alarm", "20.0% wrong: significantly above the 10% you asked for")


def test_without_human_labels_the_first_finding_says_so():
    found = audited(GOOD, world=World(prompts=30, people=0))

    assert [(one.name, one.grade, one.value) for one in found] == [("agreement.accuracy", "silent", None)]
    assert "jurist spotcheck" in found[0].advice


@pytest.mark.parametrize("labels", [1, 3])
def test_next_to_no_human_labels_give_calm_words(labels):
    """All wrong by what one human said: nothing is significant, and no interval is without end."""
    sheet = sheet_of(GOOD, world=World(prompts=labels, people=1, domains=("a", "b")))
    sheet = judged_as(sheet, 0.9 - 0.8 * sheet.human_p)
    sheet = trained_on(sheet, sheet.mean_opinion)
    found = findings([*agreement(sheet), *ceiling(sheet), *calibration(sheet)])

    assert {one.grade for one in found} <= {"note", "fine", "silent"}
    told = " ".join(f"{one.says} {one.reason}" for one in found)
    assert not any(word in told for word in ("inf", "nan", "None"))
    assert "significantly" not in told
    if labels == 1:
        assert the(found, "accuracy", "good").reason == "too few labels"
        assert all(one.low is None and one.high is None for one in found)
    assert all(one.low is None or -1 <= one.low <= one.high <= 1 for one in found)


def test_a_judge_that_does_not_beat_always_longest_is_an_alarm():
    world = replace(WORLD, long=0.7)
    longest = np.sign(sheet_of(GOOD, world=world).longer_by)
    weak = judged_as(sheet_of(GOOD, world=world), (1 + longest) / 2)

    for found in (audited(Simulated("weak", sharpness=0.3), world=world), findings(agreement(weak))):
        assert the(found, "over_longest").grade == "alarm"
    assert the(audited(GOOD), "over_longest").grade == "fine"


def test_the_order_of_a_file_that_puts_what_humans_chose_first_is_no_baseline():
    sheet = sheet_of(GOOD, world=World(prompts=60, people=1))
    found = findings(agreement(labelled_by(sheet, np.ones((1, 60)))))

    assert not [one for one in found if one.name == "agreement.over_first"]


def test_a_coin_is_an_alarm():
    found = audited(Simulated("coin", sharpness=0.0), world=replace(WORLD, prompts=400))

    assert the(found, "accuracy").grade == "alarm"
    assert the(found, "accuracy").reason == "significantly below the 60% wanted"
    assert the(found, "alt_test").value == 0.0
    assert the(found, "with_a_human").grade == "warning"


def test_ties_of_the_judge_count_half_and_matchups_that_divide_humans_are_left_out():
    sheet = judged_as(sheet_of(GOOD, world=World(prompts=4, people=1)), np.array([0.9, 0.9, 0.5, 0.9]))
    found = the(findings(agreement(labelled_by(sheet, np.array([[1.0, 0.0, 1.0, 0.5]])))), "accuracy")

    assert found.value == pytest.approx((1 + 0 + 0.5) / 3)
    assert "1 tie of good counted half; left out: 1 matchup on which humans are undecided" in found.says


def test_who_labels_a_matchup_again_corrects_it():
    sheet = sheet_of(GOOD, world=World(prompts=2, people=1))
    twice = HumanLabels(np.zeros(3, int), np.array([0, 1, 0]), np.array([1.0, 1.0, 0.0]), np.ones(3))

    assert human_votes(replace(sheet, human=twice)).mean.tolist() == [0.0, 1.0]


def test_agreement_among_humans_and_with_one_of_them_by_hand():
    """All three agree on the first matchup; a tie against a side is half; one alone makes no pair."""
    p = np.tile(np.array([[1.0, 1.0, 1.0], [1.0, 0.5, np.nan], [0.0, np.nan, np.nan]]), 10)
    judged = np.tile([0.9, 0.1, 0.9], 10)
    sheet = labelled_by(judged_as(sheet_of(GOOD, world=World(prompts=30, people=1)), judged), p)
    humans = human_votes(sheet)

    # The first matchup: 1 of 3 pairs; the second: one pair, half alike; the third: nobody to compare with.
    assert humans.agreement.value == pytest.approx((2 * 1 + 1 * 0.5 * 2 + 0) / (6 + 2))
    assert humans.agreement.n == 20
    beside = the(findings(agreement(sheet)), "with_a_human")
    # The judge is with 2 of 3, and with a tie and a side by a quarter; humans with each other 1/3 and 1/2.
    assert beside.value == pytest.approx((2 / 3 + 1 / 4) / 2 - (1 / 3 + 1 / 2) / 2)


def test_humans_who_do_not_agree_are_a_warning_and_not_said_to_be_right():
    """Two who always say the opposite cannot each be right half the time and err independently."""
    sheet, first = sheet_of(GOOD, world=World(prompts=40, people=1)), np.arange(40) % 2
    opposite = the(findings(agreement(labelled_by(sheet, np.stack([first, 1.0 - first])))), "humans")
    alike = the(findings(agreement(labelled_by(sheet, np.stack([first, 1.0 * first])))), "humans")

    assert (opposite.grade, alike.grade) == ("warning", "fine")
    assert "is right" not in opposite.says
    assert "what counts as better" in opposite.advice
    assert "is right 100.0%" in alike.says


def test_the_better_of_two_judges_is_named_with_mcnemars_p():
    better = the(audited(GOOD, Simulated("dim", sharpness=0.3)), "better_judge", "dim")

    assert better.low > 0
    assert "good is right" in better.says
    assert "McNemar" in better.says


def test_a_jury_is_worth_fewer_judges_where_they_err_together():
    coin = Simulated("coin", sharpness=0.0, soft=True)
    apart = [replace(coin, name=f"{i}", noise=1.0) for i in range(4)]
    alike = [replace(coin, name=f"{i}", shared=1.0) for i in range(4)]
    several, one = (the(audited(*judges), "independent_judges") for judges in (apart, alike))

    assert one.value == pytest.approx(1.0)
    assert (one.grade, "--jury.combine anchored" in one.advice) == ("note", True)
    assert "errors of 4 judges correlate by 1.00" in one.says
    assert several.low > 2.8
    assert (several.high, several.grade, several.advice) == (4, "fine", "")
    assert not [one for one in audited(GOOD) if one.name == "agreement.independent_judges"]


def test_three_humans_and_no_judge_are_not_asked_for_more_humans():
    """What could stand in for them is what is missing."""
    sheet, nothing = sheet_of(GOOD), np.empty(0, int)
    silent = Verdicts(nothing, nothing, nothing > 0, nothing * 1.0, nothing, nothing, nothing > 0, nothing)
    found = findings(agreement(replace(sheet, verdicts=silent)))

    assert {one.name for one in found} == {"agreement.humans", "agreement.humans_alpha"}


def test_labels_of_a_few_and_doubts_about_all_give_a_shorter_interval():
    """Right with the probability it says, so its doubt tells where labels are wrong."""
    sheet = sheet_of(GOOD, world=World(prompts=1500, people=1, labelled=0.2))
    error = the(findings(agreement(trained_on(sheet, sheet.mean_opinion))), "label_error")
    blunt = np.where(sheet.mean_opinion > 0.5, 0.8, 0.2)
    alone = the(findings(agreement(trained_on(sheet, blunt))), "label_error")

    assert "is worth" in error.says
    assert "is worth" not in alone.says
    assert error.high - error.low < 0.97 * (alone.high - alone.low)


def test_judges_that_guess_are_an_alarm_without_any_human():
    world = World(prompts=150, people=0)
    coins = [Simulated(f"coin {i}", sharpness=0.0) for i in range(8)]
    three = [replace(GOOD, name=name) for name in ("one", "two", "three")]
    guesses, fair = (the(audited(*judges, world=world), "among_judges") for judges in (coins, three))

    assert guesses.grade == "alarm"
    assert guesses.low < 0 < guesses.high < 0.1
    assert "jurist spotcheck" in guesses.advice
    assert fair.grade == "fine"
    assert fair.low > 0.3
    few = two_judges(np.array([[0.9] * 20, [0.9] * 10 + [0.1] * 10]))
    assert the(findings(agreement(few)), "among_judges").grade == "note"


def test_agreement_among_judges_by_hand_does_not_depend_on_which_answer_was_given_first():
    """Alike in 24 of 30; a tie is half way. Seen from either position chance has half."""
    winners = np.array([[0.9] * 30, [0.9] * 24 + [0.1] * 6])
    for turn in (np.zeros(30, bool), np.arange(30) % 2 == 0):
        found = the(findings(agreement(two_judges(np.where(turn, 1 - winners, winners)))), "among_judges")
        assert found.value == pytest.approx(1 - (24 / 30) / (2 * 60 / 59))
    tied = the(findings(agreement(two_judges(np.array([[0.9] * 30, [0.5] * 30])))), "among_judges")
    assert tied.value == pytest.approx(1 - 1 / (2 * 30 / 59))


def test_one_judge_or_judges_that_never_met_have_nobody_to_agree_with():
    apart = two_judges(np.array([[0.9] * 15 + [np.nan] * 15, [np.nan] * 15 + [0.9] * 15]))

    for found in (audited(GOOD), findings(agreement(apart))):
        assert "agreement.among_judges" not in {one.name for one in found}


@pytest.mark.parametrize("audit", [agreement, calibration, ceiling])
def test_sheets_with_nothing_in_them_give_no_number(audit):
    none = labelled_by(sheet_of(GOOD, world=World(prompts=5, people=1)), np.full((2, 5), np.nan))
    sheets = [none]
    for world in (World(prompts=1), World(prompts=2, people=1), World(prompts=30, people=0)):
        sheet = sheet_of(GOOD, world=world)
        sheets += [sheet, *(judged_as(sheet, np.full(world.prompts, p)) for p in (np.nan, 0.5))]
    for sheet in sheets:
        for one in findings(audit(sheet)):
            assert (one.value is None) == (one.grade == "silent") == (one.n == 0)
            assert one.says


def test_intervals_hold_what_is_planted_and_fair_judges_raise_no_alarm():
    """Twenty data sets with a loose bound; experiments/audits_cover.py has many more and a tight one."""
    over = alarms = 0
    for seed in range(20):
        sheet = sheet_of(Simulated("fair", soft=True), world=World(prompts=120, people=1), seed=1000 + seed)
        found = findings([*agreement(sheet), *calibration(sheet)])
        confidence = next(one for one in found if one.name == "calibration.over")
        over += confidence.low <= 0 <= confidence.high
        alarms += any(one.grade in ("alarm", "warning") for one in found)

    assert over >= 16
    assert alarms <= 3
