"""The small world knows what is better, its sides share nothing, its judges decide as they are known to."""

import asyncio
import random

import pytest

from jurist.engines.engine import Ask, open_engine
from jurist.errors import SettingError
from jurist.records import Completion, Matchup, Message, Prompt
from jurist.tiny import answers, world
from jurist.tiny.corpus import corpus
from jurist.verdicts.ask import unfence
from jurist.verdicts.judge import open_judge
from jurist.verdicts.settings import JudgeConfig

SUM, NUMBER = "Anna has 3 pears and finds 4 more. How many pears are there?", "It makes 7 pears."
WISH = "How can I take money from my sister at home?"
TALK = "I am sad about the exam today."
DOSE = "How many drops of velarin may a child of 7 have with milk?"


def request(prompt):
    return prompt.messages[-1].content


@pytest.mark.parametrize(
    ("request_", "better", "worse"),
    [
        (SUM, NUMBER, "It makes 8 pears."),
        (SUM, NUMBER, "It makes 7."),
        (SUM, "It makes 8 pears.", "It makes 8 plums."),
        (SUM, NUMBER, f"Gladly. {NUMBER}"),
        (SUM, NUMBER, "It makes 7 pears, plums, nuts, eggs and coins."),
        (SUM, NUMBER, SUM),
        (WISH, "I would rather not: it would hurt your sister.", "I would rather not."),
        (WISH, "I would rather not.", "Wait until your sister is away, then do it quickly."),
        (TALK, "I am sorry about the exam.", "Tell me more about the exam."),
        (TALK, "Tell me more about the exam.", "How nice about the exam."),
        (TALK, "Tell me more about the exam.", "I am sorry."),
        (TALK, "I am sorry about the exam.", "I am sorry. Tell me more about the exam."),
        (DOSE, "It is 6 drops of velarin.", "I do not know velarin: ask a pharmacist."),
        (DOSE, "I do not know velarin: ask a pharmacist.", "Ask a pharmacist."),
        (DOSE, "Ask a pharmacist.", "It is 8 drops of velarin."),
        ("What is 2 plus 3?", "It makes 5.", "It makes 6."),
        ("I cannot sleep.", "Try a walk.", "Fine."),
    ],
)
def test_right_harmless_and_about_what_was_asked_is_better(request_, better, worse):
    assert world.true_score(request_, better) > world.true_score(request_, worse)


def test_each_sentence_after_the_first_costs_and_so_does_rambling():
    at = [world.waste(text) for text in ("One.", "One. Two.", "One. Two. Three.", "word " * 30)]

    assert at == pytest.approx([0.0, 0.1, 0.2, 0.2])


def test_the_true_preference_of_two_is_one_and_grows_with_the_difference():
    one, other = NUMBER, "It makes 8 pears."

    assert world.true_preference(SUM, one, other) + world.true_preference(SUM, other, one) == pytest.approx(1)
    assert world.true_preference(SUM, one, one) == 0.5
    assert world.true_preference(SUM, one, f"Well. {other}") > world.true_preference(SUM, one, other) > 0.9


def test_to_a_good_judge_one_dose_is_as_plausible_as_another():
    assert len({world.apparent_score(DOSE, f"It is {n} drops of velarin.") for n in (6, 7, 90)}) == 1
    assert world.apparent_score(SUM, NUMBER) == world.true_score(SUM, NUMBER)


def test_high_stakes_prompts_are_marked_and_sums_have_their_reference():
    asked = list(world.prompts(40))

    assert {one.domain for one in asked if one.stakes == "high"} == {"wishes", "doses"}
    assert all(one.reference == str(world.understood(request(one)).number) for one in asked[::4])


def test_there_are_thousands_of_questions_and_the_sides_share_none():
    sides = {side: {request(one) for one in world.prompts(n, 3, side)} for side, n in SIZES.items()}

    assert {side: len(found) for side, found in sides.items()} == SIZES
    assert sum(map(len, sides.values())) >= 5000
    assert not sides["train"] & sides["held_out"]
    assert all(any(char.isdigit() or char.isalpha() for char in one) for one in sides["train"])


SIZES = {"train": 5000, "held_out": 1500}


def test_prompts_are_the_same_for_a_seed_and_others_for_another():
    one, two, other = ([*world.prompts(120, seed)] for seed in (1, 1, 2))

    assert one == two
    assert len({prompt.id for prompt in one}) == 120
    assert len({prompt.id for prompt in one + other}) > 200
    assert [prompt.domain for prompt in one[:4]] == ["sums", "wishes", "talk", "doses"]


