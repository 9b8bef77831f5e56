"""One budget for many blocks: together they never spend more than the cap, whoever is lost on the way."""

import asyncio
import random
from collections import Counter
from contextlib import ExitStack, closing, suppress

import pytest

from jurist.cluster import ledger as ledgers
from jurist.cluster import worker as workers
from jurist.cluster.ledger import Books, Ledger, Tally, add_up
from jurist.cluster.worker import LeasedBudget
from jurist.engines.engine import Reply
from jurist.errors import BudgetSpent, Interrupted
from jurist.journal import Journal
from jurist.preferences.decide import Counts, JudgeCounts
from jurist.records import Usage


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.json"


class Bank:
    """The ledger behind messages that take a moment, and that is lost now and then."""

    def __init__(self, path, cap, before=0.0, loses=0.0, dice=None):
        self.how, self.loses, self.dice = (str(path), cap, before), loses, dice or random.Random(0)
        self.ledger = Ledger(*self.how)

    def budget(self, journal, block):
        async def lease(*said):
            await asyncio.sleep(0)
            for _ in range(2):  # delivered twice, as after a ledger that was lost
                got = self.ledger.lease(block, *said)
                if self.dice.random() < self.loses:
                    self.ledger = Ledger(*self.how)
            return got

        return LeasedBudget(journal, lease, self.how[1] is not None)


@pytest.mark.parametrize("seed", range(4))
def test_blocks_together_never_commit_more_than_the_cap_and_use_it_up(path, tmp_path, seed, monkeypatch):
    monkeypatch.setattr(workers, "ASK_AGAIN", 0.001)
    dice, cap, before = random.Random(seed), 20.0, 3.0
    bank = Bank(path, cap, before, loses=0.05, dice=dice)
    ended, live = [], {}

    def committed():
        return before + sum(ended) + sum(one.committed for one in live.values())

    async def block(number):
        for attempt in range(3):
            with ExitStack() as opened:
                journal = Journal(tmp_path / f"{number}.sqlite")
                opened.callback(journal.close)
                budget = live[number] = bank.budget(journal, number)
                bank.ledger.begin(number, budget.committed)
                killed = attempt < 2 and dice.random() < 0.3
                with suppress(BudgetSpent):
                    await asyncio.gather(*(call(budget) for _ in range(4 if killed else 18)))
                if not killed:
                    ended.append(live.pop(number).committed)
                    bank.ledger.end(number, ended[-1])
                    bank.ledger.end(number, ended[-1])
                    return
            bank.ledger.lose(number)

    async def call(budget):
        most = dice.uniform(0.05, 0.6)
        reserved = await budget.reserve("judge", most)
        assert committed() <= cap + 1e-9
        await asyncio.sleep(dice.uniform(0, 0.002))
        if dice.random() < 0.1:
            budget.lose(reserved)
        else:
            budget.pay(reserved, [Reply("A", cost=most * dice.uniform(0.2, 1.0))])
        assert committed() <= cap + 1e-9

    async def main():
        async with asyncio.timeout(20):
            await asyncio.gather(*map(block, range(8)))

    asyncio.run(main())
    assert cap - 2.0 < committed() <= cap + 1e-9  # a lost block's lease may have been spent


def test_an_actor_gets_a_part_of_what_is_left_and_gives_back_what_it_does_not_spend(path):
    books = Ledger(str(path), 10.0, 2.0)
    for actor in "ab":
        books.report(actor, 0, Tally())

    assert books.lease(0, 0.0, 0.1, False) == (pytest.approx(1.0), None)  # of $8, an eighth
    assert books.lease(1, 0.0, 3.0, False) == (3.0, None)  # what one call may cost, at the least
    books.end(1, 0.5)
    books.end(1, 0.5)  # delivered twice
    assert books._books.ended == 0.5
    assert books.lease(2, 0.0, 6.5, False) == (6.5, None)
    assert books.lease(3, 0.0, 0.1, True) == (0.0, None)  # nothing is left, but others may give back
    assert books.lease(2, 6.0, 0.6, True)[0] == 6.0
    assert books.lease(3, 0.0, 0.1, True)[0] == 0.1
    assert Ledger(str(path), 10.0, 2.0)._books == books._books


