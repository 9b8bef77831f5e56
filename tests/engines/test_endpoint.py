"""An endpoint against a real server that goes wrong in planned ways."""

import asyncio
import logging
import socket
import time
from collections import Counter
from types import SimpleNamespace

import pytest
from asking import ask, ask_all, with_engine

from jurist.engines import endpoint
from jurist.engines.engine import Reply, open_engine
from jurist.errors import CallFailed, EngineDown
from support.server import serving

DEAR = {"input": 1e6, "output": 2e6}
"""Dollars a million tokens: one of each is $1 and $2."""


def echo(request):
    return request["messages"][0]["content"]


def test_a_machine_by_the_hour_costs_its_busy_time_however_many_calls_share_it():
    async def work(engine):
        started = time.perf_counter()
        return sum(one.cost for one in await ask_all(engine, 16)) / (time.perf_counter() - started)

    with serving("A", latency=0.03) as server:
        assert 0.7 < with_engine(server, work, price={"gpu_hour": 3600.0}) <= 1


def test_a_server_that_counts_no_tokens_is_believed_to_have_used_what_was_reserved():
    with serving(lambda _: {"body": b'{"choices": [{"message": {"content": "A"}}]}'}) as server:
        reply = with_engine(server, lambda engine: engine.answer(ask(max_tokens=7)), price={"output": 1e6})

    assert reply.cost == 7.0


def test_every_call_ends_whatever_goes_wrong():
    faults = {"429": 0.03, "500": 0.03, "drop": 0.03, "truncate": 0.02, "html": 0.02, "stall": 0.02}

    async def work(engine):
        cancelled = asyncio.create_task(engine.answer(ask("question -1")))
        asyncio.get_running_loop().call_later(0.01, cancelled.cancel)
        return await ask_all(engine, 200), await asyncio.gather(cancelled, return_exceptions=True), engine

    with serving(echo, faults=faults, price=(1e6, 2e6), latency=0.02) as server:
        got, (cancelled,), engine = with_engine(server, work, timeout=0.5, price=DEAR, max_tries=3)

    kinds, budget = Counter(type(result) for result in got), engine.budget
    assert kinds[Reply] > 190
    assert set(kinds) <= {Reply, CallFailed}
    assert all(one.text == f"question {n}" for n, one in enumerate(got) if isinstance(one, Reply))
    assert (type(cancelled), engine._gate.in_flight) == (asyncio.CancelledError, 0)
    assert (budget.under_way, budget.reserved, budget.calls) == (0, 0.0, kinds[Reply])
    assert budget.spent <= server.dollars <= budget.spent + budget.uncertain


def test_a_parameter_that_a_server_refuses_is_left_out_from_then_on():
    refused = {"temperature", "logprobs", "max_tokens", "chat_template_kwargs"}

    async def work(engine):
        await engine.answer(ask(top_logprobs=5, thinking=False))
        return await ask_all(engine, 5, top_logprobs=5, thinking=False)

    with serving("A", refuses=refused) as server:
        assert {one.text for one in with_engine(server, work)} == {"A"}
    assert len(server.log) == len(refused) + 6
    sent = [one.body.keys() for one in server.log[-6:]]
    assert all("max_completion_tokens" in names and not names & refused for names in sent)


@pytest.mark.parametrize(
    ("most", "asked", "sent"), [(5, 20, [20, 5]), (0, 20, [20, 5, None]), (2, 5, [5, None]), (20, 3, [3])]
)
def test_too_many_log_probs_are_asked_for_once_more_with_fewer(most, asked, sent):
    def answer(request):
        wanted = request.get("top_logprobs", 0)
        return {"status": 400, "text": f"top_logprobs {wanted} exceeds {most}"} if wanted > most else "A"

    with serving(answer) as server:
        with_engine(server, lambda engine: engine.answer(ask(top_logprobs=asked)))
    assert [record.body.get("top_logprobs") for record in server.log] == sent


def test_retry_after_holds_the_whole_engine_back():
    first = lambda request, attempt: "429" if len(server.log) == 1 else None  # noqa: E731
    with serving("A", faults=first, retry_after=0.2) as server:
        assert {type(one) for one in with_engine(server, lambda e: ask_all(e, 3), concurrency=1)} == {Reply}
    assert server.log[1].arrived - server.log[0].arrived >= 0.2


