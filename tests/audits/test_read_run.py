import json

import msgspec
import numpy as np
import pytest
from runs import JUDGE, always, label, pair, verdict, write_run

from jurist.audits.collect import Collector
from jurist.audits.read_file import read_source
from jurist.audits.read_run import read_run
from jurist.errors import DataError, RunError
from jurist.preferences.decide import JudgeInfo
from jurist.records import Completion, Verdict
from jurist.verdicts.cases import read_cases
from jurist.verdicts.human import LabelIndex, load_weighted
from jurist.verdicts.settle import settle_scores


def test_a_run_is_read_as_columns_told_from_the_first_as_given(tmp_path):
    one, other = pair(1), pair(2)
    said = [
        (one, [verdict(one, 0.9), verdict(one, 0.2, "swapped")]),
        (other, [verdict(other, None), verdict(other, 1.0, "swapped", judge="second")]),
    ]
    run = write_run(tmp_path / "run", said, [label(one, 0.85), label(other, 0.0)], ["tie"], usd=7.0)

    read = read_run(run)

    sheet = read.sheet
    assert sheet.judges == (JUDGE, "second")
    assert sheet.domains == ("odd", "even")
    assert sheet.matchups.id == (one.id, other.id)
    np.testing.assert_allclose(sheet.verdicts.p, [0.9, 0.8, np.nan, 0.0])
    assert sheet.verdicts.swapped.tolist() == [False, True, False, True]
    assert [sheet.reasons[code] for code in sheet.verdicts.unread] == ["", "", "no_verdict", ""]
    np.testing.assert_allclose(sheet.labels.p, [0.85, 0.0])
    assert sheet.labels.matchup.tolist() == [0, 1]
    assert sheet.dropped == {"preferences: tie": 1}
    assert (read.summary["usd"], read.notes) == (7.0, ())
    assert list(sheet.texts.values()) == ["short", "rather longer"] * 2


def test_lean_reading_comes_to_what_whole_records_come_to(tmp_path):
    run = write_run(tmp_path / "run", always(0.7, 6), [label(pair(3), 0.7)])
    whole = Collector()
    for case in read_cases(run):
        whole.add_case(case)

    lean, whole = read_run(run).sheet, whole.sheet()

    for name in ("verdicts", "answers", "matchups"):
        for column, values in vars(getattr(whole, name)).items():
            np.testing.assert_array_equal(getattr(getattr(lean, name), column), values)


def test_several_pairs_of_one_prompt_are_one_prompt(tmp_path):
    one = pair(1)
    third = Completion.of(one.prompt.id, "a third", "one")
    other = type(one).of(one.prompt, one.first, third)
    run = write_run(tmp_path / "run", [(one, [verdict(one, 1.0)]), (other, [verdict(other, 1.0)])])

    sheet = read_run(run).sheet

    assert (len(sheet.prompts), len(sheet.answers), len(sheet.matchups)) == (1, 3, 2)


def test_labels_of_people_are_found_by_id_or_by_text_and_the_last_word_counts(tmp_path):
    one, other, third = pair(1), pair(2), pair(3)
    run = write_run(tmp_path / "run", [(m, [verdict(m, 1.0)]) for m in (one, other, third)])
    rows = [
        {"matchup_id": one.id, "label": "second", "who": "ada", "weight": 4.5},
        {"matchup_id": one.id, "label": "first", "who": "ada", "weight": 4.5},
        {
            "prompt": "JudgePrompt 2?",
            "first": "rather longer",
            "second": "short",
            "label": "first",
            "who": "ada",
        },
        {"matchup_id": third.id, "label": "", "who": "ada"},
        {"prompt": "JudgePrompt 2?", "first": "who else", "second": "short", "label": "first", "who": "ada"},
    ]
    labels = tmp_path / "labels.jsonl"
    labels.write_text("\n".join(map(json.dumps, rows)))

    read = read_run(run, labels)

    said = read.sheet.human
    assert said.p.tolist() == [1.0, 0.0]  # a line that nobody filled in is no label
    assert said.weight.tolist() == [4.5, 1.0]
    assert read.sheet.humans == ("human:ada",)
    labels = read.human_labels
    assert (len(labels), labels.found, labels.repeated) == (3, 2, 1)
    assert read.notes == ("Human labels by the same annotator of the same pair: 1. The last one counts.",)


def test_a_weight_that_is_none_is_refused(tmp_path):
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"matchup_id": "m", "label": "first", "weight": -1}')

    with pytest.raises(DataError, match="weight is -1"):
        list(load_weighted(labels))


def test_labels_that_came_with_the_data_are_people(tmp_path):
    one = pair(1)
    people = verdict(one, 1.0, judge="human:file")

    sheet = read_run(write_run(tmp_path / "run", [(one, [people, verdict(one, 0.0)])])).sheet

    assert sheet.judges == (JUDGE,)
    assert sheet.humans == ("human:file",)
    assert sheet.human_p.tolist() == [1.0]


