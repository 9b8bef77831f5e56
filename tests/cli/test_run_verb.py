"""jurist run: the recipe that a file names, from its first round to its last line."""

import json
import subprocess
import sys

import msgspec
import pytest
from command import jurist, refused

from jurist.cli.loops import print_outcome
from jurist.engines.budget import Budget
from jurist.errors import BudgetSpent
from jurist.recipes import catalogue
from jurist.recipes.loop.finish import Outcome
from jurist.recipes.loop.folder import Along, Moment
from jurist.recipes.loop.settings import LoopConfig
from jurist.recipes.loop.stopping import Comparison, Facts
from jurist.recipes.summary import RunProgress

RECIPE = "recipe: rlaif\nprompts: tiny:8\npolicy: tiny\njudge: tiny:fair\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(RECIPE)
    return tmp_path


def facts(number, **more):
    against = Comparison(0.7, 0.6, 0.8, 50, words=12.0, words_before=15.5)
    return Facts(round=number, policy=f"round-{number}", against_start=against, usd=0.5, seconds=2.0, **more)


@pytest.fixture
def known(monkeypatch):
    """A recipe that does nothing, to look at the command line alone."""

    class Config(LoopConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
        judge: str = ""

    seen = {}

    def recipe(cfg, watch):
        seen["cfg"] = cfg
        tally = RunProgress(Budget(), 8)
        watch(Moment(1, 2, "label", None))
        watch(Moment(1, 2, "label", tally))
        watch(Moment(2, 2, "look", Along(4, 8)))
        if cfg.budget:
            raise BudgetSpent("the budget of $1 is reached. Run again with a higher --budget")
        return Outcome(policy="round-2", rounds=[facts(1, kl=1.0), facts(2, kl=2.5)], stopped=cfg.judge)

    opened = catalogue.recipe_called
    ours = {"rlaif": (Config, recipe)}
    monkeypatch.setattr("jurist.cli.loops.recipe_called", lambda name: ours.get(name) or opened(name))
    monkeypatch.setattr("jurist.cli.loops.need_trainers", lambda what: None)
    return seen


def test_a_row_a_round_is_printed_with_its_interval(here, known, capsys):
    said = jurist(capsys, "run", "mine.yaml", "--seed", 4, "--out", "there")
    heads, first, second, *rest = said.out.splitlines()

    assert said.code == 0
    assert (known["cfg"].seed, known["cfg"].out) == (4, "there")
    assert heads.split("  ")[0] == "round"
    assert "70.0% (60.0% to 80.0%, n = 50)" in first
    assert second.split()[8:12] == ["2.50", "15.5", "to", "12.0"]
    assert any(line.startswith("policy") and line.endswith("round-2") for line in rest)
    assert "reward" not in heads, "a column that no round has anything for is left out"


def test_why_it_stopped_before_its_end_is_said(here, known, capsys):
    assert (
        "stopped before its last round: tired" in jurist(capsys, "run", "mine.yaml", "--judge", "tired").out
    )


def test_that_nothing_is_held_out_is_said(capsys):
    print_outcome(Outcome(policy="p", rounds=[Facts(1, "p")], warning="nothing is held out"), "runs/loop")

    assert "beware   nothing is held out\n" in capsys.readouterr().out


def test_progress_names_round_and_step_in_plain_lines(here, known, capsys):
    lines = jurist(capsys, "run", "mine.yaml").err.splitlines()

    assert lines[0] == "round 1 of 2 · label"
    assert lines[1].startswith("round 1 of 2 · label · 3 of 8 rows")
    assert lines[-1].startswith("round 2 of 2 · look · 4 of 8 · ")


def test_a_machine_is_told_the_same_in_json(here, known, capsys):
    said = jurist(capsys, "run", "mine.yaml", "--json")
    told = [json.loads(line)["progress"] for line in said.err.splitlines()]

    assert msgspec.json.decode(said.out, type=Outcome).rounds[1].kl == 2.5
    assert told[0] == {"round": 1, "rounds": 2, "step": "label"}
    assert told[-1] == {"round": 2, "rounds": 2, "step": "look", "done": 4, "total": 8}


def test_a_spent_budget_is_an_ending_of_its_own(here, known, capsys):
    said = jurist(capsys, "run", "mine.yaml", "--budget", "1usd")

    assert said.code == 3
    assert said.err.splitlines()[-1].startswith("jurist: the budget of $1 is reached")


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        (None, (), "there is no recipe at other.yaml"),
        ("out: x\n", (), "does not say which recipe it is for"),
        ("recipe: rlaiff\n", (), "no recipe called 'rlaiff'"),
        ("- recipe: rlaif\n", (), "not `key: value` lines"),
        ("recipe: [a\n", (), "cannot be read"),
        (RECIPE + "jugde: x\n", (), "Did you mean 'judge'?"),
        (RECIPE, ("--roundss", "3"), "Did you mean 'rounds'?"),
        (RECIPE, ("--rounds", "0"), "rounds"),
        (RECIPE, ("--compare.held_out", "2"), "held_out"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text, words, expected, here, known, capsys):
    if text is not None:
        (here / "other.yaml").write_text(text)

    assert expected in refused(jurist(capsys, "run", "other.yaml", *words))


@pytest.mark.slow
@pytest.mark.parametrize("words", [("run", "mine.yaml"), ("demo",)], ids=" ".join)
def test_without_the_trainers_libraries_it_says_what_to_install(words, here):
    done = without_torch(*words)

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.endswith("needs torch, which is not installed. Install it with: pip install 'jurist[train]'")


@pytest.mark.slow
@pytest.mark.parametrize("name", catalogue.RECIPES)
def test_a_recipe_can_be_written_where_nothing_can_be_trained(name, here):
    done = without_torch("init", name)

    assert (done.returncode, done.stderr) == (0, "")


def without_torch(*words):
    code = "import sys; sys.modules.update(torch=None, transformers=None);from jurist.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
