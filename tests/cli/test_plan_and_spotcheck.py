"""`jurist plan` and `jurist spotcheck` as they are typed."""

import json

import pytest
from command import jurist, refused


def test_a_plan_is_a_table_of_questions_labels_and_prices(capsys):
    said = jurist(capsys, "plan", "--agreement", "0.75", "--margin", "0.03", "--price", "2")

    assert said.code == 0
    assert "801" in said.out
    assert "$1,602" in said.out
    assert "alternative annotator" in said.out


def test_a_plan_for_machines_has_what_it_assumes(capsys):
    found = jurist(capsys, "plan", "--difference", "0.03", "--discordance", "0.1", "--json").json

    assert found["rows"][1]["labels"] == 870
    assert found["assumed"]["discordance"] == 0.1
    assert found["measured"] == {}


def test_labels_that_are_alike_within_a_prompt_take_more_in_every_row(capsys):
    words = ("plan", "--rho", "0.6", "--per-prompt", "3", "--json")
    alone = jurist(capsys, *words).json["rows"]
    alike = jurist(capsys, *words, "--likeness", "0.5").json["rows"]

    for one, other in zip(alone, alike, strict=True):
        assert other["labels"] == pytest.approx(2 * one["labels"], abs=3), one["question"]


@pytest.mark.parametrize("words", [["--agreement", "2"], ["--discordance", "0.01"], ["--per-prompt", "0"]])
def test_what_cannot_be_planned_is_refused_with_what_to_type(capsys, words):
    assert "--" in refused(jurist(capsys, "plan", *words))


def test_a_spot_check_says_what_it_drew_and_what_is_next(capsys, tmp_path):
    pairs, spot = tmp_path / "pairs.jsonl", tmp_path / "spot.jsonl"
    rows = [{"prompt": f"Why {i}?", "chosen": f"Because {i}.", "rejected": "No."} for i in range(30)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = jurist(capsys, "spotcheck", pairs, "-n", 10, "--out", spot)

    assert said.code == 0
    assert "10 of 30 labels" in said.out
    assert f"--human {spot}" in said.out
    assert len(spot.read_text().splitlines()) == 10
    assert jurist(capsys, "spotcheck", pairs, "-n", 10, "-o", spot, "--json").json["drawn"] == 10


def test_a_spot_check_of_nothing_is_refused(capsys, tmp_path):
    assert "no" in refused(jurist(capsys, "spotcheck", tmp_path / "nowhere.jsonl"))
    assert "-n 200" in refused(jurist(capsys, "spotcheck", tmp_path, "-n", 0))
