"""What the tests of this folder share: a question, an engine for a server, and one loop a test."""

import asyncio

from jurist.engines.engine import Ask
from jurist.engines.open import open_engine
from jurist.errors import EngineError
from jurist.records import Message


def ask(text="Which is better?", **fields):
    return Ask((Message("user", text),), **fields)


def engine_for(url, **settings):
    return open_engine({"engine": f"vllm:m@{url}", **settings})


def with_engine(url, work, **settings):
    """Run `work(engine)` in a loop of its own and close the engine."""

    async def main():
        engine = engine_for(url, **settings)
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(main())


async def ask_all(engine, calls):
    """Every call's reply or error, in order; anything that is not an engine's error is a bug and travels."""

    async def one(number):
        try:
            return await engine.answer(ask(f"question {number}"))
        except EngineError as why:
            return why

    return await asyncio.gather(*(one(number) for number in range(calls)))
