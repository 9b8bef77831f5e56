import json

import making
import pytest
import torch
from rows_for_tests import metrics, pairs_file
from typer.main import get_command

from jurist.cli.app import app
from jurist.cli.ending import run_command

torch.set_num_threads(1)


def jurist(*words) -> int:
    return run_command(get_command(app), [str(word) for word in words])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return making.checkpoint(tmp_path_factory.mktemp("verb") / "base")


@pytest.mark.parametrize("verb", ["sft", "reward", "dpo"])
def test_each_verb_trains_on_rows_as_trl_has_them(base, tmp_path, capsys, verb):
    data = pairs_file(tmp_path / "pairs.jsonl", 40)

    assert jurist("train", verb, data, "--base", base, "--batch", 16, "--lr", 1e-3, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["model"] == str(tmp_path / "pairs" / verb / "model")
    assert said["rows"] == 40
    assert len(metrics(tmp_path / "pairs" / verb)) == said["steps"] == 3


def test_a_run_s_models_lie_in_the_run(base, tmp_path):
    (run := tmp_path / "run").mkdir()
    pairs_file(tmp_path / "pairs.jsonl", 20)
    assert jurist("label", "--pairs", tmp_path / "pairs.jsonl", "--judge", "longer", "--out", run) == 0

    assert jurist("train", "reward", run, "--base", base, "--batch", 8) == 0
    assert (run / "models" / "reward" / "model" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "way_out"),
    [
        (["--base", "nothing/there"], "Name a folder with --base"),
        ([], "jurist train reward"),
        (["--base", "BASE", "--batc", "3"], "Did you mean 'batch'?"),
        (["--base", "BASE", "--max_length", "5"], "Raise --max_length"),
        (["--base", "BASE", "--beta", "5"], "no setting called 'beta'"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_the_next_thing_to_type(
    base, tmp_path, capsys, words, way_out
):
    data = pairs_file(tmp_path / "pairs.jsonl", 8)
    words = [str(base) if word == "BASE" else word for word in words]

    assert jurist("train", "reward", data, *words) == 2
    assert way_out in capsys.readouterr().err


def test_pairs_without_a_label_are_refused(base, tmp_path, capsys):
    (file := tmp_path / "pairs.jsonl").write_text('{"prompt": "why", "first": "yes", "second": "no"}\n')

    assert jurist("train", "reward", file, "--base", base) == 2
    assert "nothing says which of the two is better" in capsys.readouterr().err


def test_a_label_names_the_better_one_whichever_seat_it_has(tmp_path):
    from jurist.models.rows import load_preferences

    rows = [
        '{"prompt": "why", "first": "yes", "second": "no", "label": "second"}',
        '{"prompt": "why", "chosen": "yes", "rejected": "no", "p": 0.7, "margin": 2, "weight": 0.5}',
        '{"prompt": "why", "chosen": "yes", "rejected": "no", "score_chosen": 8, "score_rejected": 5}',
    ]
    (file := tmp_path / "pairs.jsonl").write_text("\n".join(rows))
    first, second, third = load_preferences(file)

    assert (first.chosen.text, first.p) == ("no", 1.0)
    assert (second.chosen.text, second.p, second.margin, second.weight) == ("yes", 0.7, 2.0, 0.5)
    assert third.margin == 3.0
