"""What a summary tells a person."""

from __future__ import annotations

from jurist.cli.summary import summary_lines

WEIGHTS = {
    "jurors": [{"judge": "one"}, {"judge": "two"}],
    "n_labels": 30,
    "accuracy": 0.9,
    "effective_judges": 1.25,
}


def test_a_jury_is_told_with_its_agreement_and_its_worth():
    lines = dict(summary_lines({"run": "run", "learnt": {"weights": WEIGHTS}}))

    assert lines["jury"] == "agrees with 90.0% of 30 labels; 2 judges, worth 1.2 independent ones"
    assert "warning" not in lines


def test_what_was_learnt_with_a_warning_is_not_told_without_it():
    learnt = {
        "weights": {"jurors": []},
        "warnings": ["it may be upside down"],
        "refused": "no better than chance",
    }
    lines = dict(summary_lines({"run": "run", "learnt": learnt}))

    assert (lines["warning"], lines["refused"]) == ("it may be upside down", "no better than chance")
    assert "jury" not in lines


def test_a_single_judge_is_no_jury():
    assert "jury" not in dict(summary_lines({"run": "run", "learnt": {"weights": None}}))


def test_peoples_labels_are_told_with_what_they_did_for_a_single_judge():
    fitted = {"j": {"judge": "j", "temperature": 3.04, "n": 200, "ece_before": 0.164, "ece_after": 0.149}}
    lines = dict(summary_lines({"run": "run", "learnt": {"labels": 200, "calibrations": fitted}}))
    assert lines["people"] == "200 matchups labelled; j calibrated: error 16.4% before, 14.9% after"

    lines = dict(summary_lines({"run": "run", "learnt": {"labels": 12, "calibrations": {}}}))
    assert lines["people"] == "12 matchups labelled; no judge calibrated: 30 labels are the least"
    assert "people" not in dict(summary_lines({"run": "run", "learnt": {"labels": 0}}))
