"""The whole pipeline, from a file to exported labels, over a real HTTP server wherever a model is asked."""

import json

import pytest
from jobs import accounted, at, lines, run, settings, write_pairs, write_prompts

from jurist.cli.progress import progress
from jurist.config import load_settings
from jurist.errors import DataError, SettingError
from jurist.recipes.estimate import estimate
from jurist.recipes.export import export
from jurist.recipes.label import label
from jurist.recipes.settings import LabelConfig
from jurist.serve import serving
from jurist.tiny import judges
from jurist.tiny.policies import careful, sloppy, wordy
from jurist.tiny.world import true_score


@pytest.fixture
def served():
    with serving({**judges.BY_NAME, "careful": careful, "sloppy": sloppy, "wordy": wordy}) as server:
        yield server


def test_a_judge_that_never_swaps_is_asked_once(tmp_path, served):
    write_pairs(tmp_path)
    run(tmp_path, {**at(served), "swap": "never"})
    assert served.calls == 20


def test_a_fraction_of_the_matchups_is_asked_twice_and_the_seat_is_learnt_from_it(tmp_path, served):
    write_pairs(tmp_path, 60)
    summary = run(tmp_path, {**at(served, "leaning"), "swap": "fraction:0.5"})
    assert 60 < served.calls < 120
    assert summary.calls == served.calls
    (bias,) = summary.learnt.position_biases.values()
    assert accounted(tmp_path)
    assert bias.bias > 0


def write_labelled(folder, n=60):
    """Pairs whose chosen one is truly better, as people would have labelled them."""
    rows = write_pairs(folder, n)
    text = "".join(
        json.dumps({"prompt": row.prompt, "chosen": row.better, "rejected": row.worse}) + "\n" for row in rows
    )
    (folder / "labelled.jsonl").write_text(text)
    return {row.better for row in rows}


@pytest.mark.parametrize("labels", ["labelled.jsonl", "given"])
def test_a_jury_anchored_on_peoples_labels_outvotes_a_majority_that_is_wrong(tmp_path, served, labels):
    better = write_labelled(tmp_path)
    # These answers are better when they are shorter, so that two of the three are wrong.
    jury = [
        at(served, "oracle"),
        {**at(served, "longer"), "name": "one"},
        {**at(served, "longer"), "name": "two"},
    ]
    source = "labelled.jsonl" if labels == "given" else "pairs.jsonl"
    found = {}
    for combine in ("vote", "anchored"):
        summary = run(tmp_path, jury, jury={"combine": combine}, labels=labels, pairs=source)
        rows = lines(tmp_path, "preferences")
        found[combine] = sum(row["chosen"]["text"] in better for row in rows) / max(1, len(rows))
        assert summary.learnt.labels == 60
        assert bool(summary.learnt.refused) == (combine == "vote")
        assert summary.verdicts == 360
        assert accounted(tmp_path)
    assert found["anchored"] > 0.9 > found["vote"]


def test_prompts_are_answered_by_a_weighted_mixture_of_policies_and_judged(tmp_path, served):
    write_prompts(tmp_path, 30)
    policies = [
        {"engine": f"vllm:careful@{served.url}", "weight": 3},
        {"engine": f"vllm:wordy@{served.url}", "weight": 1},
    ]
    summary = run(tmp_path, at(served), prompts="prompts.jsonl", policy=policies, k=3)
    written = [one["policy"] for one in lines(tmp_path, "completions")]
    asked = {"vllm:careful": 0, "vllm:wordy": 0}
    for policy in written:
        asked[policy] += 1
    identical = sum(row["reason"] == "identical" for row in lines(tmp_path, "dropped"))
    assert len(written) + identical == 90
    assert asked["vllm:careful"] > 1.5 * asked["vllm:wordy"] > 0
    assert summary.prompts == 30


