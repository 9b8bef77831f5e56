"""Each verb alone: what it prints for a human, what for a machine, and with which exit code it ends."""

import json
import sys
from pathlib import Path

import pytest

from support.cli import run
from support.gullible import decent_answers
from support.job import label, pairs, records, write

sys.path.insert(0, str(Path(__file__).parent.parent / "audits"))
from runs import always, write_run


def test_label_prints_where_the_result_lies_and_what_it_came_to():
    done = label("shorter")
    assert (done.code, done.err) == (0, "")
    for part in ("run          run\n", "12 prompts, 24 completions, 12 matchups", "labels       12\n"):
        assert part in done.out
    assert "unknown: no human labels. Get some: jurist spotcheck run" in done.out


def test_options_go_over_the_recipe_and_reach_one_of_several_judges():
    Path("recipe.yaml").write_text("pairs: pairs.jsonl\njudge: shorter\nout: run\nseed: 1\nexport: [kto]\n")
    judges = ("--judge", "shorter", "--judge", "longer", "--judge.1.name", "long", "--judge.0.swap=never")
    once = ("--force", "--replace")
    assert run("label", "-r", "recipe.yaml", "--seed", "2", *judges, "--prefer.ties", "soft", *once).code == 0
    kept = Path("run/recipe.yaml").read_text()
    for line in ("seed: 2", "ties: soft", "name: long", "- kto"):
        assert line in kept
    assert "force: false" in kept, "what was forced or replaced was meant for one start"
    assert "replace: false" in kept
    assert {one["judge"] for one in records("verdicts")} == {"shorter", "long"}


def test_estimate_names_calls_tokens_and_price_and_leaves_nothing_behind():
    words = ("estimate", "--pairs", "pairs.jsonl", "--judge", "vllm:any@http://127.0.0.1:9/v1")
    assert "24 calls" in run(*words).out
    assert run(*words, "--json").json["engines"][0]["calls"] == 24
    assert not Path("run").exists()


def test_sample_writes_completions_and_label_goes_on_from_them():
    write("prompts.jsonl", [{"prompt": f"What is {n} plus 100?"} for n in range(6)])
    job = ("--prompts", "prompts.jsonl", "--policy", "tiny:careful", "--policy", "tiny:wordy", "-k", "3")
    sampled = run("sample", *job, "-o", "run", "--json")
    assert (sampled.code, sampled.json["calls"]) == (0, 18)
    assert run("label", *job, "-o", "run", "--judge", "tiny:oracle", "--json").json["calls_kept"] == 18


def test_export_decides_again_and_writes_other_formats_where_the_run_lies_now():
    label("first")
    Path("run").rename("moved")
    done = run("export", "moved", "-f", "kto", "--prefer.ties", "soft", "--json")
    assert (done.code, done.json["labels"]) == (0, 12)
    assert Path("moved/export/kto").is_dir()
    assert "out: moved" in Path("moved/recipe.yaml").read_text()
    assert not Path("run").exists()


def test_findings_are_printed_worst_first_with_what_to_do_and_a_gate_ends_with_1_and_says_why(here):
    folder = write_run(here / "judged", always(1.0))
    done = run("audit", folder, "--fail-on", "position.flip_rate<0.2")
    assert done.code == 0
    assert done.out.startswith("humans   No ")
    assert "\nanswer   No. " in done.out
    assert done.out.index("alarm ") < done.out.index("\nnot measured")
    assert done.out.splitlines()[-1] == f"report   {folder}/report.html"
    gates = ("--fail-on", "position.flip_rate>0.2", "--fail-on", "cost")
    failed = run("audit", folder, "--json", "-o", "there", *gates)
    assert failed.json == json.loads(Path("there/audit.json").read_text())
    assert failed.code == 1
    assert "jurist: failed on position.flip_rate>0.2: position.flip_rate of openai:gpt-5-mini" in failed.line


def test_a_plan_is_a_table_of_questions_labels_and_prices():
    done = run("plan", "--agreement", "0.75", "--margin", "0.03", "--price", "2")
    assert done.code == 0
    for part in ("801", "$1,602", "alternative annotator"):
        assert part in done.out
    found = run("plan", "--difference", "0.03", "--discordance", "0.1", "--json").json
    assert (found["questions"][1]["labels"], found["assumed"]["discordance"], found["measured"]) == (
        870,
        0.1,
        {},
    )


def test_a_spot_check_says_what_is_next_and_is_not_written_over_once_it_is_labelled():
    write("mine.jsonl", pairs(30, label="first"))
    done = run("spotcheck", "mine.jsonl", "-n10", "--out", "my spot.jsonl")
    assert done.code == 0
    assert "10 of 30 labels" in done.out
    assert "jurist audit mine.jsonl --human 'my spot.jsonl'" in done.out
    rows = [json.loads(line) for line in Path("my spot.jsonl").read_text().splitlines()]
    write("my spot.jsonl", [{**row, "label": "tie"} for row in rows])
    again = run("spotcheck", "mine.jsonl", "-n", 5, "--out", "my spot.jsonl")
    assert "Choose another file with: --out FILE" in again.line
    assert run("spotcheck", "mine.jsonl", "-n", 5, "--json").json["sampled"] == 5


def test_a_probe_ends_with_1_for_a_judge_that_may_not_count_and_with_3_at_its_budget():
    few = list(decent_answers().items())[::3]
    write("decent.jsonl", [{"prompt": one, "completion": text} for one, text in few])
    job = ("probe", "tiny:longer", "--prompts", "decent.jsonl", "--judge.engine.price.input", 1000)
    assert run(*job, "--judge.against_length", "--budget", "10usd").code == 3
    done = run(*job, "--judge.against_length", "true", "--budget", "10000usd")
    assert done.code == 1
    assert "prefers the attack: " in " ".join(done.out.split())
    assert "against_length: true" in Path("probe/recipe.yaml").read_text()
    again = run(*job, "--judge.against_length", "--json")
    assert (again.json["calls"], again.json["passed"]) == (0, False)


@pytest.mark.slow
def test_the_self_test_says_what_each_judge_came_to():
    done = run("selftest", "--rows", 4)
    assert done.code == 0
    assert "passed  oracle          4 labels, 0 dropped\n" in done.out
    assert done.out.splitlines()[-1].startswith("16 of 16 judges passed (")
