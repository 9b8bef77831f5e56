"""What was asked once is not asked again when something else has changed, and every row is accounted for."""

import json

import pytest
from jobs import accounted, at, everything, lines, run, settings, write_pairs
from msgspec.structs import replace

from jurist.errors import DataError
from jurist.recipes.label import sample
from jurist.serve import serving
from jurist.tiny import judges
from support import server

PRICE = {"input": 1000.0, "output": 1000.0}
QUICK = {"timeout": 0.5, "max_tries": 3, "give_up_after": 0.6}


@pytest.fixture
def served():
    with serving(judges.BY_NAME) as server:
        yield server


def test_a_run_started_again_asks_nothing_and_makes_the_same_files(tmp_path, served):
    write_pairs(tmp_path)
    run(tmp_path, at(served, "stumbling"))
    before, calls = everything(tmp_path), served.calls
    again = run(tmp_path, at(served, "stumbling"))
    assert (again.calls, again.calls_kept, served.calls) == (0, calls, calls)
    assert everything(tmp_path) == before


def test_another_way_of_reading_asks_nothing(tmp_path, served, monkeypatch):
    from jurist.verdicts import ask

    write_pairs(tmp_path)
    run(tmp_path, at(served))
    before, calls = [one["p_first"] for one in lines(tmp_path, "verdicts")], served.calls
    ours = ask.read
    monkeypatch.setattr(ask, "read", lambda *said, **more: replace(ours(*said, **more), value=0.25))
    run(tmp_path, at(served))
    assert {one["p_first"] for one in lines(tmp_path, "verdicts")} == {0.25} != set(before)
    assert served.calls == calls


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
    assert served.calls == 80
    assert (summary.calls, summary.calls_kept) == (0, 80)


def test_whatever_a_server_does_every_row_ends_as_a_label_or_by_name(tmp_path):
    write_pairs(tmp_path, 60)

    def answer(request):
        n = request["messages"][-1]["content"].count("a")
        return {"status": 400, "text": "no"} if n % 17 == 0 else {"body": b"<html>"} if n % 17 == 1 else "A"

    faults = {"429": 0.04, "500": 0.04, "drop": 0.04, "truncate": 0.04}
    with server.serving(answer, faults=faults) as served:
        summary = run(tmp_path, at(served, **QUICK))
    assert sum(record.fault is not None for record in served.log) > 10
    assert (summary.state, summary.labels + sum(summary.dropped.values())) == ("done", 60)
    assert min(summary.unread["call_refused"], summary.unread["call_failed"]) > 0
    assert accounted(tmp_path)


@pytest.mark.parametrize("fault", ["stall", "500", "drop", "429"])
def test_a_dead_server_stops_the_run_and_says_what_to_type(tmp_path, fault):
    write_pairs(tmp_path, 30)
    with server.serving("A", faults={fault: 1}) as served:
        summary = run(tmp_path, at(served, **{**QUICK, "timeout": 0.3}))
    assert (summary.state, summary.ended_by) == ("stopped", "failure")
    assert summary.stopped.endswith("what was answered is kept")
    assert summary.seconds < 5


def test_a_server_that_died_and_was_revived_finishes_the_job(tmp_path):
    write_pairs(tmp_path, 60)
    with server.serving("A", faults=lambda *_: "500" if served.answered > 50 else None) as served:
        stopped = run(tmp_path, at(served, "any", **QUICK))
    with server.serving("A") as revived:
        finished = run(tmp_path, at(revived, "any"))
    assert (stopped.state, finished.state) == ("stopped", "done")
    assert len(revived.log) == 120 - served.answered
    assert accounted(tmp_path)


def test_sampling_keeps_to_the_budget_too_and_what_is_paid_for_needs_none(tmp_path):
    (tmp_path / "prompts.jsonl").write_text("".join(f'{{"prompt": "Say {n}"}}\n' for n in range(40)))
    with serving(lambda ask: f"said {ask.messages[-1].content}") as served:
        policy = {"engine": {"engine": f"vllm:any@{served.url}", "price": PRICE, "concurrency": 4}}
        job = {"prompts": "prompts.jsonl", "policy": [policy], "k": 1, "sampling": {"max_tokens": 5}}
        stopped = sample(settings(tmp_path, "shorter", budget="0.14usd", **job))
        calls = served.calls
        whole = sample(settings(tmp_path, "shorter", budget="50usd", **job))
        again = sample(settings(tmp_path, "shorter", budget="0.01usd", **job))
    assert (stopped.ended_by, 0 < stopped.usd <= 0.14) == ("budget", True)
    assert 0 < calls < served.calls == 40
    assert [(one.state, one.completions) for one in (whole, again)] == [("done", 40)] * 2