def test_ready_made_completions_meet_each_other(tmp_path, served):
    rows = [
        {
            "prompt": f"What is {n} plus 100?",
            "completions": [f"{n + 100}", f"Gladly: {n + 100}", f"{n}", "No idea."],
        }
        for n in range(5)
    ]
    (tmp_path / "four.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = run(tmp_path, at(served), completions="four.jsonl")
    assert summary.matchups == 5 * 6
    assert served.calls == 5 * 6 * 2
    assert summary.labels == 5
    for row in lines(tmp_path, "preferences"):
        request = row["prompt"]["messages"][-1]["content"]
        assert true_score(request, row["chosen"]["text"]) > true_score(request, row["rejected"]["text"])


def test_a_users_own_function_is_a_judge(tmp_path, monkeypatch):
    (tmp_path / "their_judges.py").write_text(
        "def shouting(matchup):\n"
        "    return 'first' if len(matchup.first.text) > len(matchup.second.text) else 'second'\n"
    )
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path)
    summary = run(tmp_path, "their_judges:shouting")
    assert summary.labels == 20
    assert all(
        len(row["chosen"]["text"]) > len(row["rejected"]["text"]) for row in lines(tmp_path, "preferences")
    )


@pytest.mark.parametrize("swap", ["always", "never"])
def test_an_estimate_is_what_is_really_sent(tmp_path, served, swap):
    write_pairs(tmp_path, 50)
    job = settings(tmp_path, {**at(served, price={"input": 1.0, "output": 2.0}), "swap": swap})
    said = estimate(job)
    assert served.calls == 0
    really = label(job)
    (engine,) = said.engines
    assert engine.calls == really.calls == served.calls
    assert engine.usage.tokens_in == pytest.approx(really.usage.tokens_in, rel=0.02)


def test_an_estimate_knows_what_is_paid_for(tmp_path, served):
    write_pairs(tmp_path, 30)
    job = settings(tmp_path, at(served))
    label(settings(tmp_path, at(served), limit=10))
    (engine,) = estimate(job).engines
    assert (engine.calls, engine.kept) == (40, 20)


def test_the_recipe_in_a_run_can_be_run_as_it_is(tmp_path, served):
    write_pairs(tmp_path)
    first = run(tmp_path, {**at(served), "against_length": True}, prefer={"min_margin": 0.1}, seed=3)
    again = label(load_settings(LabelConfig, tmp_path / "run" / "recipe.yaml"))
    assert (again.labels, again.calls, again.calls_kept) == (first.labels, 0, 40)


def test_progress_goes_to_stderr_in_plain_lines_where_nobody_watches(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("jurist.cli.progress.PLAIN_EVERY", 0.0)
    write_pairs(tmp_path)
    with progress() as watch:
        label(settings(tmp_path, "shorter"), watch)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1].startswith("20 of 20 rows")


def test_a_job_without_a_usable_row_says_so_and_keeps_the_reasons(tmp_path):
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "Hello?", "first": "Yes"}\n')
    with pytest.raises(DataError, match="no usable row"):
        run(tmp_path, "shorter", on_error="drop")
    assert len((tmp_path / "run" / "dropped.jsonl").read_text().splitlines()) == 1


def test_settings_that_cannot_work_leave_an_earlier_run_as_it_was(tmp_path):
    write_pairs(tmp_path)
    run(tmp_path, "shorter")
    recipe = (tmp_path / "run" / "recipe.yaml").read_text()
    with pytest.raises(SettingError):
        run(tmp_path, "shortr")
    assert (tmp_path / "run" / "recipe.yaml").read_text() == recipe
    assert len(lines(tmp_path, "preferences")) == 20


def test_a_clamp_holds_every_label_inside_its_bounds(tmp_path, served):
    write_pairs(tmp_path)
    run(tmp_path, {**at(served), "clamp": [0.4, 0.6]})
    assert {row["p"] for row in lines(tmp_path, "preferences")} == {0.6}

    write_labelled(tmp_path)
    found = run(
        tmp_path, {**at(served), "clamp": [0.4, 0.6]}, pairs="labelled.jsonl", labels="given", out="b"
    )
    assert found.learnt.labels == 60
    assert {row["p"] for row in lines(tmp_path, "preferences")} == {0.6}


