"""Judges beside people, people beside each other: what is planted is found, and a fair judge is cleared."""

from dataclasses import replace

import numpy as np
import pytest

from jurist.audits.agreement import agreement
from jurist.audits.agreement.alternative import power
from jurist.audits.calibration import calibration
from jurist.audits.humans import human_votes
from jurist.audits.sheet import HumanLabels, Labels, Scores, Sheet
from support.simulated import Simulated, World, simulate

WORLD = World(prompts=200)
GOOD = Simulated("good", soft=True)


def named(found, name, about=None):
    return next(one for one in found if one.name == name and about in (None, one.about))


def sheet_of(*judges, world=WORLD, seed=0) -> Sheet:
    return simulate(judges, world, seed)[0]


def labelled_by(sheet, p):
    """People's labels, one row each: p told from the first, a row a person."""
    people, n = p.shape
    said = HumanLabels(
        np.repeat(np.arange(people), n), np.tile(np.arange(n), people), p.reshape(-1), np.ones(p.size)
    )
    return replace(sheet, human=said, humans=tuple(f"human:{i}" for i in range(people)))


def judged_as(sheet, p):
    """What the one judge says, alike in both orders."""
    told = sheet.verdicts
    return replace(sheet, verdicts=replace(told, p=p[told.matchup]))


def said_by_two(p):
    """Two judges and no person, asked in both orders; nan where one of them said nothing."""
    sheet = sheet_of(GOOD, replace(GOOD, name="other"), world=World(prompts=p.shape[1], people=0))
    told = sheet.verdicts
    return replace(sheet, verdicts=replace(told, p=p[told.judge, told.matchup]))


def test_a_good_judge_is_cleared_and_beside_it_stands_how_often_people_agree():
    found = agreement(sheet_of(GOOD))

    assert {one.grade for one in found} <= {"fine", "note"}
    accuracy, people = named(found, "agreement.accuracy"), named(found, "agreement.people")
    assert accuracy.low < accuracy.value < accuracy.high
    assert f"{100 * people.value:.1f}%" in named(found, "agreement.with_a_person").says
    assert named(found, "agreement.alt_test").value == 1.0


def test_a_judge_that_does_not_beat_always_longest_is_an_alarm():
    longer = np.sign(sheet_of(GOOD, world=replace(WORLD, long=0.7)).longer_by)
    sheet = sheet_of(Simulated("weak", sharpness=0.3), world=replace(WORLD, long=0.7))
    found = agreement(sheet)

    assert named(found, "agreement.over_longest").grade == "alarm"
    assert named(agreement(judged_as(sheet, (1 + longer) / 2)), "agreement.over_longest").grade == "alarm"
    assert named(agreement(sheet_of(GOOD)), "agreement.over_longest").grade == "fine"


def test_a_coin_is_not_called_a_judge():
    found = agreement(sheet_of(Simulated("coin", sharpness=0.0), world=replace(WORLD, prompts=400)))

    assert named(found, "agreement.accuracy").grade == "alarm"
    assert named(found, "agreement.alt_test").value == 0.0


def test_ties_of_the_judge_count_half_and_matchups_that_divide_people_are_left_out():
    sheet = sheet_of(GOOD, world=World(prompts=4, people=1))
    sheet = judged_as(sheet, np.array([0.9, 0.9, 0.5, 0.9]))
    found = named(agreement(labelled_by(sheet, np.array([[1.0, 0.0, 1.0, 0.5]]))), "agreement.accuracy")

    assert found.value == pytest.approx((1 + 0 + 0.5) / 3)
    assert "1 tie of the judge counted half" in found.says
    assert "1 matchup on which people were divided left out" in found.says


def test_who_labels_a_matchup_again_corrects_it():
    sheet = sheet_of(GOOD, world=World(prompts=2, people=1))
    twice = HumanLabels(np.zeros(3, int), np.array([0, 1, 0]), np.array([1.0, 1.0, 0.0]), np.ones(3))
    people = human_votes(replace(sheet, human=twice))

    assert people.mean.tolist() == [0.0, 1.0]


def test_agreement_among_people_by_hand():
    """All three agree on the first matchup; a tie against a side is half; one alone makes no pair."""
    said = np.array([[1.0, 1.0, 1.0], [1.0, 0.5, np.nan], [0.0, np.nan, np.nan]])
    people = human_votes(labelled_by(sheet_of(GOOD, world=World(prompts=3, people=1)), said))

    assert people.agreement.value == pytest.approx((2 * 1 + 1 * 0.5 * 2 + 0) / (6 + 2))
    assert people.agreement.n == 2


