"""Labels from humans and labels of a file: whose they are, what they say, and what they decide."""

from pathlib import Path

import pytest

from support.cli import run
from support.job import label, pairs, records, right, right_label, summary, write
from support.replies import preferring
from support.server import serving

OPPOSITE = {"first": "second", "second": "first"}


def judge_of(name, wrong, p=0.9):
    """A judge module `name` that is wrong about the prompts whose numbers are in `wrong`; as a --judge."""
    Path(f"{name}.py").write_text(
        "def judge(matchup):\n"
        "    number = int(matchup.prompt.messages[-1].content.split()[2])\n"
        "    good = matchup.first.text.startswith('It makes')\n"
        f"    return {p} if good == (number not in {set(wrong) or '()'}) else {1 - p}\n"
    )
    return f"{name}:judge"


def write_humans(n, who="ann", wrong=()):
    rows = [{**row, "label": right_label(row), "who": who} for row in pairs(n)]
    for number in wrong:
        rows[number]["label"] = OPPOSITE[rows[number]["label"]]
    write("humans.jsonl", rows)
    return rows


def agreement(out="run"):
    (found,) = summary(out)["agreement"].values()
    return found


def test_human_labels_are_found_in_either_orientation():
    write("pairs.jsonl", pairs(40))
    rows = write_humans(40, wrong=range(6))
    label(judge_of("mine", ()), "--labels", "humans.jsonl", out="one")
    swapped = [
        {**row, "first": row["second"], "second": row["first"], "label": OPPOSITE[row["label"]]}
        for row in rows
    ]
    named = [
        {"prompt": row["prompt"], "chosen": row[row["label"]], "rejected": row[OPPOSITE[row["label"]]]}
        for row in rows
    ]
    for out, same in (("two", swapped), ("three", [{**row, "who": "ann"} for row in named])):
        write("humans.jsonl", same)
        label("mine:judge", "--labels", "humans.jsonl", out=out)
        assert records("preferences", out) == records("preferences", "one")
        assert summary(out)["learnt"] == summary("one")["learnt"]


def test_a_label_that_cannot_be_read_is_named_before_anything_is_asked():
    write("humans.jsonl", [{**pairs(1)[0], "label": "neither of them"}])
    with serving(preferring(right)) as server:
        done = label(server, "--labels", "humans.jsonl")
    assert (done.code, server.log) == (2, [])
    assert "humans.jsonl:1" in done.line


@pytest.mark.xfail(strict=True, reason="how often a judge agrees with humans is not in the summary")
def test_agreement_with_humans_is_the_first_thing_said():
    write("pairs.jsonl", pairs(60))
    write_humans(60, wrong=range(6))
    done = label(judge_of("mine", ()), "--labels", "humans.jsonl")
    assert done.code == 0
    found = agreement()
    assert (found["accuracy"], found["n"]) == (0.9, 60)
    assert 0.75 < found["low"] < 0.9 < found["high"] < 0.98
    assert "90" in "".join(line for line in done.out.splitlines()[:4] if "agree" in line)
    assert "warning" not in done.out + done.err


@pytest.mark.xfail(strict=True, reason="labels of a judge at chance are exported like any others")
def test_a_judge_at_chance_stops_the_export():
    write("pairs.jsonl", pairs(60))
    write_humans(60)
    judge = judge_of("coin", range(30))
    done = label(judge, "--labels", "humans.jsonl")
    assert done.code == 1
    assert summary()["state"] == "refused"
    assert (summary()["verdicts"], summary()["prompts"], agreement()["accuracy"]) == (120, 60, 0.5)
    assert not Path("run/export/trl/train.jsonl").exists()
    assert "--force true" in done.err
    assert label(judge, "--labels", "humans.jsonl", "--force", "true").code == 0
    assert summary()["state"] == "done"
    assert Path("run/export/trl/train.jsonl").exists()


@pytest.mark.parametrize(("n", "wrong"), [(400, range(180)), (20, range(10))], ids=["55 %", "few labels"])
@pytest.mark.xfail(strict=True, reason="nothing warns of a judge that hardly agrees with humans")
def test_a_judge_little_better_than_chance_is_warned_of(n, wrong):
    write("pairs.jsonl", pairs(n))
    write_humans(n)
    done = label(judge_of("weak", wrong), "--labels", "humans.jsonl")
    assert done.code == 0
    assert "warning" in done.out + done.err