@pytest.mark.parametrize("caps", [{"rpm": 60 * 20}, {"tpm": 60 * 2000}], ids=str)
def test_a_cap_a_minute_is_kept(caps):
    async def work(engine):
        started = time.perf_counter()
        for number in range(26):
            await engine.answer(ask(str(number), max_tokens=10))
        return time.perf_counter() - started

    usage = {"prompt_tokens": 90, "completion_tokens": 10}
    with serving(lambda _: {"text": "A", "usage": usage}) as server:
        assert 0.2 < with_engine(server, work, **caps) < 2.0


def test_processes_that_use_a_server_at_once_divide_its_caps_and_its_hours():
    async def work(engine):
        engine.share(4)
        started = time.perf_counter()
        replies = await ask_all(engine, 32)
        seconds = time.perf_counter() - started
        return seconds, sum(one.cost for one in replies), engine.hand_over(), engine.hand_over()

    with serving("A", latency=0.01) as server:
        settings = {"rpm": 60 * 80, "concurrency": 8, "price": {"gpu_hour": 3600.0}}
        seconds, cost, (_, seen), nothing = with_engine(server, work, **settings)

    assert 0.5 < seconds < 3.0  # twenty at once, and twenty a second, to the last of 32
    assert server.most_in_flight == 2
    assert 0 < cost < 0.3 * sum(one.seconds for one in server.log)  # half of it, two at once, by four
    assert (len(seen), nothing) == (32, ({}, []))


@pytest.mark.parametrize(
    ("status", "text", "want"),
    [
        (401, "wrong key: SECRET99", "Check the key: export OPENAI_API_KEY=..."),
        (402, "no money", "Add credit"),
        (404, "no such model", "Check the URL and the model 'm'"),
        (308, "gone", "the address has moved to http://elsewhere"),
        (429, "insufficient_quota", "Add credit"),
        (429, "busy", "it asks to wait 3600 s"),
    ],
)
def test_what_no_question_gets_past_stops_at_once_without_the_key(status, text, want, monkeypatch, caplog):
    monkeypatch.setenv("OPENAI_API_KEY", "SECRET99")
    caplog.set_level(logging.DEBUG)
    headers = {"Location": "http://elsewhere", "Retry-After": "3600"}
    with serving(lambda _: {"status": status, "text": text, "headers": headers}, latency=0.01) as server:
        results = with_engine(server, lambda engine: ask_all(engine, 20))

    assert {type(result) for result in results} == {EngineDown}
    assert want in str(results[0])
    assert len(server.log) <= 4
    assert "SECRET99" not in caplog.text + "".join(map(str, results))


@pytest.mark.parametrize(
    ("fault", "settings", "want"),
    [
        ("stall", {"timeout": 0.1, "give_up_after": 0.2}, "no reply within 0.1 s"),
        ("500", {"give_up_after": 0.2}, "HTTP 500"),
        (None, {"give_up_after": 0.4}, "Check that the server is up: curl"),
    ],
)
def test_a_server_that_never_answers_stops_the_run_and_is_quoted(fault, settings, want):
    with serving("A", faults={fault: 1.0}) as server, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = SimpleNamespace(url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        started = time.perf_counter()
        results = with_engine(server if fault else nobody, lambda engine: ask_all(engine, 20), **settings)

    assert {type(result) for result in results} == {EngineDown}
    assert want in str(results[0])
    assert time.perf_counter() - started < 3.0


def test_a_server_that_dies_stops_the_run_and_may_be_asked_again_later(monkeypatch):
    monkeypatch.setattr(endpoint, "REST_WHEN_DOWN", 0.1)

    async def ask_twice(calls):
        got = []
        for n in (calls, 1):
            await asyncio.sleep(0.12)
            got.append(await ask_all(engine, n))
        await engine.close()
        return got

    with serving("A", latency=0.005) as server:
        engine = open_engine({"engine": f"vllm:m@{server.url}", "give_up_after": 0.4})
        got = asyncio.run(ask_twice(10))
    got += asyncio.run(ask_twice(20))
    with serving("A", port=server.port):
        got += asyncio.run(ask_twice(1))

    assert [{type(one) for one in some} for some in got] == [{Reply}] * 2 + [{EngineDown}] * 2 + [{Reply}] * 2
    assert "no answer" in str(got[2][0])


def test_a_slow_server_is_waited_for_as_long_as_something_is_answered():
    settings = {"timeout": 0.3, "max_tries": 40, "give_up_after": 0.5}
    with serving("A", latency=0.12, max_concurrent=1) as server:
        results = with_engine(server, lambda engine: ask_all(engine, 6), **settings)

    assert {type(result) for result in results} == {Reply}
