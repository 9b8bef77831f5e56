"""Deciding a run whose verdicts and labels are written by hand: what is learnt, refused, and kept."""

import json
import re

import pytest

from jurist.preferences import PreferConfig
from jurist.preferences.decide import JudgeInfo, decide
from jurist.records import Completion, Matchup, Preference, Prompt, Verdict, content_id
from jurist.run import Run, read_json, read_records
from jurist.verdicts.cases import NOUNS, Case, write_case
from jurist.verdicts.settings import JuryConfig

ONE = [JudgeInfo("j", "pairwise")]
THREE = [JudgeInfo(name, "pairwise") for name in "abc"]
MEAN = JuryConfig()


def pair(i):
    asked = Prompt.of(f"question {i}")
    answers = (Completion.of(asked.id, f"answer {i}"), Completion.of(asked.id, f"another answer {i}"))
    return Matchup.of(asked, *answers)


def asked_both(judge, met, p, other=None):
    """The judge's verdicts in both orders: p that the first is better as given, and as told when swapped."""
    other = p if other is None else other
    ids = met.first.id, met.second.id
    return (
        Verdict(content_id(judge, met.id), judge, met.id, *ids, p_first=p),
        Verdict(content_id(judge, met.id, 1), judge, met.id, *ids[::-1], "swapped", p_first=1 - other),
    )


def label(met, p, judge="human:ann", sample=0):
    name = content_id(judge, sample, met.id)
    return Verdict(name, judge, met.id, met.first.id, met.second.id, p_first=p, sample=sample)


def written(folder, cases):
    """A run with these: each is a matchup, what was said of it, and whether a file named it as a pair."""
    with Run(folder) as run, run.writing(*NOUNS) as files:
        for met, said in cases:
            write_case(Case(met.prompt, (met.first, met.second), (met,), tuple(said), True), files)
    return folder


def decided(folder, judges, jury=MEAN, labels=None, **prefer):
    with Run(folder) as run:
        return decide(run, judges, PreferConfig(**prefer), jury, labels)


def agreeing(n, right, judge="j", who="human:ann", p=0.9):
    """n labelled matchups, of which the judge agrees with so many; labels go to either side in turn."""
    cases = []
    for i in range(n):
        met, y = pair(i), float(i % 2)
        says = p if (y == 1) == (i < right) else 1 - p
        cases.append((met, (*asked_both(judge, met, says), label(met, y, who))))
    return cases


@pytest.mark.parametrize(
    ("n", "right", "who", "refused", "warning"),
    [
        (100, 55, "human:ann", "j agrees with 55.0% of 100 human labels, no better .* --force true$", ""),
        (100, 59, "human:ann", "", "j agrees with 59.0% of 100 human labels: little better than chance"),
        (30, 21, "human:ann", "", ""),
        (30, 18, "human:ann", "no better than chance", ""),
        (29, 10, "human:ann", "", "29 human labels: too few to tell .* jurist spotcheck"),
        (40, 16, "file", "", ""),
    ],
)
def test_a_judge_is_refused_only_if_no_better_than_chance_on_human_labels(
    tmp_path, n, right, who, refused, warning
):
    counts, learnt = decided(written(tmp_path, agreeing(n, right, who=who)), ONE)
    found = learnt.agreement[who.partition(":")[0]]["j"]

    assert re.search(refused, learnt.refused) if refused else not learnt.refused
    assert re.search(warning, " ".join(learnt.warnings)) if warning else not learnt.warnings
    assert (found.accuracy, found.n) == (right / n, n)
    assert counts.agreement == learnt.agreement
    assert counts.preferences == n  # refusing is the export's business: the run is whole
    assert read_json(tmp_path / "learnt.json", dict)["refused"] == learnt.refused


def test_each_judge_and_the_jury_are_held_against_human_and_file_labels_apart(tmp_path):
    """Of 40 rows the file labels all, humans half of them, in a file of their own; a is right of humans."""
    cases, rows = [], []
    for i in range(40):
        met, y = pair(i), float(i % 2)
        says = {"a": 0.9 if y else 0.1, "b": 0.5, "c": 0.6}
        said = [verdict for judge, p in says.items() for verdict in asked_both(judge, met, p)]
        cases.append((met, (*said, label(met, 1 - y, "file"))))
        if i % 4 < 2:
            rows.append({"matchup_id": met.id, "label": "first" if y else "second", "who": "ann"})
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, learnt = decided(written(tmp_path / "run", cases), THREE, labels=str(tmp_path / "labels.jsonl"))

    said = {
        kind: {judge: (one.accuracy, one.n) for judge, one in each.items()}
        for kind, each in learnt.agreement.items()
    }
    assert said["human"] == {"a": (1.0, 20), "b": (0.5, 20), "c": (0.5, 20), "jury": (1.0, 20)}
    assert said["file"] == {"a": (0.0, 40), "b": (0.5, 40), "c": (0.5, 40), "jury": (0.0, 40)}
    assert learnt.labels == 20


