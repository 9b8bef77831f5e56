import json
import sys
from pathlib import Path

from command import jurist, refused

from jurist.cli.audit import AuditConfig

sys.path.insert(0, str(Path(__file__).parent.parent / "audits"))
from runs import always, write_run


def test_findings_are_printed_worst_first_with_what_to_do(tmp_path, capsys):
    run = write_run(tmp_path / "run", always(1.0))

    said = jurist(capsys, "audit", run)

    assert said.code == 0
    assert "\nanswer   Not yet. " in said.out
    assert said.out.index("alarm ") < said.out.index("\nnot measured")
    assert "position.flip_rate · openai:gpt-5-mini" in said.out
    assert "do: " in said.out
    assert said.out.splitlines()[-1] == f"report   {run}/report.html"


def test_json_is_the_audit(tmp_path, capsys):
    run = write_run(tmp_path / "run", always(1.0))

    said = jurist(capsys, "audit", run, "--json", "--out", tmp_path / "there")

    assert said.json["counts"]["verdicts"] == 60
    assert said.json == json.loads((tmp_path / "there" / "audit.json").read_text())


def test_a_gate_ends_with_1_and_says_why(tmp_path, capsys):
    run = write_run(tmp_path / "run", always(1.0))

    failed = jurist(capsys, "audit", run, "--fail-on", "position.flip_rate>0.2")
    passed = jurist(capsys, "audit", run, "--fail-on", "position.flip_rate<0.2", "--fail-on", "cost")

    assert failed.code == 1
    assert "position.flip_rate of openai:gpt-5-mini is 100.0% (" in failed.err
    assert "report " in failed.out
    assert passed.code == 0


def test_a_condition_nobody_knows_is_an_error_and_no_pass(tmp_path, capsys):
    said = jurist(capsys, "audit", write_run(tmp_path / "run", always(1.0)), "--fail-on", "positoin")

    assert said.code == 2
    assert "Did you mean" in said.err


def test_a_file_with_no_pair_in_it_is_refused(tmp_path, capsys):
    empty, useless = tmp_path / "empty.jsonl", tmp_path / "useless.jsonl"
    empty.touch()
    useless.write_text('{"prompt": "Why?"}\n')

    assert f"{empty} is empty" in refused(jurist(capsys, "audit", empty))
    said = refused(jurist(capsys, "audit", useless, "--on_error", "drop"))
    assert "no pair of answers; left out: " in said
    assert "no_pair 1." in said
    assert not list(tmp_path.glob("*-audit"))


def test_every_option_of_an_audit_is_on_its_help_page(tmp_path, capsys):
    told = jurist(capsys, "audit", "--help").out
    run = write_run(tmp_path / "run", always(1.0))

    for name in AuditConfig.__struct_fields__:
        assert f"--{name} " in told
    assert jurist(capsys, "audit", run, "--price", "[1, 3]", "--people_are", "crowd").code == 0
    assert "people_are" in refused(jurist(capsys, "audit", run, "--people_are", "geniuses"))


def test_columns_are_named_either_way(tmp_path, capsys):
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"ask": "Why?", "first": "a", "second": "b", "won": "a"}\n')

    for words in (
        ("--columns", "prompt=ask", "--columns", "winner=won"),
        ("--columns.prompt", "ask", "--columns.winner", "won"),
    ):
        assert jurist(capsys, "audit", file, "--json", *words).json["counts"]["verdicts"] == 1

    assert "no column called 'winer'" in refused(jurist(capsys, "audit", file, "--columns", "winer=won"))


def test_what_is_not_there_is_refused_in_a_line(tmp_path, capsys):
    assert "no file" in refused(jurist(capsys, "audit", tmp_path / "nothing.jsonl"))
    run = write_run(tmp_path / "run", always(1.0))
    missing = refused(jurist(capsys, "audit", run, "--human", tmp_path / "nothing.jsonl"))
    assert "--labels" not in missing
    assert "ls " in missing
    (tmp_path / "folder").mkdir()
    assert "has no file ending" in refused(jurist(capsys, "audit", tmp_path / "folder"))
