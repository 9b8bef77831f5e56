"""A plain function is an engine."""

import asyncio
import sys

import pytest
from asking import ask

from jurist.engines.engine import Reply, open_engine
from jurist.engines.scripted import Scripted
from jurist.errors import CallRefused, SettingError
from jurist.records import Usage


def test_a_function_of_the_users_is_an_engine(tmp_path, monkeypatch):
    (tmp_path / "reversing.py").write_text("async def judge(ask): return ask.messages[-1].content[::-1]")
    monkeypatch.chdir(tmp_path)
    for spec in ("reversing:judge", "scripted:reversing:judge"):
        engine = open_engine({"engine": spec, "price": {"output": 1e6}})
        reply = asyncio.run(engine.answer(ask("abcdefgh")))
        assert (engine.name, reply.text) == ("scripted:reversing:judge", "hgfedcba")
        assert (reply.usage, reply.cost) == (Usage(2, 0, 2), 2.0)


def test_what_it_says_itself_is_left_as_it_is():
    said = Reply("A", usage=Usage(9, 0, 1), cost=0.25)
    assert asyncio.run(Scripted(lambda _: said).answer(ask())) == said

    def refuses(_):
        raise CallRefused("not this one")

    with pytest.raises(CallRefused, match="not this one"):
        asyncio.run(Scripted(refuses).answer(ask()))


BUG = "def judge(ask):\n    raise ValueError('my bug')"
FAULTS = {
    BUG: r"failed: ValueError: my bug \(\S*theirs\.py:2\)\. Fix",
    "def judge(ask):\n    return 5": r"returned 5\. Return a text or a Reply",
    "judge = 'no function'": "is a str, not a function",
    "other = 1": "cannot load 'theirs:judge': AttributeError: module 'theirs' has no",
    "def judge(:": "cannot load 'theirs:judge': SyntaxError",
}


@pytest.mark.parametrize("source", FAULTS)
def test_a_fault_in_it_is_told_with_its_place(tmp_path, monkeypatch, source):
    (tmp_path / "theirs.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    with pytest.raises(SettingError, match=FAULTS[source]):
        asyncio.run(open_engine("theirs:judge").answer(ask()))
