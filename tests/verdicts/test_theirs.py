"""Judges that users write themselves, with the faults such functions have."""

import asyncio

import numpy as np
import pytest

from jurist.errors import CallFailed, DataError
from jurist.records import Completion, Matchup, Prompt
from jurist.verdicts.settings import JudgeConfig
from jurist.verdicts.theirs import TheirJudge, TheirScorer

PROMPT = Prompt.of("Why?")
ONE, TWO = Completion.of(PROMPT.id, "one"), Completion.of(PROMPT.id, "two")
CFG = JudgeConfig(kind="mine:judge")


def heard(function):
    return asyncio.run(TheirJudge(CFG, function)(Matchup.of(PROMPT, ONE, TWO)))


@pytest.mark.parametrize("said", [np.float32(0.75), np.float64(0.75), np.array(0.75), 0.75])
def test_a_number_from_an_array_library_is_a_number(said):
    assert heard(lambda matchup: said).p_first == 0.75
    assert asyncio.run(TheirScorer(CFG, lambda prompt, text: said)(PROMPT, ONE)).score == 0.75


def test_a_comparison_is_a_verdict_for_the_first_or_the_second():
    assert heard(lambda matchup: np.bool_(True)).p_first == 1.0
    assert heard(lambda matchup: False).p_first == 0.0


@pytest.mark.parametrize("said", [np.array([0.5, 0.5]), float("nan"), 2, "A"])
def test_anything_else_is_refused_with_what_may_be_returned(said):
    with pytest.raises(DataError, match="Return a probability from 0 to 1"):
        heard(lambda matchup: said)


def faulty(*about):
    return {}["verdict"]


async def faulty_later(*about):
    return {}["verdict"]


@pytest.mark.parametrize("function", [faulty, faulty_later])
@pytest.mark.parametrize("made", [TheirJudge, TheirScorer])
def test_a_fault_in_a_users_function_is_named_with_its_line(function, made):
    about = (Matchup.of(PROMPT, ONE, TWO),) if made is TheirJudge else (PROMPT, ONE)
    with pytest.raises(DataError, match=r"mine:judge failed: KeyError: 'verdict' \(\S+test_theirs.py:\d+\)"):
        asyncio.run(made(CFG, function)(*about))


def test_a_function_that_takes_the_wrong_arguments_is_not_blamed_on_a_line_of_ours():
    with pytest.raises(DataError, match="takes 0 positional arguments") as why:
        heard(lambda: "first")
    assert ".py" not in str(why.value)


def test_a_call_that_failed_inside_a_users_function_stays_one():
    def asks(matchup):
        raise CallFailed("gave nothing")

    with pytest.raises(CallFailed):
        heard(asks)
