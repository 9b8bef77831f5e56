"""Every call goes through the journal and the budget."""

import asyncio

import pytest

from jurist.engines.caller import Caller, Purse
from jurist.engines.engine import Ask, Reply
from jurist.errors import BudgetSpent, CallFailed
from jurist.journal import Journal
from jurist.records import Message, Usage


class Counting:
    """Answers with a number, one dollar a call."""

    name = "counting"

    def __init__(self) -> None:
        self.sent: list[Ask] = []
        self.fail_at: set[int] = set()

    async def answer(self, ask):
        self.sent.append(ask)
        await asyncio.sleep(0.001)
        if len(self.sent) in self.fail_at:
            raise CallFailed("gave nothing")
        return Reply(f"reply {len(self.sent)}", usage=Usage(tokens_in=10, tokens_out=2), cost=1.0)

    async def close(self):
        pass


class CountingMany(Counting):
    async def answer_many(self, ask, n):
        self.sent.append(ask)
        return [Reply(f"draw {i} of {len(self.sent)}", cost=1.0) for i in range(n)]


def ask(text, **fields):
    return Ask((Message("user", text),), **fields)


def with_caller(tmp_path, work, engine=None, cap=None):
    engine = engine or Counting()

    async def main():
        journal = Journal(tmp_path / "journal.sqlite")
        purse = Purse(cap, journal.usd_before)
        try:
            return await work(Caller(engine, journal, purse)), purse
        finally:
            journal.close()

    result, purse = asyncio.run(main())
    return result, engine, purse


def test_a_question_asked_before_is_not_sent_again(tmp_path):
    async def twice(caller):
        return [await caller.answer(ask("hello")), await caller.answer(ask("hello"))]

    (one, two), engine, purse = with_caller(tmp_path, twice)
    (again, _), later, _ = with_caller(tmp_path, twice)

    assert one == two == again
    assert one.call
    assert (len(engine.sent), len(later.sent)) == (1, 0)
    assert (purse.calls, purse.kept, purse.paid) == (1, 1, 1.0)


def test_the_same_question_asked_at_once_is_sent_once(tmp_path):
    async def together(caller):
        return await asyncio.gather(*(caller.answer(ask("hello")) for _ in range(5)))

    replies, engine, _ = with_caller(tmp_path, together)

    assert len(engine.sent) == 1
    assert {reply.text for reply in replies} == {"reply 1"}


@pytest.mark.parametrize(
    "other",
    [ask("hello!"), ask("hello", temperature=0.5), ask("hello", sample=1), ask("hello", top_logprobs=5)],
)
def test_anything_that_changes_the_answer_makes_another_call(tmp_path, other):
    async def both(caller):
        await caller.answer(ask("hello"))
        await caller.answer(other)

    _, engine, _ = with_caller(tmp_path, both)

    assert len(engine.sent) == 2


def test_another_model_is_another_call(tmp_path):
    async def one(caller):
        await caller.answer(ask("hello"))

    with_caller(tmp_path, one)
    other = Counting()
    other.name = "another model"
    with_caller(tmp_path, one, other)

    assert len(other.sent) == 1


def test_a_failed_call_is_not_kept_and_is_tried_again_next_time(tmp_path):
    engine = Counting()
    engine.fail_at = {1}

    async def one(caller):
        with pytest.raises(CallFailed):
            await caller.answer(ask("hello"))
        return await caller.answer(ask("hello"))

    reply, engine, _ = with_caller(tmp_path, one, engine)

    assert reply.text == "reply 2"


def test_more_draws_of_a_question_send_only_the_new_ones(tmp_path):
    async def four(caller):
        return await caller.answer_many(ask("hello", seed=7), 4)

    async def six(caller):
        return await caller.answer_many(ask("hello", seed=7), 6)

    first, engine, _ = with_caller(tmp_path, four)
    second, later, _ = with_caller(tmp_path, six)

    assert second[:4] == first
    assert [sent.seed for sent in engine.sent] == [7, 8, 9, 10]
    assert [sent.seed for sent in later.sent] == [11, 12]


def test_several_draws_are_one_request_where_the_engine_can(tmp_path):
    async def four(caller):
        return await caller.answer_many(ask("hello"), 4)

    replies, engine, purse = with_caller(tmp_path, four, CountingMany())
    again, later, _ = with_caller(tmp_path, four, CountingMany())

    assert len({reply.text for reply in replies}) == 4
    assert (len(engine.sent), len(later.sent), purse.calls) == (1, 0, 4)
    assert again == replies


def test_the_budget_stops_the_spending_and_what_was_bought_is_kept(tmp_path):
    async def twenty(caller):
        return await asyncio.gather(
            *(caller.answer(ask(f"question {i}")) for i in range(20)), return_exceptions=True
        )

    async def one_by_one(caller):
        for i in range(5):
            await caller.answer(ask(f"question {i}"))
        with pytest.raises(BudgetSpent, match=r"budget of \$5 .*higher --budget"):
            await caller.answer(ask("one too many"))

    with_caller(tmp_path, one_by_one, cap=5.0)
    outcomes, engine, purse = with_caller(tmp_path, twenty, cap=5.0)

    assert len(engine.sent) == 0
    assert purse.kept == 5
    assert sum(isinstance(outcome, BudgetSpent) for outcome in outcomes) == 15
