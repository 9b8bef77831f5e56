"""Each verb alone: what it prints for a person, what for a machine, and with which exit code it ends."""

import json
import subprocess
import sys

import pytest
from command import jurist

from jurist.selftest import make_rows, write_rows
from jurist.serve import serving
from jurist.tiny import judges


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows(make_rows(12), tmp_path / "pairs.jsonl")
    return tmp_path


def label(capsys, judge, *words):
    return jurist(capsys, "label", "--pairs", "pairs.jsonl", "--judge", judge, "--out", "run", *words)


def test_label_prints_where_the_result_lies_and_what_it_came_to(here, capsys):
    said = label(capsys, "tiny:stumbling")
    assert said.code == 0
    assert "12 prompts, 24 completions, 12 matchups" in said.out
    assert "jurist show run --unread" in said.out
    assert (here / "run/export/trl/train.jsonl").exists()


def test_label_in_json_is_one_object_that_accounts_for_every_row(here, capsys):
    facts = label(capsys, "tiny:stumbling", "--json").json
    assert facts["prompts"] == facts["labels"] + sum(facts["dropped"].values()) == 12
    assert facts["verdicts"] == facts["calls"] == 24


def test_json_says_everything_a_script_may_ask_for_even_where_it_is_nothing(here, capsys):
    facts = label(capsys, "tiny:oracle", "--json").json
    assert (facts["state"], facts["stopped"], facts["spent"]) == ("done", "", False)
    assert (facts["unread"], facts["dropped"], facts["calls_kept"], facts["usd"]) == ({}, {}, 0, 0.0)
    assert jurist(capsys, "show", "run", "--json").json == facts


def test_a_run_without_a_single_label_says_so(here, capsys):
    assert "labels       0" in label(capsys, "tiny:garbage").out
    (here / "alone.jsonl").write_text('{"prompt": "Hello?", "completion": "Hello!"}\n')
    words = ("--completions", "alone.jsonl", "--judge", "shorter", "--out", "alone")
    assert "labels       0" in jurist(capsys, "label", *words).out


def test_a_setting_on_the_command_line_goes_on_top_of_the_recipe(here, capsys):
    (here / "recipe.yaml").write_text("pairs: pairs.jsonl\njudge: tiny:oracle\nout: run\nseed: 1\n")
    words = (
        "--recipe",
        "recipe.yaml",
        "--seed",
        "2",
        "--judge.swap",
        "never",
        "--prefer.ties",
        "soft",
        "--json",
    )
    facts = jurist(capsys, "label", *words).json
    recipe = (here / "run/recipe.yaml").read_text()
    assert facts["calls"] == 12
    assert "seed: 2" in recipe
    assert "ties: soft" in recipe


def test_settings_below_a_judge_given_by_name_are_settings_of_that_judge(here, capsys):
    judge = (
        "--judge",
        "tiny:oracle",
        "--judge",
        "shorter",
        "--judge.0.swap",
        "never",
        "--judge.1.name",
        "short",
    )
    facts = jurist(capsys, "label", "--pairs", "pairs.jsonl", *judge, "--out", "run", "--json").json
    names = {one["name"] for one in json.loads((here / "run/judges.json").read_text())}
    assert facts["calls"] == 12
    assert "short" in names


def test_the_budget_ends_a_run_with_its_own_exit_code_and_says_how_to_go_on(here, capsys):
    with serving(judges.oracle, latency=0.005) as served:
        engine = {"engine": f"vllm:any@{served.url}", "price": {"input": 1000}, "concurrency": 2}
        (here / "recipe.yaml").write_text(json.dumps({"judge": {"engine": engine}}))
        words = ("label", "--recipe", "recipe.yaml", "--pairs", "pairs.jsonl", "--out", "run")
        said = jurist(capsys, *words, "--budget", "2usd")
        assert said.code == 3
        (line,) = said.err.splitlines()
        assert line.startswith("jurist: the budget of $2 is reached")
        assert line.endswith("run again with a higher --budget")
        assert "stopped before its end" in said.out
        assert jurist(capsys, "show", "run").code == 0
        assert jurist(capsys, *words, "--budget", "200usd").code == 0


def test_a_dead_server_ends_a_run_with_2_and_says_what_to_type(here, capsys):
    with serving(judges.oracle) as served:
        url = served.url
    engine = {"engine": f"vllm:any@{url}", "give_up_after": 0.6}
    (here / "recipe.yaml").write_text(json.dumps({"judge": {"engine": engine}, "pairs": "pairs.jsonl"}))
    said = jurist(capsys, "label", "--recipe", "recipe.yaml")
    assert said.code == 2
    (line,) = said.err.splitlines()
    assert line.startswith("jurist: vllm:any at")
    assert "curl http://127.0.0.1" in line


def test_estimate_names_calls_tokens_and_price_and_leaves_nothing_behind(here, capsys):
    with serving(judges.oracle) as served:
        judge = f"vllm:any@{served.url}"
        said = jurist(capsys, "estimate", "--pairs", "pairs.jsonl", "--judge", judge, "--out", "run")
        facts = jurist(
            capsys, "estimate", "--pairs", "pairs.jsonl", "--judge", judge, "--out", "run", "--json"
        ).json
        assert served.stats.calls == 0
    assert "24 calls" in said.out
    assert facts["engines"][0]["calls"] == 24
    assert not (here / "run").exists()


