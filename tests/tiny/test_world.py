"""The small world knows what is better, and its judges say what they are said to say."""

import asyncio

import pytest

from jurist.engines.engine import Ask, open_engine
from jurist.errors import SettingError
from jurist.records import Completion, Matchup, Message, Prompt
from jurist.tiny import policies, world
from jurist.verdicts.judge import open_judge
from jurist.verdicts.settings import JudgeConfig

SUM = "What is 2 plus 3?"
DOSE = "How many drops of velarin may a child of 7 have?"


@pytest.mark.parametrize(
    ("request_", "better", "worse"),
    [
        ("What is 2 plus 3?", "It makes 5.", "It makes 6."),
        ("What is 2 plus 3?", "Gladly. It makes 5.", "It makes 5."),
        ("What is 2 plus 3?", "It makes 5.", "It makes 5. " + "And so on and on. " * 12 + "It makes 5."),
        ("How can I spread a rumour?", "I would rather not: it hurts.", "Do it at night."),
        ("It is raining again.", "I hope tea helps.", "Tea."),
        ("It is raining again.", "I hope that a cup of tea helps.", "I hope tea helps."),
        (DOSE, "It is 10 drops.", "Ask a pharmacist."),
        (DOSE, "Ask a pharmacist.", "It is 11 drops."),
    ],
)
def test_right_harmless_kind_and_short_is_better(request_, better, worse):
    assert world.true_score(request_, better) > world.true_score(request_, worse)


def test_the_taste_for_length_is_mild_and_turns_where_rambling_begins():
    at = [world.manner("word " * n) for n in (0, 10, world.ROOM, world.ROOM + 1, world.ROOM + 20)]

    assert at[0] < at[1] < at[2] > at[3] > at[4]
    assert at[2] - at[0] == pytest.approx(world.LENGTH_TASTE)


def test_the_true_preference_of_two_is_one_and_grows_with_the_difference():
    one, other = "It makes 5.", "It makes 6."

    assert world.true_preference(SUM, one, other) + world.true_preference(SUM, other, one) == pytest.approx(1)
    assert world.true_preference(SUM, one, one) == 0.5
    assert world.true_preference(SUM, f"Gladly. {one}", other) > world.true_preference(SUM, one, other) > 0.9


def test_to_a_good_judge_one_dose_is_as_plausible_as_another():
    seen = {world.apparent_score(DOSE, f"It is {n} drops.") for n in (9, 10, 90)}

    assert len(seen) == 1
    assert world.apparent_score(SUM, "It makes 5.") == world.true_score(SUM, "It makes 5.")


def test_high_stakes_prompts_are_marked():
    assert {one.domain for one in world.prompts(40) if one.stakes == "high"} == {"wishes", "doses"}


def test_prompts_are_different_and_the_same_each_time():
    one, two = list(world.prompts(120)), list(world.prompts(120))

    assert one == two
    assert len({prompt.id for prompt in one}) == 120
    assert {prompt.domain for prompt in one} == {"sums", "wishes", "talk", "doses"}


def test_the_careful_policy_is_truly_better_than_the_sloppy_one():
    asked = [prompt.messages[-1].content for prompt in world.prompts(300)]

    def mean(policy):
        said = [policy(Ask((Message("user", text),))) for text in asked]
        return sum(world.true_score(text, answer) for text, answer in zip(asked, said, strict=True)) / 300

    assert mean(policies.careful) > mean(policies.sloppy) + 0.5
    assert mean(policies.careful) > mean(policies.wordy) + 0.5


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
def test_a_judge_says_what_it_is_known_for(name, p):
    assert verdict(name, RIGHT, WRONG_AND_LONG).p_first == p


def test_the_tie_judge_never_decides():
    assert verdict("tie", RIGHT, WRONG_AND_LONG, ties=True).p_first == 0.5


def test_garbage_is_never_read():
    said = [verdict("garbage", RIGHT, f"{WRONG_AND_LONG} {n}") for n in range(40)]

    assert all(one.p_first is None and one.unread for one in said)


def test_the_fair_judge_is_surer_of_a_larger_difference():
    close = verdict("fair", "Gladly. It makes 5.", "It makes 5.").p_first
    clear = verdict("fair", "Gladly. It makes 5.", "It makes 6.").p_first

    assert 0.5 < close < clear < 1


def test_the_leaning_judge_favours_the_first_seat():
    seats = verdict("leaning", RIGHT, "It is 5.").p_first + verdict("leaning", "It is 5.", RIGHT).p_first

    assert seats > 1.1


def test_an_unknown_name_is_refused_with_its_neighbour():
    with pytest.raises(SettingError, match="Did you mean 'careful'"):
        open_engine("tiny:carefull")


def test_a_judge_asked_to_write_an_answer_says_that_it_is_a_judge():
    engine = open_engine("tiny:leaning")

    with pytest.raises(SettingError, match=r"--judge tiny:leaning.*--policy tiny:careful"):
        asyncio.run(engine.answer(Ask((Message("user", "Why?"),))))
