"""What a run spends, by the books of the server; and what it does when the server answers with nonsense."""

import json
from pathlib import Path

import pytest

from support.cli import run
from support.job import at, chosen, label, label_by, pairs, records, right, sound, summary, write
from support.replies import label_reply, question, responses
from support.server import serving

PRICES = ("--judge.engine.price.input", 1, "--judge.engine.price.output", 2)
REASON = ("--judge.reason", "true", "--judge.max_tokens", 500)


def growing(n, more):
    """Pairs that grow by so many words a row after the first forty."""
    rows = pairs(n)
    for number, row in enumerate(rows[40:]):
        row["first"] += " x" * more * (number + 1)
    return rows


def reasoned(request):
    return " so " * 499 + f"\nVerdict: {'A' if right(responses(request)['A']) else 'B'}"


BUDGETS = {
    "long rows last": (growing(80, 200), sound, (), 0.05),
    "the first wave": (pairs(60), reasoned, REASON, 0.005),
    "the last calls": (growing(80, 4), sound, (), 0.025),
}


@pytest.mark.parametrize("name", BUDGETS)
def test_a_budget_is_never_exceeded(name):
    rows, judge, words, cap = BUDGETS[name]
    words = (*words, *PRICES, "--budget", f"{cap}usd")
    done, server = label_by(judge, *words, pairs=rows, price=(1, 2), latency=0.01)
    assert (0.9 if name == "the last calls" else 0.2) * cap <= server.dollars <= cap
    assert (done.code, "--budget" in done.err) == (3, True)


def test_a_budget_counts_every_completion_of_a_request():
    write("prompts.jsonl", [{"prompt": f"Tell me {n}."} for n in range(12)])
    with serving("word " * 40, price=(0, 200), latency=0.01) as server:
        policy = {"engine": {"engine": at(server), "price": {"input": 0, "output": 200}}}
        recipe = {"policy": [policy], "sampling": {"max_tokens": 50}, "judge": "longer", "k": 8}
        Path("recipe.yaml").write_text(json.dumps({**recipe, "prompts": "prompts.jsonl", "out": "run"}))
        assert run("label", "--recipe", "recipe.yaml", "--budget", "0.10usd").code == 3
    assert 0.08 <= server.dollars <= 0.10


def test_nothing_is_sent_if_the_first_call_does_not_fit():
    done, server = label_by(reasoned, *REASON, *PRICES, "--budget", "0.0006usd")
    assert (done.code, server.log, "--budget" in done.err) == (3, [], True)


def test_a_run_stopped_by_its_budget_goes_on_with_a_higher_one():
    with serving(sound, price=(1, 2)) as server:
        assert label(server, *PRICES, "--budget", "0.003usd").code == 3
        assert summary()["state"] == "stopped"
        assert 0 < summary()["usd"] == pytest.approx(server.dollars)
        assert label(server, *PRICES, "--budget", "5usd").code == 0
        assert len(server.log) == 24
        assert summary()["usd"] == pytest.approx(server.dollars)
        label(server, out="undisturbed")
    for noun in ("prompts", "completions", "matchups", "preferences"):
        assert records(noun) == records(noun, "undisturbed")


def test_a_server_that_bills_more_than_it_may_write_is_named():
    billing = {"price": (1, 2), "latency": 0.01, "overbill": 1000}
    done, server = label_by(sound, *PRICES, "--budget", "0.05usd", pairs=pairs(60), **billing)
    assert done.code == 3
    assert server.dollars <= 0.05 + server.most_in_flight * 0.0025
    assert summary()["usd"] == pytest.approx(server.dollars)
    assert "billed" in done.out + done.err


USAGES = {
    "thoughts in the total only": {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 701},
    "numbers with a point": {"prompt_tokens": 10.0, "completion_tokens": 1.0, "total_tokens": 11.0},
}


@pytest.mark.parametrize("usage", USAGES)
def test_usage_is_counted_as_the_server_bills_it(usage):
    def judge(request):
        return {**label_reply("A" if right(responses(request)["A"]) else "B"), "usage": USAGES[usage]}

    _, server = label_by(judge, *PRICES, pairs=pairs(2), price=(1, 2))
    assert (len(server.log), len(chosen())) == (4, 2)
    assert summary()["usd"] == pytest.approx(server.dollars)


def test_calls_without_an_answer_stay_on_the_books_as_uncertain():
    fates = {0: "drop", 1: "500", 2: "truncate"}
    faults = lambda request, attempt: None if attempt else fates.get(int(question(request).split()[2]))  # noqa: E731
    done, server = label_by(sound, *PRICES, price=(1, 2), faults=faults)
    assert (done.code, len(chosen()), summary()["uncertain_calls"]) == (0, 12, 4)
    assert summary()["usd"] < server.dollars <= summary()["usd"] + summary()["uncertain_usd"]
    assert summary()["retries"] == len(server.log) - 24 == 6


UNUSABLE = {
    "no such thing": ({"status": 400, "text": "no such thing"}, {}),
    "<!DOCTYPE html>": ("A", {"html": 1}),
    "overloaded": ("A", {"error": 1}),
}


@pytest.mark.parametrize("quoted", UNUSABLE)
def test_a_server_that_answers_nothing_usable_stops_the_run_and_is_quoted(quoted):
    answer, faults = UNUSABLE[quoted]
    done, server = label_by(answer, pairs=pairs(60), faults=faults)
    assert (done.code, quoted in done.err) == (2, True)
    assert len(server.log) <= 64


def test_a_share_of_swapped_pairs_that_cannot_work_costs_nothing():
    done, server = label_by(sound, "--judge.swap", "fraction:0.2", pairs=pairs(100))
    assert (done.code, server.log) == (2, [])
    assert done.line.endswith("--judge.swap fraction:0.3")


def test_a_server_is_first_asked_four_questions_at_once():
    _, server = label_by(sound, latency=0.05, max_concurrent=4)
    first = min(record.arrived + record.seconds for record in server.log)
    assert sum(record.arrived < first for record in server.log) <= 4


def test_an_empty_answer_is_dropped_before_it_is_paid_for():
    one, other = pairs(2, label="second")
    rows = [{**one, "first": ""}, {**other, "second": " "}, *pairs(2)]
    _, server = label_by(sound, "--on_error", "drop", pairs=rows)
    assert (len(server.log), len(records("dropped"))) == (4, 2)