@pytest.mark.xfail(strict=True, reason="a calibration that improves nothing is applied")
def test_a_calibration_is_applied_only_where_it_lowers_the_error():
    write("pairs.jsonl", pairs(31))
    write_humans(31, wrong=range(3))
    label(judge_of("mine", ()), "--labels", "humans.jsonl")
    assert {round(row["p"], 9) for row in records("preferences")} == {0.9}


def test_a_judge_that_never_flips_is_never_inconsistent(here):
    (here / "mine.py").write_text(
        "def judge(matchup):\n    return 0.999 if matchup.first.text.startswith('It makes') else 0.45\n"
    )
    write("pairs.jsonl", pairs(100))
    write_humans(100, wrong=range(30))
    for words in ((), ("--labels", "humans.jsonl")):
        label("mine:judge", "--prefer.consistent_only", "true", *words)
        assert (summary()["dropped"], summary()["labels"]) == ({}, 100)


@pytest.mark.parametrize("how", ["mean", "vote"])
def test_a_jury_whose_every_judge_flips_is_inconsistent(here, how):
    body = "(matchup):\n    return 0.95 if matchup.first.text < matchup.second.text else 0.85\n"
    (here / "mine.py").write_text("".join(f"def {name}{body}" for name in "abc"))
    words = ("--judge", "mine:b", "--judge", "mine:c", "--jury.combine", how)
    label("mine:a", *words, "--prefer.consistent_only", "true")
    assert summary()["dropped"] == {"preferences: inconsistent": 12}


@pytest.mark.xfail(strict=True, reason="a label by matchup id agrees with any other one, or hides it")
def test_two_humans_on_one_pair_both_count_however_they_name_it():
    write("pairs.jsonl", pairs(60))
    label(judge_of("mine", ()))
    given = [row for row in records("verdicts") if row.get("order", "given") == "given"]
    by_id = [
        {
            "who": "ann",
            "matchup_id": row["matchup_id"],
            "label": "first" if row["p_first"] > 0.5 else "second",
        }
        for row in given
    ]
    # Bob says the opposite of 30 of them, in the package's own form and told from the other side.
    against = [
        {
            "id": f"bob{number}",
            "judge": "human:bob",
            "matchup_id": row["matchup_id"],
            "first_id": row["second_id"],
            "second_id": row["first_id"],
            "p_first": float(row["p_first"] > 0.5),
        }
        for number, row in enumerate(given[:30])
    ]
    for out, rows in (("one", [*by_id, *against]), ("two", [*against, *by_id])):
        write("humans.jsonl", rows)
        label("mine:judge", "--labels", "humans.jsonl", out=out)
        assert (agreement(out)["accuracy"], agreement(out)["n"]) == (1.0, 30)
    wrong = [{**row, "label": OPPOSITE[row["label"]]} for row in by_id]
    write("humans.jsonl", [*wrong, *write_humans(60, "bob"), *write_humans(60, "cem")])
    label("mine:judge", "--labels", "humans.jsonl", out="three")
    assert (agreement("three")["accuracy"], agreement("three")["n"]) == (1.0, 60)


@pytest.mark.xfail(
    strict=True, reason="of two labels on one pair in a file, the later one replaces the other"
)
def test_two_labels_on_one_pair_in_a_file_are_both_kept():
    rows = [{**row, "label": right_label(row)} for row in pairs(60)]
    against = [{**row, "label": OPPOSITE[row["label"]]} for row in rows[:20]]
    judge = judge_of("mine", ())
    for out, both in (("one", [*rows, *against]), ("two", [*against, *rows])):
        write("pairs.jsonl", both)
        label(judge, "--labels", "given", "--labels_by", "human", out=out)
        assert (agreement(out)["accuracy"], agreement(out)["n"]) == (1.0, 40)


@pytest.mark.xfail(strict=True, reason="labels of a file are called human whoever gave them")
def test_labels_of_a_file_are_human_only_if_said_so():
    rows = [{"prompt": row["prompt"], "chosen": row["first"], "rejected": row["second"]} for row in pairs(12)]
    write("pairs.jsonl", rows)
    label("shorter")
    assert {row["judge"] for row in records("verdicts")} == {"file", "shorter"}
    label("shorter", "--labels_by", "human", out="human")
    assert {row["judge"].partition(":")[0] for row in records("verdicts", "human")} == {"human", "shorter"}


