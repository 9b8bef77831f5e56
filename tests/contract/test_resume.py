"""Stopped in any way, a run goes on where it was: what was answered is kept, and only the rest is asked."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from support.cli import run, spawn
from support.job import at, chosen, label, pairs, right, summary, write
from support.replies import preferring, question
from support.server import serving

FILES = ("prompts", "completions", "matchups", "preferences", "export/trl/train")


def kept(out="run"):
    """Calls in the journal."""
    with closing(sqlite3.connect(Path(out) / "journal.sqlite")) as journal:
        return journal.execute("select count(*) from calls").fetchone()[0]


def start(server, *words, out="run"):
    return spawn("label", "--pairs", "pairs.jsonl", "--judge", at(server), "--out", out, *words)


def wait(until, seconds=20):
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_after_kill_9_only_what_was_not_kept_is_asked_again():
    write("pairs.jsonl", pairs(150))
    with serving(preferring(right), latency=0.02) as server:
        job = start(server)
        wait(lambda: server.answered >= 100)
        job.kill()
        job.communicate()
    with serving(preferring(right)) as server:
        asked = 300 - kept()
        assert label(server).code == 0
        assert 0 < asked == len(server.log) < 300
        label(server, out="undisturbed")
    for name in FILES:
        assert Path(f"run/{name}.jsonl").read_bytes() == Path(f"undisturbed/{name}.jsonl").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_waits_for_what_was_sent(number):
    write("pairs.jsonl", pairs(200))
    with serving(preferring(right), latency=0.25) as server:
        job = start(server)
        wait(lambda: server.answered and server.in_flight > 4)
        job.send_signal(number)
        _, err = job.communicate()
    assert len(server.log) == server.answered == kept() < 400
    assert job.returncode in (130, 128 + number)
    assert err.splitlines()[-1].startswith("jurist: ")


def test_a_second_signal_says_how_many_calls_are_lost():
    with serving(preferring(right), latency=lambda request: 0.01 if len(server.log) < 4 else 30.0) as server:
        job = start(server)
        wait(lambda: server.answered and server.in_flight)
        time.sleep(0.1)
        job.send_signal(signal.SIGINT)
        time.sleep(0.3)
        lost = server.in_flight
        job.send_signal(signal.SIGINT)
        _, err = job.communicate(timeout=10)
    assert job.returncode == 130
    assert str(lost) in err.splitlines()[-1].split()


def test_a_run_that_is_going_on_says_so():
    with serving(preferring(right), latency=1.0) as server:
        job = start(server)
        wait(lambda: server.in_flight)
        said = [run(*words) for words in (("show", "run"), ("audit", "run"), ("export", "run"))]
        said.append(label(server))
        job.kill()
        job.communicate()
    assert [one.code for one in said] == [2, 2, 2, 2]
    assert all(str(job.pid) in one.line for one in said)


def test_a_full_disk_loses_no_answer(here):
    disk = here / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk here")
    try:
        write("pairs.jsonl", pairs(400))
        with serving(preferring(right), latency=0.02) as server:
            done = label(server, out="disk/run")
        assert (done.code, server.answered) == (2, kept("disk/run"))
        assert "disk is full" in done.line
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_new_rows_and_new_judges_ask_only_for_themselves():
    with serving(preferring(right)) as server:
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
    with serving(preferring(right), served="step-100") as server:
        label(server)
    with serving(preferring(right), served=served) as server:
        label(server)
    assert sum(record.answered for record in server.log) == (0 if served == "step-100" else 24)


def test_a_failure_is_not_kept_and_is_asked_again():
    def moody(request):
        number = int(question(request).split()[2])
        return {"status": 400, "text": "no"} if number >= 6 else preferring(right)(request)

    with serving(moody) as server:
        assert label(server).code == 0
        assert summary()["unread"] == {"call_refused": 12}
    with serving(preferring(right)) as server:
        label(server)
    assert (summary()["unread"], summary()["labels"], len(server.log)) == ({}, 12, 12)


@pytest.mark.slow
def test_a_run_whose_folder_is_gone_stops():
    write("pairs.jsonl", pairs(400))
    with serving(preferring(right), latency=0.3) as server:
        job = start(server)
        wait(lambda: server.answered > 10)
        shutil.rmtree("run")
        job.communicate()
    assert job.returncode == 2
    assert len(server.log) < 800


def test_the_summary_is_one_json_object_that_accounts_for_every_row():
    with serving(preferring(right)) as server:
        facts = label(server, "--json").json
    assert facts == summary() == json.loads(run("show", "run", "--json").out)
    assert {"state", "verdicts", "unread", "labels", "usd"} <= facts.keys()
    assert facts["prompts"] == facts["labels"] + sum(facts["dropped"].values()) == 12
