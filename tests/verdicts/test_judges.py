"""Judges by name, a user's own functions as judges, and asking them all about one prompt."""

import asyncio
import sys
import types

import pytest

from jurist.engines.engine import Ask, Reply
from jurist.engines.scripted import Scripted
from jurist.errors import BudgetSpent, CallFailed, CallRefused, DataError, EngineDown, SettingError
from jurist.records import Completion, Matchup, Prompt, Verdict, content_id
from jurist.verdicts.judge import JUDGES, Judge, Scorer, ask_judges, judge_config, open_judge, orders
from jurist.verdicts.settings import JudgeConfig

PROMPT = Prompt.of("Say hello.")
TEXTS = [Completion.of(PROMPT.id, text) for text in ("Hello!", "Hi.", "Hey there")]
MATCHUPS = [Matchup.of(PROMPT, TEXTS[0], TEXTS[1]), Matchup.of(PROMPT, TEXTS[1], TEXTS[2])]
ASKING = ("pairwise", "pointwise", "additive", "constitution")


def scripted(answer="A"):
    """An engine for `open_judge`, whatever it is called."""
    return lambda spec: Scripted(answer if callable(answer) else lambda ask: answer, str(spec))


def about_one(judge, matchup=MATCHUPS[0]) -> Verdict:
    asked = judge(matchup) if judge.kind == "pairwise" else judge(PROMPT, TEXTS[0])
    return asyncio.run(asked)


def about_all(*judges, seed=0) -> list[Verdict]:
    return asyncio.run(ask_judges(PROMPT, TEXTS, MATCHUPS, judges, seed))


@pytest.fixture
def mine(monkeypatch):
    module = types.ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", module)
    return module


def test_every_judge_in_the_dictionary_opens_and_says_what_kind_it_is(tmp_path):
    (tmp_path / "s.json").write_text("{}")
    more = {"regex": "regex:a", "json_schema": f"json_schema:{tmp_path / 's.json'}"}
    for kind in JUDGES.keys() - {"reward"}:  # needs a model: tests/models/test_reward_judge.py
        engine = "x" if kind in ASKING else None
        judge = open_judge(JudgeConfig(kind=more.get(kind, kind), engine=engine), scripted())
        assert isinstance(judge, Judge if judge.kind == "pairwise" else Scorer)
        assert judge.name.startswith(kind)


REFUSED = [
    ("shortr", r"no judge called 'shortr'; there is .* Did you mean 'shorter'\?"),
    ({"kind": "pairwise", "sample": 2}, "Did you mean 'samples'"),
    ("pairwise", r"'pairwise' asks a model. Set its engine: openai:gpt-5-mini"),
    (3, "a judge is a name or a mapping of settings, got 3"),
    ("vlm:m@http://localhost", "Did you mean 'vllm'"),
    ("mine:nothing", "module:function"),
    ("nowhere_at_all:judge", "module:function"),
    ("mine:constant", "3, which cannot be called. Name a function: module:function"),
]


@pytest.mark.parametrize(("spec", "said"), REFUSED)
def test_a_judge_that_makes_no_sense_is_refused_with_the_next_thing_to_type(mine, spec, said):
    mine.constant = 3
    with pytest.raises(SettingError, match=said):
        open_judge(spec, scripted())


def test_the_name_of_an_engine_alone_means_asking_it_in_pairs():
    assert judge_config("openai:gpt-5-mini") == JudgeConfig(engine="openai:gpt-5-mini")
    assert judge_config("shorter") == JudgeConfig(kind="shorter")
    assert judge_config("my_rules:kinder") == JudgeConfig(kind="my_rules:kinder")


