"""Judges by name, a user's own functions as judges, and asking them all about one prompt."""

import asyncio
import sys
from types import ModuleType, SimpleNamespace

import pytest

from jurist.config import settings_from
from jurist.engines.engine import Ask, Reply
from jurist.engines.scripted import Scripted
from jurist.errors import BudgetSpent, CallFailed, CallRefused, DataError, EngineDown, SettingError
from jurist.records import Completion, Matchup, Prompt, Verdict, content_id
from jurist.verdicts.judge import JUDGES, ask_judges, judge_config, open_judge, orders
from jurist.verdicts.settings import JudgeConfig

PROMPT = Prompt.of("Say hello.")
TEXTS = [Completion.of(PROMPT.id, text) for text in ("Hello!", "Hi.", "Hey there")]
MATCHUPS = [Matchup.of(PROMPT, TEXTS[0], TEXTS[1]), Matchup.of(PROMPT, TEXTS[1], TEXTS[2])]


def judging(spec, answer="A"):
    function = answer if callable(answer) else lambda ask: answer
    return open_judge(spec, lambda engine: Scripted(function, str(engine)))


def verdict_of(spec, answer="A") -> Verdict:
    judge = judging(spec, answer)
    return asyncio.run(judge(MATCHUPS[0]) if judge.kind == "pairwise" else judge(PROMPT, TEXTS[0]))


def verdicts_of(*judges) -> list[Verdict]:
    return asyncio.run(ask_judges(PROMPT, TEXTS, MATCHUPS, judges))


@pytest.fixture
def mine(monkeypatch):
    module = ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", module)
    return module


def test_every_judge_in_the_dictionary_opens_and_says_what_kind_it_is(tmp_path):
    (tmp_path / "s.json").write_text("{}")
    more = {"regex": "regex:a", "json_schema": f"json_schema:{tmp_path / 's.json'}"}
    for kind in JUDGES.keys() - {"reward"}:  # needs a model: tests/models/test_reward_judge.py
        engine = "x" if kind in ("pairwise", "pointwise", "additive", "constitution") else None
        judge = judging(JudgeConfig(kind=more.get(kind, kind), engine=engine))
        assert judge.kind in ("pairwise", "pointwise")
        assert judge.name.startswith(kind)
    assert judge_config("openai:gpt-5-mini") == JudgeConfig(engine="openai:gpt-5-mini")
    assert judge_config("my_rules:kinder") == JudgeConfig(kind="my_rules:kinder")


REFUSED = [
    ("shortr", r"no judge called 'shortr'; there is .* Did you mean 'shorter'\?"),
    ({"kind": "pairwise", "sample": 2}, "Did you mean 'samples'"),
    ("pairwise", r"'pairwise' asks a model. Set its engine: openai:gpt-5-mini"),
    (3, "a judge is a name or a mapping, got 3"),
    ("vlm:m@http://localhost", "Did you mean 'vllm'"),
    ("mine:nothing", "module:function"),
    ("nowhere_at_all:judge", "module:function"),
    ("mine:constant", "is 3, not a function. Write it as module:function"),
]


def test_a_judge_that_makes_no_sense_is_refused_with_the_next_thing_to_type(mine):
    mine.constant = 3
    for spec, said in REFUSED:
        with pytest.raises(SettingError, match=said):
            judging(spec)


def test_a_verdict_holds_the_reply_word_for_word_and_what_it_cost():
    reply = Reply("Hm.\nVerdict: B", reasoning="so", cost=0.25, seconds=2.0, call="ab")
    got = verdict_of({"engine": "x", "reason": True}, reply)
    assert (got.p_first, got.raw, got.rationale) == (0.0, "Hm.\nVerdict: B", "Hm.")
    assert (got.cost, got.seconds, got.call, got.forced) == (0.25, 2.0, "ab", False)
    got = verdict_of({"kind": "pointwise", "engine": "x"}, Reply("7", reasoning="so"))
    assert (got.score, got.p_first, got.rationale) == (7.0, None, "so")
    got = verdict_of("openai:x", Reply("No.", "refused"))
    assert (got.p_first, got.unread, got.raw) == (None, "refused", "No.")
    forced = {"engine": "x", "forced": "allow"}
    got = verdict_of(forced, lambda ask: "A" if ask.wants == "forced_label" else "Both.")
    assert (got.p_first, got.forced, got.label_mass) == (1.0, True, None)


