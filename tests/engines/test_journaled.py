"""Every call goes through the journal and the budget, and is asked once."""

import asyncio
import sqlite3
from contextlib import closing

import pytest
from asking import Fake, ask, journaled

from jurist.engines.engine import Reply, Token
from jurist.engines.journaled import JournaledEngine, label_tokens
from jurist.engines.prices import Price
from jurist.errors import BudgetSpent, CallFailed, RunError, SettingError
from jurist.journal import Journal
from support.server import serving


class Together(Fake):
    """Gives several samples in one request, perhaps fewer than were asked for."""

    samples_together, gives = True, 99

    async def samples(self, ask, n):
        self.asks.append(ask)
        return [Reply(f"{i} of {n} from {ask.sample}") for i in range(min(n, self.gives))]


async def gather(*calls):
    return await asyncio.gather(*calls, return_exceptions=True)


async def slow(question):
    await asyncio.sleep(0.03)
    return f"{question.sample}"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.sqlite"


def select(path, what):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT {what}").fetchone()


def kept(path):
    return select(path, "count(*) FROM calls")[0]


def test_a_question_asked_before_is_not_sent_again(path):
    async def twice(engine):
        return await engine.answer(ask("hello")), await engine.answer(ask("hello"))

    first, second = Fake(), Fake()
    (one, two), budget = journaled(path, twice, first)
    (again, _), _ = journaled(path, twice, second)

    assert one == two == again
    assert one.call
    assert (len(first.asks), len(second.asks)) == (1, 0)
    assert (budget.calls, budget.cached, budget.spent) == (1, 1, 1.0)


def test_whatever_changes_the_reply_makes_another_call(path):
    others = ({}, {"temperature": 0.5}, {"sample": 1}, {"top_logprobs": 5}, {"stop": ("x",)})
    one, another = Fake(), Fake(name="another")
    journaled(path, lambda e: gather(*(e.answer(ask("hello", **other)) for other in others)), one)
    journaled(path, lambda e: e.answer(ask("hello")), another)

    assert (len(one.asks), len(another.asks)) == (5, 1)


def test_equal_calls_under_way_are_one_samples_included(path):
    async def work(engine):
        twin = JournaledEngine(engine.engine, engine._journal, engine._budget, 64, engine._under_way)
        alone = (engine.answer(ask()) for _ in range(5))
        return await gather(*alone, engine.samples(ask(), 3), twin.samples(ask(), 4))

    got, budget = journaled(path, work, engine := Fake(slow))

    assert {one.text for one in got[:5]} == {"0"}
    assert [[one.text for one in some] for some in got[5:]] == [["0", "1", "2"], ["0", "1", "2", "3"]]
    assert (len(engine.asks), budget.spent) == (4, 4.0)


def test_whoever_stops_waiting_calls_nobody_else_off(path):
    async def work(engine):
        one, other = (asyncio.create_task(engine.answer(ask())) for _ in range(2))
        await asyncio.sleep(0.01)
        one.cancel()
        return await gather(one, other)

    (one, other), budget = journaled(path, work, Fake(slow))

    assert isinstance(one, asyncio.CancelledError)
    assert (other.text, budget.calls, budget.lost) == ("0", 1, 0)


@pytest.mark.parametrize(("kind", "asked"), [(Fake, [1, 3, 4]), (Together, [1, 3])])
def test_samples_that_are_missing_fill_their_own_place(path, kind, asked):
    async def work(engine):
        await gather(engine.answer(ask(seed=7)), engine.answer(ask(seed=9, sample=2)))
        engine.engine.asks.clear()
        return await engine.samples(ask(seed=7), 5)

    got, _ = journaled(path, work, engine := kind())
    again, _ = journaled(path, work, kind())

    assert len({one.text for one in got}) == len({one.call for one in got}) == 5
    assert got == again
    assert [(one.sample, one.seed) for one in engine.asks] == [(n, 7 + n) for n in asked]


