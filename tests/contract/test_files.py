"""Which files a run writes: never over the user's own, never with a key, and none that is stale."""

from pathlib import Path

import pytest

from support.cli import run
from support.job import at, label, pairs, records, sound, write
from support.server import serving


def everything_in(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.mark.parametrize("out", [".", "", "mine"])
def test_a_folder_that_is_not_a_runs_is_refused(out):
    Path("mine").mkdir()
    write("mine/notes.jsonl", [{"my": "own"}])
    write("completions.jsonl", rows := [{"prompt": "Hello?", "completions": ["Yes", "Yes, hello."]}])
    before = everything_in(".")
    done = label("longer", completions=rows, out=out)
    assert (done.code, "--out" in done.line) == (2, True)
    assert everything_in(".") == before


def test_a_run_of_other_rows_is_replaced_only_if_said_so():
    label("shorter")
    run("audit", "run")
    before = everything_in("run")
    assert Path("run/report.html") in before
    other = [{**row, "prompt": row["prompt"] + "!"} for row in pairs(5)]
    for rows in (other, pairs(1) + other):
        done = label("shorter", pairs=rows)
        assert (done.code, "--replace true" in done.line) == (2, True)
        assert everything_in("run") == before
    assert label("shorter", "--replace", "true", pairs=other).code == 0
    assert len(records("preferences")) == 5
    assert not Path("run/report.html").exists()


def test_a_key_is_in_no_file_and_in_no_message():
    job = ("label", "--pairs", "pairs.jsonl", "--export", "[trl, jsonl]")
    with serving(sound, key="sk-SECRETSECRET") as server:
        for key, code in (("sk-SECRETSECRET", 0), ("sk-SECRETSECRET-not", 2), (None, 2)):
            words = ("--judge", at(server, "openai"), "--out", f"run{code}")
            done = run(*job, *words, env={"OPENAI_API_KEY": key})
            assert (done.code, "SECRET" in done.out + done.err) == (code, False)
    assert not [path for path, text in everything_in(".").items() if b"SECRET" in text]


def test_a_key_in_an_address_is_refused():
    with serving(sound) as server:
        done = label(at(server) + "?api_key=SECRETSECRET")
    assert (done.code, server.log) == (2, [])
    assert ("key_env" in done.line, "SECRET" in done.line) == (True, False)
    assert not [path for path, text in everything_in(".").items() if b"SECRET" in text]


@pytest.mark.parametrize(
    ("name", "value"), [("extra.api_key", "SECRET"), ("key_env", "sk-SECRET"), ("extra.max_tokens", 5000)]
)
def test_a_setting_that_would_give_a_key_away_or_get_past_the_budget_is_refused(name, value):
    with serving(sound) as server:
        done = label(server, f"--judge.engine.{name}", value)
    assert (done.code, server.log, "SECRET" in done.err) == (2, [], False)
    assert not [path for path, text in everything_in(".").items() if b"SECRET" in text]


def test_a_file_of_the_users_is_not_replaced():
    write("pairs.jsonl", pairs(12, label="first"))
    label("longer", "--labels_by", "human", pairs=pairs(40, label="first"))
    for name in ("mine.jsonl", "report.html", "run/export/trl/mine.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text('{"my": "own"}')
    assert run("spotcheck", "run", "-n", 5, "--out", "mine.jsonl").code == 2
    assert run("audit", "pairs.jsonl", "--out", ".").code == 2
    run("export", "run")
    for name in ("mine.jsonl", "report.html", "run/export/trl/mine.txt"):
        assert Path(name).read_text() == '{"my": "own"}'


def test_an_audit_of_a_file_writes_only_where_it_is_told_to():
    write("pairs.jsonl", pairs(12, label="first"))
    before = everything_in(".")
    assert run("audit", "pairs.jsonl").code == 0
    assert everything_in(".") == before
    run("audit", "pairs.jsonl", "--out", "report")
    assert Path("report/report.html").exists()


def test_the_card_is_written_for_its_reader():
    label("shorter")
    card = Path("run/export/trl/README.md").read_text()
    assert not [python for python in ("`None`", "`()`", "`{", "'combine'") if python in card]
