"""`jurist train` as a user types it: what it takes, what it makes, and how it refuses."""

import json
import sys
from pathlib import Path

import making
import pytest
import torch
from rows_for_tests import metrics, pairs_file

from jurist.cli.app import run_command
from jurist.cli.verbs import TRAINERS, models_beside
from jurist.engines.checkpoints import render_chat
from jurist.policies.checkpoint import load_tokenizer
from jurist.records import Message

torch.set_num_threads(1)
PPO = ("--rollout.max_tokens", 3, "--rollout.samples", 2)


def jurist(*words) -> int:
    return run_command([str(word) for word in words])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return making.checkpoint(tmp_path_factory.mktemp("verb") / "base")


@pytest.mark.parametrize("verb", TRAINERS)
def test_each_verb_trains_on_rows_as_trl_has_them(base, tmp_path, capsys, verb):
    data = pairs_file(tmp_path / "pairs.jsonl", 24)
    reward = ("--reward", "longer_one:words", *PPO) if verb in ("ppo", "rloo") else ()

    assert jurist("train", verb, data, "--base", base, "--batch", 12, "--lr", 1e-3, "--json", *reward) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["model"] == str(tmp_path / "pairs" / verb / "model")
    assert said["rows"] == 24
    assert len(metrics(tmp_path / "pairs" / verb)) == said["steps"] == 2
    if reward:
        assert said["settings"]["advantage"] == {"ppo": "gae", "rloo": "rloo"}[verb]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    (tmp_path / "longer_one.py").write_text(
        "def words(prompt, completions):\n    return [len(one.text.split()) for one in completions]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_a_setting_may_stand_before_the_file_and_its_value_is_no_file(base, capsys):
    pairs_file(Path("pairs.jsonl"), 8)

    assert (
        jurist("train", "reward", "--lora.r", 2, "--batch", 4, "pairs.jsonl", "--base", base, "--json") == 0
    )
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert (settings["lora"]["r"], settings["batch"], settings["data"]) == (2, 4, "pairs.jsonl")


def test_a_run_s_models_lie_in_the_run_and_the_reward_model_among_them_judges(base, capsys):
    pairs_file(Path("pairs.jsonl"), 20)
    assert jurist("label", "--pairs", "pairs.jsonl", "--judge", "longer", "--out", "run") == 0
    assert jurist("train", "reward", "run", "--base", base, "--batch", 8) == 0
    model = Path("run/models/reward/model")
    assert (model / "model.safetensors").exists()

    line = capsys.readouterr().out.splitlines()[-1]
    assert line == f"next       jurist label --pairs FILE --judge reward:{model}"
    for source in ("--pairs", "--completions"):
        judged = Path(f"judged{source}")
        given = "pairs.jsonl" if source == "--pairs" else "run"
        assert jurist("label", source, given, "--judge", f"reward:{model}", "--out", judged) == 0
        assert (judged / "preferences.jsonl").read_text().count("\n") > 10


def test_arguments_of_the_chat_template_are_learnt_with_and_saved_in_the_model(tmp_path, capsys):
    base = making.checkpoint(tmp_path / "thinks")
    template = making.TEMPLATE.replace(
        "<|assistant|>", "<|assistant|>{{ '' if thinks is false else 'well: ' }}"
    )
    (base / "chat_template.jinja").write_text(template)
    pairs_file(Path("pairs.jsonl"), 4)
    words = ("train", "sft", "pairs.jsonl", "--base", base, "--model.chat_template_kwargs.thinks", "false")
    assert jurist(*words) == 0
    capsys.readouterr()

    asked = (Message("user", "why"),)
    before, after = (render_chat(load_tokenizer(Path(one)), asked) for one in (base, "pairs/sft/model"))
    assert before == after + "well: "


def test_a_finished_training_is_not_done_twice_and_not_overwritten(base, capsys):
    pairs_file(Path("pairs.jsonl"), 8)
    words = ("train", "sft", "pairs.jsonl", "--base", base, "--out", "out")
    assert jurist(*words) == 0
    weights = Path("out/model/model.safetensors")
    before = weights.stat().st_mtime_ns

    capsys.readouterr()
    assert jurist(*words) == 0
    assert capsys.readouterr().err == "this training was finished before: nothing is done again\n"
    assert weights.stat().st_mtime_ns == before
    assert len(metrics(Path("out"))) == 1
    assert jurist(*words, "--lr", "1e-6") == 2
    assert capsys.readouterr().err.endswith("throw it away with: rm -r out\n")


def test_a_reward_function_that_was_edited_is_another_run(base, capsys):
    pairs_file(Path("pairs.jsonl"), 8)
    words = ("rloo", "pairs.jsonl", "--base", base, "--out", "out", "--reward", "longer_one:words", *PPO)
    assert jurist("train", *words) == 0
    Path("longer_one.py").write_text("def words(prompt, completions):\n    return [0.5] * len(completions)\n")
    refused(capsys, "trained with other settings, data or base", *words)


@pytest.mark.parametrize("file", ["out/model/mine.txt", "out/metrics.jsonl", "out/checkpoints/mine.txt"])
def test_files_of_the_user_stay(base, capsys, file):
    pairs_file(Path("pairs.jsonl"), 8)
    Path(file).parent.mkdir(parents=True)
    Path(file).write_text("mine\n")
    words = ("sft", "pairs.jsonl", "--base", base, "--out", "out")
    if "checkpoints" in file:
        assert jurist("train", *words) == 0
    else:
        refused(capsys, "not from a training. Choose another --out", *words)
    assert Path(file).read_text() == "mine\n"


PAIR = '{"prompt": "why", "chosen": "yes", "rejected": "no"'
FILES = {
    "an empty file": ("", "rows.jsonl is empty: there is no row in it. Look at it with: ls -l rows.jsonl"),
    "zeros and ones": (
        '{"prompt": "why", "first": "yes", "second": "no", "label": 1}',
        "--label_values.0 second",
    ),
    "no label": ('{"prompt": "why", "first": "yes", "second": "no"}', "jurist label --pairs FILE"),
    "a probability of 2": (PAIR + ', "p": 2}', "Give a number from 0 to 1"),
    "a margin that is a word": (PAIR + ', "margin": "wide"}', "Write a number, or leave it out"),
    "a weight below nothing": (PAIR + ', "weight": -1}', "Give 0 or more"),
    "no JSON": ("chosen,rejected", "not JSON"),
    "a row of other columns": ('{"text": "why"}', "rows.jsonl:1"),
    "only rows of weight 0": (PAIR + ', "weight": 0}', "(1 no_weight)"),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_cannot_be_learnt_from_is_refused(base, capsys, what):
    text, way_out = FILES[what]
    Path("rows.jsonl").write_text(text + "\n" if text else "")

    refused(capsys, way_out, "reward", "rows.jsonl", "--base", base)


WORDS = {
    "reward pairs.jsonl --base nothing/there": "Name a folder; look with: ls",
    "reward pairs.jsonl": "jurist train reward pairs.jsonl --base FOLDER",
    "reward": "jurist train reward runs/mine",
    "reward nowhere.jsonl --base BASE": "no file nowhere.jsonl. See what is there with: ls .",
    "reward pairs.jsonl --base BASE --batc 3": "Did you mean 'batch'?",
    "reward pairs.jsonl --base BASE --batch none": "jurist train reward --help",
    "reward pairs.jsonl --base BASE --lr -1": "jurist train reward --help",
    "reward pairs.jsonl --base BASE --lr inf": "a finite number",
    "sft pairs.jsonl --base BASE --lora.r 0": "lora.r",
    "sft pairs.jsonl --base BASE --lora.targets nosuch": "lora.targets 'nosuch'",
    "reward pairs.jsonl --base BASE --max_length 5": "--max_length 37",
    "dpo short.jsonl --base BASE --max_length 5": "Name one that takes more: --base MODEL",
    "reward pairs.jsonl --base BASE --held_out 0.9999": "--held_out 0.25",
    "reward pairs.jsonl --base BASE --beta 5": "no setting called 'beta'",
    "reward pairs.jsonl --base BASE --track wandb": "pip install wandb",
    "reward pairs.jsonl --base BASE --recipe nowhere.yaml": "ls .",
    "reward pairs.jsonl --base BASE --out pairs.jsonl": "pairs.jsonl",
    "reward pairs.jsonl stray --base BASE": "--NAME stray",
    "reward sampled --base BASE": "jurist label --recipe sampled/recipe.yaml",
    "reward pairs.jsonl --base bare": "has no chat template",
    "reward pairs.jsonl --base other": "do not belong together",
    "sft pairs.jsonl --base BASE --lr 1e30 --batch 4": "no checkpoint is kept. Lower the rate: --lr 2.5e+29",
    "dpo pairs.jsonl --base BASE --reference other2": "has other tokens",
    "dpo pairs.jsonl --base BASE --loss dpoo": "Did you mean 'dpo'?",
    "ppo pairs.jsonl --rollout.max_tokens 3 --base BASE": "--reward runs/mine/models/reward/model",
    "ppo pairs.jsonl --rollout.max_tokens 3 --base BASE --reward nothing": "there is",
    "ppo pairs.jsonl --rollout.max_tokens 3 --base BASE --reward models/nowhere": "--reward FOLDER",
    "ppo pairs.jsonl --rollout.max_tokens 3 --base BASE --reward longer": "--reward.kind pointwise",
    "ppo pairs.jsonl --rollout.max_tokens 3 --base BASE --reward longer_one:letters": "letters",
    "ppo pairs.jsonl --base BASE --reward longer_one:words --rollout.max_tokens 300": "rollout.max_tokens 2",
    "rloo pairs.jsonl --base BASE --reward longer_one:words --rollout.samples 1": "--rollout.samples 4",
    "reward loop --base BASE": "Name those of the last: loop/round-10/label",
    "sft begun --base BASE": "jurist run begun/recipe.yaml",
    "reward odd.jsonl --base BASE": "--columns.first ... --columns.second ...",
    "reward odd.jsonl --base BASE --columns.first good": "--columns.second ...",
    "reward level.jsonl --base BASE": "none of the 2 preferences in level.jsonl compares anything",
    "learn pairs.jsonl": "jurist train --help",
}


@pytest.mark.parametrize("words", WORDS)
def test_what_cannot_be_trained_is_refused_with_the_next_thing_to_type(base, capsys, words):
    pairs_file(Path("pairs.jsonl"), 8)
    Path("short.jsonl").write_text(PAIR.replace("why", "why " * 300) + "}\n")
    Path("odd.jsonl").write_text('{"prompt": "why", "good": "yes", "bad": "no"}\n')
    Path("level.jsonl").write_text(PAIR + ', "p": 0.5}\n' + PAIR.replace("no", "yes") + "}\n")
    for one in ("loop/round-9/label", "loop/round-10/label", "loop/round-10/pairs", "begun"):
        Path(one).mkdir(parents=True)
        (Path(one) / "preferences.jsonl").touch() if "round" in one else (Path(one) / "loop.json").touch()
    Path("loop/loop.json").touch()
    if "bare" in words or "other" in words:
        for name in ("bare", "other"):
            making.checkpoint(Path(name), vocabulary=330 if name == "bare" else 200)
        Path("bare/chat_template.jinja").unlink()
        if "other2" in words:
            other = making.tokenizer()
            other.add_tokens(["entirely"])
            making.checkpoint(Path("other2"))
            other.save_pretrained("other2")
    if "sampled" in words:
        assert (
            jurist("sample", "--prompts", "pairs.jsonl", "--policy", "tiny:careful", "--out", "sampled") == 0
        )

    refused(capsys, WORDS[words], *(str(base) if word == "BASE" else word for word in words.split()))


def refused(capsys, way_out: str, *words) -> None:
    capsys.readouterr()
    assert jurist("train", *words) == 2
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if not line.startswith(("step ", "loading "))]
    assert said.out == ""
    assert len(lines) == 1, said.err
    assert lines[0].startswith("jurist: ")
    assert way_out in lines[0]


@pytest.mark.parametrize("package", ["torch", "accelerate", "peft"])
def test_a_package_that_is_missing_is_named_with_its_extra(base, capsys, monkeypatch, package):
    pairs_file(Path("pairs.jsonl"), 8)
    monkeypatch.setitem(sys.modules, package, None)
    way_out = f"{package}, which is not installed. Install it with: pip install 'jurist[train]'"
    refused(capsys, way_out, "sft", "pairs.jsonl", "--base", base, "--lora.r", 2)


def test_models_lie_beside_what_they_learnt_from():
    Path("run").mkdir()

    assert models_beside("run") == Path("run/models")
    assert models_beside("data/pairs.jsonl.gz") == Path("data/pairs")
    assert models_beside("pairs") == Path("pairs-models")
    assert models_beside("hub:owner/name:test") == Path("name")


def test_a_label_names_the_better_one_whichever_seat_it_has():
    from jurist.models.rows import load_preferences

    rows = [
        '{"prompt": "why", "first": "yes", "second": "no", "label": "second"}',
        '{"prompt": "why", "chosen": "yes", "rejected": "no", "p": 0.7, "margin": 2, "weight": 0.5}',
        '{"prompt": "why", "chosen": "yes", "rejected": "no", "score_chosen": 8, "score_rejected": 5}',
    ]
    Path("pairs.jsonl").write_text("\n".join(rows))
    first, second, third = load_preferences("pairs.jsonl")

    assert (first.chosen.text, first.p) == ("no", 1.0)
    assert (second.chosen.text, second.p, second.margin, second.weight) == ("yes", 0.7, 2.0, 0.5)
    assert third.margin == 3.0


def test_a_reward_model_is_no_policy_to_start_from(base, tmp_path, capsys):
    pairs_file(Path("pairs.jsonl"), 4)
    assert jurist("train", "reward", "pairs.jsonl", "--base", base) == 0
    model = Path("pairs/reward/model")

    for verb in ("sft", "dpo"):
        refused(capsys, f"such as the one it came from: {base}", verb, "pairs.jsonl", "--base", model)
    reward = ("--reward", "longer_one:words", "--rollout.max_tokens", 3)
    refused(capsys, "is a reward model", "ppo", "pairs.jsonl", "--base", base, "--reference", model, *reward)
    assert jurist("sample", "--prompts", "pairs.jsonl", "--policy", f"hf:{model}", "--out", "said") == 2
    assert "is a reward model" in capsys.readouterr().err


def test_columns_of_other_names_are_read_and_rows_that_cannot_be_are_left_out(base, capsys):
    pairs_file(Path("pairs.jsonl"), 4)
    text = Path("pairs.jsonl").read_text().replace('"chosen"', '"good"').replace('"rejected"', '"bad"')
    Path("pairs.jsonl").write_text(text + "{no JSON\n")
    columns = ("--columns.chosen", "good", "--columns.rejected", "bad", "--on_error", "drop")

    for verb in ("reward", "sft"):
        assert jurist("train", verb, "pairs.jsonl", "--base", base, "--json", *columns) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["rows"], said["dropped"]) == (4, {"not_json": 1})


