"""What was asked once is not asked again when something else has changed, and every row is accounted for."""

import pytest
from jobs import accounted, at, everything, lines, run, settings, write_pairs
from msgspec.structs import replace

from jurist.errors import DataError
from jurist.recipes.label import sample
from jurist.serve import serving
from jurist.tiny import judges
from jurist.verdicts import ask
from support import server

PRICE = {"input": 1000.0, "output": 1000.0}
QUICK = {"timeout": 0.5, "max_tries": 3, "give_up_after": 0.6}


@pytest.fixture
def served():
    with serving(judges.BY_NAME) as server:
        yield server


def test_a_run_started_again_asks_nothing_makes_the_same_files_and_may_read_otherwise(
    tmp_path, served, monkeypatch
):
    write_pairs(tmp_path)
    run(tmp_path, at(served, "stumbling"))
    before, calls = everything(tmp_path), served.calls
    again = run(tmp_path, at(served, "stumbling"))
    assert (again.calls, again.calls_kept, served.calls) == (0, calls, calls)
    assert everything(tmp_path) == before
    ours = ask.read
    monkeypatch.setattr(ask, "read", lambda *said, **more: replace(ours(*said, **more), value=0.25))
    run(tmp_path, at(served, "stumbling"))
    assert {one["p_first"] for one in lines(tmp_path, "verdicts")} == {0.25}
    assert served.calls == calls


def test_a_row_that_ends_the_job_costs_nothing_that_was_asked_before_it(tmp_path, served):
    write_pairs(tmp_path)
    with (tmp_path / "pairs.jsonl").open("a") as file:
        file.write('{"prompt": "What is 1 plus 2?", "fir')
    with pytest.raises(DataError, match=r"pairs\.jsonl:21"):
        run(tmp_path, at(served))
    write_pairs(tmp_path)
    summary = run(tmp_path, at(served))
    assert (summary.calls, summary.calls_kept, served.calls) == (0, 40, 40)


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


def test_a_server_that_dies_stops_the_run_and_once_revived_finishes_the_job(tmp_path):
    write_pairs(tmp_path, 20)
    with server.serving("A", faults=lambda *_: "stall" if served.answered > 15 else None) as served:
        stopped = run(tmp_path, at(served, "any", **{**QUICK, "timeout": 0.3}))
    assert (stopped.state, stopped.ended_by) == ("stopped", "failure")
    assert stopped.stopped.endswith("what was answered is kept")
    assert stopped.seconds < 5
    with server.serving("A") as revived:
        assert run(tmp_path, at(revived, "any")).state == "done"
    assert len(revived.log) == 40 - served.answered
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