def test_sample_writes_completions_and_label_goes_on_from_them(here, capsys):
    (here / "prompts.jsonl").write_text("".join(f'{{"prompt": "What is {n} plus 100?"}}\n' for n in range(6)))
    words = (
        "--prompts",
        "prompts.jsonl",
        "--policy",
        "tiny:careful",
        "--policy",
        "tiny:wordy",
        "--out",
        "run",
    )
    sampled = jurist(capsys, "sample", *words, "-k", "3", "--json").json
    facts = jurist(capsys, "label", *words, "-k", "3", "--judge", "tiny:oracle", "--json").json
    assert sampled["calls"] == 18
    assert facts["calls_kept"] == 18


def test_export_decides_again_and_writes_other_formats(here, capsys):
    label(capsys, "tiny:first")
    facts = jurist(capsys, "export", "run", "--format", "kto", "--prefer.ties", "soft", "--json").json
    assert facts["labels"] == 12
    assert (here / "run/export/kto").is_dir()


def test_a_run_that_was_moved_is_exported_where_it_lies_now(here, capsys):
    label(capsys, "tiny:oracle")
    (here / "run").rename(here / "moved")
    assert jurist(capsys, "export", "moved", "--format", "kto").code == 0
    assert (here / "moved/export/kto").is_dir()
    assert "out: moved" in (here / "moved/recipe.yaml").read_text()
    assert not (here / "run").exists()


def test_show_prints_the_summary_as_it_was(here, capsys):
    facts = label(capsys, "tiny:oracle", "--json").json
    assert jurist(capsys, "show", "run", "--json").json == facts
    assert "12 prompts" in jurist(capsys, "show", "run").out


def test_show_flips_prints_both_orders_of_each(here, capsys):
    label(capsys, "tiny:first")
    said = jurist(capsys, "show", "run", "--flips", "--limit", "3")
    assert said.out.count("matchup ") >= 3
    assert "given order" in said.out
    assert "swapped order" in said.out
    assert "none: tie" in said.out
    rows = jurist(capsys, "show", "run", "--flips", "--json", "--limit", "3").out.splitlines()
    assert [json.loads(row)["flipped"] for row in rows] == [True] * 3


def test_show_unread_prints_the_reply_and_the_reason(here, capsys):
    label(capsys, "tiny:garbage")
    said = jurist(capsys, "show", "run", "--unread", "--limit", "12")
    assert "unread: " in said.out
    assert "12 matchups unread (the first 12" in said.out
    rows = jurist(capsys, "show", "run", "--unread", "--json", "--limit", "99").out.splitlines()
    assert len(rows) == 12
    assert all(one.get("unread") for row in rows for one in json.loads(row)["verdicts"])


def test_show_pair_finds_a_label_by_the_start_of_its_id(here, capsys):
    label(capsys, "tiny:oracle")
    row = json.loads((here / "run/preferences.jsonl").read_text().splitlines()[4])
    said = jurist(capsys, "show", "run", "--pair", row["id"][:12], "--full")
    assert row["chosen"]["text"] in said.out
    assert "is chosen with p = 1.000" in said.out
    facts = jurist(capsys, "show", "run", "--pair", row["id"][:12], "--json").json
    assert {one["id"] for one in facts["verdicts"]} == set(row["verdict_ids"])
    assert facts["outcome"]["id"] == row["id"]


def test_a_reply_cannot_write_to_the_terminal(here, capsys):
    (here / "my.py").write_text("def judge(ask):\n    return 'A\\x1b[2J\\x1b]0;title\\x07\\r\\n'\n")
    label(capsys, "scripted:my:judge")
    said = jurist(capsys, "show", "run", "--unread", "--flips")
    assert "A\\x1b[2J" in said.out
    assert not set(said.out) & {"\x1b", "\x07", "\r"}


def test_a_run_that_ended_early_says_how_to_go_on(here, capsys):
    label(capsys, "tiny:oracle")
    for gone in ("summary.json", "prompts.jsonl"):
        (here / "run" / gone).unlink()
    for words in (("show", "run"), ("show", "run", "--flips"), ("export", "run")):
        said = jurist(capsys, *words)
        assert said.code == 2
        assert "with: jurist label --recipe run/recipe.yaml" in said.err


def test_the_recipe_of_a_moved_run_goes_on_where_it_lies_now(here, capsys):
    label(capsys, "tiny:oracle")
    (here / "run").rename(here / "moved")
    facts = jurist(capsys, "label", "--recipe", "moved/recipe.yaml", "--json").json
    assert (facts["run"], facts.get("calls", 0), facts["calls_kept"]) == ("moved", 0, 24)
    assert not (here / "run").exists()
    elsewhere = jurist(capsys, "label", "--recipe", "moved/recipe.yaml", "--out", "new", "--json").json
    assert (elsewhere["run"], elsewhere["calls"]) == ("new", 24)


def test_help_is_printed_without_loading_what_only_the_work_needs():
    code = (
        "import sys, contextlib\n"
        "from jurist.cli import main\n"
        "sys.argv = ['jurist', 'label', '--help']\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "heavy = {'aiohttp', 'numpy', 'scipy', 'torch', 'jinja2', 'yaml', 'sqlite3'} & sys.modules.keys()\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--budget" in done.stdout
