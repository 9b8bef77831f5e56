"""Bad input gets one line on stderr that ends in the next thing to type, exit code 2, and costs nothing."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from jurist.cli.exits import ended, exit_code
from jurist.errors import BudgetSpent, Interrupted, SettingError
from jurist.run import Run
from support.cli import run
from support.job import label

WORDS = {
    "--judge vlm:x@http://h/v1": "Did you mean 'vllm'?",
    "--judge tiny:oracel": "Did you mean 'oracle'?",
    "--judge gpt-4": "openai:MODEL",
    "--judge shorter --prefer.tis soft": "Did you mean 'prefer.ties'?",
    "--judge shorter --ties soft": "Did you mean 'judge.ties' or 'prefer.ties'?",
    "--judge shorter --judge.samples many": "judge.samples: expected int, got 'many'",
    "--judge shorter --judge longer --judge.swap never": "Say which: --judge.0",
    "--judge shorter --held_out 2": "held_out: expected float < 1.0, got 2.",
    "--judge shorter --matchups chian": "Did you mean 'chain'?",
    "--judge shorter -k 0": "k: expected int >= 1, got 0. Completions per prompt.",
    "--judge shorter --limit -1": "limit: expected int >= 1, got -1.",
    "--judge shorter --sampling.top_p 2": "sampling.top_p: expected float <= 1.0, got 2.",
    "--judge tiny:fair --judge.temperature -1": "expected float >= 0.0, got -1",
    "--judge shorter stray": "--NAME stray",
    "--judge shorter --recipe pairs.jsonl": "$EDITOR pairs.jsonl",
    "--judge shorter --out pairs.jsonl/run": "--out FOLDER",
    "--judge shorter --journal pairs.jsonl": "mv pairs.jsonl",
    "--judge shorter --prompts pairs.jsonl": "got --prompts and --pairs",
    "--judge shorter --jury.combine anchored": "there is one. Name another",
    "--judge shorter --policy tiny:careful": "--pairs and policy do not go together",
    "--judge shorter --sampling.seed 1": "--pairs and sampling do not go together",
    "--judge shorter --matchups star": "--pairs and matchups do not go together",
    "--judge shorter --judge.swap fraction:0.9": "Ask more: --judge.swap always",
}


@pytest.mark.parametrize("words", WORDS)
def test_a_setting_that_cannot_be_used_ends_in_what_to_type(words):
    done = run("label", "--pairs", "pairs.jsonl", *words.split())
    assert (done.code, done.out) == (2, "")
    assert done.line.startswith("jurist: ")
    assert WORDS[words] in done.line


OTHER_VERBS = {
    "lable": "no verb called 'lable'. Did you mean 'label'? See: jurist --help",
    "train dpoo": "Did you mean 'train dpo'? See: jurist train --help",
    "show": "jurist show needs RUN. The run folder. See: jurist show --help",
    "show nowhere": "jurist label --out nowhere",
    "show pairs.jsonl": "jurist label",
    "show run --limit 0": "limit: expected int >= 1, got 0.",
    "show run --pair zzz": "List some with: jurist show run --labels",
    "export nowhere": "jurist label --out nowhere",
    "export run --judge.swap never": "no setting called 'judge'",
    "audit pairs.jsonl --annotators geniuses": "there is crowd, experts, skilled",
    "audit nowhere.jsonl": "no file",
    "audit pairs.jsonl --fail-on alrm": "Did you mean",
    "plan --agreement 2": "--agreement 0.75",
    "plan --discordance 0.01": "--",
    "spotcheck pairs.jsonl -n 0": "-n 200",
    "probe tiny:fair --prompts pairs.jsonl --columns.x y": "no setting called 'columns'",
    "run": "Write one with: jurist init rlaif",
    "run nowhere.yaml": "there is no recipe at nowhere.yaml",
    "selftest --rows 0": "rows: expected int >= 1, got 0.",
    "init rejektion": "Did you mean 'rejection'?",
    "--install-completion tcsh": "jurist --install-completion bash",
}


@pytest.mark.parametrize("words", OTHER_VERBS)
def test_every_verb_says_what_to_type(words):
    if " run " in f" {words} ":
        label("shorter")
    done = run(*words.split())
    assert done.code == 2
    assert OTHER_VERBS[words] in done.line


RECIPES = {
    "pairs: [1]": "pairs: expected str or null, got [1]",
    "judge: 3": "judge: expected str or mapping or list, got 3. Who judges, e.g. openai:gpt-5-mini",
    "judge: {engine: {engine: 'openai:x', prise: {input: 1}}}": "Did you mean 'judge.engine.price'?",
    "judge: {engine: {engine: 'vllm:x@http://h/v1', price: {input: -1}}}": "cannot be negative",
    "policies: [openai:x]": "Did you mean 'policy'?",
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_wrong_recipe_is_refused_with_the_key_and_the_way_out(recipe):
    Path("recipe.yaml").write_text(recipe)
    given = [] if recipe.startswith("pairs") else ["--pairs", "pairs.jsonl"]
    done = run("label", "--recipe", "recipe.yaml", *given)
    assert done.code == 2
    assert RECIPES[recipe] in done.line


def test_what_is_to_be_typed_is_quoted_for_the_shell():
    assert "jurist show 'my run' --flips" in label("first", out="my run").out
    Path("my run/summary.json").unlink()
    assert run("show", "my run").line.endswith("jurist label --recipe 'my run/recipe.yaml'")


@pytest.mark.parametrize("name", ["summary.json", "matchups.jsonl", "prompts.jsonl", "verdicts.jsonl"])
def test_a_damaged_file_of_a_run_is_named_and_made_again(name):
    label("shorter")
    whole = Path(f"run/{name}").read_text()
    Path(f"run/{name}").write_text(whole[:-20])
    done = run("show", "run", *(["--flips"] if name != "summary.json" else []))
    assert done.code == 2
    assert name in done.line
    assert run("label", "--recipe", "run/recipe.yaml").code == 0
    assert run("show", "run", "--flips").code == 0


def test_a_folder_in_use_is_left_alone_and_show_says_so(here):
    label("shorter")
    with Run(here / "run"):
        done = label("shorter")
        assert done.code == 2
        assert f"process {os.getpid()}" in done.line
        assert f"process {os.getpid()} is at work here" in run("show", "run").out
        Path("run/summary.json").unlink()
        assert f"process {os.getpid()} is working on it" in run("show", "run").line
    assert label("shorter").code == 0


def raising(error):
    def act():
        raise error

    return act


ENDINGS = {
    "budget": (BudgetSpent("spent"), 3, "jurist: spent\n"),
    "interrupted": (Interrupted("stopped.  3 calls\nlost"), 130, "jurist: stopped. 3 calls lost\n"),
    "Ctrl-C": (
        KeyboardInterrupt(),
        130,
        "jurist: stopped. Answered calls are kept; run the same command to go on\n",
    ),
    "ours": (SettingError("wrong"), 2, "jurist: wrong\n"),
    "the system's": (
        PermissionError(13, "Permission denied", "some file"),
        2,
        "jurist: cannot use some file (permission denied). Look at it with: ls -ld 'some file'\n",
    ),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_what_stops_a_command_is_a_line_and_an_exit_code(how, capsys):
    error, code, said = ENDINGS[how]
    assert exit_code(raising(error)) == code
    assert capsys.readouterr().err == said


def test_a_bug_of_ours_shows_itself():
    with pytest.raises(ZeroDivisionError):
        exit_code(raising(ZeroDivisionError()))


SUMMARIES = {
    "done": ({}, 0, ""),
    "no labels": ({"why_none": "800 unread"}, 1, "no labels: 800 unread"),
    "refused": ({"state": "refused", "refused": "no better than chance"}, 1, "no better than chance"),
    "budget": ({"state": "stopped", "stopped": "spent", "ended_by": "budget"}, 3, "spent"),
    "interrupted": ({"state": "stopped", "stopped": "stopped", "ended_by": "interrupt"}, 130, "stopped"),
    "something wrong": ({"state": "stopped", "stopped": "cannot reach", "why_none": "x"}, 2, "cannot reach"),
}


@pytest.mark.parametrize("how", SUMMARIES)
def test_a_run_that_did_not_end_well_is_no_success(how, capsys):
    given, code, said = SUMMARIES[how]
    usual = {"state": "done", "stopped": "", "ended_by": "", "refused": "", "why_none": ""}
    assert ended(SimpleNamespace(**{**usual, **given})) == code
    assert capsys.readouterr().err == (f"jurist: {said}\n" if said else "")


def test_a_run_without_a_label_fails_in_json_too():
    done = label("first", "--json")
    assert (done.code, done.json["labels"]) == (1, 0)
    assert done.line.startswith("jurist: no labels: ")


def test_a_reader_that_leaves_early_is_no_error():
    words = [sys.executable, "-c", "from jurist.cli import main; main()", "--help"]
    read, written = os.pipe()
    os.close(read)
    done = subprocess.run(words, stdout=written, stderr=subprocess.PIPE)
    os.close(written)
    assert (done.returncode, done.stderr) == (141, b"")
