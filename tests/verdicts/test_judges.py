from __future__ import annotations

import asyncio
import sys
import types

import pytest

from jurist.engines.engine import Ask
from jurist.engines.scripted import Scripted
from jurist.errors import BudgetSpent, CallFailed, CallRefused, DataError, EngineDown, SettingError
from jurist.records import Completion, Matchup, Prompt, Verdict, content_id
from jurist.verdicts.judge import (
    JUDGES,
    Judge,
    JudgeConfig,
    Scorer,
    ask_judges,
    judge_config,
    open_judge,
    orders,
)

PROMPT = Prompt.of("Say hello.")
TEXTS = [Completion.of(PROMPT.id, text) for text in ("Hello!", "Hi.", "Hey there")]
MATCHUPS = [Matchup.of(PROMPT, TEXTS[0], TEXTS[1]), Matchup.of(PROMPT, TEXTS[1], TEXTS[2])]


def scripted(spec: object) -> Scripted:
    return Scripted(lambda ask: "A", str(spec))


@pytest.fixture
def mine(monkeypatch):
    module = types.ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", module)
    return module


def test_every_judge_in_the_dictionary_opens_and_says_what_kind_it_is(tmp_path):
    (tmp_path / "s.json").write_text("{}")
    more = {"regex": "regex:a", "json_schema": f"json_schema:{tmp_path / 's.json'}"}
    for kind in JUDGES.keys() - {"reward"}:  # needs a model: tests/models/test_reward_judge.py
        engine = "x" if kind in ("pairwise", "pointwise", "constitution") else None
        judge = open_judge(JudgeConfig(kind=more.get(kind, kind), engine=engine), scripted)
        assert isinstance(judge, Judge if judge.kind == "pairwise" else Scorer)
        assert judge.name.startswith(kind)


def test_an_unknown_judge_is_refused_with_its_nearest_neighbour():
    with pytest.raises(SettingError, match=r"no judge called 'shortr'; there is .* Did you mean 'shorter'\?"):
        open_judge("shortr", scripted)


def test_an_unknown_setting_is_refused_with_its_nearest_neighbour():
    with pytest.raises(SettingError, match="Did you mean 'samples'"):
        open_judge({"kind": "pairwise", "sample": 2}, scripted)


def test_a_judge_that_asks_a_model_needs_an_engine():
    with pytest.raises(SettingError, match=r"'pairwise' asks a model. Set its engine: openai:gpt-5-mini"):
        open_judge("pairwise", scripted)


def test_the_name_of_an_engine_alone_means_asking_it_in_pairs():
    assert judge_config("openai:gpt-5-mini") == JudgeConfig(engine="openai:gpt-5-mini")
    assert judge_config("shorter") == JudgeConfig(kind="shorter")
    assert judge_config("my_rules:kinder") == JudgeConfig(kind="my_rules:kinder")


def test_two_judges_with_the_same_settings_have_the_same_name():
    one, other = (open_judge({"engine": "x", "ties": True}, scripted) for _ in range(2))

    assert one.name == other.name
    assert one.name != open_judge({"engine": "y", "ties": True}, scripted).name
    assert open_judge({"engine": "x", "name": "strict"}, scripted).name.startswith("strict:x#")


async def later(matchup: Matchup) -> float:
    return 0.8


@pytest.mark.parametrize(
    ("function", "p", "unread"),
    [
        (lambda matchup: 0.7, 0.7, ""),
        (lambda matchup: True, 1.0, ""),
        (lambda matchup: "first", 1.0, ""),
        (lambda matchup: "second", 0.0, ""),
        (lambda matchup: "tie", 0.5, ""),
        (lambda matchup: None, None, "no_verdict"),
        (later, 0.8, ""),
    ],
)
def test_a_users_function_is_a_judge(mine, function, p, unread):
    mine.judge = function
    verdict = asyncio.run(open_judge("mine:judge", scripted)(MATCHUPS[0]))

    assert (verdict.p_first, verdict.unread, verdict.judge) == (p, unread, "mine:judge")
    assert (verdict.first_id, verdict.second_id) == (TEXTS[0].id, TEXTS[1].id)


def test_a_users_own_verdict_is_kept_as_it_is(mine):
    said = Verdict("v", "me", MATCHUPS[0].id, TEXTS[0].id, TEXTS[1].id, p_first=0.3, rationale="because")
    mine.judge = lambda matchup: said

    assert asyncio.run(open_judge("mine:judge", scripted)(MATCHUPS[0])) == said