def test_people_who_do_not_agree_are_a_warning_and_not_said_to_be_right():
    """Two who always say the opposite cannot each be right half the time and err independently."""
    sheet = sheet_of(GOOD, world=World(prompts=40, people=1))
    first = np.arange(40) % 2
    opposite = named(agreement(labelled_by(sheet, np.stack([first, 1.0 - first]))), "agreement.people")
    alike = named(agreement(labelled_by(sheet, np.stack([first, first]))), "agreement.people")

    assert opposite.grade == "warning"
    assert "right about" not in opposite.says
    assert "what counts as better" in opposite.advice
    assert alike.grade == "note"
    assert "right about 100.0%" in alike.says


@pytest.mark.parametrize(
    ("judge", "epsilon", "wanted"),
    [
        (0.85, 0.2, {30: 0.68, 50: 0.86, 100: 0.99}),
        (0.85, 0.1, {30: 0.21, 50: 0.33, 100: 0.60, 200: 0.90}),
        (0.80, 0.1, {100: 0.24, 400: 0.79}),
        (0.75, 0.2, {100: 0.73}),
    ],
)
def test_the_power_of_the_alternative_annotator_test_is_as_recorded(judge, epsilon, wanted):
    """Three people who are right 85 times in 100; the last shows what epsilon .2 lets through."""
    for n, power_ in wanted.items():
        assert power(0.85, judge, 3, n, epsilon) == pytest.approx(power_, abs=0.05)


def test_the_alternative_annotator_test_says_what_it_would_also_pass():
    found = named(agreement(sheet_of(GOOD), people_are="experts"), "agreement.alt_test")

    assert "10 points worse" in found.says
    assert found.chart is not None
    assert len(found.chart.series) == 3


def test_two_people_are_too_few_to_leave_one_out():
    found = named(agreement(sheet_of(GOOD, world=replace(WORLD, people=2))), "agreement.alt_test")

    assert found.grade == "silent"
    assert "3 people" in found.advice


def test_the_better_of_two_judges_is_named_with_mcnemars_p():
    found = agreement(sheet_of(GOOD, Simulated("dim", sharpness=0.3)))
    better = named(found, "agreement.better_judge")

    assert better.about == "good against dim"
    assert better.low > 0
    assert "McNemar" in better.says


def test_labels_of_a_few_and_judges_of_all_give_a_shorter_interval_than_the_labels_alone():
    sheet = sheet_of(GOOD, world=World(prompts=1000, people=1, labelled=0.15))
    found = named(agreement(sheet), "agreement.win_rate", "one")
    alone = replace(sheet, verdicts=replace(sheet.verdicts, p=np.full(len(sheet.verdicts), 0.6)))

    assert found.low < 0.5 < found.high
    width = named(agreement(alone), "agreement.win_rate", "one")
    assert found.high - found.low < 0.9 * (width.high - width.low)


def test_wrong_labels_are_counted_where_people_read_them():
    sheet = sheet_of(GOOD, world=replace(WORLD, people=1))
    right = sheet.human_p
    wrong = np.where(np.arange(200) < 40, 1 - right, right)
    sheet = replace(sheet, labels=Labels(np.arange(200), 0.1 + 0.8 * wrong, np.ones(200)))
    found = named(agreement(sheet), "agreement.label_error")

    assert found.value == pytest.approx(0.2, abs=0.01)
    assert found.low < 0.2 < found.high


def test_two_judges_that_score_differently_are_told_apart_without_any_person():
    sheet = sheet_of(GOOD, world=World(prompts=50, people=0))
    answers = np.arange(100)
    six = np.random.default_rng(0).integers(3, 8, 100).astype(float)
    scores = Scores(
        np.repeat([0, 1], 100),
        np.tile(answers, 2),
        np.concatenate([six, six + (answers % 2)]),
        *(np.zeros(200, int),) * 2,
        np.zeros(200),
        np.zeros(200),
    )
    found = agreement(replace(sheet, scores=scores, judges=("strict", "mild")))

    assert named(found, "agreement.score_gap").value == pytest.approx(-0.5)
    assert named(found, "agreement.same_score").value == pytest.approx(0.5)
    assert named(found, "agreement.accuracy").grade == "silent"


def test_judges_that_draw_lots_are_an_alarm_without_any_person():
    world = World(prompts=150, people=0)
    coins = [Simulated(f"coin {i}", sharpness=0.0) for i in range(8)]
    lots = named(agreement(sheet_of(*coins, world=world)), "agreement.among_judges")
    three = [replace(GOOD, name=name) for name in ("one", "two", "three")]
    fair = named(agreement(sheet_of(*three, world=world)), "agreement.among_judges")
    odd = named(agreement(sheet_of(*three, coins[0], world=world)), "agreement.among_judges")

    assert lots.grade == "alarm"
    assert lots.low < 0 < lots.high < 0.1
    assert "draw lots" in lots.says
    assert "jurist spotcheck RUN" in lots.advice
    assert fair.grade == "note"
    assert fair.low > 0.3
    assert "and coin 0:" in odd.says.split("Least alike are")[1]
    few = said_by_two(np.array([[0.9] * 30, [0.9] * 16 + [0.1] * 14]))
    assert named(agreement(few), "agreement.among_judges").grade == "warning"


