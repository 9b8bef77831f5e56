"""A plain function is an engine."""

import asyncio

import pytest
from asking import ask

from jurist.engines.engine import Reply, open_engine
from jurist.engines.scripted import Scripted
from jurist.errors import CallRefused, SettingError
from jurist.records import Usage


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_function_of_the_users_is_an_engine(here):
    (here / "my_rules.py").write_text("async def judge(ask):\n    return ask.messages[-1].content[::-1]\n")
    for spec in ("my_rules:judge", "scripted:my_rules:judge"):
        engine = open_engine({"engine": spec, "price": {"output": 1e6}})
        reply = asyncio.run(engine.answer(ask("abcdefgh")))

        assert engine.name == "scripted:my_rules:judge"
        assert (reply.text, reply.usage, reply.cost) == ("hgfedcba", Usage(2, 0, 2), 2.0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('my bug')", r"failed: ValueError: my bug \(\S*faulty\.py:2\)\. Fix the function"),
        ("return 5", r"returned 5\. Return a text or a Reply"),
        ("return None", "returned None"),
    ],
)
def test_a_fault_in_it_names_the_line(here, monkeypatch, body, message):
    (here / "faulty.py").write_text(f"def judge(ask):\n    {body}\n")
    monkeypatch.delitem(__import__("sys").modules, "faulty", raising=False)
    with pytest.raises(SettingError, match=message):
        asyncio.run(open_engine("faulty:judge").answer(ask()))


def test_what_it_says_itself_is_left_as_it_is():
    said = Reply("A", usage=Usage(9, 0, 1), cost=0.25)
    assert asyncio.run(Scripted(lambda _: said).answer(ask())) == said

    def refuses(_):
        raise CallRefused("not this one")

    with pytest.raises(CallRefused, match="not this one"):
        asyncio.run(Scripted(refuses).answer(ask()))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("scripted:no_such_module:f", "cannot load 'no_such_module:f'"),
        ("json:no_such_function", "cannot load 'json:no_such_function'"),
        ("json:__name__", "is a str, not a function"),
        ("broken:judge", "cannot load 'broken:judge': SyntaxError"),
        ("raising:judge", "cannot load 'raising:judge': ValueError: no"),
    ],
)
def test_what_cannot_be_loaded_is_refused(here, spec, message):
    (here / "broken.py").write_text("def judge(:\n")
    (here / "raising.py").write_text("raise ValueError('no')\n")
    with pytest.raises(SettingError, match=message):
        open_engine(spec)
