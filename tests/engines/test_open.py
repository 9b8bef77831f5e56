"""From the name of an engine to the engine."""

import asyncio
import json
import subprocess
import sys

import pytest
from asking import ask

from jurist.engines.engine import DrawsMany, Engine, Queues
from jurist.engines.open import open_engine
from jurist.engines.scripted import Scripted
from jurist.engines.vendors import ANTHROPIC, OPENAI
from jurist.errors import SettingError


def sent_by(engine, **fields):
    return json.loads(engine._dialect.write(ask(**fields)))


@pytest.mark.parametrize(
    ("spec", "name", "url"),
    [
        ("openai:gpt-4o-mini", "openai:gpt-4o-mini", OPENAI + "/chat/completions"),
        ("anthropic:claude-sonnet-4-5", "anthropic:claude-sonnet-4-5", ANTHROPIC + "/messages"),
        ("vllm:Qwen/Qwen3-8B@http://h:8/v1", "vllm:Qwen/Qwen3-8B", "http://h:8/v1/chat/completions"),
        ("openai:a/b:c@https://h/v1/", "openai:a/b:c", "https://h/v1/chat/completions"),
        ("vllm:org/model@2024@http://h/v1", "vllm:org/model@2024", "http://h/v1/chat/completions"),
    ],
)
def test_a_name_says_kind_model_and_address_and_the_engine_keeps_the_first_two(spec, name, url):
    engine = open_engine(spec)

    assert (engine.name, engine._base + engine._dialect.path) == (name, url)
    assert isinstance(engine, Engine)
    assert isinstance(engine, DrawsMany)
    assert isinstance(engine, Queues)


def test_openais_reasoning_models_are_asked_in_their_own_way():
    engine = open_engine("openai:gpt-5-mini")

    assert not engine.gives_logprobs
    assert sent_by(engine, top_logprobs=5, max_tokens=9) == {
        "model": "gpt-5-mini",
        "messages": [{"role": "user", "content": "Which is better?"}],
        "max_completion_tokens": 9,
    }
    assert open_engine("openai:gpt-4o").gives_logprobs
    assert open_engine("openai:gpt-5-mini@http://h/v1").gives_logprobs


def test_settings_go_before_what_is_usual():
    engine = open_engine(
        {
            "engine": "openai:gpt-5.1",
            "sends_temperature": True,
            "gives_logprobs": True,
            "extra": {"reasoning_effort": "none"},
            "price": {"input": 1, "output": 2},
        }
    )
    sent = sent_by(engine)

    assert engine.gives_logprobs
    assert (sent["temperature"], sent["reasoning_effort"]) == (0.0, "none")
    assert engine.price.output == 2


def test_only_the_vendors_own_address_has_the_vendors_price():
    assert open_engine("openai:gpt-4o").meter.priced
    assert not open_engine("openai:gpt-4o@http://h/v1").meter.priced
    assert not open_engine("vllm:m@http://h/v1").meter.priced
    assert open_engine({"engine": "vllm:m@http://h/v1", "price": {"gpu_hour": 2.5}}).meter.priced


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("opnai:gpt-4o", "Did you mean 'openai'"),
        ("gpt-4o", "Write it like openai:gpt-5-mini"),
        ("vllm:Qwen/Qwen3-8B", "Write vllm:Qwen/Qwen3-8B@http://localhost:8000/v1"),
        ("openai:m@http://me:hunter2@h/v1", "key_env"),
        ("scripted:no_such_module:f", "cannot load 'no_such_module:f'"),
        ("json:no_such_function", "cannot load 'json:no_such_function'"),
        ("json:__name__", "not a function"),
        ({"model": "x"}, "Add: engine: openai:gpt-5-mini"),
        ({"engine": "openai:m", "timeot": 5}, "Did you mean 'timeout'"),
        ({"engine": "openai:m", "price": {"imput": 5}}, "Did you mean 'input'"),
        ({"engine": "openai:m", "concurrency": 0}, "concurrency"),
        ({"engine": "openai:m", "timeout": -1}, "timeout"),
        ("vllm:m@http:///v1", "http://localhost:8000/v1"),
        ("vllm:m@http://h:99999/v1", "http://localhost:8000/v1"),
        ("vllm:m@http://h:abc/v1", "http://localhost:8000/v1"),
        ("vllm:m@127.0.0.1:8000", "Write vllm:m@http://127.0.0.1:8000"),
        ("broken_rules:judge", "cannot load 'broken_rules:judge': SyntaxError"),
        ("raising_rules:judge", "cannot load 'raising_rules:judge': ValueError: no"),
    ],
)
def test_what_cannot_be_opened_is_refused_with_the_way_out(spec, message, tmp_path, monkeypatch):
    (tmp_path / "broken_rules.py").write_text("def judge(:\n")
    (tmp_path / "raising_rules.py").write_text("raise ValueError('no')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingError) as why:
        open_engine(spec)

    assert message in str(why.value)
    assert "hunter2" not in str(why.value)


def test_a_function_is_an_engine(tmp_path, monkeypatch):
    (tmp_path / "my_rules.py").write_text("def judge(ask):\n    return ask.messages[-1].content[::-1]\n")
    monkeypatch.chdir(tmp_path)
    for spec in ("my_rules:judge", "scripted:my_rules:judge"):
        engine = open_engine(spec)
        reply = asyncio.run(engine.answer(ask("abcdefgh")))

        assert isinstance(engine, Scripted)
        assert engine.name == "scripted:my_rules:judge"
        assert (reply.text, reply.usage.tokens_in, reply.usage.tokens_out) == ("hgfedcba", 2, 2)


@pytest.mark.parametrize("key", ["sk-1\nHost: elsewhere", "sk 1", "\u201csk-1\u201d"])
def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(key, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(SettingError, match="Set it again with: export OPENAI_API_KEY=") as why:
        open_engine("openai:gpt-4o")

    assert "sk" not in str(why.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('my bug')", r"failed: ValueError: my bug \(\S*faulty_rules.py:2\)"),
        ("return 5", "answered 5"),
        ("return None", "answered None"),
    ],
)
def test_a_function_that_fails_is_named_with_the_line_where_it_did(body, message, tmp_path, monkeypatch):
    (tmp_path / "faulty_rules.py").write_text(f"def judge(ask):\n    {body}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "faulty_rules", raising=False)
    with pytest.raises(SettingError, match=message):
        asyncio.run(open_engine("faulty_rules:judge").answer(ask("hello")))


def test_opening_is_light_until_an_endpoint_is_called():
    code = """if True:
        import sys
        import jurist.engines.open
        heavy = {"aiohttp", "httptools", "uvloop", "torch", "numpy"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)