async def later(matchup: Matchup) -> float:
    return 0.8


RETURNED = [
    (lambda matchup: 0.7, 0.7), (lambda matchup: True, 1.0), (lambda matchup: "first", 1.0), (later, 0.8),
    (lambda matchup: "second", 0.0), (lambda matchup: "tie", 0.5), (lambda matchup: None, None),
    (lambda matchup: SimpleNamespace(ndim=0, item=lambda: 0.25), 0.25),
]  # fmt: skip


def test_a_users_function_is_a_judge(mine):
    for function, p in RETURNED:
        mine.judge = function
        got = verdict_of("mine:judge")
        assert (got.p_first, got.unread, got.judge) == (p, "no_verdict" * (p is None), "mine:judge")
        assert (got.first_id, got.second_id) == (TEXTS[0].id, TEXTS[1].id)
    mine.judge = lambda matchup: got  # a verdict of one's own is kept as it is
    assert verdict_of("mine:judge") is got


def test_a_users_scorer_says_so_by_its_kind(mine):
    mine.length = lambda prompt, completion: None if completion == TEXTS[2] else len(completion.text)
    mine.length.kind, mine.length.scale = "pointwise", (0, 100)
    judge = judging("mine:length")
    assert (judge.kind, judge.scale) == ("pointwise", (0, 100))
    got = [(one.first_id, one.score, one.unread) for one in verdicts_of(judge)]
    assert got == [(TEXTS[0].id, 6, ""), (TEXTS[1].id, 3, ""), (TEXTS[2].id, None, "no_verdict")]


def test_a_users_function_that_returns_nonsense_or_fails_is_told_what_to_mend(mine):
    mine.score = lambda prompt, completion: float("inf")
    mine.score.kind = "pointwise"
    with pytest.raises(DataError, match=r"asked about .*, returned inf. Return a number, None or a Verdict"):
        verdict_of("mine:score")
    for said in (1.5, -0.1, float("nan"), "A", [1]):
        mine.judge = lambda matchup, said=said: said
        with pytest.raises(DataError, match="Return a probability from 0 to 1"):
            verdict_of("mine:judge")
    mine.judge = lambda matchup: matchup.winner
    with pytest.raises(DataError, match=r"mine:judge failed: AttributeError: .*_judges.py:\d+\)"):
        verdicts_of(judging("mine:judge"))


def test_orders_are_both_one_or_a_share_that_content_decides():
    many = [Matchup(content_id(number), PROMPT, TEXTS[0], TEXTS[1]) for number in range(1000)]

    def both(share, seed):
        return [len(orders(f"fraction:{share}", one, seed)) == 2 for one in many]

    assert orders("always", many[0]) == (many[0], many[0].swapped())
    assert orders("never", many[0]) == (many[0],)
    assert sum(both(0.2, seed=1)) == pytest.approx(200, abs=40)
    assert both(0.2, seed=1) == both(0.2, seed=1) != both(0.2, seed=2)
    assert (sum(both(0, seed=1)), sum(both(1, seed=1))) == (0, 1000)


