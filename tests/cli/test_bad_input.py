"""Bad input gets one line on stderr that ends in the next thing to type, exit code 2, and costs nothing."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from command import jurist, refused

from jurist.cli.ending import ending_of
from jurist.run import Run
from jurist.selftest import make_rows, write_rows
from jurist.serve import serving
from jurist.tiny import judges

PAIR = {"prompt": "What is 2 plus 102?", "first": "104", "second": "Gladly: it makes 104, I hope."}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    write_rows(make_rows(12), tmp_path / "pairs.jsonl")
    return tmp_path


ROWS = {
    "a missing column": ({"prompt": "Hello?", "frist": "Yes", "second": "No"}, "no column called"),
    "a column under another name": (
        {"qestion": "Hello?", "first": "Yes", "second": "No"},
        "--columns.prompt",
    ),
    "a prompt that is no conversation": ({**PAIR, "prompt": 7}, "which is not a conversation"),
    "a conversation that awaits no answer": (
        {**PAIR, "prompt": [{"role": "assistant", "content": "Hello"}]},
        "nothing awaits an answer",
    ),
    "a turn by nobody known": ({**PAIR, "prompt": [{"role": "wizard", "content": "Hello"}]}, "'wizard'"),
    "a row that is a list": (["Hello?", "Yes", "No"], "not a row"),
}


@pytest.mark.parametrize("what", ROWS)
def test_a_row_that_cannot_be_used_is_named_by_file_and_line(here, capsys, what):
    row, expected = ROWS[what]
    (here / "pairs.jsonl").write_text(json.dumps(row) + "\n")
    line = refused(jurist(capsys, "label", "--pairs", "pairs.jsonl", "--judge", "shorter"))
    assert "pairs.jsonl:1" in line
    assert expected in line


FILES = {
    "no such file": (None, "no file"),
    "an empty file": ("", "no usable row"),
    "a file of blank lines": ("\n\n\n", "no usable row"),
    "a line cut off": (json.dumps(PAIR)[:-9], "stops in the middle of a row"),
    "no JSON": ("prompt,first,second\n", "is not JSON"),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_cannot_be_used_is_named(here, capsys, what):
    text, expected = FILES[what]
    if text is not None:
        (here / "mine.jsonl").write_text(text)
    line = refused(jurist(capsys, "label", "--pairs", "mine.jsonl", "--judge", "shorter"))
    assert "mine.jsonl" in line
    assert expected in line


WORDS = {
    "--judge shortr": "Did you mean 'shorter'?",
    "--judge vlm:x@http://h/v1": "Did you mean 'vllm'?",
    "--judge vllm:x": "Write vllm:x@http://localhost:8000/v1",
    "--judge nomodule:nothing": "Write module:function",
    "--judge openai:gpt-x": "export OPENAI_API_KEY=...",
    "--judge tiny:oracel": "Did you mean 'oracle'?",
    "": "--judge openai:gpt-5-mini",
    "--judge shorter --prefer.tis soft": "Did you mean 'ties'?",
    "--judge shorter --prefer.ties sfot": "Did you mean 'soft'?",
    "--judge shorter --pary pairs.jsonl": "Did you mean 'pairs'?",
    "--judge shorter --judge.samples many": "judge.samples",
    "--judge shorter --judge.samples 0": "set samples: 1",
    "--judge shorter --judge.1.samples 2": "--judge.0",
    "--judge shorter --held_out 2": "--held_out 0.05",
    "--judge shorter --export kto": "--export '[kto]'",
    "--judge shorter --export [ktoo]": "Did you mean 'kto'?",
    "--judge shorter --matchups chian": "Did you mean 'chain'?",
    "--judge shorter --labels nobody.jsonl": "nobody.jsonl",
    "--judge shorter --budget -3": "write --budget 5usd",
    "--judge shorter --budget lots": "write --budget 5usd",
    "--judge shorter --limit few": "jurist label --help",
    "--judge shorter -k 0": "set -k 2",
    "--judge gpt-4": "openai:MODEL",
    "--judge shorter --limit 0": "set --limit 100",
    "--judge shorter --limit -1": "set --limit 100",
    "--judge tiny:fair --judge.temperature -1": "set temperature: 0",
    "--judge shorter --judge longer --jury.quorum 5": "set quorum: 0.5",
    "--judge shorter --judge vllm:m@http://127.0.0.1:99999/v1": "http://localhost:8000/v1",
    "--judge shorter stray": "--key stray",
    "--judge shorter --out": "--help",
    "--judge shorter --recipe nowhere.yaml": "ls .",
    "--judge shorter --recipe pairs.jsonl": "$EDITOR pairs.jsonl",
    "--judge shorter --out pairs.jsonl/run": "--out FOLDER",
    "--judge shorter --out /proc/run": "--out FOLDER",
    "--judge shorter --journal pairs.jsonl": "mv pairs.jsonl",
    "--judge shorter --journal .": "ls -l",
    "--judge shorter --prompts pairs.jsonl": "--prompts prompts.jsonl",
}


@pytest.mark.parametrize("words", WORDS)
def test_a_setting_that_cannot_be_used_ends_in_what_to_type(here, capsys, words):
    line = refused(jurist(capsys, "label", "--pairs", "pairs.jsonl", *words.split()))
    assert WORDS[words] in line


@pytest.mark.parametrize(
    "words", ["temperature -1", "temperature .nan", "top_p 0", "top_p 2", "max_tokens 0"]
)
def test_a_way_to_draw_that_no_model_has_is_refused_before_any_call(here, capsys, words):
    job = ("--prompts", "pairs.jsonl", "--policy", "tiny:careful", f"--sampling.{words.split()[0]}")
    for verb in (("label", "--judge", "shorter"), ("sample",), ("estimate", "--judge", "shorter")):
        line = refused(jurist(capsys, *verb, *job, words.split()[1]))
        assert f"set --sampling.{words.split()[0]}" in line


def test_a_format_whose_package_is_missing_is_refused_before_any_call(here, capsys, monkeypatch):
    monkeypatch.setattr("jurist.recipes.settings.find_spec", lambda name: None)
    for name in ("parquet", "datasets"):
        with serving(judges.oracle) as served:
            job = ("--pairs", "pairs.jsonl", "--judge", f"vllm:oracle@{served.url}", "--export", f"[{name}]")
            assert "Install it with: pip install" in refused(jurist(capsys, "label", *job))
            assert served.stats.calls == 0


RECIPES = {
    "pairs: [1]": "pairs: expected `str | null`",
    "judge: 3": "judge: expected",
    "judge: [shorter": "$EDITOR recipe.yaml",
    "judge: {kind: shorter, swop: never}": "Did you mean 'swap'?",
    "judge: {engine: {engin: 'openai:x'}}": "Add: engine:",
    "judge: {engine: {engine: 'vllm:x@http://h/v1', prise: {input: 1}}}": "Did you mean 'price'?",
    "judge: {engine: {engine: 'vllm:x@http://h/v1', price: {input: -1}}}": "cannot be negative",
    "judge: {engine: {engine: 'vllm:x@http://h/v1', price: {inptu: 1}}}": "Did you mean 'input'?",
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_wrong_recipe_is_refused_with_the_key_and_the_way_out(here, capsys, recipe):
    (here / "recipe.yaml").write_text(recipe)
    given = [] if recipe.startswith("pairs") else ["--pairs", "pairs.jsonl"]
    line = refused(jurist(capsys, "label", "--recipe", "recipe.yaml", *given))
    assert RECIPES[recipe] in line


def test_a_budget_without_a_price_is_refused_before_any_call(here, capsys):
    with serving(judges.oracle) as served:
        judge = f"vllm:oracle@{served.url}"
        said = jurist(capsys, "label", "--pairs", "pairs.jsonl", "--judge", judge, "--budget", "5usd")
        assert served.stats.calls == 0
    assert "price: {input:" in refused(said)


@pytest.mark.parametrize("verb", ["show", "export"])
def test_a_folder_that_holds_no_run_is_refused(here, capsys, verb):
    for folder in ("nowhere", ".", "pairs.jsonl"):
        assert "jurist label" in refused(jurist(capsys, verb, folder))


@pytest.mark.parametrize("limit", ["0", "-1"])
def test_showing_less_than_one_matchup_is_refused(here, capsys, limit):
    labelled(here, capsys)
    assert "--limit 10" in refused(jurist(capsys, "show", "run", "--flips", "--limit", limit))


def labelled(here, capsys):
    assert jurist(capsys, "label", "--pairs", "pairs.jsonl", "--judge", "shorter", "--out", "run").code == 0
    return here / "run"


DAMAGE = {
    "matchups.jsonl": lambda lines: lines[:-1],
    "prompts.jsonl": lambda lines: lines[:-1],
    "completions.jsonl": lambda lines: lines[1:],
    "verdicts.jsonl": lambda lines: [*lines, lines[0]],
}


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize("how", ["lines are missing", "a line is cut", "not there", "a folder"])
def test_files_of_a_run_that_do_not_fit_are_refused_and_can_be_made_again(here, capsys, name, how):
    run = labelled(here, capsys)
    file, whole = run / name, (run / name).read_text()
    if how == "lines are missing":
        file.write_text("".join(DAMAGE[name](whole.splitlines(keepends=True))))
    elif how == "a line is cut":
        file.write_text(whole[:-20])
    else:
        file.unlink()
        if how == "a folder":
            file.mkdir()
    for words in (("show", run, "--flips"), ("export", run)):
        line = refused(jurist(capsys, *words))
        assert name in line or "matchups.jsonl" in line
    if how == "a folder":
        file.rmdir()
    assert jurist(capsys, "label", "--recipe", run / "recipe.yaml").code == 0
    assert file.read_text() == whole
    assert jurist(capsys, "show", run, "--flips").code == 0


@pytest.mark.parametrize(("name", "verb"), [("summary.json", "show"), ("summary.json", "export")])
def test_a_damaged_summary_is_refused(here, capsys, name, verb):
    run = labelled(here, capsys)
    (run / name).write_text('{"run": "run", "promp')
    assert "jurist label --recipe" in refused(jurist(capsys, verb, run))


def test_a_journal_of_another_version_is_kept_and_refused(here, capsys):
    run = labelled(here, capsys)
    with contextlib.closing(sqlite3.connect(run / "journal.sqlite")) as journal:
        journal.execute("PRAGMA user_version = 99")
    before = (run / "journal.sqlite").read_bytes()
    line = refused(jurist(capsys, "label", "--pairs", "pairs.jsonl", "--judge", "shorter", "--out", "run"))
    assert "version 99" in line
    assert line.endswith("journal-new.sqlite")
    assert (run / "journal.sqlite").read_bytes() == before


def test_a_folder_in_use_is_left_alone_and_free_again_afterwards(here, capsys):
    words = ("label", "--pairs", "pairs.jsonl", "--judge", "shorter", "--out", "run")
    with Run(here / "run"):
        line = refused(jurist(capsys, *words))
        assert f"process {os.getpid()}" in line
    assert jurist(capsys, *words).code == 0


def test_a_run_that_could_not_open_its_journal_does_not_stay_locked(here, capsys):
    words = ("label", "--pairs", "pairs.jsonl", "--judge", "shorter", "--out", "run")
    refused(jurist(capsys, *words, "--journal", "pairs.jsonl"))
    assert jurist(capsys, *words).code == 0


def test_a_full_disk_ends_the_run_and_nothing_paid_for_is_lost(here, capsys):
    disk = here / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk here")
    try:
        write_rows(make_rows(400), here / "pairs.jsonl")
        with serving(judges.oracle) as served:
            words = (
                "label",
                "--pairs",
                "pairs.jsonl",
                "--judge",
                f"vllm:any@{served.url}",
                "--out",
                disk / "run",
            )
            line = refused(jurist(capsys, *words))
            assert "the disk is full" in line
            assert "free some space" in line
            paid = len(served.stats.seen)
            subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
            said = jurist(capsys, *words, "--json")
            again = served.stats.calls - len(served.stats.seen)
        assert said.json["labels"] == 400
        assert paid > again >= 0
        assert said.json["calls_kept"] == paid - again > 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_what_the_system_refuses_anywhere_is_one_line(here, capsys):
    def act():
        raise PermissionError(13, "Permission denied", "some/file")

    assert ending_of(act) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "jurist: cannot use some/file (permission denied). Look at it with: ls -ld some/file"


def test_a_defect_of_ours_shows_itself(here):
    def act():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ending_of(act)


def test_ctrl_c_ends_with_130_and_one_line_and_the_run_goes_on_later(here, capsys):
    write_rows(make_rows(160), here / "pairs.jsonl")
    with serving(judges.oracle, latency=0.04) as served:
        recipe = {"judge": {"engine": {"engine": f"vllm:any@{served.url}", "concurrency": 4}}}
        (here / "recipe.yaml").write_text(json.dumps(recipe))
        words = ["label", "--recipe", "recipe.yaml", "--pairs", "pairs.jsonl", "--out", "run"]
        code = "from jurist.cli import main; main()"
        job = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Whoever runs the tests in the background has Ctrl-C ignored, which children would inherit.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        while served.stats.answered.total() < 20:
            assert job.poll() is None
            time.sleep(0.002)
        job.send_signal(signal.SIGINT)
        out, err = job.communicate(timeout=20)
        assert (job.returncode, out) == (130, "")
        (line,) = err.splitlines()
        assert line == "jurist: stopped. Every call paid for is kept: run the same command to go on"
        said = jurist(capsys, *words, "--json")
        assert served.stats.calls - len(served.stats.seen) <= 4
    assert said.json["labels"] == 160


def test_a_reader_that_leaves_early_is_no_error(here, capsys):
    run = labelled(here, capsys)
    code = "from jurist.cli import main; main()"
    words = [sys.executable, "-c", code, "show", str(run), "--json"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")