def test_two_judges_that_could_not_be_told_apart_are_refused(tmp_path, served):
    write_pairs(tmp_path)
    twice = [at(served), {**at(served), "clamp": [0.4, 0.6]}]
    with pytest.raises(SettingError, match=r"could not be told apart.*--judge\.1\.name"):
        run(tmp_path, twice)
    with pytest.raises(SettingError, match="could not be told apart"):
        estimate(settings(tmp_path, twice))
    assert run(tmp_path, [at(served), {**at(served), "name": "another"}]).verdicts == 80


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"jury": {"combine": "anchored"}}, "there is one. Name another"),
        ({"policy": ["tiny:careful"]}, "--pairs and policy do not go together"),
        ({"sampling": {"temperature": 0.5}}, "--pairs and sampling do not go together"),
        ({"matchups": "star"}, "it says who meets whom"),
    ],
)
def test_a_setting_that_a_job_has_no_use_for_is_refused(tmp_path, others, said):
    write_pairs(tmp_path)
    with pytest.raises(SettingError, match=said):
        run(tmp_path, "shorter", **others)


def test_an_export_refuses_to_change_what_was_settled_by_labelling(tmp_path):
    write_pairs(tmp_path)
    run(tmp_path, "shorter")
    recipe = (tmp_path / "run/recipe.yaml").read_text()
    with pytest.raises(SettingError, match=r"k was settled when .* an export can change prefer, jury"):
        export(tmp_path / "run", overrides={"k": 7})
    assert (tmp_path / "run/recipe.yaml").read_text() == recipe


def test_an_export_with_fewer_labels_has_dearer_ones(tmp_path, served):
    write_pairs(tmp_path)
    judge = at(served, "oracle", price={"input": 1.0})
    before = run(tmp_path, {**judge, "swap": "never"})
    after = export(tmp_path / "run", overrides={"prefer.rule": "west_of_n", "prefer.refusals": "drop"})
    assert 0 < after.labels < before.labels
    assert after.usd_per_label == pytest.approx(before.usd / after.labels)


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


def test_labels_that_are_about_nothing_here_are_told_of(tmp_path):
    write_pairs(tmp_path)
    (tmp_path / "labels.jsonl").write_text(
        json.dumps({"prompt": "never seen", "first": "a", "second": "b", "label": "first"}) + "\n"
    )
    found = run(tmp_path, "shorter", labels="labels.jsonl")
    (warning,) = found.learnt.warnings
    assert warning == f"none of the 1 matchups labelled in {tmp_path / 'labels.jsonl'} is one of this run's"
    assert ("warning", warning) in found.rows()
    (warning,) = run(tmp_path, "shorter", labels="given").learnt.warnings
    assert warning.startswith("labels: given, but no row")


def test_a_run_with_too_few_matchups_in_both_orders_is_decided_and_says_what_it_could_not_learn(
    tmp_path, served
):
    write_pairs(tmp_path, 60)
    judge = {**at(served, "oracle", price={"input": 1000}), "swap": "fraction:0.5"}
    summary = run(tmp_path, judge, budget=4)
    assert summary.state == "stopped"
    assert summary.labels > 0
    assert "is not corrected" in summary.learnt.warnings[0]
    assert accounted(tmp_path)


def test_an_estimate_counts_a_prompt_once_that_is_read_once_for_all_its_draws(tmp_path, served):
    write_prompts(tmp_path)
    policy = {"engine": {"engine": f"vllm:careful@{served.url}", "price": {"input": 1.0}}}
    job = settings(tmp_path, "shorter", prompts="prompts.jsonl", policy=[policy], k=4)
    (found,) = estimate(job).engines
    summary = label(job)
    assert (found.calls, found.usage.tokens_in) == (summary.calls, summary.usage.tokens_in)