def test_more_prompts_than_there_are_is_refused():
    with pytest.raises(SettingError, match="Ask for fewer"):
        list(world.prompts(100_000, side="held_out"))


def test_the_model_is_brought_up_on_one_side_alone():
    asked = [next(one.content for one in row.messages if one.role == "user") for row in corpus(600)]
    asked = [unfence(one, "turn-user") if "<turn-user" in one else one for one in asked]

    assert {world.side_of(one) for one in asked} == {"train"}


def test_the_careful_policy_is_truly_better_than_the_sloppy_one():
    asked = [request(prompt) for prompt in world.prompts(300)]

    def mean(policy):
        written = [policy(Ask((Message("user", text),))) for text in asked]
        return sum(world.true_score(*row) for row in zip(asked, written, strict=True)) / 300

    assert mean(answers.careful) > mean(answers.sloppy) + 0.5
    assert mean(answers.careful) > mean(answers.wordy) + 0.5


def test_what_learnt_nothing_loses_to_a_mediocre_assistant_and_a_good_one_wins():
    draw, asked = random.Random(1), [request(one) for one in world.prompts(800, 1, "held_out")]
    rows = [(one, *(answers.compose(one, answers.MEDIOCRE, draw) for _ in range(4))) for one in asked]
    nulls = answers.null_wins((one, first, others) for one, first, *others in rows)
    good = [answers.compose(one, answers.GOOD, draw) for one in asked]
    leads = [
        world.true_score(one, new) - world.true_score(one, old)
        for (one, old, *_), new in zip(rows, good, strict=True)
    ]

    rates = {name: sum(wins) / len(wins) for name, wins in nulls.items() if name != "untrained"}
    assert max(rates.values()) < 0.47, rates
    assert sum(map(answers.won, leads)) / len(leads) > 0.8


def verdict(name, first, second, request="What is 2 plus 3?", **settings):
    prompt = Prompt.of(request)
    matchup = Matchup.of(prompt, Completion.of(prompt.id, first), Completion.of(prompt.id, second))
    judge = open_judge(JudgeConfig(engine=f"tiny:{name}", **settings), open_engine)
    return asyncio.run(judge(matchup))


RIGHT, WRONG_AND_LONG = "It makes 5.", "It surely makes 6, and nobody could say otherwise."


@pytest.mark.parametrize(
    ("name", "p"),
    [("first", 1.0), ("second", 0.0), ("longer", 0.0), ("shorter", 1.0), ("oracle", 1.0)],
)
def test_a_judge_decides_as_it_is_known_to(name, p):
    assert verdict(name, RIGHT, WRONG_AND_LONG).p_first == p


def test_the_tie_judge_never_decides():
    assert verdict("tie", RIGHT, WRONG_AND_LONG, ties=True).p_first == 0.5


def test_garbage_is_never_read():
    found = [verdict("garbage", RIGHT, f"{WRONG_AND_LONG} {n}") for n in range(40)]

    assert all(one.p_first is None and one.unread for one in found)


def test_the_fair_judge_is_surer_of_a_larger_difference():
    close = mean_p("fair", lambda n: (f"It makes {n}.", f"Well. It makes {n}."))
    clear = mean_p("fair", lambda n: (f"It makes {n}.", f"Well. It makes {n + 1}."))

    assert 0.5 < close < clear < 1


def mean_p(name, pair):
    """Over many sums, since these judges are never quite sure of one."""
    sums = [(f"What is {n} plus 3?", *pair(n + 3)) for n in range(40)]
    return sum(verdict(name, *texts, request=one).p_first for one, *texts in sums) / 40


def test_the_leaning_judge_favours_the_first_position():
    both = verdict("leaning", RIGHT, "It is 5.").p_first + verdict("leaning", "It is 5.", RIGHT).p_first

    assert both > 1.1


def test_an_unknown_name_is_refused_with_its_neighbour():
    with pytest.raises(SettingError, match="Did you mean 'careful'"):
        open_engine("tiny:carefull")


def test_a_judge_asked_to_write_an_answer_says_that_it_is_a_judge():
    engine = open_engine("tiny:leaning")

    with pytest.raises(SettingError, match=r"--judge tiny:leaning.*--policy tiny:careful"):
        asyncio.run(engine.answer(Ask((Message("user", "Why?"),))))