def test_a_run_that_was_stopped_says_so_and_is_read_as_far_as_it_came(tmp_path):
    run = write_run(tmp_path / "run", always(1.0, 3), state="stopped", stopped="the budget is reached")
    (run / "preferences.jsonl").unlink()

    read = read_run(run)

    assert len(read.sheet.verdicts) == 6
    assert "the budget is reached" in read.notes[0]
    assert "No labels were made yet" in read.notes[1]


def test_a_run_that_was_killed_before_it_wrote_anything_is_named(tmp_path):
    (tmp_path / "journal.sqlite").touch()

    with pytest.raises(RunError, match=r"no prompts\.jsonl.*jurist label --out"):
        read_run(tmp_path)


@pytest.mark.parametrize("noun", ["prompts", "completions", "matchups", "verdicts"])
def test_a_damaged_line_is_named_with_its_place(tmp_path, noun):
    run = write_run(tmp_path / "run", always(1.0, 3))
    file = run / f"{noun}.jsonl"
    lines = file.read_text().splitlines()
    lines[1] = lines[1][:40]
    file.write_text("\n".join(lines))

    with pytest.raises(DataError, match=rf"{noun}\.jsonl:2 is not a {noun[:-1]}: .*sed -n 2p"):
        read_run(run)


def test_a_cut_file_is_out_of_step(tmp_path):
    run = write_run(tmp_path / "run", always(1.0, 3))
    lines = (run / "verdicts.jsonl").read_text().splitlines()
    (run / "verdicts.jsonl").write_text("\n".join(lines[:-1]) + "\n")

    with pytest.raises(DataError, match=r"line 3 of .*does not fit the other files"):
        read_run(run)


def test_a_verdict_about_other_answers_is_refused(tmp_path):
    one, other = pair(1), pair(2)
    stray = verdict(other, 1.0)
    stray = Verdict("v", stray.judge, one.id, stray.first_id, stray.second_id, p_first=1.0)

    with pytest.raises(DataError, match="not about its matchup"):
        read_run(write_run(tmp_path / "run", [(one, [stray])]))


def test_a_loop_is_read_as_its_last_labels(tmp_path):
    (tmp_path / "loop.json").write_text("{}")
    with pytest.raises(RunError, match=r"no round of the loop .* Go on with: jurist run .*recipe\.yaml"):
        read_source(tmp_path)
    for number, n in ((1, 3), (2, 5)):
        write_run(tmp_path / f"round-{number}" / "label", always(1.0, n))

    read = read_source(tmp_path)

    assert (read.kind, len(read.sheet.matchups)) == ("loop", 5)
    assert read.path == str(tmp_path / "round-2" / "label")


def test_labels_of_other_matchups_are_counted_and_not_found():
    labels = LabelIndex([(Verdict("v", "human:ada", "elsewhere", p_first=1.0), 1.0)])

    assert labels.find("here", "prompt", ("1", "a"), ("2", "b")) == []
    assert (len(labels), labels.found) == (1, 0)


def test_equal_texts_have_equal_hashes_whatever_their_case_and_spacing(tmp_path):
    pairs = [pair(1, "I am the best.", "So it is"), pair(2, "i AM  the\nbest. ", "so it was")]
    sheet = read_run(write_run(tmp_path / "run", [(one, [verdict(one, 1.0)]) for one in pairs])).sheet

    first, other, again, fourth = sheet.answers.text.tolist()
    assert first == again
    assert len({first, other, fourth}) == 3


def test_forced_verdicts_and_their_mass_are_kept(tmp_path):
    one = pair(1)
    forced = verdict(one, 1.0, forced=True, label_mass=0.25)
    sheet = read_run(write_run(tmp_path / "run", [(one, [forced, verdict(one, 0.0, "swapped")])])).sheet

    assert sheet.verdicts.forced.tolist() == [True, False]
    np.testing.assert_array_equal(sheet.verdicts.label_mass, [0.25, np.nan])


@pytest.mark.parametrize("scale", [None, (0.0, 1.0), (1.0, 10.0), "logits", "certain"])
def test_scores_come_to_the_opinions_that_labels_come_to(tmp_path, scale):
    pairs, scores = [pair(number) for number in range(12)], iter(np.random.default_rng(0).random(24).round(2))
    said = [
        (one, [Verdict.of_one(JUDGE, text, 0, score=float(next(scores))) for text in (one.first, one.second)])
        for one in pairs
    ]
    run = write_run(tmp_path / "run", said)
    (run / "judges.json").write_bytes(msgspec.json.encode([JudgeInfo(JUDGE, "pointwise", scale=scale)]))
    given = [one.score for _, verdicts in said for one in verdicts]

    opinions = read_run(run).sheet.opinions

    assert len(opinions) == 12
    for row, p in zip(opinions.matchup, opinions.p, strict=True):
        matchup, verdicts = said[row]
        assert p == pytest.approx(settle_scores(verdicts, matchup, scale or (min(given), max(given))).p_first)
