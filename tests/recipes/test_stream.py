"""Rows through a bounded window, and the loop they run in."""

import asyncio
import os
import signal
import threading

import pytest

from jurist.engines.budget import Budget
from jurist.engines.engine import Reply
from jurist.errors import BudgetSpent, DataError, Interrupted
from jurist.recipes.stream import HELD, Stopped, in_order, run_async


def stream(items, work, window):
    stopped, got = Stopped(), []

    async def main():
        async for one in in_order(items, work, window, stopped):
            got.append(one)

    error = None
    try:
        asyncio.run(main())
    except DataError as why:
        error = why
    return got, stopped.reason, error


def test_rows_come_out_in_the_order_they_went_in():
    async def work(n):
        await asyncio.sleep(0.01 if n % 7 == 0 else 0)
        return n

    assert stream(range(100), work, 5)[0] == list(range(100))


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


def test_never_more_rows_under_way_than_the_window_allows():
    under_way, most = 0, 0

    async def work(n):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return n

    stream(range(60), work, 6)
    assert most == 6


def test_a_stop_starts_nothing_new_and_lets_what_is_under_way_come_home():
    started, home = [], []

    async def work(n):
        started.append(n)
        if n == 9:
            raise BudgetSpent("spent")
        await asyncio.sleep(0.005)
        home.append(n)
        return n

    got, reason, error = stream(range(1000), work, 10)
    assert isinstance(reason, BudgetSpent)
    assert error is None
    assert len(started) <= 20
    assert got == sorted(home) == [n for n in started if n != 9]


def test_an_input_that_breaks_lets_the_rows_before_it_through():
    def items():
        yield from range(10)
        raise DataError("line 11 is broken")

    async def work(n):
        await asyncio.sleep(0.001)
        return n

    got, reason, error = stream(items(), work, 4)
    assert (got, reason) == (list(range(10)), None)
    assert str(error) == "line 11 is broken"


def test_an_error_of_one_row_waits_for_the_others_that_are_paid_for():
    home = []

    async def work(n):
        if n == 0:
            raise DataError("this row is wrong")
        await asyncio.sleep(0.005)
        home.append(n)
        return n

    _, _, error = stream(range(8), work, 8)
    assert error is not None
    assert home == list(range(1, 8))


def test_a_row_that_ends_the_job_starts_no_other():
    started = []

    async def work(n):
        started.append(n)
        await asyncio.sleep(0.05 if n == 0 else 0)
        if n == 1:
            raise DataError("this row is wrong")
        return n

    got, _, error = stream(range(1000), work, 4)
    assert (got, str(error)) == ([0], "this row is wrong")
    assert len(started) <= 8


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_calls_come_home_and_the_second_gives_them_up(number, capsys):
    budget = Budget()
    press(number, 0.1)
    with pytest.raises(Interrupted, match="run the same command to go on"):
        run_async(calls(budget, 0.3), budget)
    assert (budget.calls, budget.lost, budget.under_way) == (1, 0, 0)
    assert "waiting for 1 calls under way. Press Ctrl-C again to give them up" in capsys.readouterr().err

    budget = Budget()
    press(number, 0.1, 0.2)
    with pytest.raises(Interrupted, match=r"1 calls that were sent are lost and may cost up to \$0\.5000"):
        run_async(calls(budget, 30), budget)
    assert (budget.calls, budget.lost, signal.getsignal(number)) == (0, 1, usual[number])


usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


def test_inside_a_running_loop_it_works_in_a_thread_and_an_interrupted_cell_drains():
    async def cell(main, budget=None):
        return run_async(main, budget)

    async def seven():
        return 7

    assert asyncio.run(cell(seven())) == 7
    budget = Budget()
    loop = asyncio.new_event_loop()
    press(signal.SIGINT, 0.1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(Interrupted, match="stopped"):
        loop.run_until_complete(cell(calls(budget, 0.3), budget))
    loop.close()
    assert (budget.calls, budget.lost, budget.under_way) == (1, 0, 0)