def test_a_verdict_holds_the_reply_word_for_word_and_what_it_cost():
    reply = Reply("Hm.\nVerdict: B", reasoning="so", cost=0.25, seconds=2.0, call="ab")
    verdict = about_one(open_judge({"engine": "x", "reason": True}, scripted(lambda ask: reply)))
    assert (verdict.p_first, verdict.raw, verdict.rationale) == (0.0, "Hm.\nVerdict: B", "Hm.")
    assert (verdict.cost, verdict.seconds, verdict.call, verdict.forced) == (0.25, 2.0, "ab", False)
    score = about_one(
        open_judge({"kind": "pointwise", "engine": "x"}, scripted(lambda ask: Reply("7", reasoning="so")))
    )
    assert (score.score, score.p_first, score.rationale) == (7.0, None, "so")
    refused = about_one(open_judge("openai:x", scripted(lambda ask: Reply("No.", "refused"))))
    assert (refused.p_first, refused.unread, refused.raw) == (None, "refused", "No.")


def test_a_forced_verdict_is_marked_and_keeps_the_mass_of_the_unforced_reply():
    def answer(ask: Ask) -> str:
        return "A" if ask.wants == "forced_label" else "Both."

    verdict = about_one(open_judge({"engine": "x", "forced": "allow"}, scripted(answer)))
    assert (verdict.p_first, verdict.forced, verdict.label_mass) == (1.0, True, None)


def test_a_constitution_gives_each_sample_a_principle_that_content_decides():
    judge = open_judge({"kind": "constitution", "engine": "x", "samples": 8}, scripted())
    verdicts = about_all(judge)
    assert len({one.principle for one in verdicts}) > 3
    assert [one.principle for one in about_all(judge)] == [one.principle for one in verdicts]
    both = [one.principle for one in verdicts[:16]]
    assert both[:8] == both[8:]  # both orders are asked under the same one


async def later(matchup: Matchup) -> float:
    return 0.8


class OfNumpy:
    ndim = 0

    def item(self) -> float:
        return 0.25


RETURNED = [
    (lambda matchup: 0.7, 0.7),
    (lambda matchup: True, 1.0),
    (lambda matchup: "first", 1.0),
    (lambda matchup: "second", 0.0),
    (lambda matchup: "tie", 0.5),
    (lambda matchup: None, None),
    (lambda matchup: OfNumpy(), 0.25),
    (later, 0.8),
]


@pytest.mark.parametrize(("function", "p"), RETURNED)
def test_a_users_function_is_a_judge(mine, function, p):
    mine.judge = function
    verdict = about_one(open_judge("mine:judge", scripted()))
    assert (verdict.p_first, verdict.unread, verdict.judge) == (p, "no_verdict" * (p is None), "mine:judge")
    assert (verdict.first_id, verdict.second_id) == (TEXTS[0].id, TEXTS[1].id)


def test_a_users_own_verdict_is_kept_as_it_is(mine):
    said = Verdict("v", "me", MATCHUPS[0].id, TEXTS[0].id, TEXTS[1].id, p_first=0.3, rationale="because")
    mine.judge = lambda matchup: said
    assert about_one(open_judge("mine:judge", scripted())) == said


def test_a_users_scorer_says_so_by_its_kind(mine):
    def length(prompt: Prompt, completion: Completion) -> float | None:
        return None if completion == TEXTS[2] else len(completion.text)

    length.kind, length.scale = "pointwise", (0, 100)
    mine.length = length
    judge = open_judge("mine:length", scripted())
    verdicts = about_all(judge)
    assert (judge.kind, judge.scale) == ("pointwise", (0, 100))
    assert [(one.first_id, one.score, one.unread) for one in verdicts] == [
        (TEXTS[0].id, 6, ""),
        (TEXTS[1].id, 3, ""),
        (TEXTS[2].id, None, "no_verdict"),
    ]


@pytest.mark.parametrize("said", [1.5, -0.1, float("nan"), "A", [1]])
def test_a_users_function_that_returns_nonsense_is_told_what_to_return(mine, said):
    mine.judge = lambda matchup: said
    with pytest.raises(DataError, match="Return a probability from 0 to 1"):
        about_one(open_judge("mine:judge", scripted()))
    mine.score = lambda prompt, completion: float("inf") if said == 1.5 else "lots"
    mine.score.kind = "pointwise"
    with pytest.raises(DataError, match="Return a number, None or a Verdict"):
        about_one(open_judge("mine:score", scripted()))