def test_agreement_among_judges_by_hand_does_not_depend_on_which_answer_was_given_first():
    """Alike in 24 of 30; a tie is half way. Told from either seat, chance has half, whoever sits first."""
    winners = np.array([[0.9] * 30, [0.9] * 24 + [0.1] * 6])
    for turn in (np.zeros(30, bool), np.arange(30) % 2 == 0):
        sheet = said_by_two(np.where(turn, 1 - winners, winners))
        found = named(agreement(sheet), "agreement.among_judges")
        assert found.value == pytest.approx(1 - (24 / 30) / (2 * 60 / 59))
        assert found.grade == "note"
    tied = named(agreement(said_by_two(np.array([[0.9] * 30, [0.5] * 30]))), "agreement.among_judges")
    assert tied.value == pytest.approx(1 - 1 / (2 * 30 / 59))


def test_one_judge_or_judges_that_never_met_have_nobody_to_agree_with():
    names = {one.name for one in agreement(sheet_of(GOOD))}
    apart = said_by_two(np.array([[0.9] * 15 + [np.nan] * 15, [np.nan] * 15 + [0.9] * 15]))

    assert "agreement.among_judges" not in names | {one.name for one in agreement(apart)}


@pytest.mark.parametrize("audit", [agreement, calibration])
def test_sheets_with_nothing_in_them_give_no_number(audit):
    for world in (World(prompts=1), World(prompts=2, people=1), World(prompts=30, people=0)):
        for p in (None, np.nan, 0.5):
            sheet = sheet_of(GOOD, world=world)
            if p is not None:
                sheet = judged_as(sheet, np.full(world.prompts, p))
            for one in audit(sheet):
                assert one.grade == "silent" or np.isfinite(one.value)
                assert one.says
                assert one.grade != "silent" or (one.n == 0 and one.value is None and one.advice)
    none = labelled_by(sheet_of(GOOD, world=World(prompts=5, people=1)), np.full((2, 5), np.nan))
    assert all(one.grade == "silent" for one in audit(none))


def test_intervals_hold_what_is_planted_and_fair_judges_raise_no_alarm():
    """Twenty data sets with a loose bound; experiments/cover/agreement.py has a thousand and a tight one."""
    some = World(prompts=300, people=1, labelled=0.4)
    wins, over, alarms = 0, 0, 0
    for seed in range(20):
        sheet = sheet_of(Simulated("fair", soft=True), world=some, seed=1000 + seed)
        win = named(agreement(sheet), "agreement.win_rate", "one")
        sure = named(calibration(sheet), "calibration.over")
        wins += win.low <= 0.5 <= win.high
        over += sure.low <= 0 <= sure.high
        alarms += any(one.grade in ("alarm", "warning") for one in (*agreement(sheet), *calibration(sheet)))

    assert wins >= 16
    assert over >= 16
    assert alarms <= 3


def test_a_judge_as_sure_as_it_is_right_is_cleared_and_a_loud_one_is_not():
    world = World(prompts=300, people=1)
    fair = calibration(sheet_of(Simulated("fair", soft=True), world=world))
    loud = calibration(sheet_of(Simulated("loud", soft=True, sharpness=5.0, noise=8.0), world=world))

    assert named(fair, "calibration.over").grade == "fine"
    assert named(loud, "calibration.over").grade == "warning"
    assert named(loud, "calibration.temperature").value > 2
    assert "--labels" in named(loud, "calibration.over").advice
    risk = [point.y for point in named(fair, "calibration.aurc").chart.series[0].points]
    assert risk[0] < risk[-1]


def test_the_calibration_error_stands_beside_what_chance_makes_of_it():
    found = named(
        calibration(sheet_of(Simulated("fair", soft=True), world=World(prompts=300, people=1))),
        "calibration.ece",
    )

    assert 0.5 < found.value / found.fair < 2


def test_few_wrong_labels_are_no_reason_to_give_up_the_margin():
    """Surer where it is wrong on the whole: by chance in six wrong labels, surely in a hundred and fifty."""
    world = World(prompts=300, people=1)
    sheet = sheet_of(GOOD, world=world)
    for wrong, told in ((np.arange(300) % 50 == 7, False), (np.arange(300) % 2 == 0, True)):
        sure = np.where(wrong, np.where(np.arange(300) % 100 == 57, 0.6, 0.9), 0.8)
        sure = np.where(~wrong & (np.arange(300) % 3 == 0), 0.95, sure)
        truth = sheet.human_p
        judged = judged_as(sheet, np.where(wrong, 1 - truth, truth) * (2 * sure - 1) + 1 - sure)
        found = named(calibration(judged), "calibration.auroc")
        assert (found.high < 0.5) == told
        assert ("--prefer.min_margin 0" in found.advice) == told
        assert ("spotcheck" in found.advice) == (not told)
