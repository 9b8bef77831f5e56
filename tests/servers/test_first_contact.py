"""A first job: a small real model as policy and judge behind llama.cpp, with default settings."""

import importlib.util
import json
import time

import pytest

from jurist.verdicts.read import UNREAD
from support.cli import run
from support.job import records, summary, write
from support.llama import PACKAGES, PROMPTS, llama_server

pytestmark = pytest.mark.real
MINUTES = 5


@pytest.fixture(scope="module")
def contact(tmp_path_factory):
    """The job with default settings, and what it took."""
    for name in PACKAGES:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: make real")
    with pytest.MonkeyPatch.context() as here, llama_server() as server:
        here.chdir(tmp_path_factory.mktemp("contact"))
        write("prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS])
        model = f"llamacpp:gemma@{server.url}"
        words = ("label", "--prompts", "prompts.jsonl", "--policy", model, "--judge", model)
        started, others = time.monotonic(), server.others()
        done = run(*words)
        seconds = time.monotonic() - started
        yield done, seconds, (server.others() - others) / seconds, words


def test_it_ends_by_itself_within_minutes_and_no_call_fails(contact):
    _, seconds, others, _ = contact

    # Whether it is quick cannot be told on a machine that others use, too.
    assert seconds < MINUTES * 60 or others > 0.1
    found = summary()
    assert (found["state"], found["retries"], found["uncertain_calls"]) == ("done", 0, 0)
    assert (found["completions"], found["verdicts"]) == (24, 24)
    assert {row.get("unread", "") for row in records("verdicts")} <= {"", *UNREAD} - {"call_failed"}


def test_it_says_that_this_model_does_not_answer_and_what_to_do(contact):
    done, *_ = contact

    assert done.code == 1
    last = done.err.splitlines()[-1]
    assert "does not answer the question asked" in last
    assert "--judge.forced allow" in last
    assert all(row["label_mass"] < 0.5 for row in records("verdicts") if row.get("unread") == "low_mass")


def test_labels_forced_out_of_it_are_read_and_marked(contact):
    *_, words = contact

    run(*words, "--judge.forced", "allow", "--out", "forced", "--journal", "run/journal.sqlite")

    verdicts = records("verdicts", "forced")
    read = [row for row in verdicts if not row.get("unread")]
    assert len(read) >= 0.95 * len(verdicts)
    assert sum(bool(row.get("forced")) for row in read) >= 0.95 * len(read)
    assert "forced" in json.dumps(summary("forced")["warnings"])