def test_a_fault_in_a_users_function_is_named_with_its_line(mine):
    mine.judge = lambda matchup: matchup.winner
    with pytest.raises(
        DataError, match=r"the judge mine:judge failed: AttributeError: .*test_judges.py:\d+\)"
    ):
        about_all(open_judge("mine:judge", scripted()))


def test_orders_are_both_one_or_a_share_that_content_decides():
    matchup = MATCHUPS[0]
    many = [Matchup(content_id(number), PROMPT, TEXTS[0], TEXTS[1]) for number in range(2000)]
    both = [one for one in many if len(orders("fraction:0.2", one, seed=1)) == 2]
    assert orders("always", matchup) == (matchup, matchup.swapped())
    assert orders("never", matchup) == (matchup,)
    assert len(both) == pytest.approx(400, abs=60)
    assert both == [one for one in many if len(orders("fraction:0.2", one, seed=1)) == 2]
    assert both != [one for one in many if len(orders("fraction:0.2", one, seed=2)) == 2]
    assert {len(orders("fraction:0", one)) for one in many} == {1}
    assert {len(orders("fraction:1", one)) for one in many} == {2}


def test_verdicts_come_by_judge_matchup_order_and_sample_whoever_answers_first():
    started: list[Ask] = []

    async def slowest_first(ask: Ask) -> str:
        started.append(ask)
        await asyncio.sleep(0.02 / len(started))
        return "A"

    judge = open_judge({"engine": "x", "samples": 2}, scripted(slowest_first))
    verdicts = about_all(open_judge("shorter", scripted()), judge)
    places = [(one.judge, one.matchup_id, one.order, one.sample) for one in verdicts]
    by_order = [(met, order) for met in MATCHUPS for order in ("given", "swapped")]
    assert places == [
        *(("shorter", met.id, order, 0) for met, order in by_order),
        *((judge.name, met.id, order, sample) for met, order in by_order for sample in (0, 1)),
    ]
    assert (verdicts[1].first_id, verdicts[1].second_id) == (TEXTS[1].id, TEXTS[0].id)
    assert len({one.id for one in verdicts}) == len(verdicts)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(CallFailed("gave up after 6 tries"), "call_failed"), (CallRefused("400: no"), "call_refused")],
)
@pytest.mark.parametrize("kind", ["pairwise", "pointwise"])
def test_a_call_that_failed_is_an_unread_verdict_with_the_error_kept(error, reason, kind):
    def answer(ask: Ask) -> str:
        if "Hey there" in ask.messages[-1].content:
            raise error
        return "A" if kind == "pairwise" else "5"

    judge = open_judge({"kind": kind, "engine": "x"}, scripted(answer))
    verdicts = about_all(judge)
    failed = [one for one in verdicts if one.unread]
    assert (len(verdicts), len(failed)) == ((4, 2) if kind == "pairwise" else (3, 1))
    assert {(one.unread, one.raw, one.judge) for one in failed} == {(reason, str(error), judge.name)}
    assert all(one.p_first is None and one.score is None for one in failed)
    assert len({one.id for one in verdicts}) == len(verdicts)


@pytest.mark.parametrize("error", [EngineDown("nothing gets through"), BudgetSpent("5 usd spent")])
def test_what_stops_a_job_travels_on_once_the_calls_in_flight_are_back(error):
    done: list[int] = []

    async def answer(ask: Ask) -> str:
        if len(done) == 0:
            done.append(0)
            raise error
        await asyncio.sleep(0.01)
        done.append(1)
        return "A"

    with pytest.raises(type(error)):
        about_all(open_judge({"engine": "x"}, scripted(answer)))
    assert done == [0, 1, 1, 1]


def test_nothing_to_ask_is_no_verdict():
    assert asyncio.run(ask_judges(PROMPT, (), [], [open_judge("shorter", scripted())])) == []