def test_what_the_jury_comes_to_decides_and_not_its_members(tmp_path):
    """Two of three are wrong on all human labels. Votes follow them; a mean gives them a high temperature."""
    cases = []
    for i in range(30):
        met, y = pair(i), float(i % 2)
        says = {"a": y, "b": 1 - y, "c": 1 - y}
        cases.append((met, [*(v for j, p in says.items() for v in asked_both(j, met, p)), label(met, y)]))
    written(tmp_path, cases)
    for combine in ("mean", "vote"):
        counts, learnt = decided(tmp_path, THREE, JuryConfig(combine), labels="given")
        rows = list(read_records(tmp_path / "preferences.jsonl", Preference))
        assert len(rows) == counts.preferences == 30
        assert learnt.agreement["human"]["jury"].accuracy == float(combine != "vote")
        assert ("jury agrees with 0.0% of 30 human labels" in learnt.refused) == (combine == "vote")


def test_labels_of_the_rows_teach_only_when_they_are_asked_to(tmp_path):
    folder = written(tmp_path, agreeing(40, 32, p=0.999))
    _, without = decided(folder, ONE)
    _, given = decided(folder, ONE, labels="given")

    assert (without.labels, without.calibrations) == (0, {})
    assert given.labels == 40
    assert given.calibrations["j"].temperature > 1
    assert without.agreement == given.agreement


def test_two_annotators_of_one_pair_are_pooled_and_the_pair_is_decided_once(tmp_path):
    """The second row, which may come much later, adds a label; what the judge said counts once."""
    cases = []
    for i in range(40):
        met, y = pair(i), float(i % 2)
        said = asked_both("j", met, 0.9 if y else 0.1)
        cases.append((met, (*said, label(met, y, "file", sample=i))))
        if i % 4 == 0:  # another annotator disagrees, and names the texts the other way round
            cases.append((met.swapped(), (*said, label(met, 1 - y, "file", sample=100 + i))))
    cases.sort(key=lambda case: case[1][-1].sample)
    counts, learnt = decided(written(tmp_path, cases), ONE, labels="given")

    assert (counts.preferences, counts.dropped) == (40, {"preferences: duplicate": 10})
    assert counts.labels == {"file": 50}
    assert (learnt.labels, learnt.calibrations["j"].n) == (40, 40)
    found = learnt.agreement["file"]["j"]
    assert (found.accuracy, found.n) == (1.0, 30)  # on the other ten the annotators are split


@pytest.mark.parametrize(("scale", "p"), [((0.0, 100.0), 0.599), (None, 0.731), ("logits", 0.993)])
def test_scores_are_compared_on_the_scale_of_their_judge(tmp_path, scale, p):
    """60 against 55; of a judge without a scale, by the 20 to 60 that the run has."""
    cases = []
    for i, scores in enumerate([(60.0, 55.0), (20.0, 30.0)]):
        met = pair(i)
        said = zip((met.first, met.second), scores, strict=True)
        cases.append((met, [Verdict(one.id, "s", first_id=one.id, score=score) for one, score in said]))
    _, learnt = decided(written(tmp_path, cases), [JudgeInfo("s", "pointwise", scale=scale)])

    first = next(read_records(tmp_path / "preferences.jsonl", Preference))
    assert first.p == pytest.approx(p, abs=1e-3)
    assert learnt.scales == ({"s": (20.0, 60.0)} if scale is None else {})


def test_weights_cover_judges_that_no_label_was_about(tmp_path):
    """c answered one matchup only, which nobody labelled, before the run was stopped."""
    cases = agreeing(20, 16, "a")
    cases += [(met := pair(99), (*asked_both("a", met, 0.9), *asked_both("c", met, 0.2)))]
    counts, learnt = decided(written(tmp_path, cases), THREE, JuryConfig("anchored"), labels="given")

    assert counts.preferences == 21
    assert {juror.judge: juror.n for juror in learnt.weights.jurors} == {"a": 20, "b": 0, "c": 0}
