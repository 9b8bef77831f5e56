"""An endpoint against a real server that goes wrong in planned ways."""

import asyncio
import math
import time
from collections import Counter

import pytest
from asking import ask, ask_all, engine_for, with_engine

from jurist.engines.caller import Caller, Purse
from jurist.engines.engine import Reply, Token
from jurist.engines.faults import Faults
from jurist.engines.open import open_engine
from jurist.engines.serve import serving
from jurist.errors import BudgetSpent, CallFailed, CallRefused, EngineDown
from jurist.journal import Journal
from jurist.records import Usage


def test_a_reply_comes_with_logprobs_usage_time_and_price():
    said = Reply(
        "A", tokens=(Token("A", -0.1, (("A", -0.1),)),), reasoning="hm", usage=Usage(1000, 400, 60, 50)
    )
    with serving(lambda ask: said, latency=0.02) as served:

        async def work(engine):
            return await engine.answer(ask(top_logprobs=1)), engine.meter

        reply, meter = with_engine(served.url, work, price={"input": 2.0, "cached": 1.0, "output": 10.0})

    assert (reply.text, reply.tokens, reply.reasoning, reply.usage) == ("A", said.tokens, "hm", said.usage)
    assert 0.02 <= reply.seconds < 1.0
    assert math.isclose(reply.cost, (600 * 2.0 + 400 * 1.0 + 60 * 10.0) / 1e6)
    assert (meter.calls, meter.usage, meter.cost, meter.priced) == (1, said.usage, reply.cost, True)


def test_a_machine_by_the_hour_costs_its_busy_time_however_many_calls_share_it():
    with serving(lambda ask: "A", latency=0.05) as served:

        async def work(engine):
            started = time.perf_counter()
            replies = await ask_all(engine, 16)
            return sum(reply.cost for reply in replies), time.perf_counter() - started

        cost, seconds = with_engine(served.url, work, price={"gpu_hour": 3600.0})

    assert 0.8 * seconds < cost <= seconds


def test_several_samples_are_one_request_where_the_server_can_and_several_where_not(tmp_path):
    for draws_many, calls in ((True, 1), (False, 3)):
        with serving(lambda ask: Reply("A", usage=Usage(10, 0, 2))) as served:

            async def work(engine, path=tmp_path / f"{calls}.sqlite"):
                journal = Journal(path)
                replies = await Caller(engine, journal, Purse()).answer_many(ask(temperature=1.0), 3)
                journal.close()
                return replies

            replies = with_engine(served.url, work, draws_many=draws_many)

        assert served.stats.calls == calls
        assert len(replies) == 3
        assert sum(reply.usage.tokens_out for reply in replies) == 6


def test_the_anthropic_dialect_goes_all_the_way():
    with serving(lambda ask: Reply("A", "length", usage=Usage(10, 4, 2))) as served:

        async def main():
            engine = open_engine(f"anthropic:claude-x@{served.url}")
            replies = [await engine.answer(ask(top_logprobs=5, sample=draw)) for draw in range(2)]
            await engine.close()
            return engine, replies

        engine, replies = asyncio.run(main())

    assert not engine.gives_logprobs
    assert [(reply.text, reply.finish, reply.usage) for reply in replies] == [
        ("A", "length", Usage(10, 4, 2))
    ] * 2


@pytest.mark.parametrize(
    "kind", ["too_many", "error", "unavailable", "drop", "truncated", "malformed", "stall"]
)
def test_what_may_pass_is_tried_again_until_it_does(kind):
    faults = Faults(**{kind: 0.5}, sticky=())
    with serving(lambda ask: ask.messages[0].content, faults=faults) as served:

        async def work(engine):
            return await ask_all(engine, 30), engine.meter

        # What stalls is waited for; nothing else should run out of time, however busy the machine is.
        replies, meter = with_engine(served.url, work, timeout=0.1 if kind == "stall" else 10, max_tries=40)

    assert [reply.text for reply in replies] == [f"question {number}" for number in range(30)]
    assert meter.retries >= served.stats.faults.total() > 5
    assert kind == "stall" or meter.retries == served.stats.faults.total()


def test_a_question_the_server_refuses_is_sent_once_and_quotes_the_server():
    with serving(lambda ask: "A", faults=Faults(bad_request=1.0)) as served:

        async def work(engine):
            with pytest.raises(CallRefused, match=r"vllm:m refused the question \(400: planned fault 400"):
                await engine.answer(ask())
            return engine.meter

        assert with_engine(served.url, work).refused == 1
    assert served.stats.calls == 1


def test_a_call_that_never_succeeds_among_others_that_do_fails_alone():
    with serving(lambda ask: "A", faults=Faults(malformed=0.2)) as served:
        results = with_engine(served.url, lambda engine: ask_all(engine, 40), max_tries=3)

    kinds = Counter(type(result) for result in results)
    assert set(kinds) == {Reply, CallFailed}
    assert served.stats.faults["malformed"] == 3 * kinds[CallFailed]
    assert "gave nothing in 3 tries" in str(next(one for one in results if isinstance(one, CallFailed)))


