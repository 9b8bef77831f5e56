"""Each recipe goes round once on a pretrained model, with no flag that its user would not guess."""

import json
import re
import signal
import time
from pathlib import Path

import pytest

from support.cli import run, spawn
from support.job import write
from support.llama import skip_without_model

pytestmark = pytest.mark.real
skip_without_model()

from support import gemma  # noqa: E402

ASKED = ("a job interview", "baking bread", "a first garden", "learning to swim", "a cold", "old photographs")
PROMPTS = [
    f"{what} {about}?" for about in ASKED for what in ("What should I know about", "Give me one tip for")
]
WIN_RATE = re.compile(r"^1 +\d+\.\d% \(\d+\.\d% to \d+\.\d%, n = (\d+)\)", re.MULTILINE)
ROUNDS = {
    "rlaif": ("rlaif", "--judge", "hf:{}", "--judge.kind", "pointwise"),
    "direct rlaif": ("rlaif", "--reward", "judge", "--judge", "hf:{}"),
    "constitutional": ("constitutional",),
    "rejection": ("rejection", "--rounds", 1, "--judge", "hf:{}", "--judge.kind", "pointwise"),
    "self-rewarding": ("self_rewarding", "--rounds", 1),
}
LEARNT = {
    "rlaif": ("label", "reward_model", "policy", "compare"),
    "direct rlaif": ("policy", "compare"),
    "constitutional": ("draft", "revision-2", "sft", "label", "reward_model", "policy", "compare"),
    "rejection": ("sample", "score-0", "policy", "compare"),
    "self-rewarding": ("label", "policy", "compare"),
}
"""Steps that each has to have been through."""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS])


def went_round(out, printed):
    """What a user reads and finds after one round."""
    (facts,) = (json.loads(line) for line in Path(out, "rounds.jsonl").read_text().splitlines())
    rows = [json.loads(line) for line in Path(out, "round-1", "held_out.jsonl").read_text().splitlines()]
    judged = [row for row in rows if row.get("p") is not None]
    assert rows
    assert all(len(row["new"]) == len(row["old"]) == 4 for row in rows)
    assert int(WIN_RATE.search(printed)[1]) == len(judged) == facts["compared"]["n"] > 0
    assert f"policy   {facts['policy']}" in printed
    assert Path(facts["policy"], "model.safetensors").exists()
    metrics = Path(facts["policy"]).parent / "metrics.jsonl"
    assert all(
        abs(value) < 1e6 for line in metrics.read_text().splitlines() for value in json.loads(line).values()
    )
    return facts


def again_costs_nothing(words, printed, out):
    """The same command, once it is done: the same lines, in the time it takes to read them."""
    changed = {file: file.stat().st_mtime_ns for file in Path(out).rglob("*.safetensors")}
    began = time.process_time()
    done = run(*words)
    assert (done.code, done.out) == (0, printed)
    assert time.process_time() - began < 10
    assert {file: file.stat().st_mtime_ns for file in Path(out).rglob("*.safetensors")} == changed


def test_a_base_that_never_stops_goes_round_and_says_what_its_answers_lack():
    run("init", "rlaif")
    words = ("run", "rlaif.yaml", "--policy", gemma.english(), "--prompts", "prompts.jsonl", "--limit", 10)
    words += ("--judge", "shorter", "--compare.judge", "longer", "--compare.held_out", 0.3, "-k", 2)
    words += ("--optimiser", "dpo", "--sampling.max_tokens", 8, "--out", "loop")
    cut_off = run(*words)
    assert cut_off.code == 2
    assert cut_off.err.splitlines()[-1].endswith("or keep these: --prefer.truncated flag")

    words += ("--prefer.truncated", "flag")
    done = run(*words)
    assert done.code == 0, done.err
    went_round("loop", done.out)
    again_costs_nothing(words, done.out, "loop")


def test_ctrl_c_ends_real_sampling_within_seconds_and_what_is_whole_is_kept():
    words = ("sample", "--prompts", "prompts.jsonl", "--policy", f"hf:{gemma.english()}", "--limit", 4)
    kept = run(*words, "--sampling.max_tokens", 4, "--out", "run")
    assert kept.code == 0
    process = spawn(*words, "--sampling.max_tokens", 2000, "--out", "run")
    said = ""
    while "token" not in said:
        said = process.stderr.readline()
        assert said, "it was to say what it is at"
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - began < 20
    assert told.splitlines()[-1].startswith("jurist: stopped. Answered calls are kept")
    assert "8 from the journal" in run(*words, "--sampling.max_tokens", 4, "--out", "run").out


@pytest.mark.slow
@pytest.mark.parametrize("name", ROUNDS)
def test_every_recipe_goes_round_on_an_assistant(name, assistant):
    recipe, *own = ROUNDS[name]
    run("init", recipe)
    words = ["run", f"{recipe}.yaml", "--policy", assistant, "--prompts", "prompts.jsonl", "--out", "loop"]
    words += [one.format(assistant) if isinstance(one, str) else one for one in own]
    words += ["--compare.judge", f"hf:{assistant}", "--compare.held_out", 0.3, "-k", 2]
    words += ["--limit", 10, "--sampling.max_tokens", 56, "--budget", "1usd"]
    done = run(*words)
    if "followed the position" in done.err.splitlines()[-1]:  # so small a judge may do so, and is refused
        assert done.err.splitlines()[-1].endswith("or learn all the same with: --stop.flips 0")
        words += ["--stop.flips", 0]
        done = run(*words)
    assert done.code == 0, done.err
    facts = went_round("loop", done.out)
    assert {one.stem for one in Path("loop/round-1/steps").iterdir()} >= set(LEARNT[name])
    assert facts["usd"] == 0
    for line in done.err.splitlines():
        assert "Traceback" not in line
        assert "Warning" not in line
    again_costs_nothing(words, done.out, "loop")

    labels = Path("loop/round-1/label/summary.json")
    if labels.exists():
        summary = json.loads(labels.read_text())
        assert sum(summary["unread"].values()) <= 0.2 * summary["verdicts"]
        audited = run("audit", "loop")
        assert audited.code == 0, audited.err
        assert Path("loop/report.html").exists()
