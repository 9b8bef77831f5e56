"""Bad input gets one line on stderr that ends in the next thing to type, exit code 2, and costs nothing."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from jurist.cli.exits import exit_code, report
from jurist.errors import BudgetSpent, Interrupted, SettingError
from support.cli import run
from support.job import label

LABEL = {
    "--judge vlm:x@http://h/v1": "Did you mean 'vllm'?",
    "--judge tiny:oracel": "Did you mean 'oracle'?",
    "--judge gpt-4": "openai:MODEL",
    "--judge shorter --ties soft": "Did you mean 'judge.ties' or 'prefer.ties'?",
    "--judge shorter --matchups chian": "Did you mean 'chain'?",
    "--judge shorter --sampling.top_p 2": "sampling.top_p: expected float <= 1.0, got 2.",
    "--judge tiny:fair --judge.temperature -1": "expected float >= 0.0, got -1",
    "--judge shorter stray": "--NAME stray",
    "--judge shorter --out pairs.jsonl/run": "--out FOLDER",
    "--judge shorter --journal pairs.jsonl": "mv pairs.jsonl",
    "--judge shorter --prompts pairs.jsonl": "got --prompts and --pairs",
    "--judge shorter --jury.combine anchored": "there is one. Name another",
    "--judge shorter --policy tiny:careful": "--pairs and policy do not go together",
    "--judge shorter --matchups star": "--pairs and matchups do not go together",
}
OTHER_VERBS = {
    "lable": "no verb called 'lable'. Did you mean 'label'? See: jurist --help",
    "train dpoo": "Did you mean 'train dpo'? See: jurist train --help",
    "show": "jurist show needs RUN. The run folder. See: jurist show --help",
    "show nowhere": "jurist label --out nowhere",
    "show run --limit 0": "limit: expected int >= 1, got 0.",
    "show run --pair zzz": "List some with: jurist show run --labels",
    "export nowhere": "jurist label --out nowhere",
    "export run --judge.swap never": "no setting called 'judge'",
    "audit pairs.jsonl --annotators geniuses": "there is crowd, experts, skilled",
    "audit nowhere.jsonl": "no file",
    "plan --agreement 2": "jurist plan --help",
    "spotcheck pairs.jsonl -n 0": "-n 200",
    "run": "Write one with: jurist init rlaif",
    "run nowhere.yaml": "there is no recipe at nowhere.yaml",
    "run nameless.yaml": "does not say which recipe it is for",
    "run rlaif.yaml --roundss 3": "Did you mean 'rounds'? See: jurist run rlaif.yaml --help",
    "run rlaif.yaml --ppo.lr fast": "ppo.lr: expected float or null, got 'fast'. Peak learning rate; null:",
    "init rejektion": "Did you mean 'rejection'?",
    "--install-completion tcsh": "jurist --install-completion bash",
}
WORDS = {f"label --pairs pairs.jsonl {words}": said for words, said in LABEL.items()} | OTHER_VERBS


@pytest.mark.parametrize("words", WORDS)
def test_what_cannot_be_used_ends_in_what_to_type(words):
    if "show run" in words or "export run" in words:
        label("shorter")
    Path("nameless.yaml").write_text("out: x\n")
    Path("rlaif.yaml").write_text("recipe: rlaif\nprompts: tiny:8\npolicy: tiny\njudge: tiny:fair\n")
    done = run(*words.split())
    assert (done.code, done.out) == (2, "")
    assert done.line.startswith("jurist: ")
    assert WORDS[words] in done.line


@pytest.mark.parametrize("name", ["summary.json", "matchups.jsonl", "verdicts.jsonl"])
def test_a_damaged_file_of_a_run_is_named_and_made_again(name):
    label("shorter")
    whole = Path(f"run/{name}").read_text()
    Path(f"run/{name}").write_text(whole[:-20])
    done = run("show", "run", *(["--flips"] if name != "summary.json" else []))
    assert done.code == 2
    assert name in done.line
    assert run("label", "--recipe", "run/recipe.yaml").code == 0
    assert run("show", "run", "--flips").code == 0


@contextmanager
def at_work(folder):
    """Another process with the folder's lock, as one that is labelling has it."""
    hold = f"from jurist.run import Run; run = Run('{folder}'); print('open', flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", hold], **pipes) as process:
        assert process.stdout.readline() == b"open\n"
        yield f"process {process.pid}"
        process.stdin.close()


