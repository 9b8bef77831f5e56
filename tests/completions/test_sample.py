import asyncio
from collections import Counter

import pytest

from jurist.completions import mixture, sample
from jurist.engines.budget import Budget
from jurist.engines.engine import Ask, Reply
from jurist.engines.journaled import JournaledEngine
from jurist.errors import BudgetSpent, CallFailed, CallRefused, EngineDown, SettingError
from jurist.journal import Journal
from jurist.records import Message, Prompt, Sampling, Usage

PROMPT = Prompt.of("Why?")


class Says:
    """An engine that answers from a function of the ask."""

    def __init__(self, reply, name="says"):
        self.name, self.reply, self.asks = name, reply, []

    async def answer(self, ask: Ask) -> Reply:
        self.asks.append(ask)
        said = self.reply(ask)
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, Reply) else Reply(said, usage=Usage(tokens_out=3))

    async def close(self) -> None: ...


class SaysMany(Says):
    async def answer_many(self, ask: Ask, n: int) -> list[Reply]:
        self.asks.append(ask)
        said = self.reply(ask)
        if isinstance(said, Exception):
            raise said
        return [Reply(f"{said} {i}") for i in range(n)]


def drawn(*engines, k=4, prompt=PROMPT, **how):
    return asyncio.run(sample(prompt, mixture([(e, 1.0) for e in engines]), k, **how))


def test_k_draws_differ_in_seed_and_sample_and_record_how_they_were_drawn():
    engine = Says(lambda ask: f"answer {ask.sample}")
    completions, dropped = drawn(engine, sampling=Sampling(temperature=0.7, top_p=0.9, max_tokens=64))

    assert [c.text for c in completions] == ["answer 0", "answer 1", "answer 2", "answer 3"]
    assert dropped == []
    assert {c.policy for c in completions} == {"says"}
    assert {(c.sampling.temperature, c.sampling.top_p, c.sampling.max_tokens) for c in completions} == {
        (0.7, 0.9, 64)
    }
    assert [c.sampling.seed for c in completions] == [ask.seed for ask in engine.asks]
    assert len({ask.seed for ask in engine.asks}) == 4
    assert all(0 <= ask.seed < 2**31 for ask in engine.asks)
    assert all(ask.messages == (Message("user", "Why?"),) for ask in engine.asks)
    assert {c.tokens for c in completions} == {3}


def test_the_same_call_again_asks_the_same_and_another_seed_asks_anew():
    def asks(seed):
        engine = Says(lambda ask: "a")
        drawn(engine, seed=seed)
        return engine.asks

    assert asks(1) == asks(1)
    assert not {a.seed for a in asks(1)} & {a.seed for a in asks(2)}


def test_an_engine_that_draws_many_reads_the_prompt_once():
    engine = SaysMany(lambda ask: "answer")
    completions, _ = drawn(engine)

    assert len(engine.asks) == 1
    assert [c.text for c in completions] == ["answer 0", "answer 1", "answer 2", "answer 3"]


@pytest.mark.parametrize("how", ["one by one", "together"])
def test_one_draw_that_fails_takes_no_other_with_it_through_the_journal(tmp_path, how):
    class Served(Says):
        async def answer_many(self, ask, n):
            return [Reply("the only one a server without n gives")]

    def reply(ask):
        return CallRefused("too long") if ask.sample == 1 else f"answer {ask.sample}"

    async def main():
        journal = Journal(tmp_path / "journal.sqlite")
        engine = JournaledEngine((Served if how == "together" else Says)(reply), journal, Budget())
        drawn = await sample(PROMPT, mixture([(engine, 1.0)]), 4)
        journal.close()
        return drawn

    completions, dropped = asyncio.run(main())

    assert len(completions) == 3
    assert [d.stage for d in dropped] == ["completions"]
    if how == "one by one":
        assert [(d.reason, d.detail) for d in dropped] == [("refused", "says: too long")]


def test_too_few_samples_are_missed_by_name():
    class Short(SaysMany):
        async def answer_many(self, ask, n):
            return (await super().samples(ask, n))[1:]

    completions, dropped = drawn(Short(lambda ask: "answer"))

    assert len(completions) == 3
    assert [(d.reason, d.detail) for d in dropped] == [("failed", "says: 3 of 4 samples came")]


def test_what_gave_nothing_leaves_by_name_and_the_others_go_on():
    said = {
        0: "fine",
        1: Reply("  "),
        2: CallFailed("timed out"),
        3: CallRefused("too long"),
        4: Reply("", finish="refused"),
        5: Reply("cut o", finish="length"),
        6: "fine",
    }
    completions, dropped = drawn(Says(lambda ask: said[ask.sample]), k=7)

    assert [(c.text, c.finish) for c in completions] == [("fine", "stop"), ("cut o", "length")]
    assert Counter(d.reason for d in dropped) == {"empty": 1, "failed": 1, "refused": 2, "identical": 1}
    assert len(completions) + len(dropped) == 7


def test_many_draws_that_failed_are_all_named():
    completions, dropped = drawn(SaysMany(lambda ask: CallFailed("no")))

    assert completions == []
    assert [d.reason for d in dropped] == ["failed"] * 4


@pytest.mark.parametrize("error", [EngineDown("dead"), BudgetSpent("spent")])
def test_an_end_of_everything_travels(error):
    with pytest.raises(type(error)):
        drawn(Says(lambda ask: error if ask.sample == 2 else "a"))


def test_a_mixture_draws_in_proportion_and_the_same_way_again():
    one, other = Says(lambda ask: f"{ask.seed}", "one"), Says(lambda ask: f"{ask.seed}", "other")
    policies = mixture([(one, 3.0), (other, 1.0)])

    async def everyone():
        return [c.policy for i in range(300) for c in (await sample(Prompt.of(f"{i}?"), policies, 4))[0]]

    first, again = asyncio.run(everyone()), asyncio.run(everyone())

    assert first == again
    assert abs(first.count("one") / len(first) - 0.75) < 0.05


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(SettingError, match="write a number above 0"):
        mixture([(Says(str), weight)])


def test_a_mixture_of_nobody_is_refused():
    with pytest.raises(SettingError, match="Name one"):
        mixture([])
