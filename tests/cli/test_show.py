"""The evidence behind labels, found by what is wrong with it."""

import json
from pathlib import Path

import pytest

from support.cli import run
from support.job import label, pairs, records, right, write
from support.replies import preferring
from support.server import serving


def shown(*words):
    return [json.loads(line) for line in run("show", "run", *words, "--limit", 99, "--json").out.splitlines()]


@pytest.fixture
def judged():
    """A judge that is right, and humans who prefer the first; half of the labels leave for their margin."""
    write("humans.jsonl", [{**row, "who": "ann", "label": "first"} for row in pairs(12)])
    worth = {f"It makes {n}." for n in range(106, 112)}
    with serving(preferring(lambda text: 2.0 if text in worth else right(text), 0.8)) as server:
        label(server, "--judge", "shorter", "--labels", "humans.jsonl", "--prefer.min_margin", "0.81")


FILTERS = {
    "--disagree": 6,
    "--disagree --by short": 6,
    "--disagree --by nobody": 0,
    "--by pairwise": 12,
    "--dropped below_margin": 12,
    "--flips": 0,
    "--unread": 0,
    "--labels": 0,
}


def test_matchups_are_found_by_what_was_said_about_them(judged):
    assert {words: len(shown(*words.split())) for words in FILTERS} == FILTERS
    (one,) = {row["judge"] for row in shown("--by", "shorter")[0]["verdicts"]} - {"human:ann"}
    assert one == "shorter"


def test_rows_dropped_before_they_met_are_found_by_their_reason():
    label(
        "first",
        "--on_error",
        "drop",
        pairs=[*pairs(3), {"prompt": "Why?", "first": "same", "second": "same"}],
    )
    assert [one["outcome"]["reason"] for one in shown("--dropped", "tie")] == ["tie"] * 3
    assert [one["reason"] for one in shown("--dropped", "identical")] == ["identical"]
    assert "identical" in run("show", "run", "--dropped", "identical").out
    assert run("show", "run", "--dropped", "nothing").out == "0 shown\n"


def test_flips_show_both_orders_and_say_when_there_are_more():
    label("first")
    done = run("show", "run", "--flips", "--limit", "3")
    assert done.out.count("matchup ") == 3
    for part in ("given order", "swapped order", "none: tie", "3 shown; more with --limit 30"):
        assert part in done.out
    assert [row["flipped"] for row in shown("--flips")] == [True] * 12


def test_a_label_is_found_by_the_start_of_its_id_and_listed_with_the_others():
    label("shorter")
    row = records("preferences")[4]
    assert "is chosen with p = 1.000" in run("show", "run", "--pair", row["id"][:12]).out
    (facts,) = shown("--pair", row["id"][:12])
    assert {one["id"] for one in facts["verdicts"]} == set(row["verdict_ids"])
    assert facts["outcome"]["id"] == row["id"]
    listed = run("show", "run", "--labels").out
    assert f"{row['id'][:12]}  p 1.000  {row['chosen']['text']} > {row['rejected']['text']}" in listed
    assert shown("--labels") == records("preferences")


def test_long_texts_are_cut_and_a_reply_cannot_write_to_the_terminal():
    with serving("A\x1b[2J\x1b]0;title\x07\r\n" + "x" * 900) as server:
        label(server, "--judge.reason")
    done = run("show", "run", "--unread")
    assert "A\\x1b[2J" in done.out
    assert not set(done.out) & {"\x1b", "\x07", "\r"}
    assert "more characters; see --full" in done.out
    assert "x" * 900 in run("show", "run", "--unread", "--full").out


def test_the_summary_says_how_a_run_ended_and_showing_it_is_no_failure():
    label("first")
    facts = json.loads(Path("run/summary.json").read_text())
    stopped = {**facts, "ended_by": "budget", "stopped": "Stopped: budget of $1.00 reached."}
    Path("run/summary.json").write_text(json.dumps(stopped))
    done = run("show", "run")
    assert (done.code, done.err) == (0, "")
    assert "state        stopped before the end of the input: Stopped: budget of $1.00 reached.\n" in done.out
