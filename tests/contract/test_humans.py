"""Labels from humans and labels of a file: whose they are, what they say, and what they decide."""

from pathlib import Path

import pytest

from support.cli import run
from support.job import all_p, label, label_by, pairs, records, right, right_label, sound, summary, write

OPPOSITE = {"first": "second", "second": "first"}


def judge_of(name, wrong=(), p=0.9):
    """A judge module that is wrong about the prompts whose numbers are in `wrong`; as a --judge."""
    Path(f"{name}.py").write_text(
        "def judge(matchup):\n"
        "    number = int(matchup.prompt.messages[-1].content.split()[2])\n"
        "    good = matchup.first.text.startswith('It makes')\n"
        f"    return {p} if good == (number not in {[*wrong]}) else {1 - p}\n"
    )
    return f"{name}:judge"


def human_labels(n, who="ann", wrong=()):
    rows = [{**row, "label": right_label(row), "who": who} for row in pairs(n)]
    for number in wrong:
        rows[number]["label"] = OPPOSITE[rows[number]["label"]]
    return rows


def label_with(humans, judge, *words, n=60, out="run"):
    """A job of n pairs with these human labels."""
    write("humans.jsonl", humans)
    return label(judge, "--labels", "humans.jsonl", *words, pairs=pairs(n), out=out)


def agreement(out="run"):
    """The accuracy of the only judge on human labels, and on how many."""
    (found,) = summary(out)["agreement"].values()
    return found["accuracy"], found["n"]


def test_human_labels_are_found_in_either_orientation():
    def swapped(row):
        return {**row, "first": row["second"], "second": row["first"], "label": OPPOSITE[row["label"]]}

    def chosen(row):
        sides = {"chosen": row[row["label"]], "rejected": row[OPPOSITE[row["label"]]]}
        return {"prompt": row["prompt"], "who": row["who"], **sides}

    for out, form in (("given", dict), ("swapped", swapped), ("chosen", chosen)):
        label_with(map(form, human_labels(40, wrong=range(6))), judge_of("mine"), n=40, out=out)
        assert records("preferences", out) == records("preferences", "given")
        assert summary(out)["learnt"] == summary("given")["learnt"]


def test_a_label_that_cannot_be_read_is_named_before_anything_is_asked():
    write("humans.jsonl", [{**pairs(1)[0], "label": "neither of them"}])
    done, server = label_by(sound, "--labels", "humans.jsonl")
    assert (done.code, server.log) == (2, [])
    assert "humans.jsonl:1" in done.line


def test_agreement_with_humans_is_the_first_thing_said():
    done = label_with(human_labels(60, wrong=range(6)), judge_of("mine"))
    assert (done.code, agreement()) == (0, (0.9, 60))
    (found,) = summary()["agreement"].values()
    assert 0.75 < found["low"] < 0.9 < found["high"] < 0.98
    assert "90" in "".join(line for line in done.out.splitlines()[:4] if "agree" in line)
    assert "warning" not in done.out + done.err


def test_a_judge_at_chance_stops_the_export():
    coin = judge_of("coin", range(30))
    done = label_with(human_labels(60), coin)
    assert (done.code, summary()["state"], agreement()) == (1, "refused", (0.5, 60))
    assert (summary()["verdicts"], summary()["prompts"]) == (120, 60)
    assert not Path("run/export/trl/train.jsonl").exists()
    assert "--force true" in done.err
    assert label_with(human_labels(60), coin, "--force", "true").code == 0
    assert summary()["state"] == "done"
    assert Path("run/export/trl/train.jsonl").exists()


@pytest.mark.parametrize(("n", "wrong"), [(400, 180), (20, 10)], ids=["55 %", "few labels"])
def test_a_judge_little_better_than_chance_is_warned_of(n, wrong):
    done = label_with(human_labels(n), judge_of("weak", range(wrong)), n=n)
    assert done.code == 0
    assert "warning" in done.out + done.err


def test_a_calibration_is_applied_only_where_it_lowers_the_error():
    label_with(human_labels(31, wrong=range(3)), judge_of("mine"), n=31)
    assert all_p() == {0.9}


def test_a_judge_that_never_flips_is_never_inconsistent(here):
    judge = "def judge(matchup):\n    return 0.999 if matchup.first.text.startswith('It makes') else 0.45\n"
    (here / "mine.py").write_text(judge)
    label_with(human_labels(100, wrong=range(30)), "mine:judge", "--prefer.consistent_only", "true", n=100)
    assert (summary()["dropped"], summary()["labels"]) == ({}, 100)


@pytest.mark.parametrize("how", ["mean", "vote"])
def test_a_jury_whose_every_judge_flips_is_inconsistent(here, how):
    body = "(matchup):\n    return 0.95 if matchup.first.text < matchup.second.text else 0.85\n"
    (here / "mine.py").write_text("".join(f"def {name}{body}" for name in "abc"))
    words = ("--judge", "mine:b", "--judge", "mine:c", "--jury.combine", how)
    label("mine:a", *words, "--prefer.consistent_only", "true")
    assert summary()["dropped"] == {"preferences: inconsistent": 12}