def test_what_was_learnt_is_told_with_the_rows_that_compare_nothing(base, capsys):
    pairs_file(Path("pairs.jsonl"), 5)
    with Path("pairs.jsonl").open("a") as file:
        file.write(PAIR + ', "p": 0.5}\n' + PAIR.replace("no", "yes") + "}\n")

    assert jurist("train", "dpo", "pairs.jsonl", "--base", base) == 0
    said = capsys.readouterr().out
    assert "trained    7 rows in 1 step\n" in said
    assert "equal      2 rows: p is 0.5, or both answers are the same" in said


def test_what_a_policy_earned_is_told_and_not_called_rows(base, capsys):
    pairs_file(Path("pairs.jsonl"), 8)
    words = ("--base", base, "--reward", "longer_one:words", "--rollout.max_tokens", 3, "--batch", 4)

    assert jurist("train", "rloo", "pairs.jsonl", *words) == 0
    said = capsys.readouterr().out
    assert "trained    8 prompts in 2 steps\n" in said
    assert f"last step  reward {metrics(Path('pairs/rloo'))[-1]['reward']:.4g}" in said


def test_rows_about_two_prompts_leave_by_name(base, capsys):
    pairs_file(Path("pairs.jsonl"), 6)
    with Path("pairs.jsonl").open("a") as file:
        asked = [[{"role": "user", "content": text}] for text in ("why", "how")]
        said = [{"role": "assistant", "content": "yes"}]
        file.write(json.dumps({"chosen": asked[0] + said, "rejected": asked[1] + said}) + "\n")

    assert jurist("train", "reward", "pairs.jsonl", "--base", base, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["rows"], said["dropped"]) == (6, {"prompts_differ": 1})


def test_labels_that_were_refused_are_not_trained_on(base, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"{n}?", "first": "no", "second": "yes indeed", "label": "first"} for n in range(40)]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    label = ("label", "--pairs", "pairs.jsonl", "--judge", "longer", "--labels_by", "human", "--out", "run")
    assert jurist(*label) == 1
    refused(capsys, "jurist export run --force true", "reward", "run", "--base", base)
