import asyncio
from collections import Counter

import pytest

from jurist.completions import sample_completions
from jurist.engines.engine import Engine, Reply
from jurist.errors import BudgetSpent, CallFailed, CallRefused, EngineDown
from jurist.records import Message, Prompt, Sampling, Usage

PROMPT = Prompt.of("Why?")


class Says(Engine):
    """An engine that answers from a function of the ask."""

    def __init__(self, reply, name="says"):
        self.name, self.reply, self.asks = name, reply, []

    async def answer(self, ask):
        self.asks.append(ask)
        said = self.reply(ask)
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, Reply) else Reply(said, usage=Usage(tokens_out=3))


class SaysMany(Says):
    async def samples(self, ask, n):
        said = (await self.answer(ask)).text
        return [Reply(f"{said} {i}") for i in range(n)]


def drawn(*engines, k=4, prompt=PROMPT, **how):
    return asyncio.run(sample_completions(prompt, [(e, 1.0) for e in engines], k, **how))


def test_k_samples_differ_in_seed_and_record_how_they_were_made():
    engine = Says(lambda ask: f"answer {ask.sample}")
    completions, dropped = drawn(engine, sampling=Sampling(temperature=0.7, top_p=0.9, max_tokens=64))

    assert [c.text for c in completions] == ["answer 0", "answer 1", "answer 2", "answer 3"]
    assert ({c.policy for c in completions}, {c.tokens for c in completions}, dropped) == ({"says"}, {3}, [])
    how = [(c.sampling.temperature, c.sampling.top_p, c.sampling.max_tokens) for c in completions]
    assert how == [(0.7, 0.9, 64)] * 4
    assert len({ask.seed for ask in engine.asks}) == 4
    assert all(0 <= ask.seed < 2**31 for ask in engine.asks)
    assert all(ask.messages == (Message("user", "Why?"),) for ask in engine.asks)


def test_the_same_weights_draw_the_same_in_whichever_folder_they_are():
    one, moved, other = (Says(lambda ask: "x", name) for name in ("hf:a#1f", "hf:b#1f", "hf:a#2e"))
    for engine in (one, moved, other):
        drawn(engine, k=1)
    assert one.asks[0].seed == moved.asks[0].seed != other.asks[0].seed


def test_the_same_call_again_asks_the_same_and_another_seed_asks_anew():
    engine = Says(lambda ask: "a")
    for seed in (1, 1, 2):
        drawn(engine, k=1, seed=seed)
    one, again, other = engine.asks

    assert one == again
    assert one.seed != other.seed


def test_an_engine_that_gives_several_at_once_reads_the_prompt_once():
    engine = SaysMany(lambda ask: "answer")
    completions, _ = drawn(engine)

    assert len(engine.asks) == 1
    assert [c.text for c in completions] == ["answer 0", "answer 1", "answer 2", "answer 3"]


def test_samples_that_did_not_come_are_dropped_with_a_reason():
    completions, dropped = drawn(Says(lambda ask: CallRefused("no") if ask.sample % 2 else f"{ask.sample}"))
    assert [c.text for c in completions] == ["0", "2"]
    assert [(d.stage, d.reason, d.detail) for d in dropped] == [
        ("completions", "failed", "says: 2 of 4 samples came")
    ] * 2

    for error, reason in ((CallFailed("no"), "failed"), (CallRefused("no"), "refused")):
        completions, dropped = drawn(SaysMany(lambda ask, error=error: error))
        assert (completions, [(d.reason, d.detail) for d in dropped]) == ([], [(reason, "says: no")] * 4)


def test_what_gave_nothing_is_dropped_with_a_reason_and_the_others_go_on():
    said = ["fine", Reply("  "), Reply("", finish="refused"), Reply("cut o", finish="length"), "fine"]
    completions, dropped = drawn(Says(lambda ask: said[ask.sample]), k=5)

    assert [(c.text, c.finish) for c in completions] == [("fine", "stop"), ("cut o", "length")]
    assert Counter(d.reason for d in dropped) == {"empty": 1, "refused": 1, "identical": 1}


@pytest.mark.parametrize("error", [EngineDown("dead"), BudgetSpent("spent")])
def test_an_end_of_everything_travels(error):
    with pytest.raises(type(error)):
        drawn(Says(lambda ask: error if ask.sample == 2 else "a"))


def test_a_mixture_draws_in_proportion_and_the_same_way_again():
    one, other = Says(lambda ask: f"{ask.seed}", "one"), Says(lambda ask: f"{ask.seed}", "other")
    policies = [(one, 3.0), (other, 1.0)]

    async def everyone():
        return [
            c.policy
            for i in range(80)
            for c in (await sample_completions(Prompt.of(f"{i}?"), policies, 4))[0]
        ]

    first, again = asyncio.run(everyone()), asyncio.run(everyone())

    assert first == again
    assert abs(first.count("one") / len(first) - 0.75) < 0.08
