"""When nothing gets through any more, an endpoint stops, and says what to do; it never shows a key."""

import asyncio
import logging
import socket
import time

import pytest
from asking import ask, ask_all, engine_for, with_engine

from jurist.engines import endpoint as endpoint_module
from jurist.engines.engine import Reply
from jurist.engines.faults import Faults
from jurist.engines.open import open_engine
from jurist.engines.serve import serving
from jurist.errors import EngineDown


def closed_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_nobody_listening_stops_soon_and_says_what_to_do():
    url = f"http://127.0.0.1:{closed_port()}/v1"

    async def work(engine):
        async with asyncio.timeout(5):
            return await ask_all(engine, 300)

    started = time.perf_counter()
    results = with_engine(url, work, give_up_after=1.5)

    assert time.perf_counter() - started < 2.0
    assert {type(result) for result in results} == {EngineDown}
    told = str(results[0])
    assert f"curl {url}/models" in told
    assert "refused" in told


def test_a_server_that_dies_in_the_middle_stops_the_run_and_loses_no_row_to_it():
    async def main():
        with serving(lambda ask: "A", latency=0.01) as served:
            engine = engine_for(served.url, give_up_after=0.5, concurrency=32)
            before = await ask_all(engine, 100)
        async with asyncio.timeout(5):
            after = await ask_all(engine, 300)
        await engine.close()
        return before, after

    before, after = asyncio.run(main())

    assert {type(result) for result in before} == {Reply}
    assert {type(result) for result in after} == {EngineDown}
    assert "nothing gets through any more" in str(after[0])
    assert "run the same command again" in str(after[0]).lower()


def test_a_server_that_takes_everything_and_answers_nothing_stops_the_run():
    with serving(lambda ask: "A", faults=Faults(stall=1.0)) as served:

        async def work(engine):
            async with asyncio.timeout(5):
                return await ask_all(engine, 100)

        results = with_engine(served.url, work, timeout=0.3, give_up_after=1.0)

    assert {type(result) for result in results} == {EngineDown}


def test_an_engine_that_was_down_may_be_asked_again_after_a_rest(monkeypatch):
    monkeypatch.setattr(endpoint_module, "REST_WHEN_DOWN", 0.2)
    port = closed_port()

    async def main():
        engine = engine_for(f"http://127.0.0.1:{port}/v1", give_up_after=0.3)
        with pytest.raises(EngineDown):
            await engine.answer(ask())
        with serving(lambda ask: "A", port=port):
            with pytest.raises(EngineDown):
                await engine.answer(ask())
            await asyncio.sleep(0.25)
            reply = await engine.answer(ask())
        await engine.close()
        return reply

    assert asyncio.run(main()).text == "A"


def raw_server(reply, work, monkeypatch=None, spec="openai:gpt-x@{url}", **settings):
    """An engine against a server that says `reply` to everything; returns what the server read, too."""
    seen = []

    async def handle(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                seen.append(head + await reader.readexactly(length))
                writer.write(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main():
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        engine = open_engine({"engine": spec.format(url=url), **settings})
        try:
            return await work(engine)
        finally:
            await engine.close()
            server.close()

    return asyncio.run(main()), seen


def failing(status, body):
    return b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


@pytest.mark.parametrize(
    ("status", "body", "key", "want"),
    [
        (401, b'{"error": "no key"}', "", "export OPENAI_API_KEY=..."),
        (401, b'{"error": "wrong key sk-SECRET99"}', "sk-SECRET99", "holds a key for this server"),
        (403, b'{"error": "not yours: sk-SECRET99"}', "sk-SECRET99", "export OPENAI_API_KEY=..."),
        (404, b'{"error": "no such model"}', "sk-SECRET99", "'gpt-x' is the model's name there"),
        (402, b'{"error": "no money"}', "sk-SECRET99", "Add credit"),
        (308, b"", "sk-SECRET99", "the address has moved"),
    ],
)
def test_what_no_question_can_get_past_stops_at_once_and_never_shows_the_key(
    status, body, key, want, monkeypatch, caplog
):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    caplog.set_level(logging.DEBUG)

    async def work(engine):
        results = await ask_all(engine, 5)
        return results, repr(engine) + repr(engine.meter) + engine.name

    (results, shown), seen = raw_server(failing(status, body), work)

    assert {type(result) for result in results} == {EngineDown}
    assert want in str(results[0])
    assert len(seen) <= 5
    if key:
        assert b"Authorization: Bearer sk-SECRET99" in seen[0]
        assert "SECRET99" not in shown + caplog.text + "".join(map(str, results))


def test_when_the_engine_is_down_what_is_under_way_ends_too():
    connections = 0

    async def handle(reader, writer):
        nonlocal connections
        connections += 1
        if connections == 3:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(failing(401, b"{}"))
        await reader.read()
        writer.close()

    async def main():
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        engine = engine_for(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        async with asyncio.timeout(5):
            results = await ask_all(engine, 100)
        server.close()
        return results

    assert {type(result) for result in asyncio.run(main())} == {EngineDown}


def test_a_server_that_wants_an_hour_of_rest_is_left_alone():
    async def work(engine):
        return await ask_all(engine, 3)

    reply = b"HTTP/1.1 429 No\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n"
    results, seen = raw_server(reply, work)

    assert {type(result) for result in results} == {EngineDown}
    assert "asks us to wait 3600 s" in str(results[0])
    assert len(seen) <= 3


def test_the_key_is_taken_from_the_variable_that_the_settings_name(monkeypatch):
    monkeypatch.setenv("MY_KEY", "mine")

    async def work(engine):
        return await ask_all(engine, 1)

    _, seen = raw_server(failing(401, b"{}"), work, spec="anthropic:claude@{url}", key_env="MY_KEY")

    assert b"x-api-key: mine\r\n" in seen[0]
    assert b"anthropic-version: " in seen[0]


def test_a_model_that_refuses_every_question_alike_stops_the_run():
    body = b'{"error": {"message": "temperature is not supported"}}'

    async def work(engine):
        return await ask_all(engine, 100)

    results, _ = raw_server(failing(400, body), work)

    assert isinstance(results[-1], EngineDown)
    assert "sends_temperature" in str(results[-1])
