"""Stopped in any way, a run goes on where it was: what was answered is kept, and only the rest is asked."""

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from jurist import LabelConfig
from jurist import label as label_rows
from support.cli import run, spawn
from support.job import at, chosen, label, label_by, pairs, sound, summary, write
from support.replies import question
from support.server import serving

FILES = ("prompts", "completions", "matchups", "preferences", "export/trl/train")


def kept(out="run"):
    """Calls in the journal."""
    with closing(sqlite3.connect(Path(out) / "journal.sqlite")) as journal:
        return journal.execute("select count(*) from calls").fetchone()[0]


def wait(until, seconds=20):
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def beside(act):
    """In a thread, until the end of the block."""
    thread = threading.Thread(target=act)
    thread.start()
    yield
    thread.join()


def test_after_kill_9_only_what_was_not_kept_is_asked_again():
    write("pairs.jsonl", pairs(60))
    with serving(sound, latency=0.02) as server:
        job = spawn("label", "--pairs", "pairs.jsonl", "--judge", at(server), "--out", "run")
        wait(lambda: server.answered >= 40)
        job.kill()
        job.communicate()
    with serving(sound) as server:
        asked = 120 - kept()
        assert label(server).code == 0
        assert 0 < asked == len(server.log) < 120
        label(server, out="undisturbed")
    for name in FILES:
        assert Path(f"run/{name}.jsonl").read_bytes() == Path(f"undisturbed/{name}.jsonl").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_waits_for_what_was_sent(number):
    def interrupt():
        wait(lambda: server.answered and server.in_flight > 4)
        os.kill(os.getpid(), number)

    with serving(sound, latency=0.1) as server, beside(interrupt):
        done = label(server, pairs=pairs(40))
    assert len(server.log) == server.answered == kept() < 80
    assert done.code in (130, 128 + number)
    assert done.err.splitlines()[-1].startswith("jurist: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_inside_a_running_loop_a_signal_does_the_same(number):
    def interrupt():
        wait(lambda: server.answered and server.in_flight > 4)
        os.kill(os.getpid(), number)

    async def cell():
        return label_rows(LabelConfig(pairs=pairs(40), judge=at(server), out="run"))

    with serving(sound, latency=0.1) as server, beside(interrupt):
        assert asyncio.run(cell()).ended_by == "interrupt"
    assert len(server.log) == server.answered == kept() < 80


def test_a_second_signal_says_how_many_calls_are_lost():
    lost = []

    def interrupt_twice():
        wait(lambda: server.answered and server.in_flight)
        for pause in (0.1, 0.3):
            time.sleep(pause)
            lost.append(server.in_flight)
            os.kill(os.getpid(), signal.SIGINT)

    late = lambda request: 0.01 if len(server.log) < 4 else 30.0  # noqa: E731
    with serving(sound, latency=late) as server, beside(interrupt_twice):
        done = label(server)
    assert done.code == 130
    assert str(lost[-1]) in done.err.splitlines()[-1].split()


def test_a_run_that_is_going_on_says_so():
    said, enough = [], threading.Event()

    def judge(request):
        enough.wait(20)
        return sound(request)

    def going_on():
        label_rows(LabelConfig(pairs="pairs.jsonl", judge=at(server), out="run"))

    with serving(judge) as server, beside(going_on):
        wait(lambda: server.in_flight)
        said += [*(run(verb, "run") for verb in ("show", "audit", "export")), label(server)]
        enough.set()
    assert [one.code for one in said] == [2, 2, 2, 2]
    assert all(str(os.getpid()) in one.line for one in said)


def test_a_full_disk_loses_no_answer(here):
    disk = here / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk here")
    try:
        write("pairs.jsonl", pairs(400))
        with serving(sound, latency=0.02) as server:
            done = label(server, out="disk/run")
        assert (done.code, server.answered) == (2, kept("disk/run"))
        assert "disk is full" in done.line
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_new_rows_and_new_judges_ask_only_for_themselves():
    with serving(sound) as server:
        label(server)
        write("pairs.jsonl", pairs(15))
        label(server)
        assert len(server.log) == 30
        label(server, "--judge", "shorter", "--judge", at(server), "--judge.2.against_length", "true")
        assert len(server.log) == 60
        label(server, "--judge.engine.timeout", 60, "--prefer.min_margin", 0.1)
        assert len(server.log) == 60
    assert len(chosen()) == 15


@pytest.mark.parametrize("served", ["step-100", "step-200"])
def test_another_address_asks_again_only_for_another_checkpoint(served):
    _, server = label_by(sound, served="step-100")
    _, server = label_by(sound, served=served)
    assert sum(record.answered for record in server.log) == (0 if served == "step-100" else 24)


def test_a_failure_is_not_kept_and_is_asked_again():
    def moody(request):
        number = int(question(request).split()[2])
        return {"status": 400, "text": "no"} if number >= 6 else sound(request)

    with serving(moody) as server:
        assert label(server).code == 0
        assert summary()["unread"] == {"call_refused": 12}
    _, server = label_by(sound)
    assert (summary()["unread"], summary()["labels"], len(server.log)) == ({}, 12, 12)


def test_a_run_whose_folder_is_gone_stops():
    def remove():
        wait(lambda: server.answered > 10)
        shutil.rmtree("run")

    with serving(sound, latency=0.05) as server, beside(remove):
        done = label(server, pairs=pairs(200))
    assert done.code == 2
    assert len(server.log) < 400


def test_the_summary_is_one_json_object_that_accounts_for_every_row():
    with serving(sound) as server:
        facts = label(server, "--json").json
    assert facts == summary() == json.loads(run("show", "run", "--json").out)
    assert {"state", "verdicts", "unread", "labels", "usd"} <= facts.keys()
    assert facts["prompts"] == facts["labels"] + sum(facts["dropped"].values()) == 12
