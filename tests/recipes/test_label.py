"""From a file to exported labels, estimated before and decided again after."""

import json
from pathlib import Path

import pytest
from jobs import accounted, at, lines, run, settings, write_pairs, write_prompts

from jurist.errors import DataError, SettingError
from jurist.recipes.estimate import estimate
from jurist.recipes.label import export, label
from jurist.serve import serving
from jurist.tiny import judges
from jurist.tiny.policies import careful
from support import server

PRICED = {"engine": {"engine": "tiny:oracle", "price": {"input": 1000.0}}}


@pytest.fixture
def served():
    with serving({**judges.BY_NAME, "careful": careful}) as server:
        yield server


def write_labelled(folder, n=60, right=True):
    """Pairs whose chosen one is truly better, or worse, as humans would have labelled them."""
    rows = write_pairs(folder, n)
    pairs = [(row.better, row.worse) if right else (row.worse, row.better) for row in rows]
    text = (
        json.dumps({"prompt": row.prompt, "chosen": chosen, "rejected": rejected}) + "\n"
        for row, (chosen, rejected) in zip(rows, pairs, strict=True)
    )
    (folder / "labelled.jsonl").write_text("".join(text))
    return {row.better for row in rows}


def test_a_fraction_of_the_matchups_is_asked_twice_and_the_position_is_learnt_from_it(tmp_path):
    write_pairs(tmp_path, 60)
    summary = run(tmp_path, {"engine": "tiny:leaning", "swap": "fraction:0.6"})
    assert 60 < summary.verdicts < 120
    (bias,) = summary.learnt.position_biases.values()
    assert accounted(tmp_path)
    assert bias.bias > 0


SWAPS = {
    # What is judged, in how many rows, and what to type instead; nothing where it can work or is not known.
    "pairs": (59, {}, "fraction:0.55"),
    "few pairs": (20, {}, "always"),
    "enough pairs": (60, {}, ""),
    "no more than the limit": (60, {"limit": 40}, "fraction:0.75"),
    "prompts": (20, {"prompts": "prompts.jsonl", "policy": "tiny:careful"}, "always"),
    "prompts with many answers": (20, {"prompts": "prompts.jsonl", "policy": "tiny:careful", "k": 3}, ""),
    "in a chain": (
        20,
        {"prompts": "prompts.jsonl", "policy": "tiny:careful", "k": 3, "matchups": "chain"},
        "fraction:0.75",
    ),
    "completions": (20, {"completions": "several.jsonl"}, ""),
}


@pytest.mark.parametrize("what", SWAPS)
def test_a_share_of_swapped_matchups_too_small_to_learn_from_is_refused_before_it_costs(tmp_path, what):
    n, others, instead = SWAPS[what]
    write_pairs(tmp_path, n)
    write_prompts(tmp_path, n)
    several = ({"prompt": f"{row}?", "completions": ["one", "another"]} for row in range(n))
    (tmp_path / "several.jsonl").write_text("".join(json.dumps(row) + "\n" for row in several))
    job = settings(tmp_path, {"engine": "tiny:oracle", "swap": "fraction:0.5"}, **others)
    if not instead:
        assert estimate(job).matchups > 0
        return
    for start in (estimate, label):
        with pytest.raises(SettingError, match=f"Ask more: --judge.swap {instead}$"):
            start(job)


def test_a_run_with_too_few_matchups_in_both_orders_says_what_it_could_not_learn(tmp_path):
    write_pairs(tmp_path, 60)
    summary = run(tmp_path, {**PRICED, "swap": "fraction:0.5"}, budget=4)
    assert summary.state == "stopped"
    assert summary.labels > 0
    assert "is not corrected" in summary.learnt.warnings[0]
    assert accounted(tmp_path)


def test_a_jury_anchored_on_labels_outvotes_a_majority_that_is_wrong(tmp_path):
    better = write_labelled(tmp_path)
    # These answers are better when they are shorter, so that two of the three are wrong.
    jury = ["tiny:oracle", {"engine": "tiny:longer", "name": "one"}, {"engine": "tiny:longer", "name": "two"}]
    found = {}
    for combine in ("vote", "anchored"):
        summary = run(tmp_path, jury, jury={"combine": combine}, labels="given", pairs="labelled.jsonl")
        rows = lines(tmp_path, "preferences")
        found[combine] = sum(row["chosen"]["text"] in better for row in rows) / max(1, len(rows))
        assert bool(summary.refused) == (combine == "vote")
        assert accounted(tmp_path)
    assert found["anchored"] > 0.9 > found["vote"]


def test_prompts_are_answered_by_a_weighted_mixture_of_policies(tmp_path):
    write_prompts(tmp_path, 30)
    policies = [{"engine": "tiny:careful", "weight": 3}, "tiny:wordy"]
    assert run(tmp_path, "longer", prompts="prompts.jsonl", policy=policies, k=3).prompts == 30
    written = [one["policy"] for one in lines(tmp_path, "completions")]
    assert written.count("tiny:careful") > 1.5 * written.count("tiny:wordy") > 0


def test_retries_are_counted_while_they_happen(tmp_path):
    write_pairs(tmp_path, 30)
    seen = []
    with server.serving("A", faults=lambda _, attempt: None if attempt else "500") as served:
        summary = label(settings(tmp_path, at(served)), lambda now: seen.append(now.facts()["retries"]))
    assert 0 < seen[0] <= seen[-1] == summary.retries == 60