def test_it_stops_when_all_that_are_left_wait_for_money(path):
    books = Ledger(str(path), 1.0, 0.0)
    for block in range(3):
        books.begin(block, 0.3)
    assert books.lease(0, 0.3, 0.2, True) == (0.3, None)
    books = Ledger(str(path), 1.0, 0.0)  # it was lost: who waits has to say so again
    assert books.lease(1, 0.3, 0.2, True) == (0.3, None)
    books.lose(2)
    assert books.lease(1, 0.3, 0.2, True)[1] is None
    assert isinstance(books.lease(0, 0.3, 0.2, True)[1], BudgetSpent)


def test_nothing_leaves_by_an_old_lease_while_a_block_asks_for_more(tmp_path):
    async def main():
        answered = asyncio.Event()

        async def lease(committed, usd, idle):
            await answered.wait()
            return committed, None  # refused: only what was committed then is left to it

        with closing(Journal(tmp_path / "journal.sqlite")) as journal:
            budget = LeasedBudget(journal, lease, True)
            budget.cap = 1.0
            under_way = await budget.reserve("judge", 0.8)
            large = asyncio.create_task(budget.reserve("judge", 0.5))
            await asyncio.sleep(0)
            small = asyncio.create_task(budget.reserve("judge", 0.1))
            await asyncio.sleep(0.01)
            answered.set()
            await asyncio.sleep(0.01)
            found = budget.committed, budget.cap
            for one in (large, small):
                one.cancel()
            await asyncio.gather(large, small, return_exceptions=True)
            budget.release(under_way)
        return found

    assert asyncio.run(main()) == (0.8, 0.8)


def test_without_a_budget_there_is_no_lease_and_no_file(path, tmp_path):
    books = Ledger(str(path), None, 0.0)
    books.begin(0, 0.0)
    assert books.lease(0, 5.0, 1.0, True) == (float("inf"), None)
    assert not path.exists()
    assert asyncio.run(Bank(path, None).budget(None, 0).reserve("judge", 1e9)).most == 1e9


def test_a_stop_reaches_whoever_reports(path):
    books = Ledger(str(path), None, 0.0)
    books.look(Interrupted("stopped"))
    assert isinstance(books.report("a", 0, Tally())[1], Interrupted)


def test_rate_limits_are_shared_by_those_heard_from_lately(path, monkeypatch):
    books, now = Ledger(str(path), None, 0.0), [100.0]
    monkeypatch.setattr(ledgers.time, "monotonic", lambda: now[0])
    assert [books.report(actor, 0, Tally())[0] for actor in "abca"] == [1, 2, 3, 3]
    now[0] += ledgers.HEARD_WITHIN
    assert books.report("a", 0, Tally())[0] == 1


def test_tallies_add_up_field_by_field():
    one = Tally(rows=2, spent=0.5, usage=Usage(1, 0, 2), counts=Counts(judges={"a": JudgeCounts(verdicts=3)}))
    one.counts.dropped = Counter({"x: y": 1})
    other = Tally(rows=1, counts=Counts(prompts=1, judges={"a": JudgeCounts(verdicts=1), "b": JudgeCounts()}))
    other.counts.dropped = Counter({"x: y": 2, "z: w": 1})
    both = add_up(one, other)
    assert (both.rows, both.spent, both.usage, both.counts.prompts) == (3, 0.5, Usage(1, 0, 2), 1)
    assert both.counts.judges["a"].verdicts == 4
    assert both.counts.dropped == {"x: y": 3, "z: w": 1}
    assert both.counts.dropped.most_common(1) == [("x: y", 3)]
    assert (one.rows, Books().ended) == (2, 0.0)
