"""What the tests of this folder share: a question, an engine for a server, and one loop a test."""

import asyncio

from jurist.engines.budget import Budget
from jurist.engines.engine import Ask, Engine, Reply, open_engine
from jurist.engines.journaled import Engines, JournaledEngine
from jurist.errors import JuristError
from jurist.journal import Journal
from jurist.records import Message, Usage


def ask(text="Which is better?", **fields):
    return Ask((Message("user", text),), **fields)


def with_engine(server, work, **settings):
    """Run `work(engine)` in a loop of its own and close the engine."""

    async def main():
        engine = open_engine({"engine": f"vllm:m@{server.url}", **settings})
        try:
            async with asyncio.timeout(30):
                return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(main())


async def ask_all(engine, calls, **fields):
    """Every call's reply or error, in order; anything but an error of ours is a fault and travels."""
    asks = [ask(f"question {number}", **fields) for number in range(calls)]
    got = await asyncio.gather(*map(engine.answer, asks), return_exceptions=True)
    assert all(isinstance(one, Reply | JuristError) for one in got), got
    return got


class Fake(Engine):
    """Answers from a function of the question, at a dollar a reply."""

    def __init__(self, reply=lambda ask: f"{ask.messages[-1].content} {ask.sample}", name="fake", price=None):
        self.reply, self.name, self.price, self.asks = reply, name, price, []

    async def answer(self, ask):
        self.asks.append(ask)
        said = self.reply(ask)
        said = await said if asyncio.iscoroutine(said) else said
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, Reply) else Reply(said, usage=Usage(10, 0, 2), cost=1.0)


def journaled(path, work, engine=None, cap=None):
    """Run `work` on an engine, or on `Engines` where none is given, with a journal at `path`."""

    async def main():
        journal = Journal(path)
        budget = Budget(cap, journal)
        engines = JournaledEngine(engine, journal, budget) if engine else Engines(journal, budget)
        try:
            async with asyncio.timeout(30):
                return await work(engines), budget
        finally:
            await engines.close()
            journal.close()

    return asyncio.run(main())
