"""A quarantined domain leaves every file that is trained on, by name, and comes back when it is told to."""

import json

import pytest

from jurist import JudgeConfig, LabelConfig, export, label
from jurist.audits.read_run import read_run
from jurist.errors import DataError, RunError, SettingError
from jurist.models.rows import load_preferences, load_targets
from jurist.preferences.export import Quarantine, read_quarantine, write_quarantine
from jurist.recipes.audit import audit
from jurist.recipes.plan import plan
from jurist.recipes.spot_check import spot_check
from jurist.tiny.world import prompts, true_score
from jurist.verdicts.human import load_weighted

LONG, SHORT = "I am glad to help, and I would say {}.", "I would say {}."


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Sixty pairs, a third of them doses, in which the judge takes the longer answer and people do not."""
    folder = tmp_path_factory.mktemp("quarantine")
    with (folder / "pairs.jsonl").open("w") as out:
        for number, one in enumerate(prompts(120, 5)):
            if number % 4 != 1:
                row = {"prompt": one.messages[-1].content, "domain": one.domain, "stakes": one.stakes}
                row |= {"first": LONG.format(number), "second": SHORT.format(number)}
                print(json.dumps(row), file=out)
    label(
        LabelConfig(
            pairs=str(folder / "pairs.jsonl"), judge=JudgeConfig(kind="longer"), out=str(folder / "run")
        )
    )
    return folder / "run"


def domains(run, name="trl"):
    rows = [json.loads(line) for line in (run / "export" / name / "train.jsonl").read_text().splitlines()]
    return [row["prompt"][0]["content"].split()[1] for row in rows]


def people_say(spot, out, prefer_long):
    with spot.open() as lines, out.open("w") as labels:
        for line in lines:
            row = json.loads(line)
            long_first = len(row["first"]) > len(row["second"])
            row["label"] = "first" if long_first == prefer_long(row["domain"]) else "second"
            print(json.dumps(row | {"who": "ann"}), file=labels)


def test_a_spot_check_is_labelled_audited_and_honoured_by_the_export(run, tmp_path):
    spot, human = tmp_path / "spot.jsonl", tmp_path / "human.jsonl"
    checked = spot_check(run, 80, spot)
    assert checked.sampled == len(spot.read_text().splitlines()) == 80
    assert "judge" not in spot.read_text()

    people_say(spot, human, lambda domain: domain != "doses")
    sheet = read_run(run, human).sheet
    assert sheet.human.weight.sum() == pytest.approx(90)
    audit(run, human, out=tmp_path / "audit")
    assert read_quarantine(run).domains == ("doses",)

    summary = export(run)
    assert summary.exported["trl"] == {"train": 60, "left out: quarantined: doses": 30}
    assert "| quarantined: doses | 30 |" in (run / "export" / "trl" / "README.md").read_text()
    lost = []
    assert {one.prompt.domain for one in load_preferences(run, lost.append)} == {"sums", "talk"}
    assert {one.reason for one in lost} == {"quarantined: doses"}
    lost.clear()
    assert {prompt.domain for prompt, _ in load_targets(run, lost.append)} == {"sums", "talk"}
    assert sum(one.reason == "quarantined: doses" for one in lost) == 30
    assert export(run, overrides={"prefer.quarantine": "ignore"}).exported["trl"] == {"train": 90}
    # Said for one export, not for those to come.
    assert export(run).exported == summary.exported

    audit(run, human, out=tmp_path / "audit", wanted=0.99)
    assert read_quarantine(run).domains == ("doses", "sums", "talk")
    audit(run, human, out=tmp_path / "audit")

    # An audit without people measures nothing and lets nothing out; people who agree do.
    audit(run, out=tmp_path / "audit")
    assert read_quarantine(run).domains == ("doses",)
    # Nor do labels about other domains only.
    people_say(spot, human, lambda domain: True)
    others = [line for line in human.read_text().splitlines() if json.loads(line)["domain"] != "doses"]
    (tmp_path / "others.jsonl").write_text("\n".join(others))
    audit(run, tmp_path / "others.jsonl", out=tmp_path / "audit")
    assert read_quarantine(run).domains == ("doses",)
    audit(run, human, out=tmp_path / "audit")
    assert read_quarantine(run).domains == ()
    assert export(run).exported["trl"] == {"train": 90}


def test_answers_are_seated_by_lot_and_alike_each_time(run, tmp_path):
    spot_check(run, 60, tmp_path / "one.jsonl")
    spot_check(run, 60, tmp_path / "two.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "one.jsonl").read_text().splitlines()]

    assert (tmp_path / "one.jsonl").read_text() == (tmp_path / "two.jsonl").read_text()
    sheet = read_run(run).sheet
    given = dict(zip(sheet.matchups.id, (sheet.longer_by > 0).tolist(), strict=True))
    as_given = [given[row["matchup_id"]] == (len(row["first"]) > len(row["second"])) for row in rows]
    assert 15 < sum(as_given) < 45
    assert all(weight >= 1 for _, weight in load_weighted(tmp_path / "one.jsonl"))


def test_a_file_with_labels_in_it_is_not_drawn_over(run, tmp_path):
    spot = tmp_path / "spot.jsonl"
    spot_check(run, 10, spot)
    spot_check(run, 20, spot)
    people_say(spot, tmp_path / "done.jsonl", lambda domain: True)

    with pytest.raises(DataError, match="--out FILE"):
        spot_check(run, 20, tmp_path / "done.jsonl")
    with pytest.raises(SettingError, match="-n 200"):
        spot_check(run, 0, spot)


def test_a_spot_check_of_anybodys_file_is_found_again_in_it(tmp_path):
    file, spot, human = (tmp_path / f"{name}.jsonl" for name in ("pairs", "spot", "human"))
    with file.open("w") as out:
        for one in prompts(80, 6):
            asked = one.messages[-1].content
            row = {"prompt": asked, "domain": one.domain, "chosen": f"Yes, {asked}", "rejected": "No."}
            print(json.dumps(row), file=out)
    assert spot_check(file, 60, spot).of == 80
    people_say(spot, human, lambda domain: true_score("", "") == 0)
    found = audit(file, human, out=tmp_path / "audit", wanted=0.99)

    assert found.counts.labelled == 60
    # A file has no export that could leave anything out.
    short = [one for one in found.findings if one.name == "ceiling.domain" and one.low < 0.99]
    assert short
    told = " ".join(f"{one.says} {one.advice}" for one in found.findings)
    assert "quarantine" not in told
    assert "jurist export" not in " ".join(one.advice for one in short)
    assert "leave its rows out of what you train on" in short[0].advice
    assert not (tmp_path / "quarantine.json").exists()


def test_of_many_domains_one_that_recovered_comes_back_though_it_is_not_told(tmp_path):
    """An audit tells a dozen domains one by one, besides those that fall short; it measured all fourteen."""
    file, human = tmp_path / "pairs.jsonl", tmp_path / "human.jsonl"
    with file.open("w") as out, human.open("w") as labels:
        for number in range(154):
            domain = f"domain {number % 14:02}"
            row = {"prompt": f"Say {number}.", "domain": domain, "first": LONG.format(number)}
            row |= {"second": SHORT.format(number)}
            print(json.dumps(row), file=out)
            print(json.dumps(row | {"label": "first", "who": "ann"}), file=labels)
    judge = JudgeConfig(kind="longer")
    label(LabelConfig(pairs=str(file), judge=judge, out=str(tmp_path / "run")))
    write_quarantine(tmp_path / "run", Quarantine(("domain 13", "elsewhere"), 0.6))
    found = audit(tmp_path / "run", human)

    assert "domain 13" not in {one.about for one in found.findings}
    assert read_quarantine(tmp_path / "run").domains == ("elsewhere",)


def test_a_quarantine_that_cannot_be_written_costs_no_audit(run, tmp_path):
    spot, human, blocked = tmp_path / "spot.jsonl", tmp_path / "human.jsonl", run / ".quarantine.json.partial"
    spot_check(run, 80, spot)
    people_say(spot, human, lambda domain: domain != "doses")
    blocked.mkdir()
    try:
        with pytest.raises(RunError, match="the audit is written, but the quarantine is not"):
            audit(run, human, out=tmp_path / "audit")
    finally:
        blocked.rmdir()

    assert (tmp_path / "audit" / "audit.json").exists()
    assert (tmp_path / "audit" / "report.html").exists()


def test_what_is_held_is_read_back(tmp_path):
    held = Quarantine(("", "doses"), 0.6, "labels.jsonl")
    write_quarantine(tmp_path, held)

    assert read_quarantine(tmp_path) == held
    assert read_quarantine(tmp_path / "nowhere") == Quarantine()


def test_a_plan_stands_on_what_was_measured(run, tmp_path):
    spot, human = tmp_path / "spot.jsonl", tmp_path / "human.jsonl"
    spot_check(run, 60, spot)
    people_say(spot, human, lambda domain: domain != "doses")
    found = plan(run, human)

    assert found.measured["agreement"] == pytest.approx(2 / 3, abs=0.05)
    assert found.assumed.agreement == found.measured["agreement"]
    assert plan(run, human, agreement=0.9).assumed.agreement == 0.9
    assert plan(run).measured == {}