@pytest.mark.parametrize(("kind", "n"), [(Fake, 4), (Together, 4), (Together, 2)])
def test_a_sample_that_fails_takes_no_other_with_it_and_may_be_asked_again(path, kind, n):
    async def work(engine):
        samples = asyncio.create_task(engine.samples(ask(), n))
        await asyncio.sleep(0.01)
        again = await gather(engine.answer(ask(sample=1)))  # while others of its request are under way
        return await samples, again

    async def moody(question):
        await asyncio.sleep(0.03 * (question.sample > 1))
        return CallFailed("no") if question.sample % 2 else "yes"

    engine = kind(moody)
    engine.gives = 1
    (got, again), budget = journaled(path, work, engine)

    assert ([type(one) for one in again], len(got)) == ([CallFailed], n // 2)
    assert (kept(path), budget.under_way) == (n // 2, 0)
    with pytest.raises(CallFailed):
        journaled(path, lambda e: e.samples(ask(sample=1), 1), engine)
    assert journaled(path, lambda e: e.answer(ask(sample=1)), Fake(slow))[0].text == "1"


@pytest.mark.parametrize(
    ("engine", "n", "answered"),
    [
        (Fake(lambda q: asyncio.sleep(30 * (q.sample == 1), "A")), 3, 2),
        (Together(), 8, 8),
    ],
    ids=["another sample is still under way", "it waits for the disk"],
)
def test_what_was_answered_is_kept_though_the_run_is_called_off(path, engine, n, answered):
    async def work(engine):
        task = asyncio.create_task(engine.samples(ask(), n))
        while engine._budget.calls < answered:  # noqa: ASYNC110
            await asyncio.sleep(0)
        engine.abandon()
        await gather(task)

    _, budget = journaled(path, work, engine)

    assert (kept(path), budget.calls, budget.lost, budget.under_way) == (answered, answered, n - answered, 0)


def test_an_answer_is_on_disk_before_it_is_told(path):
    async def work(engine):
        await engine.answer(ask())
        return kept(path)

    assert journaled(path, work, Fake())[0] == 1


def test_with_a_budget_a_call_leaves_once_its_reservation_is_on_disk(path):
    seen, books = [], "open_calls, open_usd FROM spent"
    engine = Fake(lambda _: seen.append(select(path, books)) or Reply("A", cost=0.5), price=Price(output=1e6))
    journaled(path, lambda e: gather(*(e.answer(ask(str(n), max_tokens=2)) for n in range(3))), engine, 50.0)

    assert seen == [(3, 6.0)] * 3
    assert select(path, "usd, open_usd, uncertain_usd FROM spent") == (1.5, 0.0, 0.0)


def test_a_budget_sets_aside_every_sample_of_a_request(path):
    async def work(engine):
        return await gather(engine.samples(ask(max_tokens=2), 4))

    (got,), _ = journaled(path, work, engine := Together(price=Price(output=1e6)), cap=7.0)

    assert (type(got), engine.asks) == (BudgetSpent, [])


def test_a_disk_without_room_stops_new_calls_and_keeps_those_under_way(path, monkeypatch):
    monkeypatch.setattr(Journal, "has_room", lambda self, replies: replies <= 3)

    async def work(engine):
        return await gather(*(engine.answer(ask(f"{n}")) for n in range(3)), engine.samples(ask(), 4))

    got, _ = journaled(path, work, Together(slow))

    assert [type(one) for one in got] == [Reply, Reply, Reply, RunError]
    assert ("the disk is full" in str(got[-1]), kept(path)) == (True, 3)


@pytest.mark.parametrize(
    ("spec", "cap", "want"),
    [("openai:gpt-4o", None, "export OPENAI_API_KEY"), ("vllm:x@http://h/v1", 1.0, "a budget needs a price")],
)
def test_what_cannot_work_is_refused_before_any_call(path, spec, cap, want, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "")

    async def work(engines):
        engines(spec)
        await engines.prepare()

    with pytest.raises(SettingError, match=want):
        journaled(path, work, cap=cap)


def ask_at(path, server, *asks):
    """The replies to these questions in a run of their own, and its warnings."""

    async def work(engines):
        engine = engines(f"vllm:m@{server.url}")
        await engines.prepare()
        return await gather(*map(engine.answer, asks or [ask(temperature=0.5)])), engines.warnings

    return journaled(path, work)[0]


def test_what_a_server_refused_is_remembered_and_the_key_is_of_what_was_sent(path):
    with serving("A", refuses=["temperature"]) as server:
        assert ask_at(path, server) == ask_at(path, server)
        ask_at(path, server, ask("another"))

    assert ["temperature" in record.body for record in server.log] == [True, False, False]


def test_a_reply_is_kept_under_what_was_sent_though_something_was_learnt_meanwhile(path):
    def answer(request):
        if request["messages"][0]["content"] == "refused" and "temperature" in request:
            return {"status": 400, "text": "'temperature' is not supported"}
        return asyncio.sleep(0.1, "with" if "temperature" in request else "without")

    with serving(answer) as server:
        (one, _), _ = ask_at(path, server, ask("q"), ask("refused"))
        (later,), _ = ask_at(path, server, ask("q"))

    assert (one.text, later.text, one.call == later.call) == ("with", "without", False)


def test_weights_that_a_server_could_not_name_at_first_are_not_other_weights(path, monkeypatch):
    with serving("A", served="m") as server, monkeypatch.context() as patched:
        patched.setattr("jurist.engines.endpoint.Endpoint.find_served", lambda _: asyncio.sleep(0, ""))
        ask_at(path, server)
    for served, asked in (("m-1", 0), ("m-2", 1)):
        with serving("A", served=served, port=server.port) as server:
            _, warnings = ask_at(path, server)
        assert (len(server.log), len(warnings)) == (asked, asked)


def test_of_log_probs_only_the_places_of_labels_are_kept():
    words = ["\n", "So", " I", " say", " **", "B", "**", " and", " not", " A", " here", ".", "[[", "B", "]]"]
    tokens = tuple(Token(word, -0.1, at=at) for at, word in enumerate(words))

    assert [one.at for one in label_tokens(Reply("", tokens=tokens), ("A", "B"))] == [1, 2, 5, 9, 12, 13, 14]
    assert label_tokens(Reply("", tokens=tokens[:4]), ()) == tokens[:4]