def test_verdicts_come_by_judge_matchup_order_and_sample_whoever_answers_first():
    started: list[Ask] = []

    async def slowest_first(ask: Ask) -> str:
        started.append(ask)
        await asyncio.sleep(0.02 / len(started))
        return "A"

    judge = judging({"engine": "x", "samples": 2}, slowest_first)
    verdicts = verdicts_of(judging("shorter"), judge)
    places = [(one.judge, one.matchup_id, one.order, one.sample) for one in verdicts]
    by_order = [(met, order) for met in MATCHUPS for order in ("given", "swapped")]
    assert places == [
        *(("shorter", met.id, order, 0) for met, order in by_order),
        *((judge.name, met.id, order, sample) for met, order in by_order for sample in (0, 1)),
    ]
    assert (verdicts[1].first_id, verdicts[1].second_id) == (TEXTS[1].id, TEXTS[0].id)
    assert len({one.id for one in verdicts}) == len(verdicts)
    assert asyncio.run(ask_judges(PROMPT, (), [], [judge])) == []


@pytest.mark.parametrize(("kind", "asked", "unread"), [("pairwise", 4, 2), ("pointwise", 3, 1)])
def test_a_call_that_failed_is_an_unread_verdict_with_the_error_kept(kind, asked, unread):
    for error, reason in ((CallFailed("after 6 tries"), "call_failed"), (CallRefused("400"), "call_refused")):

        def answer(ask: Ask, error=error) -> str:
            if "Hey there" in ask.messages[-1].content:
                raise error
            return "A" if kind == "pairwise" else "5"

        verdicts = verdicts_of(judging({"kind": kind, "engine": "x"}, answer))
        failed = [one for one in verdicts if one.p_first is None and one.score is None]
        assert (len({one.id for one in verdicts}), len(failed)) == (asked, unread)
        assert {(one.unread, one.raw) for one in failed} == {(reason, str(error))}


@pytest.mark.parametrize("error", [EngineDown("nothing gets through"), BudgetSpent("5 usd spent")])
def test_what_stops_a_job_travels_on_once_the_calls_in_flight_are_back(error):
    done: list[int] = []

    async def answer(ask: Ask) -> str:
        if not done:
            done.append(0)
            raise error
        await asyncio.sleep(0.01)
        done.append(1)
        return "A"

    with pytest.raises(type(error)):
        verdicts_of(judging({"engine": "x"}, answer))
    assert done == [0, 1, 1, 1]


WRONG = [
    ({"swap": "sometimes"}, "got 'sometimes'; set swap: fraction:0.2"),
    ({"swap": "fraction:2"}, "got 'fraction:2'"),
    ({"samples": 0}, "samples: expected int >= 1, got 0"),
    ({"samples": 3, "temperature": 0.0}, "set temperature: 0.7"),
    ({"max_tokens": 0}, "max_tokens: expected int >= 1, got 0"),
    ({"scale": (5, 1)}, "set scale: [1, 9]"),
    ({"clamp": (0.6, 0.4)}, "set clamp: [0.4, 0.6]"),
    ({"reason_calls": 2}, "set reason: true"),
    ({"constitution": "mine.yaml"}, "has no use for constitution, got 'mine.yaml'"),
    ({"kind": "pointwise", "scale": (0, 1000)}, "not up to 100 steps"),
    ({"kind": "shorter", "forced": "allow"}, "'shorter' has no use for forced"),
    ({"scale": (1, 5)}, "leave it out, or set kind: pointwise"),
    ({"kind": "pointwise", "swap": "never"}, "'pointwise' has no use for swap"),
    ({"kind": "pointwise", "clamp": (0.4, 0.6)}, "'pointwise' has no use for clamp"),
    ({"kind": "numeric:0.1", "samples": 3}, "'numeric' has no use for samples"),
    ({"kind": "shorter", "engine": "openai:x"}, "'shorter' has no use for engine"),
    ({"kind": "mine:judge", "rubric": "be kind"}, "'mine' has no use for rubric"),
]  # fmt: skip


def test_a_setting_that_makes_no_sense_is_refused_with_one_that_does():
    for settings, said in WRONG:
        with pytest.raises(SettingError) as error:
            settings_from(JudgeConfig, settings)
        assert said in str(error.value)


def test_a_judge_has_at_most_twenty_settings():
    assert len(JudgeConfig.__struct_fields__) <= 20
