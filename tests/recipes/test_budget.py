"""A budget is a hard cap: never more over it than the calls in flight, and nothing is lost."""

import pytest
from jobs import accounted, at, lines, run, settings, write_pairs

from jurist.errors import SettingError
from jurist.recipes.label import sample
from jurist.serve import serving
from jurist.tiny import judges

PRICE = {"input": 1000.0, "output": 1000.0}
"""Dollars a million tokens: a question costs about 30 cents here."""


@pytest.fixture
def served():
    with serving(judges.BY_NAME, latency=0.005) as server:
        yield server


def test_the_cap_stops_the_run_within_the_calls_in_flight(tmp_path, served):
    write_pairs(tmp_path, 60)
    whole = run(tmp_path, at(served, price=PRICE), out="whole")
    summary = run(tmp_path, at(served, price=PRICE, concurrency=4), budget=whole.usd / 3)
    dearest = max(one["cost"] for one in lines(tmp_path, "verdicts"))
    assert (summary.state, summary.spent) == ("stopped", True)
    assert "run again with a higher --budget" in summary.stopped
    assert whole.usd / 3 - 5 * dearest < summary.usd <= whole.usd / 3 + 4 * dearest
    assert 0 < summary.prompts < 60
    assert summary.labels == summary.prompts


def test_the_first_calls_keep_to_the_cap_before_any_has_come_back(tmp_path, served):
    write_pairs(tmp_path, 60)
    whole = run(tmp_path, at(served, price=PRICE), out="whole")
    cap = 5 * whole.usd / 120
    summary = run(tmp_path, at(served, price=PRICE), budget=cap)
    assert summary.spent
    assert 0 < summary.usd < 1.5 * cap


def test_a_budget_below_the_price_of_one_call_sends_none_and_says_so(tmp_path, served):
    write_pairs(tmp_path)
    summary = run(tmp_path, at(served, price=PRICE), budget="0.001usd")
    assert served.stats.calls == 0
    assert (summary.state, summary.spent, summary.usd) == ("stopped", True, 0.0)
    assert "the next call costs about" in summary.stopped


def test_a_higher_budget_goes_on_without_asking_anything_twice(tmp_path, served):
    write_pairs(tmp_path, 60)
    judge = at(served, price=PRICE, concurrency=4)
    first = run(tmp_path, judge, budget="10usd")
    second = run(tmp_path, judge, budget="1000usd")
    assert (first.state, second.state) == ("stopped", "done")
    assert served.stats.calls == len(served.stats.seen) == 120
    assert second.usd == pytest.approx(first.usd + second.usd_now)
    assert accounted(tmp_path)
    assert second.labels == 60


def test_the_same_budget_again_spends_nothing(tmp_path, served):
    write_pairs(tmp_path, 60)
    judge = at(served, price=PRICE, concurrency=4)
    first = run(tmp_path, judge, budget="10usd")
    calls = served.stats.calls
    second = run(tmp_path, judge, budget="10usd")
    assert served.stats.calls == calls
    assert (second.state, second.usd) == ("stopped", pytest.approx(first.usd))


def test_a_budget_on_a_job_that_is_paid_for_is_no_obstacle(tmp_path, served):
    write_pairs(tmp_path)
    judge = at(served, price=PRICE)
    run(tmp_path, judge)
    again = run(tmp_path, judge, budget="0.01usd")
    assert (again.state, again.calls) == ("done", 0)


def test_a_budget_without_a_known_price_is_refused_before_any_call(tmp_path, served):
    write_pairs(tmp_path)
    with pytest.raises(SettingError, match="a budget needs a price"):
        run(tmp_path, at(served), budget="5usd")
    assert served.stats.calls == 0


def test_sampling_keeps_to_the_budget_too(tmp_path):
    (tmp_path / "prompts.jsonl").write_text("".join(f'{{"prompt": "Say {n}"}}\n' for n in range(40)))
    with serving(lambda ask: f"said {ask.messages[-1].content}", latency=0.005) as served:
        policy = {"engine": {"engine": f"vllm:any@{served.url}", "price": PRICE, "concurrency": 4}}
        job = {"prompts": "prompts.jsonl", "policy": [policy], "k": 1}
        summary = sample(settings(tmp_path, "shorter", budget="0.05usd", **job))
        assert (summary.state, summary.spent) == ("stopped", True)
        assert served.stats.calls < 40
        whole = sample(settings(tmp_path, "shorter", budget="5usd", **job))
    assert (whole.state, whole.completions) == ("done", 40)