def test_an_estimate_is_what_is_really_sent_and_knows_what_is_paid_for(tmp_path, served):
    write_pairs(tmp_path, 30)
    judge = {**at(served, price={"input": 1.0, "output": 2.0}), "swap": "never"}
    job = settings(tmp_path, judge)
    label(settings(tmp_path, judge, limit=10))
    (engine,) = estimate(job).engines
    assert served.calls == 10
    really = label(job)
    assert (engine.calls, engine.kept) == (really.calls, really.calls_kept) == (20, 10)
    assert engine.usage.tokens_in == pytest.approx(really.usage.tokens_in, rel=0.02)


def test_an_estimate_counts_a_prompt_once_that_is_read_once_for_all_its_samples(tmp_path, served):
    write_prompts(tmp_path)
    policy = {"engine": {"engine": f"vllm:careful@{served.url}", "price": {"input": 1.0}}}
    job = settings(tmp_path, "shorter", prompts="prompts.jsonl", policy=[policy], k=4)
    (found,) = estimate(job).engines
    summary = label(job)
    assert (found.calls, found.usage.tokens_in) == (summary.calls, summary.usage.tokens_in)


def test_settings_that_cannot_work_leave_an_earlier_run_as_it_was(tmp_path):
    write_pairs(tmp_path)
    run(tmp_path, "shorter")
    recipe = (tmp_path / "run/recipe.yaml").read_text()
    with pytest.raises(SettingError):
        run(tmp_path, "shortr")
    with pytest.raises(SettingError, match=r"k was settled when .* an export can change prefer, jury"):
        export(tmp_path / "run", overrides={"k": 7})
    assert (tmp_path / "run/recipe.yaml").read_text() == recipe
    assert len(lines(tmp_path, "preferences")) == 20


def test_a_clamp_holds_every_label_inside_its_bounds(tmp_path):
    write_labelled(tmp_path)
    judge = {"engine": "tiny:oracle", "clamp": [0.4, 0.6]}
    assert run(tmp_path, judge, pairs="labelled.jsonl", labels="given").learnt.labels == 60
    assert {row["p"] for row in lines(tmp_path, "preferences")} == {0.6}


def test_two_judges_that_could_not_be_told_apart_are_refused(tmp_path):
    write_pairs(tmp_path)
    judge = {"engine": "tiny:oracle"}
    for start in (label, estimate):
        with pytest.raises(SettingError, match=r"could not be told apart.*--judge\.1\.name"):
            start(settings(tmp_path, [judge, {**judge, "clamp": [0.4, 0.6]}]))
    assert run(tmp_path, [judge, {**judge, "name": "another"}]).verdicts == 80


@pytest.mark.parametrize(("chosen", "lacking"), [(None, "chosen and rejected"), ("Yes", "rejected")])
def test_a_row_that_holds_no_pair_is_told_what_it_lacks(tmp_path, chosen, lacking):
    row = {"prompt": "Hi", "chosen": chosen, "rejected": None}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=f"pairs.jsonl:1: nothing stands under {lacking}. Leave"):
        run(tmp_path, "shorter")


def test_labels_that_are_about_nothing_here_are_told_of(tmp_path):
    write_pairs(tmp_path)
    row = {"prompt": "never seen", "first": "a", "second": "b", "label": "first"}
    (tmp_path / "labels.jsonl").write_text(json.dumps(row) + "\n")
    found = run(tmp_path, "shorter", labels="labels.jsonl")
    warning = f"none of the 1 matchups labelled in {tmp_path / 'labels.jsonl'} is one of this run's"
    assert ("warning", warning) in found.rows()
    (warning,) = run(tmp_path, "shorter", labels="given").warnings
    assert warning.startswith("labels: given, but no row")


def test_the_seed_of_a_run_decides_the_draws_of_its_pair_rule(tmp_path):
    write_prompts(tmp_path)
    chosen = []
    for seed in (1, 2):
        rule = {"rule": "best_vs_random_lower", "seed": seed}
        for how in ({"prefer": {**rule, "seed": None}, "seed": seed}, {"prefer": rule, "seed": 5}):
            write = {"policy": ["tiny:careful", "tiny:sloppy", "tiny:wordy"], "k": 6}
            run(tmp_path, "longer", prompts="prompts.jsonl", sampling={"seed": 0}, **write, **how)
            chosen.append([row["rejected"]["text"] for row in lines(tmp_path, "preferences")])
    assert chosen[1] != chosen[3]
    assert chosen[0] != chosen[2]


def test_an_export_with_fewer_labels_has_dearer_ones(tmp_path):
    write_pairs(tmp_path)
    before = run(tmp_path, {**PRICED, "swap": "never"})
    after = export(tmp_path / "run", overrides={"prefer.rule": "west_of_n", "prefer.refusals": "drop"})
    assert 0 < after.labels < before.labels
    assert after.usd_per_label == pytest.approx(before.usd / after.labels)


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
    run(tmp_path, judge, prefer=soft)
    assert formats(tmp_path)["jsonl"] == 1


def test_labels_that_are_refused_leave_no_export_of_an_earlier_start_beside_them(tmp_path):
    write_labelled(tmp_path, right=False)
    given = {"pairs": "labelled.jsonl", "labels_by": "human"}
    mine = tmp_path / "run/export/notes.txt"
    for again in (run, lambda folder, *_, **how: export(folder / "run")):
        run(tmp_path, "tiny:oracle", force=True, **given)
        assert formats(tmp_path) == {"trl": 60}
        mine.write_text("the user's own")
        summary = again(tmp_path, "tiny:oracle", **given)
        assert (summary.state, summary.exported) == ("refused", {})
        assert "no better than chance" in summary.refused
        assert ("refused", summary.refused) in summary.rows()
        assert [path.name for path in Path(tmp_path / "run/export").iterdir()] == [mine.name]
