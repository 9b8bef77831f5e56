"""Functions and engines behind an address that other stacks can call."""

import json
import math
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from engines.asking import ask, with_engine
from jurist.engines.engine import Ask, Reply, Token, open_engine
from jurist.errors import CallFailed, CallRefused, SettingError
from jurist.records import Message, Usage
from jurist.serve import serving
from jurist.serve.server import run_server

QUESTION = {"model": "m", "messages": [{"role": "user", "content": "which?"}]}
SRC = Path(__file__).resolve().parents[2] / "src"


def post(url, path="/chat/completions", **fields):
    body = json.dumps({**QUESTION, **fields}).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, body), timeout=10) as got:
            return got.status, json.loads(got.read())
    except urllib.error.HTTPError as got:
        return got.code, got.read().decode()


def test_a_question_and_a_reply_survive_the_way_there_and_back():
    asked = []
    token = Token("A", -0.1, (("A", -0.1), ("B", -2.5), ("C", -math.inf)))
    said = Reply("A", "length", (token,), "I thought", Usage(10, 0, 6))
    question = ask("?", temperature=0.25, top_p=0.5, max_tokens=9, stop=("END",), seed=5, top_logprobs=3)
    with serving(lambda one: asked.append(one) or said) as server:
        reply = with_engine(server, lambda engine: engine.answer(question))

    assert asked == [question]
    assert (reply.text, reply.finish, reply.reasoning) == (said.text, said.finish, said.reasoning)
    assert (reply.usage, reply.tokens) == (said.usage, said.tokens)


def test_anthropic_s_protocol_is_spoken_too():
    asked = []
    said = Reply("A", "length", reasoning="I thought", usage=Usage(10, 0, 6))
    question = Ask((Message("system", "Be fair."), Message("user", "?")), 1.0, max_tokens=9, stop=("END",))
    with serving(lambda one: asked.append(one) or said) as server:
        name = f"anthropic:m@{server.url}"
        reply = with_engine(server, lambda engine: engine.answer(question), engine=name)

    assert asked == [question]
    assert (reply.text, reply.finish, reply.reasoning) == (said.text, said.finish, said.reasoning)
    assert reply.usage == said.usage


def test_turns_may_come_in_parts_and_null_is_as_good_as_absent():
    turns = [
        {"role": "developer", "content": "Be fair."},
        {"role": "user", "content": [{"type": "text", "text": "A or "}, {"type": "text", "text": "B?"}]},
    ]
    asked = []
    with serving(lambda one: asked.append(one) or "A") as server:
        assert post(server.url, messages=turns, seed=None)[0] == 200
        status, told = post(server.url, messages=[{"role": "user", "content": [{"type": "image_url"}]}])

    assert asked[0].messages == (Message("system", "Be fair."), Message("user", "A or B?"))
    assert (status, "text" in told) == (400, True)


def test_engines_functions_samples_and_several_models_are_served():
    engine = open_engine("scripted:builtins:str")
    draws = lambda ask: Reply(f"{ask.sample} {ask.seed}", usage=Usage(10, 0, 2))  # noqa: E731
    with serving({"a": engine.answer, "b": draws}) as server:
        assert "which?" in post(server.url, model="a")[1]["choices"][0]["message"]["content"]
        _, got = post(server.url, model="b", n=3, seed=7, stop=None, temperature=None)
        status, told = post(server.url, model="c")
        listed = json.loads(urllib.request.urlopen(server.url + "/models").read())

    assert [choice["message"]["content"] for choice in got["choices"]] == ["0 7", "1 8", "2 9"]
    assert got["usage"] == {"prompt_tokens": 10, "completion_tokens": 6, "total_tokens": 16}
    assert (status, "there is a, b" in told, server.calls) == (404, True, 2)
    assert [model["id"] for model in listed["data"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("fields", "raised", "status", "told"),
    [
        ({}, CallRefused("too long"), 400, "too long"),
        ({}, CallFailed("nothing"), 500, "nothing"),
        ({}, KeyError("bug"), 500, "test_chat.py:"),
        ({"messages": "hello"}, None, 400, "array"),
        ({"n": 0}, None, 400, "n"),
        ({"stream": True}, None, 400, "stream"),
        ({"path": "/elsewhere"}, None, 404, ""),
    ],
)
def test_what_goes_wrong_becomes_a_status_with_a_reason(fields, raised, status, told):
    def judge(ask):
        raise raised or AssertionError("no such question should come here")

    with serving(judge) as server:
        got = post(server.url, **fields)

    assert (got[0], told in got[1]) == (status, True)


def test_a_port_that_is_taken_is_said_to_be_taken():
    with serving(str) as server, pytest.raises(SettingError, match=r"cannot listen on .* in use.*--port 0"):
        serving(str, port=int(server.url.split(":")[2].partition("/")[0])).__enter__()


def test_the_server_runs_as_a_process_of_its_own_until_it_is_stopped(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text("def first(ask):\n    return '[[A]]'\n")
    command = [sys.executable, "-m", "jurist.serve", "--answer", "mine:first"]
    env = {"PYTHONPATH": str(SRC)}
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        assert post(url)[1]["choices"][0]["message"]["content"] == "[[A]]"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert run_server(["--answer", "no_such:first"]) == 2
    assert capsys.readouterr().err.startswith("cannot load 'no_such:first'")
