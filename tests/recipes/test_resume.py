"""What was asked once is never asked again: not after a kill, not when only something else has changed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from jobs import accounted, at, everything, lines, run, settings, write_pairs
from msgspec.structs import replace

from jurist.errors import BudgetSpent, DataError
from jurist.recipes.label import sample
from jurist.recipes.stream import HELD, Stopped, in_order
from jurist.serve import serving
from jurist.tiny import judges


@pytest.fixture
def served():
    with serving(judges.BY_NAME) as server:
        yield server


def test_a_run_started_again_asks_nothing_and_makes_the_same_files(tmp_path, served):
    write_pairs(tmp_path)
    run(tmp_path, at(served, "stumbling"))
    before = everything(tmp_path)
    again = run(tmp_path, at(served, "stumbling"))
    assert served.stats.calls == 40
    assert (again.calls, again.calls_kept) == (0, 40)
    assert everything(tmp_path) == before


def test_after_kill_9_only_what_was_in_flight_is_asked_again(tmp_path):
    write_pairs(tmp_path, 90)
    with serving(judges.stumbling, latency=0.04) as served:
        judge = at(served, "any", concurrency=8)
        words = ["label", "--pairs", str(tmp_path / "pairs.jsonl"), "--out", str(tmp_path / "run")]
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(json.dumps({"judge": judge}))
        code = "from jurist.cli import main; main()"
        job = subprocess.Popen([sys.executable, "-c", code, *words, "--recipe", str(recipe)])
        while served.stats.answered.total() < 60:
            assert job.poll() is None
            time.sleep(0.002)
        in_flight = served.stats.in_flight
        os.kill(job.pid, signal.SIGKILL)
        job.wait()
        asked = served.stats.calls
        summary = run(tmp_path, judge)
        again = served.stats.calls - len(served.stats.seen)
        assert len(served.stats.seen) == 180
        # One commit window is 20 ms and a commit: at 8 per 40 ms, less than two rounds.
        assert again <= in_flight + 16
        assert summary.calls_kept >= asked - in_flight - 16
        assert accounted(tmp_path)
        killed = everything(tmp_path)
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    write_pairs(undisturbed, 90)
    with serving(judges.stumbling) as served:
        run(undisturbed, at(served, "any"))
    assert everything(undisturbed) == killed


def test_rows_added_to_the_file_are_all_that_is_asked(tmp_path, served):
    write_pairs(tmp_path, 20)
    run(tmp_path, at(served))
    write_pairs(tmp_path, 25)
    summary = run(tmp_path, at(served))
    assert served.stats.calls == 50
    assert (summary.prompts, summary.calls) == (25, 10)


def test_a_second_judge_costs_only_its_own_calls(tmp_path, served):
    write_pairs(tmp_path)
    run(tmp_path, at(served))
    summary = run(tmp_path, [at(served), at(served, "longer")])
    assert served.stats.calls == 80
    assert (summary.calls, summary.calls_kept) == (40, 40)


def test_another_way_of_reading_asks_nothing(tmp_path, served, monkeypatch):
    from jurist.verdicts import pairwise

    write_pairs(tmp_path)
    run(tmp_path, at(served))
    before = [one["p_first"] for one in lines(tmp_path, "verdicts")]
    ours = pairwise.read_choice
    monkeypatch.setattr(pairwise, "read_choice", lambda *said: replace(ours(*said), p_first=0.25))
    run(tmp_path, at(served))
    after = [one["p_first"] for one in lines(tmp_path, "verdicts")]
    assert served.stats.calls == 40
    assert set(after) == {0.25} != set(before)


def test_labelling_goes_on_from_what_was_sampled(tmp_path, served):
    prompts = [{"prompt": f"What is {n} plus 100?"} for n in range(10)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    job = settings(tmp_path, at(served), prompts="prompts.jsonl", policy=["tiny:careful", "tiny:wordy"])
    sampled = sample(job)
    summary = run(tmp_path, at(served), prompts="prompts.jsonl", policy=["tiny:careful", "tiny:wordy"])
    assert (sampled.calls, sampled.completions) == (20, summary.completions)
    assert summary.calls_kept == 20


def test_a_row_that_ends_the_job_costs_nothing_that_was_asked_before_it(tmp_path, served):
    write_pairs(tmp_path, 40)
    with (tmp_path / "pairs.jsonl").open("a") as file:
        file.write('{"prompt": "What is 1 plus 2?", "fir')
    with pytest.raises(DataError, match=r"pairs\.jsonl:41"):
        run(tmp_path, at(served))
    write_pairs(tmp_path, 40)
    summary = run(tmp_path, at(served))
    assert served.stats.calls == 80
    assert (summary.calls, summary.calls_kept) == (0, 80)


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