def test_retry_after_holds_the_whole_engine_back():
    with serving(lambda ask: "A", faults=Faults(too_many=0.3, retry_after=0.1)) as served:

        async def work(engine):
            started = time.perf_counter()
            results = await ask_all(engine, 12)
            assert all(isinstance(result, Reply) for result in results)
            return time.perf_counter() - started

        seconds = with_engine(served.url, work, concurrency=1)

    assert served.stats.faults["429"] >= 2
    assert seconds >= 0.1 * served.stats.faults["429"]


def test_every_call_ends_whatever_goes_wrong():
    faults = Faults(
        too_many=0.025, error=0.025, drop=0.025, stall=0.025, truncated=0.01, bad_request=0.01, malformed=0.01
    )
    with serving(lambda ask: ask.messages[0].content, latency=0.01, faults=faults) as served:

        async def work(engine):
            async with asyncio.timeout(30):
                return await ask_all(engine, 2000), engine.meter

        results, meter = with_engine(served.url, work, timeout=0.4)

    kinds = Counter(type(result) for result in results)
    assert kinds[Reply] > 1900
    assert 0 < kinds[CallRefused] < 50
    assert 0 < kinds[CallFailed] < 50
    assert kinds.total() == 2000
    assert len(kinds) == 3
    for number, result in enumerate(results):
        assert not isinstance(result, Reply) or result.text == f"question {number}"
    assert (meter.calls, meter.refused, meter.failed) == tuple(
        kinds[kind] for kind in (Reply, CallRefused, CallFailed)
    )
    assert meter.in_flight == 0


@pytest.mark.slow
def test_five_in_a_hundred_429s_and_500s_do_not_bring_the_rate_down():
    def seconds(faults):
        with serving(lambda ask: "A", latency=0.02, faults=faults) as served:

            async def work(engine):
                started = time.perf_counter()
                results = await ask_all(engine, 3000)
                assert all(isinstance(result, Reply) for result in results)
                assert engine.meter.limit >= 200
                return time.perf_counter() - started

            return with_engine(served.url, work)

    assert seconds(Faults(too_many=0.05, error=0.05)) < 2.0 * seconds(None) + 0.5


def test_a_server_that_takes_eight_at_a_time_is_sent_about_eight():
    busy = Counter()

    async def eight(ask):
        if busy["now"] >= 8:
            busy["refused"] += 1
            raise EngineDown("too many")  # 503
        busy["now"] += 1
        await asyncio.sleep(0.01)
        busy["now"] -= 1
        return "A"

    with serving(eight) as served:

        async def work(engine):
            return await ask_all(engine, 600), engine.meter.limit

        results, limit = with_engine(served.url, work, max_tries=30)

    assert all(isinstance(result, Reply) for result in results)
    assert limit <= 24
    assert busy["refused"] < 400


@pytest.mark.slow
def test_a_saturated_server_is_found_out_by_its_latency():
    with serving(lambda ask: "A", latency=lambda under_way: 0.025 * max(1.0, under_way / 20)) as served:

        async def work(engine):
            await ask_all(engine, 1500)
            return engine.meter.limit

        assert with_engine(served.url, work) < 100


def test_a_cap_on_requests_a_minute_is_kept():
    with serving(lambda ask: "A") as served:

        async def work(engine):
            started = time.perf_counter()
            await ask_all(engine, 30)
            return time.perf_counter() - started

        seconds = with_engine(served.url, work, rpm=60 * 50)
        assert seconds > 0.0
        seconds = with_engine(served.url, work, rpm=60 * 20)

    assert 0.45 < seconds < 1.5


def test_a_cap_on_tokens_a_minute_is_kept():
    with serving(lambda ask: Reply("A", usage=Usage(90, 0, 10))) as served:

        async def work(engine):
            await engine.answer(ask(max_tokens=10))
            started = time.perf_counter()
            for _ in range(29):
                await engine.answer(ask(max_tokens=10))
            return time.perf_counter() - started

        seconds = with_engine(served.url, work, tpm=60 * 2000)

    # 3,000 tokens at 2,000 a second, of which a second's worth is there from the start.
    assert 0.4 < seconds < 1.0


def test_whoever_holds_the_purse_is_asked_before_each_request_and_told_of_each_return():
    told = []

    def stop():
        if told.count("sent") == 3:
            raise BudgetSpent("enough")
        told.append("sent")

    with serving(lambda ask: "A", latency=0.01) as served:

        async def work(engine):
            engine.on_send, engine.on_back = stop, lambda: told.append("back")
            results = await asyncio.gather(
                *(engine.answer(ask(str(number))) for number in range(5)), return_exceptions=True
            )
            return Counter(type(result) for result in results), engine.meter

        kinds, meter = with_engine(served.url, work)

    assert kinds == {Reply: 3, BudgetSpent: 2}
    assert Counter(told) == {"sent": 3, "back": 3}
    assert served.stats.calls == 3
    assert meter.in_flight == 0


def test_one_engine_serves_several_event_loops_one_after_the_other():
    with serving(lambda ask: "A") as served:
        engine = engine_for(served.url)

        for _ in range(2):
            assert asyncio.run(engine.answer(ask())).text == "A"
