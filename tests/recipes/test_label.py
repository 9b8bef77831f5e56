"""From a file to exported labels, estimated before, decided again after, and never asked twice."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from jobs import accounted, at, lines, run, settings, write_pairs, write_prompts
from msgspec.structs import replace

from jurist.errors import DataError, SettingError
from jurist.recipes.estimate import estimate
from jurist.recipes.label import export, label
from jurist.serve import serving
from jurist.tiny import judges
from jurist.tiny.answers import careful, wordy
from jurist.verdicts import ask
from support import server

PRICED = {"engine": {"engine": "tiny:oracle", "price": {"input": 1000.0}}}
EXPERIMENT = Path(__file__).resolve().parents[2] / "experiments" / "million_rows.py"


@pytest.fixture
def served():
    with serving({**judges.BY_NAME, "careful": careful, "wordy": wordy}) as server:
        yield server


def write_labelled(folder, n, right=True):
    """Pairs whose chosen one is truly better, or worse, as humans would have labelled them."""
    rows = write_pairs(folder, n)
    with (folder / "labelled.jsonl").open("w") as file:
        for row in rows:
            chosen, rejected = (row.better, row.worse) if right else (row.worse, row.better)
            print(json.dumps({"prompt": row.prompt, "chosen": chosen, "rejected": rejected}), file=file)
    return {row.better for row in rows}


def test_a_fraction_of_the_matchups_is_asked_twice_and_the_position_is_learnt_from_it(tmp_path):
    write_pairs(tmp_path, 60)
    summary = run(tmp_path, {"engine": "tiny:leaning", "swap": "fraction:0.6"})
    assert 60 < summary.verdicts < 120
    (bias,) = summary.learnt.position_biases.values()
    assert accounted(tmp_path)
    assert bias.bias > 0
    stopped = run(tmp_path, {**PRICED, "swap": "fraction:0.5"}, budget=4)
    assert stopped.state == "stopped"
    assert stopped.labels > 0
    assert "is not corrected" in stopped.learnt.warnings[0]
    assert accounted(tmp_path)


PROMPTS = {"prompts": "prompts.jsonl", "policy": "tiny:careful"}
SWAPS = {
    # What is judged, in how many rows, and what to type instead; nothing where it can work or is not known.
    "few pairs": (20, {}, "always"),
    "no more than the limit": (60, {"limit": 40}, "fraction:0.75"),
    "prompts with many answers": (20, {**PROMPTS, "k": 3}, ""),
    "in a chain": (20, {**PROMPTS, "k": 3, "matchups": "chain"}, "fraction:0.75"),
}


@pytest.mark.parametrize("what", SWAPS)
def test_a_share_of_swapped_matchups_too_small_to_learn_from_is_refused_before_it_costs(tmp_path, what):
    n, others, instead = SWAPS[what]
    write_pairs(tmp_path, n)
    write_prompts(tmp_path, n)
    job = settings(tmp_path, {"engine": "tiny:oracle", "swap": "fraction:0.5"}, **others)
    if not instead:
        assert estimate(job).matchups > 0
        return
    for start in (estimate, label):
        with pytest.raises(SettingError, match=f"Ask more: --judge.swap {instead}$"):
            start(job)


def test_a_jury_anchored_on_labels_outvotes_a_majority_that_is_wrong(tmp_path):
    better = write_labelled(tmp_path, 40)
    # These answers are better when they are shorter, so that two of the three are wrong.
    jury = ["tiny:oracle", {"engine": "tiny:longer", "name": "one"}, {"engine": "tiny:longer", "name": "two"}]
    given = {"labels": "given", "pairs": "labelled.jsonl"}
    assert run(tmp_path, jury, jury={"combine": "vote"}, **given).refused
    assert not run(tmp_path, jury, jury={"combine": "anchored"}, **given).refused
    rows = lines(tmp_path, "preferences")
    assert sum(row["chosen"]["text"] in better for row in rows) / len(rows) > 0.9
    assert accounted(tmp_path)


def test_an_estimate_is_what_is_really_sent_and_knows_what_is_paid_for(tmp_path, served):
    write_pairs(tmp_path, 12)
    judge = {**at(served, price={"input": 1.0, "output": 2.0}), "swap": "never"}
    label(settings(tmp_path, judge, limit=4))
    (engine,) = estimate(settings(tmp_path, judge)).engines
    assert served.calls == 4
    really = label(settings(tmp_path, judge))
    assert (engine.calls, engine.kept) == (really.calls, really.calls_kept) == (8, 4)
    assert engine.usage.tokens_in == pytest.approx(really.usage.tokens_in, rel=0.02)


def test_an_estimate_counts_a_prompt_once_that_is_read_once_for_all_its_samples(tmp_path, served):
    write_prompts(tmp_path)
    policies = [
        {"engine": {"engine": f"vllm:{name}@{served.url}", "price": {"input": 1.0}}, "weight": weight}
        for name, weight in (("careful", 3), ("wordy", 1))
    ]
    job = settings(tmp_path, "shorter", prompts="prompts.jsonl", policy=policies, k=4)
    found = estimate(job).engines
    summary = label(job)
    assert sum(one.calls for one in found) == summary.calls == 48
    assert sum(one.usage.tokens_in for one in found) == summary.usage.tokens_in
    assert [one.kept for one in estimate(job).engines] == [one.calls for one in found]
    written = [one["policy"] for one in lines(tmp_path, "completions")]
    assert written.count("vllm:careful") > 1.5 * written.count("vllm:wordy") > 0


def test_settings_that_cannot_work_leave_an_earlier_run_as_it_was(tmp_path):
    write_pairs(tmp_path, 4)
    run(tmp_path, "shorter")
    recipe = (tmp_path / "run/recipe.yaml").read_text()
    with pytest.raises(SettingError):
        run(tmp_path, "shortr")
    with pytest.raises(SettingError, match=r"k was settled when .* an export can change prefer, jury"):
        export(tmp_path / "run", overrides={"k": 7})
    assert (tmp_path / "run/recipe.yaml").read_text() == recipe
    assert len(lines(tmp_path, "preferences")) == 4


def test_two_judges_that_could_not_be_told_apart_are_refused(tmp_path):
    write_pairs(tmp_path, 4)
    judge = {"engine": "tiny:oracle"}
    for start in (label, estimate):
        with pytest.raises(SettingError, match=r"could not be told apart.*--judge\.1\.name"):
            start(settings(tmp_path, [judge, {**judge, "clamp": [0.4, 0.6]}]))
    assert run(tmp_path, [judge, {**judge, "name": "another"}]).verdicts == 16


def test_labels_that_are_about_nothing_here_are_told_of(tmp_path):
    write_pairs(tmp_path, 4)
    row = {"prompt": "never seen", "first": "a", "second": "b", "label": "first"}
    (tmp_path / "labels.jsonl").write_text(json.dumps(row) + "\n")
    found = run(tmp_path, "shorter", labels="labels.jsonl")
    warning = f"none of the 1 matchups labelled in {tmp_path / 'labels.jsonl'} is one of this run's"
    assert ("warning", warning) in found.rows()
    (warning,) = run(tmp_path, "shorter", labels="given").warnings
    assert warning.startswith("labels: given, but no row")


def test_the_seed_of_a_run_decides_the_draws_of_its_pair_rule(tmp_path):
    texts = [" ".join("abcdef"[: n + 1]) for n in range(6)]
    rows = [json.dumps({"prompt": f"Say {n}.", "completions": texts}) + "\n" for n in range(9)]
    (tmp_path / "several.jsonl").write_text("".join(rows))
    chosen = []
    for seed, own in ((1, None), (2, None), (5, 1)):
        rule = {"rule": "best_vs_random_lower", "seed": own}
        run(tmp_path, "longer", completions="several.jsonl", seed=seed, prefer=rule)
        chosen.append([row["rejected"]["text"] for row in lines(tmp_path, "preferences")])
    assert chosen[0] == chosen[2] != chosen[1]


def formats(folder):
    """Rows of each format that lies there."""
    files = (folder / "run/export").glob("*/train.jsonl")
    return {file.parent.name: len(file.read_text().splitlines()) for file in files}


def test_a_format_exported_earlier_is_decided_anew(tmp_path):
    tied = {"prompt": "What is 2 plus 2?", "first": "It is 4.", "second": "It makes 4."}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(tied) + "\n")
    judge, soft = {"engine": "tiny:tie", "ties": True}, {"ties": "soft"}
    summary = run(tmp_path, judge, prefer=soft, export=("jsonl", "trl"))
    assert summary.exported["trl"] == {"train": 0, "left out: tie": 1}
    assert formats(tmp_path) == {"jsonl": 1, "trl": 0}
    summary = export(tmp_path / "run", ("sft",), {"prefer.ties": "drop"})
    assert summary.exported.keys() == formats(tmp_path).keys() == {"jsonl", "trl", "sft"}
    assert formats(tmp_path)["jsonl"] == 0


def test_labels_that_are_refused_leave_no_export_of_an_earlier_start_beside_them(tmp_path):
    write_labelled(tmp_path, 30, right=False)
    given = {"pairs": "labelled.jsonl", "labels_by": "human"}
    run(tmp_path, "tiny:oracle", force=True, **given)
    assert formats(tmp_path) == {"trl": 30}
    mine = tmp_path / "run/export/notes.txt"
    mine.write_text("the user's own")
    summary = export(tmp_path / "run")
    assert (summary.state, summary.exported) == ("refused", {})
    assert "no better than chance" in summary.refused
    assert ("refused", summary.refused) in summary.rows()
    assert list((tmp_path / "run/export").iterdir()) == [mine]


def test_a_run_started_again_asks_nothing_and_may_read_otherwise(tmp_path, served, monkeypatch):
    write_pairs(tmp_path, 8)
    calls = run(tmp_path, at(served, "stumbling")).calls
    ours = ask.read
    monkeypatch.setattr(ask, "read", lambda *said, **more: replace(ours(*said, **more), value=0.25))
    again = run(tmp_path, at(served, "stumbling"))
    assert (again.calls, again.calls_kept, served.calls) == (0, calls, calls)
    assert {one["p_first"] for one in lines(tmp_path, "verdicts")} == {0.25}


def test_a_row_that_ends_the_job_costs_nothing_that_was_asked_before_it(tmp_path, served):
    write_pairs(tmp_path, 8)
    with (tmp_path / "pairs.jsonl").open("a") as file:
        file.write('{"prompt": "What is 1 plus 2?", "fir')
    with pytest.raises(DataError, match=r"pairs\.jsonl:9"):
        run(tmp_path, at(served))
    write_pairs(tmp_path, 8)
    summary = run(tmp_path, at(served))
    assert (summary.calls, summary.calls_kept, served.calls) == (0, 16, 16)


def test_a_server_that_dies_stops_the_run_and_once_revived_finishes_the_job(tmp_path):
    write_pairs(tmp_path, 12)
    with server.serving("A", faults=lambda *_: "stall" if served.answered > 8 else None) as served:
        stopped = run(tmp_path, at(served, timeout=0.3, max_tries=3, give_up_after=0.4))
    assert (stopped.state, stopped.ended_by) == ("stopped", "failure")
    assert stopped.stopped.endswith("what was answered is kept")
    assert stopped.seconds < 5
    with server.serving("A") as revived:
        assert run(tmp_path, at(revived)).state == "done"
    assert len(revived.log) == 24 - served.answered
    assert accounted(tmp_path)


@pytest.mark.slow
def test_ten_times_the_rows_take_hardly_more_memory(tmp_path):
    def job_of(rows):
        command = [sys.executable, EXPERIMENT, "--one", str(rows), tmp_path / str(rows)]
        (tmp_path / str(rows)).mkdir()
        done = subprocess.run(command, cwd=EXPERIMENT.parent, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    few, many = job_of(10_000), job_of(100_000)
    assert (few["labels"], many["labels"]) == (10_000, 100_000)
    assert many["peak_mb"] < 1.3 * few["peak_mb"]


def test_a_judge_that_follows_the_position_is_told_from_one_that_finds_ties(tmp_path):
    write_pairs(tmp_path)
    same = run(tmp_path, "tiny:first")
    assert same.why_none.startswith("20 of 20 verdicts followed the position")
    assert "followed the position" in "".join(run(tmp_path, "tiny:second").warnings)
    assert "(--prefer.ties soft)" not in same.why_none


def test_labels_of_a_spot_check_count_for_as_many_pairs_as_they_stand_for(tmp_path):
    rows = [{"prompt": f"Q{i}", "first": "yes", "second": "no, never"} for i in range(4)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spot = [
        row | {"label": "first" if i else "second", "weight": 1 if i else 7} for i, row in enumerate(rows)
    ]
    (tmp_path / "spot.jsonl").write_text("".join(json.dumps(row) + "\n" for row in spot))
    found = run(tmp_path, "shorter", labels="spot.jsonl")
    assert found.agreement["shorter"].accuracy == pytest.approx(3 / 10)
