"""What keeps a served judge up: tokens, limits, queues, the budget, the journal."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from jurist.journal import Journal
from jurist.serve import server as module
from serve.calls import judged_by, metrics, post, score
from support.cli import run, spawn
from support.server import serving

PRICE = {"input": 100.0, "output": 10.0}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def pointwise(server, **engine):
    """A judge whose calls the server can count; it has no log-probs, and says a number."""
    return {"kind": "pointwise", "reason": False, "engine": {"engine": f"vllm:judge@{server.url}", **engine}}


def words(server):
    """The same as it is typed."""
    return [
        "--judge.kind",
        "pointwise",
        "--judge.reason",
        "false",
        "--judge.engine",
        f"vllm:judge@{server.url}",
    ]


TOKEN = "s3cret-token"
BEARERS = {
    f"Bearer {TOKEN}": 200,
    "Basic YW55OnMzY3JldC10b2tlbg==": 200,  # http://any:TOKEN@host, for clients that can send no header
    "Bearer wrong": 401,
    "Basic !": 401,
    "Bearer \xff": 401,
    "": 401,
}


@pytest.mark.parametrize(("said", "status"), BEARERS.items())
def test_only_who_has_the_token_is_let_in_and_no_log_tells_it(said, status, capsys):
    with judged_by("regex:a", token=TOKEN) as server:
        assert score(server, "a", Authorization=said)[0] == status
        assert post(f"{server.url}/v1/messages", {}, **{"x-api-key": TOKEN})[0] == 400
        assert urllib.request.urlopen(f"{server.url}/health", timeout=5).status == 200
        with pytest.raises(urllib.error.HTTPError):
            metrics(server)
    logged = capsys.readouterr().err
    assert (f"POST /score {status}" in logged) == (status == 401)
    assert "s3cret" not in logged
    assert "YW55" not in logged


def test_without_a_token_it_listens_on_this_machine_only():
    assert "--token_env JURIST_TOKEN" in run("serve", "shorter", "--host", "0.0.0.0").line
    assert "export NO_SUCH=" in run("serve", "shorter", "--token_env", "NO_SUCH").line
    assert "no judge called" in run("serve", "shortr").line
    with judged_by("regex:a") as server:  # a page in a browser says where it comes from
        assert score(server, "a", Origin="https://example.org")[0] == 403
        assert score(server, "a")[0] == 200


def test_a_body_that_is_too_large_too_slow_or_unreadable_is_refused(monkeypatch, capsys, caplog):
    monkeypatch.setattr(module, "LARGEST_BODY", 1000)
    monkeypatch.setattr(module, "SLOWEST_BODY_S", 0.2)
    with judged_by("regex:a") as server:
        assert score(server, "secret" * 1000)[0] == 413
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=5) as slow:
            slow.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n{")
            assert slow.recv(4096).startswith(b"HTTP/1.1 408")
            assert slow.recv(4096) == b""  # and the connection is closed
        assert post(f"{server.url}/score", b"not gzip", **{"Content-Encoding": "gzip"})[0] == 400
        with socket.create_connection((host, int(port)), timeout=5) as garbled:
            garbled.sendall(b"POST /score HTTP/1.1\r\nAuthorization: Bearer s3cret\x01\r\n\r\n")
            assert garbled.recv(4096).startswith(b"HTTP/1.0 400")
        assert score(server, "a")[0] == 200
        assert server.in_flight == 0
    assert not caplog.records  # aiohttp would show the line it cannot read
    assert [line.split()[4] for line in capsys.readouterr().err.splitlines()] == ["413", "408", "400"]


def test_what_is_too_much_gets_a_503_at_once_and_the_rest_is_answered():
    with (
        serving(lambda _: "7", latency=0.3) as judge,
        judged_by(pointwise(judge), concurrency=2, queue=3) as server,
        ThreadPoolExecutor(12) as many,
    ):
        started = time.perf_counter()
        got = [*many.map(lambda n: (*score(server, f"{n}"), time.perf_counter() - started), range(12))]
        refused = [(headers["Retry-After"], took < 0.3) for status, _, headers, took in got if status == 503]
        answered = [told["scores"] for status, told, *_ in got if status == 200]
        found = metrics(server)
    assert refused == [("1", True)] * 7
    assert answered == [[pytest.approx(0.5)]] * 5
    assert found['jurist_requests_total{path="/score",status="503"}'] == 7


def test_a_spent_budget_is_a_402_and_what_was_answered_is_still_answered():
    with serving(lambda _: "7", price=(100, 10)) as judge:
        with judged_by(pointwise(judge, price=PRICE), cap=0.3) as server:
            # One question that does not fit leaves the others their budget.
            large = {"messages": [{"role": "user", "content": "?"}], "max_tokens": 10**9}
            assert post(f"{server.url}/v1/chat/completions", large)[0] == 402
            statuses = [score(server, f"answer {n}")[0] for n in range(12)]
            again = [score(server, f"answer {n}")[0] for n in range(12)]
            found = metrics(server)
        sent = judge.answered
    assert 1 <= statuses.count(200) < 12
    assert statuses == again == sorted(statuses)
    assert set(statuses) == {200, 402}
    assert sent == statuses.count(200) == found["jurist_calls_total"]
    assert 0 < found["jurist_dollars_total"] <= 0.3
    assert found["jurist_calls_from_journal_total"] >= sent


def test_a_judge_that_fails_is_null_and_counted_by_reason():
    with serving(lambda _: "I would rather not say.") as judge, judged_by(pointwise(judge)) as server:
        status, got, _ = score(server, "a", "b")
        (reason,) = set(got["reasons"])
        assert (status, got["scores"]) == (200, [None, None])
        server.scoring.failed['said "no"'] = 1234567
        found = metrics(server)
    assert found[r'jurist_failed_scores_total{reason="said \"no\""}'] == 1234567
    assert found[f'jurist_failed_scores_total{{reason="{reason}"}}'] == 2
    assert found['jurist_request_seconds_bucket{le="+Inf"}'] == found["jurist_request_seconds_count"]


def test_equal_questions_are_paid_once_also_after_a_restart_and_as_a_chat():
    chat = {"messages": [{"role": "user", "content": "7 or 8?"}], "max_tokens": 2}
    with serving(lambda _: "7") as judge:
        for _ in range(2):
            with judged_by(pointwise(judge)) as server:
                assert score(server, "a", "a")[1]["scores"] == [0.5, 0.5]
                got = post(f"{server.url}/v1/chat/completions", chat)[1]
                assert got["choices"][0]["message"]["content"] == "7"
        assert judge.answered == 2


def test_an_answer_leaves_when_it_is_on_disk_and_not_before(monkeypatch):
    write = Journal._write

    def slowly(journal, calls, *how):
        time.sleep(0.2 if calls else 0)
        write(journal, calls, *how)

    monkeypatch.setattr(Journal, "_write", slowly)
    with serving(lambda _: "7") as judge, judged_by(pointwise(judge)) as server:
        assert score(server, "a")[0] == 200
        with closing(Journal(Path("served/journal.sqlite"), reading=True)) as kept:
            assert len(kept) == 1


def served(judge, *more):
    process = spawn("serve", *words(judge), "--port", 0, *more)
    url = process.stdout.readline().strip().removesuffix("/v1")
    assert url, process.stderr.read()
    return process, f"{url}/score"


def asks(url, n):
    try:
        return post(url, {"prompt": "?", "completions": [f"answer {n}"]})[0]
    except OSError:
        return 0


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
def test_a_signal_lets_what_is_in_flight_come_home_and_a_second_gives_it_up(signals):
    with serving(lambda _: "7", latency=1.5) as judge, ThreadPoolExecutor(6) as many:
        process, url = served(judge)
        waiting = [many.submit(asks, url, n) for n in range(4)]
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert asks(url, 99) == 503
        if signals == 2:
            process.send_signal(signal.SIGTERM)
        statuses = [one.result() for one in waiting]
        code, said = process.wait(10), process.stderr.read()
    assert (code, statuses) == ((0, [200] * 4) if signals == 1 else (130, [0] * 4))
    assert "4 requests are still answered" in said
    assert ("4 calls that were sent are lost" in said) == (signals == 2)


@pytest.mark.slow
def test_a_second_signal_gives_up_calls_that_nobody_waits_for_any_more():
    """Of two samples one was refused, and the request with it; the other is still being asked for."""
    slow_first = iter((30, *[0] * 9))
    answers = iter(({"text": "no", "status": 400}, "7"))
    chat = {"messages": [{"role": "user", "content": "?"}], "n": 2}
    with serving(lambda _: next(answers), latency=lambda _: next(slow_first)) as judge:
        process, url = served(judge)
        assert post(url.replace("/score", "/v1/chat/completions"), chat)[0] == 400
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        assert process.wait(5) == 130
        assert "1 calls that were sent are lost" in process.stderr.read()


@pytest.mark.slow
def test_many_completions_are_compared_in_time_that_grows_with_the_calls():
    with judged_by("shorter") as server:
        started = time.process_time()
        assert score(server, *("a" * n for n in range(128)))[0] == 200
        assert time.process_time() - started < 2


@pytest.mark.slow
def test_kill_9_loses_no_answered_call():
    """Whoever was answered is answered again from the journal, and only what was in flight is asked again."""
    with serving(lambda _: "7", latency=lambda asked: 0.02) as judge, ThreadPoolExecutor(8) as many:
        answered = set()
        for start in range(3):
            process, url = served(judge)
            tasks = {n: many.submit(asks, url, n) for n in range(150 * (start + 1))}
            time.sleep(0.5)
            process.kill()
            process.wait()
            answered |= {n for n, one in tasks.items() if one.result() == 200}
        before = judge.answered
        process, url = served(judge)
        assert {asks(url, n) for n in sorted(answered)} == {200}
        assert judge.answered == before
        process.terminate()
        assert process.wait(10) == 0
    assert len(answered) > 50
    assert judge.answered - len({json.dumps(one.body) for one in judge.log}) <= 8 * 3
    assert not os.path.exists("served")


@pytest.mark.slow
def test_the_server_of_a_judge_needs_no_torch():
    code = "import jurist.serve, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
