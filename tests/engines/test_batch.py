"""Batches: half the price, every row once, and whatever ends the run, the next start goes on."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from jurist import LabelConfig, journal
from jurist import label as label_rows
from jurist.config import settings_from
from jurist.engines import batch
from support.batches import HTTP_FAULTS, ROW_FAULTS, STEPS, batching, quick
from support.cli import run
from support.job import at, label, pairs, records, sound, summary, write
from support.replies import question

BATCH = ("--judge.engine.batch", "true")
PRICES = (
    "--judge.engine.price.input",
    1,
    "--judge.engine.price.output",
    2,
    "--judge.engine.give_up_after",
    5,
)
KINDS = ("openai", "anthropic")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quick(monkeypatch)
    write("pairs.jsonl", pairs(30))


def in_batches(vendor, *words, kind="openai", **job):
    return label(at(vendor, kind), *BATCH, *PRICES, *words, **job)


def number(request):
    """Which row it is of."""
    return int(question(request).split()[2])


def books(path="run/journal.sqlite"):
    with closing(sqlite3.connect(path)) as kept:
        return kept.execute("select usd, uncertain_usd + open_usd from spent").fetchone()


def sent(vendor):
    """How often each request was put into a batch."""
    rows = [json.dumps(row) for one in vendor.batches for row in one.rows.values()]
    return len(rows), len(set(rows))


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_in_a_batch_costs_half_of_a_live_one(kind):
    with batching(sound, price=(1, 2)) as vendor:
        assert in_batches(vendor, kind=kind).code == 0
        assert (len(vendor.batches), sent(vendor), vendor.asked["create"]) == (1, (60, 60), 1)
        assert summary()["usd"] == pytest.approx(vendor.dollars)
        assert in_batches(vendor, kind=kind).code == 0
        assert (len(vendor.log), summary()["calls_kept"]) == (60, 60)
        live = label(at(vendor, kind), *PRICES, out="live")
    assert (live.code, summary("live")["usd"]) == (0, pytest.approx(2 * summary()["usd"]))
    assert records("preferences") == records("preferences", "live")


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_comes_once_or_is_dropped_with_a_reason(kind):
    fates = dict(enumerate(ROW_FAULTS))
    with batching(sound, price=(1, 2), row_faults=lambda request: fates.get(number(request))) as vendor:
        assert in_batches(vendor, kind=kind).code == 0
    assert (summary()["labels"], summary()["unread"]) == (29, {"call_refused": 2})
    live = sorted(ROW_FAULTS[number(one.body)] for one in vendor.log if one.model != "batch")
    assert live == sorted(2 * ["500", "expired", "missing", "unreadable", "half", "odd"])
    unseen = ("missing", "half", "odd", "unreadable", "no usage")
    usd, uncertain = books()
    seen = sum(one.dollars for one in vendor.log if one.fault not in unseen)
    assert seen < usd
    assert vendor.dollars < usd + uncertain
    assert summary()["uncertain_calls"] == 8


@pytest.mark.parametrize("kind", KINDS)
def test_faults_on_the_way_send_nothing_twice(kind):
    def some(step, attempt):
        return HTTP_FAULTS[attempt] if step in STEPS and attempt < len(HTTP_FAULTS) else None

    with batching(sound, price=(1, 2), http_faults=some) as vendor:
        done = in_batches(vendor, kind=kind)
    assert (done.code, summary()["labels"], summary()["retries"] > 10) == (0, 30, True)
    assert (len(vendor.batches), sent(vendor)) == (1, (60, 60))
    assert summary()["usd"] == pytest.approx(vendor.dollars)


def test_a_budget_holds_and_what_it_leaves_over_goes_with_a_higher_one():
    with batching(sound, price=(1, 2), took=0.1) as vendor:
        stopped = in_batches(vendor, "--budget", "0.004usd", pairs=pairs(60))
        assert (stopped.code, summary()["state"]) == (3, "stopped")
        assert 0.002 < vendor.dollars <= 0.004
        assert in_batches(vendor, "--budget", "1usd", pairs=pairs(60)).code == 0
    assert (summary()["labels"], len(vendor.log)) == (60, 120)
    assert summary()["usd"] == pytest.approx(vendor.dollars)


def test_a_parameter_that_is_refused_is_left_out_of_the_next_batch():
    with batching(sound, refuses=["logprobs"]) as vendor:
        assert in_batches(vendor).code == 0
    assert [("logprobs" in next(iter(one.rows.values()))) for one in vendor.batches] == [True, False]
    assert (summary()["labels"], len(vendor.log), sent(vendor)) == (30, 60, (120, 120))


def test_fewer_calls_than_a_batch_is_worth_go_live():
    with batching(sound) as vendor:
        assert in_batches(vendor, pairs=pairs(12)).code == 0
    assert (vendor.batches, len(vendor.log)) == ([], 24)


def test_a_full_queue_is_sent_at_once_and_batches_run_side_by_side(monkeypatch):
    monkeypatch.setattr(batch, "SIZE", 100)
    monkeypatch.setattr(batch, "AT_ONCE", 7)
    with batching(sound) as vendor:
        assert (
            label(at(vendor, "openai"), *BATCH, "--judge.engine.concurrency", 4, pairs=pairs(120)).code == 0
        )
    assert (len(vendor.batches[0].rows), max(len(one.rows) for one in vendor.batches)) == (100, 100)
    assert (len(vendor.log), summary()["labels"]) == (240, 120)


def test_judges_that_ask_one_model_fill_one_batch_and_the_progress_says_how_far_it_is():
    seen = set()
    with batching(sound) as vendor:
        engine = {"engine": at(vendor, "openai"), "batch": True}
        judges = tuple({"engine": engine, "name": name, "against_length": name == "b"} for name in "ab")
        cfg = settings_from(LabelConfig, {"pairs": "pairs.jsonl", "judge": judges, "out": "run"})
        label_rows(cfg, lambda now: seen.add(now.facts()["doing"]))
    assert [len(one.rows) for one in vendor.batches] == [120]
    assert any(one.startswith("batch 1: ") and one.endswith(" of 120 done") for one in seen)


REFUSED = [("openai", "refuses_batch"), ("anthropic", "refuses_batch"), ("openai", "fails_batch")]


@pytest.mark.parametrize(("kind", "how"), REFUSED)
def test_a_batch_that_the_vendor_refuses_stops_the_run_and_costs_nothing(kind, how):
    with batching(sound, **{how: "this model takes no batches"}) as vendor:
        done = in_batches(vendor, kind=kind)
        assert (done.code, "this model takes no batches" in done.line) == (2, True)
        assert "leave out batch" in done.line
        assert "goes on" not in done.out
        vendor.refuses_batch = vendor.fails_batch = ""
        assert in_batches(vendor, kind=kind).code == 0
    assert (summary()["labels"], books()) == (30, (pytest.approx(summary()["usd"]), 0.0))


def test_a_vendor_that_asks_to_wait_for_hours_stops_the_run():
    with batching(sound, retry_after=7200, http_faults=lambda step, attempt: "429") as vendor:
        done = in_batches(vendor)
        assert (done.code, "no batch gets through: HTTP 429" in done.line) == (2, True)
        assert "leave out batch" not in done.line


@pytest.mark.parametrize("engine", ["vllm:judge", "tiny:careful", "scripted:json:dumps"])
def test_where_there_are_no_batches_it_says_so(engine):
    done = label(engine, *BATCH)
    assert (done.code, "takes no batches" in done.line) == (2, True)


def test_a_price_by_the_hour_is_refused():
    done = label("openai:judge", *BATCH, "--judge.engine.price.gpu_hour", 2)
    assert (done.code, "no price per hour" in done.line) == (2, True)


def test_an_estimate_is_half_too():
    words = ("estimate", "--pairs", "pairs.jsonl", "--judge", "openai:gpt-4.1-mini", "--json")
    halved, whole = run(*words, *BATCH).json["usd"], run(*words).json["usd"]
    assert halved == pytest.approx(whole / 2)


def interrupt(step, attempt):
    """Ctrl-C at the first look."""
    if (step, attempt) == ("look", 0):
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c_stops_waiting_at_once_and_the_next_start_collects(kind, monkeypatch):
    with batching(sound, price=(1, 2), took=3600.0, http_faults=interrupt) as vendor:
        done = in_batches(vendor, kind=kind)
        assert done.code == 130
        assert "batch batch_0 of 60 requests goes on at" in done.line
        assert "run the same command" in done.line
        assert books() == (0.0, 0.0)  # known, and neither spent nor uncertain
        live = label(at(vendor, kind), *PRICES)
        assert (live.code, "would be paid for twice. Collect it first, with: " in live.line) == (2, True)
        vendor.took = 0.1
        monkeypatch.setattr(journal, "WINDOW_SECONDS", 0.3)  # they are asked for while they are being kept
        again = in_batches(vendor, "--budget", "1usd", kind=kind)
    assert (again.code, summary()["labels"], sent(vendor), len(vendor.log)) == (0, 30, (60, 60), 60)
    assert books() == (pytest.approx(vendor.dollars), 0.0)


def test_rows_that_nobody_asks_for_any_more_are_kept_all_the_same():
    with batching(sound, price=(1, 2), took=3600.0, http_faults=interrupt) as vendor:
        in_batches(vendor)
        vendor.took = 0.1
        assert in_batches(vendor, "--limit", 5).code == 0
        assert (summary()["labels"], books()) == (5, (pytest.approx(vendor.dollars), 0.0))
        assert in_batches(vendor).code == 0
    assert (summary()["labels"], len(vendor.log), summary()["calls_kept"]) == (30, 60, 60)


QUICK = "from support.batches import quick; quick(); from jurist.cli import main; main()"


def started(vendor, kind, *words):
    named = ("label", "--pairs", "pairs.jsonl", "--judge", at(vendor, kind), *BATCH, *PRICES, "--out", "run")
    paths = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    argv = [sys.executable, "-c", QUICK, *map(str, (*named, *words))]
    return subprocess.Popen(argv, env=os.environ | {"PYTHONPATH": paths}, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("moment", ["upload", "create", "look", "read", "lost"])
def test_killed_at_any_step_it_goes_on(kind, moment):
    if (kind, moment) == ("anthropic", "upload"):
        pytest.skip("nothing is uploaded")
    jobs = []

    def kill(step, attempt):
        if step == ("create" if moment == "lost" else moment) and len(jobs) == 1:
            jobs.append(jobs[0].kill())
            return None if moment == "lost" else "drop"
        return None

    with batching(sound, price=(1, 2), http_faults=kill) as vendor:
        jobs.append(started(vendor, kind, "--budget", "1usd"))
        jobs[0].communicate()
        again = in_batches(vendor, "--budget", "1usd", kind=kind)
    assert (again.code, summary()["labels"], sent(vendor)) == (0, 30, (60, 60))
    assert books() == (pytest.approx(vendor.dollars), 0.0)
