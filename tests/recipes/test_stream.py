"""Rows through a bounded window, and the loop they run in."""

import asyncio
import os
import signal
import threading

import pytest

from jurist.engines.budget import Budget
from jurist.engines.engine import Reply
from jurist.errors import BudgetSpent, DataError, Interrupted
from jurist.recipes.stream import HELD, in_order, run_async


def stream(items, work, window):
    """The results, and what was raised."""
    got, error = [], None

    async def main():
        async for one in in_order(items, work, window):
            got.append(one)

    try:
        asyncio.run(main())
    except (BudgetSpent, DataError) as why:
        error = str(why)
    return got, error


def test_rows_come_out_in_order_and_never_more_than_the_window_are_under_way():
    under_way, most = 0, 0

    async def work(n):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.005 if n % 7 == 0 else 0)
        under_way -= 1
        return n

    assert stream(range(60), work, 6)[0] == list(range(60))
    assert most == 6


def test_a_slow_row_holds_back_its_successors_and_not_the_work():
    done, waited = [], asyncio.Event()

    async def work(n):
        if n == 0:
            await asyncio.wait_for(waited.wait(), 5)
        done.append(n)
        if len(done) == 4 * HELD - 1:
            waited.set()
        return n

    assert stream(range(100), work, 4)[0] == list(range(100))
    assert done.index(0) == 4 * HELD - 1


def test_an_error_of_a_row_starts_nothing_new_and_waits_for_what_is_paid_for():
    started, home = [], []

    async def work(n):
        started.append(n)
        if n == 9:
            raise BudgetSpent("spent")
        await asyncio.sleep(0.005)
        home.append(n)
        return n

    got, error = stream(range(1000), work, 10)
    assert error == "spent"
    assert len(started) <= 20
    assert got == sorted(home) == [n for n in started if n != 9]


def test_an_input_that_breaks_lets_the_rows_before_it_through():
    def items():
        yield from range(10)
        raise DataError("line 11 is broken")

    async def work(n):
        await asyncio.sleep(0.001)
        return n

    assert stream(items(), work, 4) == (list(range(10)), "line 11 is broken")


async def calls(budget, seconds):
    """Calls one after another until the budget is stopped, as an engine makes them."""
    while True:
        reserved = await budget.reserve("engine", 0.5)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            budget.lose(reserved)
            raise
        budget.pay(reserved, [Reply("", cost=0.25)])


def press(number, *after):
    for seconds in after:
        threading.Timer(seconds, os.kill, (os.getpid(), number)).start()


USUAL = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


@pytest.mark.parametrize("number", USUAL)
def test_the_first_signal_lets_calls_come_home_and_the_second_gives_them_up(number, capsys):
    budget = Budget()
    press(number, 0.05)
    with pytest.raises(Interrupted, match="run the same command to go on"):
        run_async(calls(budget, 0.15), budget)
    assert (budget.calls, budget.lost, budget.under_way) == (1, 0, 0)
    assert "waiting for 1 calls under way. Press Ctrl-C again to give them up" in capsys.readouterr().err

    budget = Budget()
    press(number, 0.05, 0.1)
    with pytest.raises(Interrupted, match=r"1 calls that were sent are lost and may cost up to \$0\.5000"):
        run_async(calls(budget, 30), budget)
    assert (budget.calls, budget.lost, signal.getsignal(number)) == (0, 1, USUAL[number])


def test_inside_a_running_loop_it_works_in_a_thread_and_an_interrupted_cell_drains():
    async def cell(main, budget=None):
        return run_async(main, budget)

    assert asyncio.run(cell(asyncio.sleep(0, 7))) == 7
    budget = Budget()
    loop = asyncio.new_event_loop()
    press(signal.SIGINT, 0.05)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(Interrupted, match="stopped"):
        loop.run_until_complete(cell(calls(budget, 0.15), budget))
    loop.close()
    assert (budget.calls, budget.lost, budget.under_way) == (1, 0, 0)
