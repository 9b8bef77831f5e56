from __future__ import annotations

import asyncio
import math

import pytest
from msgspec.structs import replace

from jurist.engines.engine import Ask, Reply, Token
from jurist.engines.scripted import Scripted
from jurist.records import Completion, Matchup, Prompt, Usage, Verdict
from jurist.verdicts.judge import hear
from jurist.verdicts.pairwise import Pairwise
from jurist.verdicts.settings import JudgeConfig
from jurist.verdicts.settle import settle

PROMPT = Prompt.of("Say hello.")
MATCHUP = Matchup.of(PROMPT, Completion.of(PROMPT.id, "Hello!"), Completion.of(PROMPT.id, "Go away."))


def ask_once(judge: Pairwise, matchup: Matchup = MATCHUP) -> Verdict:
    return asyncio.run(judge(matchup))


def ask_both(judge: Pairwise) -> list[Verdict]:
    return asyncio.run(hear(PROMPT, (), [MATCHUP], [judge]))


def weighed(a: float, b: float) -> Reply:
    """The likelier letter, with the log-probs of both."""
    text = "A" if a > b else "B"
    token = Token(text, math.log(max(a, b)), (("A", math.log(a)), ("B", math.log(b))))
    return Reply(text, tokens=(token,))


def test_a_letter_becomes_a_verdict_about_the_completions_as_shown():
    verdict = ask_once(Pairwise(JudgeConfig(), Scripted(lambda ask: "B")))

    assert verdict.p_first == 0.0
    assert (verdict.first_id, verdict.second_id) == (MATCHUP.first.id, MATCHUP.second.id)
    assert verdict.matchup_id == MATCHUP.id
    assert verdict.raw == "B"
    assert verdict.kind == "pairwise"


def test_a_judge_that_always_picks_the_first_seat_ends_even():
    verdicts = ask_both(Pairwise(JudgeConfig(), Scripted(lambda ask: "A")))

    assert [one.order for one in verdicts] == ["given", "swapped"]
    assert settle(verdicts, MATCHUP).p_first == 0.5


def test_a_judge_that_reads_the_texts_is_the_same_in_both_orders():
    def polite(ask: Ask) -> str:
        text = ask.messages[-1].content
        return "A" if text.index("Hello!") < text.index("Go away.") else "B"

    opinion = settle(ask_both(Pairwise(JudgeConfig(), Scripted(polite))), MATCHUP)

    assert opinion.p_first == 1.0
    assert opinion.position_gap == 0.0


def test_log_probs_become_a_soft_verdict():
    verdict = ask_once(Pairwise(JudgeConfig(), Scripted(lambda ask: weighed(0.6, 0.2))))

    assert verdict.p_first == pytest.approx(0.75)


def test_a_judge_told_to_read_log_probs_takes_no_bare_letter_for_certainty():
    verdict = ask_once(Pairwise(JudgeConfig(logprobs=True), Scripted(lambda ask: "A")))

    assert verdict.p_first is None
    assert verdict.unread == "low_mass"


def test_a_tie_counts_only_where_it_was_offered():
    offered = ask_once(Pairwise(JudgeConfig(ties=True), Scripted(lambda ask: "C")))
    not_offered = ask_once(Pairwise(JudgeConfig(), Scripted(lambda ask: "C")))

    assert offered.p_first == 0.5
    assert not_offered.p_first is None
    assert not_offered.unread


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply("", "refused"), "refused"),
        (Reply(""), "empty"),
        (Reply("Both have merits", "length"), "cut_off"),
        (Reply("I like turtles."), "no_verdict"),
    ],
)
def test_nothing_read_is_not_a_tie(reply, reason):
    verdict = ask_once(Pairwise(JudgeConfig(), Scripted(lambda ask: reply)))

    assert verdict.p_first is None
    assert verdict.unread == reason


def test_reasoning_in_one_call_keeps_the_rationale():
    judge = Pairwise(JudgeConfig(reason=True), Scripted(lambda ask: "The first one greets.\nVerdict: A"))
    verdict = ask_once(judge)

    assert verdict.p_first == 1.0
    assert "The first one greets." in verdict.rationale


def test_reasoning_in_two_calls_reads_the_verdict_from_the_second_and_adds_up_both():
    asks: list[Ask] = []

    def judge_in_two(ask: Ask) -> Reply:
        asks.append(ask)
        if len(asks) == 1:
            return Reply("The first one greets, not B.", usage=Usage(100, 0, 9), cost=0.5, seconds=1.0)
        return replace(weighed(0.3, 0.6), usage=Usage(120, 90, 1), cost=0.25, seconds=0.5)

    verdict = ask_once(Pairwise(JudgeConfig(reason=True, reason_calls=2), Scripted(judge_in_two)))

    assert verdict.p_first == pytest.approx(1 / 3)
    assert verdict.rationale == "The first one greets, not B."
    assert verdict.raw == "B"
    assert (verdict.usage, verdict.cost, verdict.seconds) == (Usage(220, 90, 10), 0.75, 1.5)
    assert asks[0].max_tokens == 512
    assert asks[0].labels == ()
    assert asks[1].messages[:2] == asks[0].messages
    assert [turn.role for turn in asks[1].messages[2:]] == ["assistant", "user"]
    assert asks[1].messages[2].content == "The first one greets, not B."
    assert asks[1].labels == ("A", "B")


@pytest.mark.parametrize(("reply", "reason"), [(Reply("", "refused"), "refused"), (Reply(" "), "empty")])
def test_without_a_rationale_no_second_call_is_made(reply, reason):
    engine = Scripted(lambda ask: reply)
    verdict = ask_once(Pairwise(JudgeConfig(reason=True, reason_calls=2), engine))

    assert engine.calls == 1
    assert verdict.unread == reason


def test_what_a_model_thought_apart_from_its_answer_is_kept_as_the_rationale():
    verdict = ask_once(Pairwise(JudgeConfig(), Scripted(lambda ask: Reply("A", reasoning="A greets."))))

    assert verdict.rationale == "A greets."


def test_the_same_question_has_the_same_verdict_id_and_another_sample_another():
    judge = Pairwise(JudgeConfig(samples=2), Scripted(lambda ask: "A"))

    ids = [
        asyncio.run(judge(seated, sample)).id for seated in (MATCHUP, MATCHUP.swapped()) for sample in (0, 1)
    ]
    assert len(set(ids)) == 4
    assert asyncio.run(judge(MATCHUP, 0)).id == ids[0]
