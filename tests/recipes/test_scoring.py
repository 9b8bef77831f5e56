"""Judges and reward models as rewards in the process of other people's trainers."""

from concurrent.futures import ThreadPoolExecutor

import pytest

import jurist
from jurist.errors import BudgetSpent, CallRefused, DataError, SettingError
from support.server import serving

CHAT = [{"role": "user", "content": "Which?"}]
WORDS, LONGER = "serve.my_judges:words", "serve.my_judges:longer"


def said(text):
    return [{"role": "assistant", "content": text}]


def pointwise(server, **engine):
    return {"kind": "pointwise", "reason": False, "engine": {"engine": f"vllm:judge@{server.url}", **engine}}


def test_trl_gets_a_number_for_each_completion_and_none_where_the_judge_has_none():
    with jurist.reward_function(WORDS) as reward:
        assert reward(["?", "?", "!"], ["one two", "broken", "one"], trainer_state=None) == [2, None, 1]
        chats = [said("one"), said("broken"), said("one two three")]
        assert reward(prompts=[CHAT] * 3, completions=chats, completion_ids=[[1]] * 3) == [1, None, 3]
        assert reward(["?", "?"], ["a", "b"], answer=["a", "a"]) == [1, 0]
        assert reward.__name__ == WORDS


def test_a_judge_of_pairs_ranks_what_was_written_for_one_prompt():
    with jurist.reward_function(LONGER) as reward:
        texts = ["a", "cc", "aaa", "c", "aa", "broken", "broken"]
        assert reward([*"?!?!?!?"], texts) == [-1, 1, 1, -1, 0, None, None]
        with pytest.raises(CallRefused, match="compares two completions"):
            reward(["?"], ["alone"])


def test_whoever_waits_for_a_reward_does_not_wait_for_a_batch():
    with pytest.raises(SettingError, match="takes hours"):
        jurist.reward_function({"engine": {"engine": "openai:judge@http://127.0.0.1:9/v1", "batch": True}})


def test_verl_gets_the_same_and_has_to_say_what_was_asked():
    with jurist.reward_function(WORDS) as reward:
        assert reward.verl("gsm8k", "one two", None, {"question": "Which?"}) == 2
        assert (
            reward.verl(data_source="x", solution_str="a", ground_truth="b", extra_info={"prompt": CHAT}) == 0
        )
        assert reward.verl("gsm8k", "broken", None, {"prompt": CHAT}) is None
        with pytest.raises(DataError, match=r"a row of gsm8k .* extra_info"):
            reward.verl("gsm8k", "one", "2", None)


def test_from_several_threads_each_answer_is_paid_once_and_kept_for_the_next_start(tmp_path):
    journal = tmp_path / "kept" / "rewards.sqlite"
    with serving(lambda _: "7") as judge:
        for _ in range(2):
            with (
                jurist.reward_function(pointwise(judge), journal=journal) as reward,
                ThreadPoolExecutor(8) as many,
            ):
                found = [*many.map(lambda n: reward(["?"], [f"answer {n % 10}"]), range(40))]
            assert found == [[0.5]] * 40
        assert judge.answered == 10


def test_a_spent_budget_stops_the_training_and_failed_calls_do_not():
    with serving(lambda asked: "7" if "good" in str(asked) else "I am not sure.") as judge:
        with jurist.reward_function(pointwise(judge)) as reward:
            assert reward(["?"] * 2, ["good", "bad"]) == [0.5, None]
        priced = pointwise(judge, price={"input": 100.0, "output": 10.0})
        with jurist.reward_function(priced, budget="0.01usd") as reward, pytest.raises(BudgetSpent):
            reward(["?"], ["good"])


def test_processes_of_one_training_share_the_budget_and_have_their_own_journals(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with jurist.reward_function("regex:a", budget=3, journal=tmp_path / "rewards.sqlite") as reward:
        assert reward.budget.cap == 1.5
        assert reward(["?"], ["a"]) == [1]
    assert (tmp_path / "rewards-1.sqlite").exists()
