"""The evidence behind labels, found by what is wrong with it."""

import json
from collections import Counter
from pathlib import Path

import pytest

from jurist.run import read_records
from support.cli import run
from support.job import label, pairs, records, right, write
from support.replies import label_reply, preferring
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
    return records("verdicts")


FILTERS = {
    "--disagree": 6,
    "--disagree --by short": 6,
    "--disagree --by nobody": 0,
    "--by pairwise": 12,
    "--flips": 0,
    "--unread": 0,
    "--labels": 0,
}


def test_matchups_are_found_by_what_was_said_about_them(judged):
    assert {words: len(shown(*words.split())) for words in FILTERS} == FILTERS


def test_several_filters_are_all_to_be_passed_and_one_judge_is_shown_alone():
    label("first", "--judge", "shorter", "--jury.combine", "vote")
    assert len(shown("--flips")) == len(shown("--flips", "--by", "first")) == 12
    assert not shown("--flips", "--by", "shorter")
    (one,) = {row["judge"] for row in shown("--by", "shorter")[0]["verdicts"]}
    assert one == "shorter"


def test_dropped_rows_are_found_by_their_reason():
    rows = [
        *pairs(12),
        {"prompt": "Why?", "first": "same", "second": "same"},
        {"prompt": "Why?", "first": "x"},
    ]
    label("first", "--on_error", "drop", pairs=rows)
    ties = shown("--dropped", "tie")
    assert len(ties) == 12
    assert {one["outcome"]["reason"] for one in ties} == {"tie"}
    reasons = {row["reason"] for row in records("dropped")} - {"tie"}
    for reason in reasons:
        assert len(shown("--dropped", reason)) == sum(row["reason"] == reason for row in records("dropped"))
        assert reason in run("show", "run", "--dropped", reason).out
    assert run("show", "run", "--dropped", "nothing").out == "0 shown\n"


def test_outcomes_are_found_by_one_look_through_the_files(monkeypatch):
    label("shorter")
    looks = Counter()

    def counting(path, *more):
        looks[path.name] += 1
        return read_records(path, *more)

    monkeypatch.setattr("jurist.cli.show.read_records", counting)
    assert len(shown("--by", "shorter")) == 12
    assert looks == {"preferences.jsonl": 1, "dropped.jsonl": 1}


def test_flips_show_both_orders_and_say_when_there_are_more():
    label("first")
    done = run("show", "run", "--flips", "--limit", "3")
    assert done.out.count("matchup ") == 3
    for part in ("given order", "swapped order", "none: tie", "3 shown; more with --limit 30"):
        assert part in done.out
    assert [row["flipped"] for row in shown("--flips")] == [True] * 12


def test_an_unread_verdict_is_shown_with_its_reason_its_reply_and_the_mass_of_the_labels():
    with serving(lambda _: label_reply("A", 0.5, mass=0.3)) as server:
        label(server)
    done = run("show", "run", "--unread")
    assert "unread: low_mass (the labels hold less than half" in done.out
    assert "label mass 0.30" in done.out
    assert all(verdict["unread"] for row in shown("--unread") for verdict in row["verdicts"])


def test_a_label_is_found_by_the_start_of_its_id_and_listed_with_the_others():
    label("shorter")
    row = records("preferences")[4]
    done = run("show", "run", "--pair", row["id"][:12], "--full")
    assert row["chosen"]["text"] in done.out
    assert "is chosen with p = 1.000" in done.out
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


def test_the_summary_says_how_a_run_ended():
    label("shorter")
    facts = json.loads(Path("run/summary.json").read_text())
    stopped = {**facts, "state": "stopped", "stopped": "Stopped: budget of $1.00 reached."}
    Path("run/summary.json").write_text(json.dumps(stopped))
    assert (
        "state        stopped before the end of the input: Stopped: budget of $1.00 reached.\n"
        in run("show", "run").out
    )