def test_a_folder_that_another_process_works_on_is_named_with_it_and_left_alone():
    label("shorter")
    with at_work("run") as process:
        for words in (("show", "run"), ("show", "run", "--labels"), ("show", "run", "--by", "shorter")):
            done = run(*words)
            assert done.code == 0
            assert done.out.startswith(f"working      {process} is at work here; below is what an earlier")
        assert f"{process} is working on this run".replace("process", "Process") in run("audit", "run").out
        assert f"{process} is working on run. Wait" in run("export", "run", "-f", "kto").line
        assert process in label("shorter").line
    assert not Path("run/export/kto").exists()
    assert "at work" not in run("show", "run").out
    assert "working" not in run("audit", "run").out
    assert run("export", "run", "-f", "kto").code == 0


def test_a_run_that_has_only_begun_is_said_to_be_worked_on():
    with at_work("new") as process:
        for verb in ("show", "audit", "export"):
            done = run(verb, "new")
            assert done.code == 2
            assert f"{process} is working on" in done.line
            assert done.line.rstrip().endswith("Wait for it to end")
    for verb in ("show", "audit", "export"):
        assert "jurist label" in run(verb, "new").line


ENDINGS = {
    "budget": (BudgetSpent("spent"), 3, "jurist: spent\n"),
    "interrupted": (Interrupted("stopped.  3 calls\nlost"), 130, "jurist: stopped. 3 calls lost\n"),
    "Ctrl-C": (KeyboardInterrupt(), 130, "run the same command to go on\n"),
    "ours": (SettingError("wrong"), 2, "jurist: wrong\n"),
    "the system's": (PermissionError(13, "Permission denied", "some file"), 2, "ls -ld 'some file'\n"),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_what_stops_a_command_is_a_line_and_an_exit_code(how, capsys):
    error, code, said = ENDINGS[how]

    def act():
        raise error

    assert exit_code(act) == code
    assert capsys.readouterr().err.endswith(said)


def test_a_bug_of_ours_shows_itself():
    with pytest.raises(ZeroDivisionError):
        exit_code(lambda: 1 // 0)


RESULTS = {
    "done": ({}, 0, ""),
    "no labels": ({"why_none": "800 unread"}, 1, "no labels: 800 unread"),
    "refused": ({"refused": "no better than chance"}, 1, "no better than chance"),
    "budget": ({"ended_by": "budget", "stopped": "spent"}, 3, "spent"),
    "interrupted": ({"ended_by": "interrupt", "stopped": "stopped"}, 130, "stopped"),
    "something wrong": ({"ended_by": "failure", "stopped": "no", "why_none": "x"}, 2, "no"),
    "did not pass": ({"passed": False}, 1, ""),
}


@pytest.mark.parametrize("how", RESULTS)
def test_a_run_that_did_not_end_well_is_no_success(how, capsys):
    given, code, said = RESULTS[how]
    assert report(False, SimpleNamespace(lines=lambda: ["result"], **given)) == code
    assert capsys.readouterr().err == (f"jurist: {said}\n" if said else "")


def test_a_reader_that_leaves_early_is_no_error():
    words = [sys.executable, "-c", "from jurist.cli import main; main()", "--help"]
    read, written = os.pipe()
    os.close(read)
    done = subprocess.run(words, stdout=written, stderr=subprocess.PIPE)
    os.close(written)
    assert (done.returncode, done.stderr) == (141, b"")
