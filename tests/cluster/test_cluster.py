"""A real Ray cluster of two nodes: the same files as from one process, whatever dies on the way."""

import json
import signal
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from support.cli import spawn
from support.cluster import cluster, kill_actor
from support.job import at, label, pairs, read, sound, summary, write
from support.server import serving

NO_RAY = pytest.mark.skipif(find_spec("ray") is None, reason="pip install ray")
pytestmark = [pytest.mark.slow, NO_RAY]
FILES = ("prompts", "completions", "matchups", "verdicts", "dropped", "preferences", "export/trl/train")
ROWS = 400
PRICED = ("--judge.engine.price.input", 1.0, "--judge.engine.price.output", 2.0)


@pytest.fixture(scope="module", autouse=True)
def two_nodes():
    with cluster(2) as found:
        yield found


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("pairs.jsonl", [*pairs(ROWS), pairs(1)[0]])


def start(server, *words, on=("--on", "ray", "--on.block", 50)):
    return spawn(
        "label", "--pairs", "pairs.jsonl", "--judge", at(server), "--out", "run", *PRICED, *words, *on
    )


def wait(until, seconds=40):
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def lines(out):
    return {name: [{**row, "seconds": 0} for row in read(Path(out) / f"{name}.jsonl")] for name in FILES}


def test_a_cluster_makes_the_files_of_one_process_also_when_actors_and_ledger_die():
    with serving(sound, latency=0.05, price=(1.0, 2.0)) as server:
        label(server, *PRICED, out="undisturbed")
        server.log.clear()
        job = start(server, "--budget", "100usd")
        for part, who in enumerate(("Worker", "Ledger", "Worker"), 1):
            wait(lambda part=part: len(server.log) > part * ROWS // 3)
            assert kill_actor(who)
        out, err = job.communicate(timeout=60)
    assert job.returncode == 0, err
    assert "actors were lost, and others did their blocks again" in out
    found = summary()
    assert lines("run") == lines("undisturbed")
    assert found["calls"] == 2 * ROWS <= server.answered
    assert len(server.log) - 2 * ROWS <= found["uncertain_calls"] <= 2 * 2 * 64
    assert found["usd"] <= server.dollars + 1e-9 <= found["usd"] + found["uncertain_usd"] + 2e-9


def test_a_driver_that_is_killed_is_taken_up_by_the_same_command_with_or_without_a_cluster():
    with serving(sound, latency=0.05) as server:
        job = start(server)
        wait(lambda: server.answered > ROWS)
        job.kill()
        job.communicate()
        assert start(server, on=()).wait(60) == 0
        assert len(server.log) - 2 * ROWS <= 2 * 2 * 50  # two blocks of 50 rows were at work
        assert not Path("run/blocks").exists()
        whole = lines("run")
        assert start(server).wait(60) == 0
    assert lines("run") == whole
    assert summary()["calls"] == 0


def test_the_actors_share_one_budget_and_one_signal_stops_them_all():
    with serving(sound, latency=0.05, price=(1.0, 2.0)) as server:
        job = start(server, "--budget", "0.05usd")
        said = job.communicate(timeout=60)[1]
        assert job.returncode == 3
        assert "budget of $0.05 reached" in said
        assert 0.048 < server.dollars <= 0.05
        job = start(server, "--budget", "100usd")
        wait(lambda: server.dollars > 0.08)
        job.send_signal(signal.SIGINT)
        assert "Answered calls are kept" in job.communicate(timeout=60)[1]
        assert job.returncode == 130
        assert server.answered == len(server.log) < 2 * ROWS
        assert start(server, on=()).wait(60) == 0
        assert len(server.log) == 2 * ROWS


def test_a_server_that_is_gone_stops_all_actors_with_its_message():
    with serving(sound, faults=lambda asked, attempt: "500") as server:
        job = start(server, "--judge.engine.give_up_after", 1)
        said = job.communicate(timeout=60)[1]
    assert job.returncode == 2
    assert "vllm:judge: no" in said
    assert json.loads(Path("run/summary.json").read_text())["ended_by"] == "failure"
