"""Deciding again changes every file that was exported, and none is left behind."""

import json

from jurist import JudgeConfig, LabelConfig, PreferConfig, export, label

TIED = {"prompt": "What is 2 plus 2?", "first": "It is 4.", "second": "It makes 4."}


def rows_of(run, name):
    return [json.loads(line) for line in (run / "export" / name / "train.jsonl").read_text().splitlines()]


def test_a_format_exported_earlier_is_decided_anew(tmp_path):
    (tmp_path / "pairs.jsonl").write_text(json.dumps(TIED) + "\n")
    run = tmp_path / "run"
    judge = JudgeConfig(engine="tiny:tie", ties=True)
    cfg = LabelConfig(
        pairs=str(tmp_path / "pairs.jsonl"),
        judge=judge,
        out=str(run),
        prefer=PreferConfig(ties="soft"),
        export=("jsonl", "trl"),
    )
    assert label(cfg).exported["trl"] == {"train": 0, "left out: tie": 1}
    assert len(rows_of(run, "jsonl")) == 1

    summary = export(run, ("sft",), {"prefer.ties": "drop"})

    assert set(summary.exported) == {"jsonl", "trl", "sft"}
    assert rows_of(run, "jsonl") == []
