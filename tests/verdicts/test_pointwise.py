from __future__ import annotations

import asyncio
import math

import pytest

from jurist.engines.engine import Ask, Reply, Token
from jurist.engines.scripted import Scripted
from jurist.records import Completion, Prompt, Verdict
from jurist.verdicts.pointwise import Pointwise
from jurist.verdicts.settings import JudgeConfig

PROMPT = Prompt.of("Say hello.")
HELLO = Completion.of(PROMPT.id, "Hello!")


def score(judge: Pointwise) -> Verdict:
    return asyncio.run(judge(PROMPT, HELLO))


def settings(**more: object) -> JudgeConfig:
    return JudgeConfig(kind="pointwise", **more)  # type: ignore[arg-type]


def test_a_number_becomes_a_score_of_this_completion():
    verdict = score(Pointwise(settings(), Scripted(lambda ask: "7")))

    assert verdict.score == 7
    assert verdict.p_first is None
    assert verdict.first_id == HELLO.id
    assert verdict.matchup_id == ""
    assert verdict.kind == "pointwise"


def test_with_log_probs_the_score_is_the_expectation():
    top = (("7", math.log(0.5)), ("8", math.log(0.25)), ("9", math.log(0.25)))
    verdict = score(
        Pointwise(settings(), Scripted(lambda ask: Reply("7", tokens=(Token("7", top[0][1], top),))))
    )

    assert verdict.score == pytest.approx(0.5 * 7 + 0.25 * 8 + 0.25 * 9)


def test_a_score_off_the_scale_is_unread_and_not_the_nearest():
    verdict = score(Pointwise(settings(scale=(1, 5)), Scripted(lambda ask: "8")))

    assert verdict.score is None
    assert verdict.unread == "off_menu"


def test_five_points_are_explained_and_added_up():
    asks: list[Ask] = []

    def grader(ask: Ask) -> str:
        asks.append(ask)
        return "It greets, so one point; it is direct, so another.\nScore: 2"

    verdict = score(Pointwise(settings(additive=True, reason=True), Scripted(grader)))

    assert verdict.score == 2
    assert "It greets" in verdict.rationale
    assert asks[0].messages[0].content.count("\n- ") == 5
    assert '"Score: " and one whole number from 0 to 5' in asks[0].messages[0].content


def test_the_scores_on_offer_are_single_digits_by_default():
    asked = Pointwise(settings(), Scripted(lambda ask: "1")).question.single(PROMPT, HELLO)

    assert asked.labels == tuple("123456789")


def test_a_score_after_a_rationale_of_its_own_call():
    replies = iter(["It greets.", "6"])
    verdict = score(Pointwise(settings(reason=True, reason_calls=2), Scripted(lambda ask: next(replies))))

    assert verdict.score == 6
    assert verdict.rationale == "It greets."


def test_nothing_read_is_no_score():
    verdict = score(Pointwise(settings(), Scripted(lambda ask: "Lovely.")))

    assert verdict.score is None
    assert verdict.unread == "no_verdict"


def test_a_scorer_told_to_read_log_probs_takes_no_bare_number():
    assert score(Pointwise(settings(logprobs=True), Scripted(lambda ask: "7"))).unread == "low_mass"
