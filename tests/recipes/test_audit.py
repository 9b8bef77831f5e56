"""A whole audit: of runs with nothing to measure above all, for there no number may come out."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "audits"))
from runs import JUDGE, always, label, pair, verdict, write_run

from jurist.audits.all import reasons_to_fail
from jurist.audits.finding import Finding
from jurist.errors import DataError, RunError, SettingError
from jurist.recipes.audit import EXAMPLES, audit
from jurist.recipes.loop.compare import Comparison, Facts, HeldOutRow
from jurist.records import Completion, Prompt


def named(found, name):
    return [one for one in found.findings if one.name == name]


def measured(found, audit):
    among = [one for one in found.findings if one.name.partition(".")[0] == audit]
    return [one for one in among if one.grade != "silent"]


def test_a_judge_that_always_takes_the_first_position_is_caught_on_the_page_and_in_json(tmp_path):
    run = write_run(tmp_path / "run", always(1.0), [label(pair(n), 0.5) for n in range(30)], usd=15.0)

    found = audit(run)

    (flips,) = named(found, "position.flip_rate")
    assert (flips.grade, flips.value, flips.about) == ("alarm", 1.0, JUDGE)
    assert found.findings[0].name == "agreement.accuracy"
    assert found.findings[1].grade == "alarm"
    kept = json.loads((run / "audit.json").read_text())["findings"]
    assert [one["grade"] for one in kept] == [one.grade for one in found.findings]
    page = (run / "report.html").read_text()
    assert flips.says[:40] in page
    assert found.counts.verdicts == 60


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ([], "There is no matchup here"),
        ([(pair(1), [])], "No judge said anything"),
        ([(pair(1), [verdict(pair(1), 0.9)])], "position.first_position"),
        (
            always(None),
            "None of 60 replies of openai:gpt-5-mini could be read: 60 no_verdict",
        ),
        (always(0.5), "decided none of 30 matchups."),
    ],
    ids=["empty", "unjudged", "one row", "all unread", "all ties"],
)
def test_a_run_with_nothing_to_measure_says_so_and_gives_no_number(tmp_path, said, what):
    found = audit(write_run(tmp_path / "run", said))

    assert what in " ".join(f"{one.name} {one.says}" for one in found.findings)
    silent = [one for one in found.findings if one.grade == "silent"]
    assert all(one.value is None and one.n == 0 for one in silent)
    assert any(one.advice for one in silent)
    assert not measured(found, "agreement")
    assert not [one for one in measured(found, "position") if one.grade in ("alarm", "warning")]
    assert (tmp_path / "run" / "report.html").exists()


def test_sentences_call_a_judge_by_its_engine_where_no_other_has_it(tmp_path):
    coded, other = "pairwise:tiny:leaning#fb913b", "pairwise:tiny:leaning#000000"
    one = audit(write_run(tmp_path / "one", always(1.0, judge=coded)))
    both = [
        (matchup, [*said, verdict(matchup, 1.0, judge=other)]) for matchup, said in always(1.0, judge=coded)
    ]
    two = audit(write_run(tmp_path / "two", both))

    assert not [found for found in one.findings if coded in found.says]
    assert named(one, "position.flip_rate")[0].says.startswith("tiny:leaning came to")
    assert named(one, "position.flip_rate")[0].about == "tiny:leaning"
    assert named(two, "position.flip_rate")[0].says.startswith(f"{coded} came to")


def test_what_could_not_be_measured_of_many_judges_is_said_once(tmp_path):
    judges = [f"judge-{n}" for n in range(20)]
    said = [(pair(n), [verdict(pair(n), 0.9, judge=judge) for judge in judges]) for n in range(3)]

    (flips,) = named(audit(write_run(tmp_path / "run", said)), "position.flip_rate")

    assert flips.says.startswith("judge-0 was read in one order only")
    assert flips.says.endswith(" The same goes for judge-1, judge-2, judge-3 and 16 more.")
    assert flips.about == ""


def test_all_unread_and_all_ties_are_alarms(tmp_path):
    unread = audit(write_run(tmp_path / "unread", always(None)))
    ties = audit(write_run(tmp_path / "ties", always(0.5)))

    assert [one.name for one in unread.findings if one.grade == "alarm"] == ["reading.unread"]
    assert [one.name for one in ties.findings if one.grade == "alarm"] == ["reading.ties"]


@pytest.mark.parametrize(
    ("rows", "grade", "says"),
    [
        ([{"matchup_id": "elsewhere", "label": "first"}], "warning", "Of 1 matchup labelled in"),
        ([{"matchup_id": "m", "label": ""}], "silent", "There is no human label in"),
        ([{"matchup_id": pair(1).id, "label": "first"}], None, ""),
    ],
    ids=["of other data", "not filled in", "found"],
)
def test_human_labels_that_are_about_nothing_here_are_not_passed_over(tmp_path, rows, grade, says):
    labels = tmp_path / "labels.jsonl"
    labels.write_text("\n".join(map(json.dumps, rows)))

    found = named(audit(write_run(tmp_path / "run", always(0.8)), labels), "reading.human_file")

    assert [one.grade for one in found] == ([grade] if grade else [])
    assert all(one.says.startswith(f"{says} {labels}") and one.advice for one in found)


@pytest.mark.parametrize("word", ["first", "second", "tie"])
def test_one_human_label_makes_no_alarm_and_no_endless_interval(tmp_path, word):
    said = [(one, [verdict(one, 0.9, judge=judge) for judge in ("x", "y")]) for one in map(pair, range(40))]
    humans = tmp_path / "humans.jsonl"
    humans.write_text(json.dumps({"matchup_id": said[0][0].id, "label": word, "who": "ada"}))
    run = write_run(tmp_path / "run", said, [label(one, 0.9) for one, _ in said])

    alone, none = audit(run, humans), audit(run)

    (first,) = {one.name for one in alone.findings[:1]}
    assert first == "agreement.accuracy"
    wrong = [(one.name, one.about) for one in alone.findings if one.grade in ("alarm", "warning")]
    assert wrong == [(one.name, one.about) for one in none.findings if one.grade in ("alarm", "warning")]
    text = "\n".join(alone.lines())
    assert " inf" not in text
    assert "nan" not in text.replace("finance", "")
    assert "No human has labelled" in next(none.lines())


def test_what_was_spent_is_shared_among_labels_and_among_those_that_humans_agree_with(tmp_path):
    said = always(0.8, 20)
    labels = [label(one, 0.9) for one, _ in said]
    humans = tmp_path / "humans.jsonl"
    rows = [
        {"matchup_id": one.id, "label": "second" if n < 5 else "first", "who": "ada"}
        for n, (one, _) in enumerate(said)
    ]
    humans.write_text("\n".join(map(json.dumps, rows)))

    (cost,) = named(audit(write_run(tmp_path / "run", said, labels, usd=30.0), humans), "cost.label")

    assert (cost.value, cost.low) == (1.5, None)
    assert cost.says == "A label cost $1.50: $30.00 for 20. One that humans agree with cost $2.00."


def test_a_file_of_pairs_is_audited_beside_itself(tmp_path):
    file = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"{n}?", "first": "long " * n, "second": "x", "seat_given": "a", "seat_turned": "a"}
        for n in range(40)
    ]
    file.write_text("\n".join(map(json.dumps, rows)))

    found = audit(file)

    assert found.kind == "file"
    assert named(found, "position.flip_rate")[0].value == 1.0
    assert found.report == str(tmp_path / "pairs-audit" / "report.html")
    assert "long long" in Path(found.report).read_text()  # an example to read


def test_a_file_with_no_verdicts_has_labels_only(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"prompt": "Why?", "chosen": "because", "rejected": "who knows"}\n')

    found = audit(file)

    assert (found.counts.labels, found.counts.verdicts) == (1, 0)
    assert not measured(found, "position")


def test_a_file_whose_positions_nobody_knows_gives_no_figure_of_them(tmp_path):
    file = tmp_path / "pairs.jsonl"
    row = {"chosen": "because", "rejected": "who knows", "winner": "chosen"}
    file.write_text("\n".join(json.dumps({**row, "prompt": str(n)}) for n in range(50)))

    found = audit(file)

    (position,) = [one for one in found.findings if one.name.startswith("position")]
    assert (position.grade, position.says) == (
        "silent",
        "The file does not say which answer the judge saw first.",
    )


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path} has no file ending"):
        audit(tmp_path)


def test_a_folder_that_cannot_be_written_names_the_way_out(tmp_path):
    run = write_run(tmp_path / "run", always(1.0, 2))
    (tmp_path / "file").touch()

    with pytest.raises(RunError, match="--out FOLDER"):
        audit(run, out=tmp_path / "file")


def test_examples_are_read_again_and_are_few(tmp_path):
    found = audit(write_run(tmp_path / "run", always(1.0, 100)))

    shown = {name for one in found.findings for name in one.examples}
    assert shown
    page = Path(found.report).read_text()
    assert page.count("JudgePrompt ") >= min(len(shown), EXAMPLES) / 2


def loop(folder, rounds=2):
    """A loop of rounds that write ever the same, as far as its files go."""
    facts = []
    prompts = [Prompt.of(f"Ask {n}?") for n in range(40)]
    for number in range(rounds + 1):
        place = folder / f"round-{number}"
        place.mkdir(parents=True)
        texts = ["the very same words"] * 4 if number else [f"some {n} other {n * n} words" for n in range(4)]
        new = [f"{text} {k}" for k, text in enumerate(texts)]
        rows = [
            HeldOutRow(
                one,
                tuple(Completion.of(one.id, text, "p") for text in new),
                (Completion.of(one.id, "short" if n % 2 else "the start was as long as that", "start"),),
                0.8 if n % 2 else 0.4,
            )
            for n, one in enumerate(prompts)
        ]
        (place / "held_out.jsonl").write_bytes(b"\n".join(map(json_of, rows)))
        if number:
            write_run(place / "label", always(0.8, 5 * number))
            compared = Comparison(0.6, 0.05, 0.5, 0.7, 40, kl=float(number))
            facts.append(Facts(number, f"{place}/policy", proxy=1.0, compared=compared))
    (folder / "rounds.jsonl").write_bytes(b"\n".join(map(json_of, facts)))
    (folder / "loop.json").write_text("{}")
    return folder


def json_of(record):
    import msgspec

    return msgspec.json.encode(record)


def test_a_loop_is_its_last_labels_and_what_became_of_its_policies(tmp_path):
    found = audit(loop(tmp_path / "loop"))

    assert found.kind == "loop"
    assert found.counts.matchups == 10
    assert "round-2/label" in found.notes[0]
    assert named(found, "overoptimisation.fallen")
    assert named(found, "length.controlled")
    assert [one for one in measured(found, "diversity") if one.grade == "alarm"]


def test_a_loop_that_labelled_nothing_yet_says_how_to_go_on(tmp_path):
    (tmp_path / "loop.json").write_text("{}")

    with pytest.raises(RunError, match=r"jurist run .*recipe\.yaml"):
        audit(tmp_path)


FINDINGS = [
    Finding("position.flip_rate", "x", "It flips.", "alarm", 9, 0.4),
    Finding("position.flip_rate", "y", "It flips.", "fine", 9, 0.1),
    Finding("length.prefers_longer", "x", "It is long.", "warning", 9, 0.7),
    Finding("agreement.accuracy", "", "Nobody labelled.", "silent", advice="Label some"),
]


@pytest.mark.parametrize(
    ("condition", "reasons"),
    [
        ("alarm", 1),
        ("warning", 2),
        ("position", 1),
        ("length.prefers_longer", 1),
        ("position.flip_rate>0.05", 2),
        ("position.flip_rate > 20%", 1),
        ("position.flip_rate<0.05", 0),
        ("position.flip_rate>=0.4", 1),
        ("position.flip_rate<=10%", 1),
        ("agreement.accuracy<0.7", 1),  # not measured: nobody can say that it holds
    ],
)
def test_a_gate_fails_on_what_it_names(condition, reasons):
    assert len(reasons_to_fail(FINDINGS, [condition])) == reasons


def test_a_gate_says_by_how_much_in_the_findings_own_unit():
    told = Finding("position.flip_rate", "x", "It flips.", "alarm", 9, 0.4, 0.3, 0.5)
    price = Finding("cost.label", "", "It costs.", "fine", 9, 0.25, unit="usd")

    assert reasons_to_fail([told, price], ["position>20%", "cost.label > 0.05"]) == [
        "position>20%: position.flip_rate of x is 40.0% (30.0% to 50.0%)",
        "cost.label > 0.05: cost.label is $0.25",
    ]


@pytest.mark.parametrize("condition", ["alarm", "warning"])
def test_a_gate_fails_where_nothing_was_measured(condition):
    silent = [one for one in FINDINGS if one.grade == "silent"]

    (reason,) = reasons_to_fail(silent, [condition])

    assert "nothing could be measured" in reason
    assert not reasons_to_fail([FINDINGS[1], *silent], [condition])


def test_a_gate_that_names_nothing_known_is_refused():
    with pytest.raises(SettingError, match=r"Did you mean .position\.flip_rate"):
        reasons_to_fail(FINDINGS, ["position.fliprate>0.1"])
