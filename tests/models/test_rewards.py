import asyncio
import threading
import time

import pytest

from jurist.errors import BudgetSpent, CallFailed, CallRefused, EngineDown, SettingError
from jurist.models.rewards import Rewards, Scored, read_score, refuse_too_many
from jurist.records import Completion, Prompt, Verdict

PROMPT = Prompt.of("What is 2 plus 2?")


def answers(*texts):
    return [Completion.of(PROMPT.id, text) for text in texts]


def collected(reward, *texts):
    """Each completion as that of a prompt of its own."""
    with Rewards(reward) as rewards:
        for place, one in enumerate(answers(*texts)):
            rewards.start(place, PROMPT, [one])
        return [score for scores in rewards.collect() for score in scores]


def test_a_plain_function_an_async_one_and_an_object_all_reward():
    async def later(prompt, completions):
        await asyncio.sleep(0)
        return [float(len(one.text)) for one in completions]

    class Length:
        async def __call__(self, prompt, completions):
            return tuple(len(one.text) for one in completions)

    for reward in (lambda prompt, completions: [len(one.text) for one in completions], later, Length()):
        assert [one.score for one in collected(reward, "a", "bbb")] == [1.0, 3.0]


def test_all_completions_of_a_prompt_come_together_so_that_a_source_may_rank_them():
    def ranks(prompt, completions):
        order = sorted(one.text for one in completions)
        return [order.index(one.text) / (len(order) - 1) for one in completions]

    with Rewards(ranks) as rewards:
        rewards.start(1, PROMPT, answers("c", "a", "b"))
        rewards.start(0, PROMPT, answers("a", "b"))
        scores = [[one.score for one in some] for some in rewards.collect()]
    assert scores == [[0.0, 1.0], [1.0, 0.0, 0.5]]


def test_scores_stand_at_their_places_whichever_call_is_slow():
    async def first_is_slow(prompt, completions):
        await asyncio.sleep(0.05 if completions[0].text == "a" else 0)
        return [{"a": 1.0, "b": 2.0}[completions[0].text]]

    assert [one.score for one in collected(first_is_slow, "a", "b")] == [1.0, 2.0]


def test_a_call_leaves_when_its_completions_are_started_and_not_when_they_are_collected():
    left = threading.Event()

    async def reward(prompt, completions):
        left.set()
        return [1.0]

    with Rewards(reward) as rewards:
        rewards.start(0, PROMPT, answers("a"))
        assert left.wait(5)
        assert rewards.collect() == [[Scored(1.0)]]


def test_async_calls_overlap():
    async def slow(prompt, completions):
        await asyncio.sleep(0.1)
        return [1.0]

    start = time.monotonic()
    collected(slow, *map(str, range(50)))

    assert time.monotonic() - start < 1.0


def test_no_more_calls_are_under_way_than_allowed():
    under_way, most = 0, 0

    async def reward(prompt, completions):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return [0.0]

    with Rewards(reward, concurrency=3) as rewards:
        for place, one in enumerate(answers(*map(str, range(20)))):
            rewards.start(place, PROMPT, [one])
        rewards.collect()

    assert most == 3


def test_plain_functions_are_called_one_at_a_time():
    threads = set()

    def reward(prompt, completions):
        threads.add(threading.current_thread().name)
        return [0.0]

    collected(reward, *map(str, range(20)))

    assert len(threads) == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [(CallFailed("x"), "call_failed"), (CallRefused("x"), "call_refused"), (KeyError("x"), "KeyError")],
)
def test_a_verdict_that_failed_is_no_score_and_has_a_reason(error, reason):
    def reward(prompt, completions):
        if completions[0].text == "bad":
            raise error
        return [1.0]

    good, bad, also_good = collected(reward, "good", "bad", "also good")

    assert (good.score, bad.score, also_good.score) == (1.0, None, 1.0)
    assert bad.failed == reason


@pytest.mark.parametrize("said", [None, float("nan"), float("inf"), "7", b"7", object()])
def test_what_is_not_a_finite_number_is_no_score(said):
    scored = read_score(said)

    assert scored.score is None
    assert scored.failed


def test_a_verdict_gives_its_score_or_the_reason_it_has_none():
    read = Verdict(id="1", judge="j", first_id="c", score=0.25)
    unread = Verdict(id="2", judge="j", first_id="c", unread="refused")

    assert read_score(read) == Scored(0.25)
    assert read_score(unread) == Scored(None, "refused")


@pytest.mark.parametrize("stop", [BudgetSpent, EngineDown])
def test_what_stops_a_job_stops_it_once_the_calls_under_way_are_back(stop):
    back = []

    async def reward(prompt, completions):
        if completions[0].text == "0":
            raise stop("no more")
        await asyncio.sleep(0.02)
        back.append(completions[0].text)
        return [1.0]

    with pytest.raises(stop):
        collected(reward, "0", "1", "2")
    assert sorted(back) == ["1", "2"]


def test_a_reward_that_scores_many_is_asked_once():
    class Model:
        calls = 0

        def score_many(self, rows):
            self.calls += 1
            return [len(completion.text) for _, completion in rows]

    model = Model()

    assert [one.score for one in collected(model, "a", "bb", "ccc")] == [1.0, 2.0, 3.0]
    assert model.calls == 1


def test_one_failure_among_a_prompts_completions_leaves_the_others():
    def reward(prompt, completions):
        return [1.0, None, float("nan"), CallFailed("HTTP 500")]

    with Rewards(reward) as rewards:
        rewards.start(0, PROMPT, answers("a", "b", "c", "d"))
        (scored,) = rewards.collect()
    assert [one.score for one in scored] == [1.0, None, None, None]
    assert [one.failed for one in scored] == ["", "no_verdict", "not a number", "call_failed"]


@pytest.mark.parametrize("values", [[1.0], 1.0, None])
def test_what_is_no_list_of_as_many_scores_stops_the_run_and_says_what_to_return(values):
    with Rewards(lambda prompt, completions: values) as rewards:
        rewards.start(0, PROMPT, answers("a", "b"))
        with pytest.raises(SettingError, match=r"for 2 completions.*def reward\(prompt, completions\)"):
            rewards.collect()


def test_a_judge_gone_quiet_stops_the_training_and_says_why():
    scored = [Scored(1.0), Scored(None, "call_failed", "HTTP 500"), Scored(None, "call_failed")]

    refuse_too_many(scored, most=0.7, step=4)
    with pytest.raises(EngineDown, match=r"2 of 3 verdicts of step 4 failed.*call_failed \(HTTP 500\)"):
        refuse_too_many(scored, most=0.5, step=4)


def test_nothing_left_running_when_the_rewards_are_closed():
    before = threading.active_count()

    collected(lambda prompt, completions: [1.0], "a")

    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_a_function_that_exits_has_failed_and_nothing_waits_for_it():
    def leaves(prompt, completions):
        raise SystemExit(3)

    (one,) = collected(leaves, "a")
    assert (one.score, one.failed) == (None, "SystemExit")
