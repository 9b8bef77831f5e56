"""The budget holds for any calls, costs, ends and cancellations."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurist.engines.budget import Budget
from jurist.engines.engine import Reply
from jurist.errors import BudgetSpent, Interrupted

ENDS = st.sampled_from(["pay", "pay", "pay", "lose", "release", "again"])
TICKS = {"start": st.integers(0, 8), "ticks": st.integers(0, 6), "cancel": st.none() | st.integers(0, 12)}
MONEY = {
    "most": st.just(0.0) | st.floats(1e-9, 3.0),
    "share": st.floats(0.0, 1.0),
    "replies": st.integers(1, 4),
}
CALL = st.fixed_dictionaries({**MONEY, **TICKS, "end": ENDS})
PLAIN = {"most": 1.0, "share": 1.0, "replies": 1, "ticks": 3, "start": 0, "end": "pay", "cancel": None}


async def ticks(n):
    for _ in range(n):
        await asyncio.sleep(0)


class Books:
    """A journal's sums: its disk has room for so many replies, and is slow."""

    def __init__(self, spent=0.0, uncertain=0.0, room=1_000, slow=2):
        self.spent, self.uncertain, self.room, self.slow = spent, uncertain, room, slow

    def __len__(self):
        return 0  # calls that were never answered are on the books of an empty journal, too

    def has_room(self, replies):
        return replies <= self.room

    def committed(self):
        return ticks(self.slow)

    def add_uncertain(self, usd):
        self.uncertain += usd


def simulate(cap, calls, over=1.0, **disk):
    """Every call from its reservation to its end, while the sums are watched at each step."""
    books, lost, excess = Books(**disk), [], [0.0]
    budget = Budget(cap, books)

    def watch(*_):
        committed = budget.spent + budget.uncertain + budget.reserved
        assert budget.replies_under_way <= books.room
        assert committed <= cap * (1 + 1e-9) + sum(excess)

    books.set_open = watch

    async def one(call):
        await ticks(call["start"])
        for _ in range(3 if call["end"] == "again" else 1):
            reserved = await budget.reserve("engine", call["most"], call["replies"])
            cost, end = call["most"] * call["share"] * over, call["end"]
            try:
                await ticks(call["ticks"])
            except asyncio.CancelledError:
                end = "lose"
                raise
            finally:
                if end == "lose":
                    lost.append(reserved.usd)
                    budget.lose(reserved)
                elif end == "pay":
                    excess.append(max(0.0, cost - reserved.usd))
                    budget.pay(reserved, [Reply("", cost=cost)])
                else:
                    budget.release(reserved)

    async def cancel(task, after):
        await ticks(after)
        task.cancel()

    async def main():
        tasks = [asyncio.create_task(one(call)) for call in calls]
        cancelled = [(task, call["cancel"]) for call, task in zip(calls, tasks, strict=True)]
        async with asyncio.timeout(5):  # nobody waits for ever
            await asyncio.gather(*(cancel(*one) for one in cancelled if one[1] is not None))
            return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(main())
    watch()
    assert (budget.under_way, budget.replies_under_way, budget.reserved) == (0, 0, 0.0)
    assert budget.uncertain == books.uncertain == pytest.approx(sum(lost))
    assert {type(one) for one in results} <= {type(None), BudgetSpent, asyncio.CancelledError}
    return budget, results


@settings(max_examples=60, deadline=None)
@given(st.floats(0.01, 12), st.lists(CALL, max_size=16), st.integers(0, 2), st.integers(4, 9))
def test_what_is_committed_never_exceeds_the_cap_and_nobody_waits_for_ever(cap, calls, slow, room):
    budget, results = simulate(cap, calls, slow=slow, room=room)

    assert budget.stopped is None or any(isinstance(one, BudgetSpent) for one in results)


@settings(max_examples=25, deadline=None)
@given(st.lists(CALL, max_size=16), st.floats(1.5, 20))
def test_what_is_billed_above_its_worst_case_raises_later_reservations_once(calls, over):
    budget, _ = simulate(4.0, calls, over)

    worst = max(1.0, *(call["share"] * over for call in [*calls, PLAIN | {"share": 0.0}]))
    assert budget.overbilled.get("engine", 1.0) <= worst * 1.001
    assert len(budget.warnings) == bool(budget.overbilled)


def test_what_was_billed_above_its_worst_case_is_set_aside_the_next_time():
    async def main():
        budget = Budget(10.0)
        budget.pay(await budget.reserve("engine", 1.0), [Reply("", cost=3.0)])
        return [(await budget.reserve(name, 1.0)).usd for name in ("engine", "another")]

    assert asyncio.run(main()) == [3.0, 1.0]


def test_all_of_the_budget_can_be_used_and_not_even_a_free_call_leaves_after_that():
    budget, results = simulate(10.0, [PLAIN] * 15)

    assert (budget.spent, results.count(None)) == (10.0, 10)
    told = "Stopped: budget of $10.00 reached ($10.0000 spent; the next call may cost $1.0000)"
    assert told in str(results[-1])
    with pytest.raises(BudgetSpent, match=r"\$0.4000 spent and \$0.6000 possibly billed for lost calls"):
        asyncio.run(Budget(1.0, Books(0.4, 0.6)).reserve("engine", 0.0))


def test_a_call_that_does_not_fit_waits_for_those_under_way_and_a_smaller_one_does_not():
    async def main():
        budget, order = Budget(10.0), []

        async def one(name, most, cost, n):
            reserved = await budget.reserve("engine", most)
            order.append(name)
            await ticks(n)
            budget.pay(reserved, [Reply("", cost=cost)])

        await asyncio.gather(one("first", 8, 1, 3), one("large", 7, 2, 0), one("small", 1, 1, 0))
        reserved = await budget.reserve("engine", 6.0)
        waiting = asyncio.create_task(budget.reserve("engine", 6.0))
        await ticks(1)
        budget.stop(Interrupted("stopped"))  # wakes whoever waits, and lets what is under way come home
        (got,) = await asyncio.gather(waiting, return_exceptions=True)
        budget.pay(reserved, [Reply("", cost=0.5)])
        return order, type(got), budget.spent, budget.reserved

    assert asyncio.run(main()) == (["first", "small", "large"], Interrupted, 4.5, 0.0)