def test_two_humans_on_one_pair_both_count_however_they_name_it():
    label(judge_of("mine"), pairs=pairs(60), out="first")
    ann, bob = [], []
    for row in records("verdicts", "first"):
        if row.get("order", "given") == "given":
            name, better = {"matchup_id": row["matchup_id"]}, row["p_first"] > 0.5
            ann.append({**name, "who": "ann", "label": "first" if better else "second"})
            # The opposite, in the package's own form and told from the other side.
            sides = {"first_id": row["second_id"], "second_id": row["first_id"], "p_first": float(better)}
            bob.append({**name, **sides, "id": f"bob{len(bob)}", "judge": "human:bob"})
    for rows in ([*ann, *bob[:30]], [*bob[:30], *ann]):
        label_with(rows, "mine:judge")
        assert agreement() == (1.0, 30)
        assert summary()["learnt"]["human_agreement"] == 0
    wrong = [{**row, "label": OPPOSITE[row["label"]]} for row in ann]
    label_with([*wrong, *human_labels(60, "bob"), *human_labels(60, "cem")], "mine:judge")
    assert agreement() == (1.0, 60)


def test_two_labels_on_one_pair_in_a_file_are_both_kept():
    rows = [{**row, "label": right_label(row)} for row in pairs(60)]
    against = [{**row, "label": OPPOSITE[row["label"]]} for row in rows[:20]]
    for out, both in (("one", [*rows, *against]), ("two", [*against, *rows])):
        label(judge_of("mine"), "--labels", "given", "--labels_by", "human", pairs=both, out=out)
        assert agreement(out) == (1.0, 40)


def test_labels_of_a_file_are_human_only_if_said_so():
    rows = [{"prompt": row["prompt"], "chosen": row["first"], "rejected": row["second"]} for row in pairs(12)]
    label("shorter", pairs=rows)
    assert {row["judge"] for row in records("verdicts")} == {"file", "shorter"}
    label("shorter", "--labels_by", "human", pairs=rows, out="human")
    assert {row["judge"].partition(":")[0] for row in records("verdicts", "human")} == {"human", "shorter"}


def file_labels():
    return [row for row in records("verdicts") if row["judge"] == "file"]


def test_a_probability_is_a_probability_down_to_0():
    values = [1.0, 0.9, 0.5, 0.1, 0.01, 0.0]
    label("shorter", pairs=[{**row, "label": value} for row, value in zip(pairs(6), values, strict=True)])
    assert [row["p_first"] for row in file_labels()] == values


@pytest.mark.parametrize("words", ["label --judge shorter --out run --pairs", "audit --out report"], ids=str)
def test_a_column_of_zeros_and_ones_is_refused_until_explained(words):
    words = words.split()
    write("pairs.jsonl", [{**row, "label": int(right(row["first"]))} for row in pairs(40)])
    done = run(*words, "pairs.jsonl")
    assert (done.code, "'label'" in done.line, "--label_values.0" in done.line) == (2, True, True)
    values = ("--label_values.0", "second", "--label_values.1", "first")
    assert run(*words, "pairs.jsonl", *values).code == 0
    if words[0] == "label":
        better = [row["first_id" if row["p_first"] else "second_id"] for row in file_labels()]
        assert better == [row["id"] for row in records("completions") if right(row["text"])]


def test_a_jury_is_refused_only_if_significantly_worse_than_its_best_judge():
    words = [word for name in "bc" for word in ("--judge", judge_of(name, range(10, 21), 0.95))]
    done = label_with(human_labels(60), judge_of("a", range(10), 0.6), *words)
    assert done.code == 0
    assert "warning" in done.out + done.err
    done = label_with(human_labels(60), judge_of("best", (), 0.6), *words, out="worse")
    assert (done.code, summary("worse")["state"], summary("worse")["verdicts"]) == (1, "refused", 360)
    assert "--force true" in done.err
    assert label_with(human_labels(60), "best:judge", *words, "--force", "true", out="worse").code == 0


def test_the_accuracy_of_a_jury_of_coins_is_that_of_a_coin(here):
    accuracy = []
    for seed in "123":
        bodies = (
            f"def j{k}(matchup):\n"
            f"    heads = random.Random('{seed}{k}' + matchup.prompt.id).random() < 0.5\n"
            "    return float(matchup.first.text.startswith('It makes') == heads)\n"
            for k in range(9)
        )
        out = f"coins{seed}"
        (here / f"{out}.py").write_text("import random\n" + "".join(bodies))
        words = [word for k in range(1, 9) for word in ("--judge", f"{out}:j{k}")]
        label_with(human_labels(28), f"{out}:j0", *words, "--jury.combine", "dawid_skene", out=out)
        accuracy.append(summary(out)["learnt"]["weights"]["accuracy"])
    assert sum(accuracy) / 3 < 0.65


def test_an_audit_of_a_file_fails_a_pipeline_on_an_alarm():
    write("humans.jsonl", human_labels(80))
    write("good.jsonl", human_labels(80))
    write("bad.jsonl", human_labels(80, wrong=range(80)))
    words = ("--human", "humans.jsonl", "--fail-on", "alarm", "--out", "report")
    assert run("audit", "good.jsonl", *words).code == 0
    done = run("audit", "bad.jsonl", *words)
    assert (done.code, "agreement.accuracy" in done.line) == (1, True)