@pytest.mark.xfail(strict=True, reason="a probability of 0.0 is read as a tie")
def test_a_probability_is_a_probability_down_to_nought():
    values = [1.0, 0.9, 0.5, 0.1, 0.01, 0.0]
    write("pairs.jsonl", [{**row, "label": value} for row, value in zip(pairs(6), values, strict=True)])
    label("shorter")
    said = [row["p_first"] for row in records("verdicts") if row["judge"] in ("file", "human:file")]
    assert said == values


VALUES = ("--label_values.0", "second", "--label_values.1", "first")


@pytest.mark.parametrize(
    "words", [("label", "--judge", "shorter", "--out", "run", "--pairs"), ("audit", "--out", "report")]
)
@pytest.mark.xfail(strict=True, reason="in a column of zeros and ones, 0 counts as a tie and 1 as the first")
def test_a_column_of_zeros_and_ones_is_refused_until_explained(words):
    write("pairs.jsonl", [{**row, "label": int(right(row["first"]))} for row in pairs(40)])
    done = run(*words, "pairs.jsonl")
    assert done.code == 2
    assert "'label'" in done.line
    assert "--label_values.0" in done.line
    values = ("--label_values.0", "second", "--label_values.1", "first")
    assert run(*words, "pairs.jsonl", *values).code == 0
    if words[0] == "label":
        said = [row for row in records("verdicts") if row["judge"] == "file"]
        better = [row["first_id"] if row["p_first"] else row["second_id"] for row in said]
        assert better == [row["id"] for row in records("completions") if right(row["text"])]


@pytest.mark.xfail(strict=True, reason="a jury is refused for one label less than its best judge")
def test_a_jury_is_refused_only_if_significantly_worse_than_its_best_judge():
    write("pairs.jsonl", pairs(60))
    write_humans(60)
    judge_of("a", range(10), 0.6)
    for name in "bc":
        judge_of(name, range(10, 21), 0.95)
    words = ("--judge", "b:judge", "--judge", "c:judge", "--labels", "humans.jsonl")
    done = label("a:judge", *words)
    assert done.code == 0
    assert "warning" in done.out + done.err
    judge_of("a", (), 0.6)
    done = label("a:judge", *words, out="worse")
    assert (done.code, summary("worse")["state"], summary("worse")["verdicts"]) == (1, "refused", 360)
    assert "--force true" in done.err
    assert label("a:judge", *words, "--force", "true", out="worse").code == 0


@pytest.mark.xfail(strict=True, reason="the accuracy of a fitted jury is that on the labels it was fitted to")
def test_the_accuracy_of_a_jury_of_coins_is_that_of_a_coin(here):
    write("pairs.jsonl", pairs(100))
    write_humans(28)
    accuracy = []
    for seed in (1, 2, 3):
        judges = (
            f"def j{k}(matchup):\n"
            f"    heads = random.Random('{seed}{k}' + matchup.prompt.id).random() < 0.5\n"
            "    return float(matchup.first.text.startswith('It makes') == heads)\n"
            for k in range(9)
        )
        out = f"run{seed}"
        (here / f"coins{seed}.py").write_text("import random\n" + "".join(judges))
        words = [word for k in range(1, 9) for word in ("--judge", f"coins{seed}:j{k}")]
        words += ["--labels", "humans.jsonl", "--jury.combine", "dawid_skene"]
        label(f"coins{seed}:j0", *words, out=out)
        accuracy.append(summary(out)["learnt"]["weights"]["accuracy"])
    assert sum(accuracy) / 3 < 0.65


def test_an_audit_of_a_file_fails_a_pipeline_on_an_alarm():
    write_humans(80)
    write("good.jsonl", [{**row, "label": right_label(row)} for row in pairs(80)])
    write("bad.jsonl", [{**row, "label": OPPOSITE[right_label(row)]} for row in pairs(80)])
    words = ("--human", "humans.jsonl", "--fail-on", "alarm", "--out", "report")
    assert run("audit", "good.jsonl", *words).code == 0
    done = run("audit", "bad.jsonl", *words)
    assert done.code == 1
    assert "agreement.accuracy" in done.line