@pytest.mark.parametrize("said", [1.5, float("nan"), "A", [1]])
def test_a_users_judge_that_answers_nonsense_is_told_what_to_return(mine, said):
    mine.judge = lambda matchup: said

    with pytest.raises(DataError, match="Return a probability from 0 to 1"):
        asyncio.run(open_judge("mine:judge", scripted)(MATCHUPS[0]))


def test_a_users_scorer_says_so_by_its_kind(mine):
    def length(prompt: Prompt, completion: Completion) -> float | None:
        return None if completion == TEXTS[2] else len(completion.text)

    length.kind = "pointwise"  # type: ignore[attr-defined]
    mine.length = length
    judge = open_judge("mine:length", scripted)
    verdicts = asyncio.run(ask_judges(PROMPT, TEXTS, MATCHUPS, [judge]))

    assert judge.kind == "pointwise"
    assert [(one.first_id, one.score, one.unread) for one in verdicts] == [
        (TEXTS[0].id, 6, ""),
        (TEXTS[1].id, 3, ""),
        (TEXTS[2].id, None, "no_verdict"),
    ]
    mine.length.kind = "pointwise"
    mine.bad = lambda prompt, completion: "lots"
    mine.bad.kind = "pointwise"
    with pytest.raises(DataError, match="Return a number, None or a Verdict"):
        asyncio.run(open_judge("mine:bad", scripted)(PROMPT, TEXTS[0]))


@pytest.mark.parametrize("spec", ["mine:nothing", "nowhere_at_all:judge", "mine:constant"])
def test_a_users_judge_that_cannot_be_loaded_is_refused(mine, spec):
    mine.constant = 3
    with pytest.raises(SettingError, match=r"module:function"):
        open_judge(spec, scripted)


def test_orders_are_both_one_or_a_share_that_content_decides():
    matchup = MATCHUPS[0]
    many = [Matchup(content_id(number), PROMPT, TEXTS[0], TEXTS[1]) for number in range(2000)]
    both = [one for one in many if len(orders("fraction:0.2", one, seed=1)) == 2]

    assert orders("always", matchup) == (matchup, matchup.swapped())
    assert orders("never", matchup) == (matchup,)
    assert len(both) == pytest.approx(400, abs=60)
    assert both == [one for one in many if len(orders("fraction:0.2", one, seed=1)) == 2]
    assert both != [one for one in many if len(orders("fraction:0.2", one, seed=2)) == 2]
    assert not [one for one in many if len(orders("fraction:0", one)) == 2]
    assert all(len(orders("fraction:1", one)) == 2 for one in many)


def test_verdicts_come_by_judge_matchup_order_and_sample_whoever_answers_first():
    async def slowest_first(ask: Ask) -> str:
        started.append(ask)
        await asyncio.sleep(0.02 / len(started))
        return "A"

    started: list[Ask] = []
    judge = open_judge({"engine": "x", "samples": 2}, lambda spec: Scripted(slowest_first))
    verdicts = asyncio.run(ask_judges(PROMPT, TEXTS, MATCHUPS, [open_judge("shorter", scripted), judge]))

    places = [(one.judge, one.matchup_id, one.order, one.sample) for one in verdicts]
    wanted = [("shorter", met.id, order, 0) for met in MATCHUPS for order in ("given", "swapped")]
    wanted += [
        (judge.name, m.id, order, n) for m in MATCHUPS for order in ("given", "swapped") for n in (0, 1)
    ]
    assert places == wanted
    assert all(one.first_id == MATCHUPS[0].second.id for one in verdicts[1:2])


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

    judge = open_judge({"kind": kind, "engine": "x"}, lambda spec: Scripted(answer))
    verdicts = asyncio.run(ask_judges(PROMPT, TEXTS, MATCHUPS, [judge]))

    failed = [one for one in verdicts if one.unread]
    assert len(verdicts) == (4 if kind == "pairwise" else 3)
    assert len(failed) == (2 if kind == "pairwise" else 1)
    assert all((one.unread, one.raw, one.judge) == (reason, str(error), judge.name) for one in failed)
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

    judge = open_judge({"engine": "x"}, lambda spec: Scripted(answer))
    with pytest.raises(type(error)):
        asyncio.run(ask_judges(PROMPT, TEXTS, MATCHUPS, [judge]))
    assert done == [0, 1, 1, 1]


def test_nothing_to_ask_is_no_verdict():
    assert asyncio.run(ask_judges(PROMPT, (), [], [open_judge("shorter", scripted)])) == []
