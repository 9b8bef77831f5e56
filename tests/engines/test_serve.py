"""The server that tests, benchmarks and other stacks talk to."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import pytest

from jurist.engines.engine import Reply, Token
from jurist.engines.faults import Fate, Faults
from jurist.engines.serve import serving
from jurist.errors import CallRefused, SettingError
from jurist.records import Usage

QUESTION = {"model": "m", "messages": [{"role": "user", "content": "which?"}]}


def post(url, path="/chat/completions", **fields):
    body = json.dumps({**QUESTION, **fields}).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, body), timeout=10) as got:
            return got.status, json.loads(got.read())
    except urllib.error.HTTPError as got:
        return got.code, json.loads(got.read())


def test_a_function_answers_in_the_chat_completions_dialect():
    def judge(ask):
        token = Token("A", -0.1, (("A", -0.1), ("B", -2.4), ("C", -5.0)))
        return Reply("A", tokens=(token,), reasoning="so", usage=Usage(10, 4, 6, 5))

    with serving(judge) as served:
        status, got = post(served.url, logprobs=True, top_logprobs=2)

    assert status == 200
    (choice,) = got["choices"]
    assert choice["message"] == {"role": "assistant", "content": "A", "reasoning_content": "so"}
    assert choice["finish_reason"] == "stop"
    (token,) = choice["logprobs"]["content"]
    assert [top["token"] for top in token["top_logprobs"]] == ["A", "B"]
    assert got["usage"]["prompt_tokens_details"]["cached_tokens"] == 4
    assert got["usage"]["completion_tokens_details"]["reasoning_tokens"] == 5


def test_the_question_reaches_the_function_whole():
    asked = []

    def judge(ask):
        asked.append(ask)
        return "A"

    with serving(judge) as served:
        post(
            served.url,
            messages=[
                {"role": "developer", "content": "be fair"},
                {"role": "user", "content": [{"type": "text", "text": "which?"}]},
            ],
            temperature=0.5,
            top_p=0.9,
            max_completion_tokens=7,
            stop="END",
            seed=3,
            response_format={"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
        )

    (ask,) = asked
    assert [(message.role, message.content) for message in ask.messages] == [
        ("system", "be fair"),
        ("user", "which?"),
    ]
    assert (ask.temperature, ask.top_p, ask.max_tokens, ask.stop, ask.seed) == (0.5, 0.9, 7, ("END",), 3)
    assert ask.schema == {"type": "object"}


def test_n_samples_are_n_choices_with_the_prompt_counted_once():
    with serving(lambda ask: Reply(f"draw {ask.sample}", usage=Usage(10, 0, 2))) as served:
        _, got = post(served.url, n=3)

    assert [choice["message"]["content"] for choice in got["choices"]] == ["draw 0", "draw 1", "draw 2"]
    assert (got["usage"]["prompt_tokens"], got["usage"]["completion_tokens"]) == (10, 6)


def test_async_functions_and_several_models_are_served():
    async def late(ask):
        return "late"

    with serving({"a": late, "b": lambda ask: "b"}) as served:
        assert post(served.url, model="a")[1]["choices"][0]["message"]["content"] == "late"
        assert post(served.url, model="b")[1]["choices"][0]["message"]["content"] == "b"
        status, got = post(served.url, model="c")
        listed = json.loads(urllib.request.urlopen(served.url + "/models").read())

    assert status == 404
    assert "no model called 'c'; there is a, b" in got["error"]["message"]
    assert [model["id"] for model in listed["data"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("raised", "status"), [(CallRefused("too long"), 400), (KeyError("bug"), 500), (ValueError("bug"), 500)]
)
def test_what_the_function_raises_becomes_a_status(raised, status):
    def judge(ask):
        raise raised

    with serving(judge) as served:
        assert post(served.url)[0] == status


def test_requests_that_make_no_sense_are_refused_with_a_reason():
    with serving(lambda ask: "A") as served:
        assert post(served.url, stream=True)[0] == 400
        assert post(served.url, messages="hello")[0] == 400
        assert post(served.url, path="/elsewhere")[0] == 404


def test_pipelined_requests_are_answered_in_their_order():
    async def judge(ask):
        import asyncio

        text = ask.messages[0].content
        await asyncio.sleep(0.05 if text == "first" else 0.0)
        return text

    with serving(judge) as served:
        parts = urlsplit(served.url)
        with socket.create_connection((parts.hostname, parts.port)) as client:
            for text in ("first", "second"):
                body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]})
                head = f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
                client.sendall((head + body).encode())
            got = b""
            while got.count(b'"usage"') < 2:
                got += client.recv(65536)

    assert got.index(b"first") < got.index(b"second")


def test_repeats_and_new_questions_are_counted_exactly():
    with serving(lambda ask: "A") as served:
        for text in ("one", "two", "one"):
            post(served.url, messages=[{"role": "user", "content": text}])
        summary = json.loads(urllib.request.urlopen(served.url + "/stats").read())

    assert sorted(served.stats.seen.values()) == [1, 2]
    assert summary["calls"] == 3
    assert (summary["distinct"], summary["repeats"], summary["answered_again"]) == (2, 1, 1)


def test_planned_faults_come_in_the_planned_shares_and_sticky_ones_stay():
    fate = Fate(Faults(too_many=0.1, drop=0.1, bad_request=0.05))
    bodies = [b"%d" % number for number in range(4000)]
    once, again = [fate.draw(body) for body in bodies], [fate.draw(body) for body in bodies]

    for kind, share in (("429", 0.095), ("drop", 0.095), ("400", 0.05)):
        assert abs(once.count(kind) / 4000 - share) < 0.02
    stuck = [number for number, kind in enumerate(once) if kind == "400"]
    assert stuck == [number for number, kind in enumerate(again) if kind == "400"]
    assert once != again


def test_faults_are_read_from_the_command_line_form():
    assert Faults.parse("429=0.05, drop=.02") == Faults(too_many=0.05, drop=0.02)
    with pytest.raises(SettingError, match="Did you mean 'stall'"):
        Faults.parse("stal=0.1")
    with pytest.raises(SettingError, match="Write faults like"):
        Faults.parse("stall=often")


def test_a_faulty_connection_is_dropped_or_cut_short():
    with serving(lambda ask: "A", faults=Faults(drop=1.0)) as served, pytest.raises(ConnectionError):
        post(served.url)
    with (
        serving(lambda ask: "A", faults=Faults(truncated=1.0)) as served,
        pytest.raises(http.client.IncompleteRead),
    ):
        post(served.url)


def test_a_port_that_is_taken_is_said_to_be_taken():
    with (
        serving(lambda ask: "A") as served,
        pytest.raises(SettingError, match=r"cannot listen on .* in use.*--port 0"),
        serving(lambda ask: "A", port=urlsplit(served.url).port),
    ):
        pass


def test_the_server_runs_as_a_process_of_its_own_and_tells_its_counts(tmp_path):
    (tmp_path / "my_judges.py").write_text("def first(ask):\n    return '[[A]]'\n")
    command = [sys.executable, "-m", "jurist.engines.serve", "--answer", "my_judges:first"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().strip()
        assert post(url)[1]["choices"][0]["message"]["content"] == "[[A]]"
        assert json.loads(urllib.request.urlopen(url + "/stats").read())["answered"] == 1
    finally:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 0
