"""`jurist run` and `jurist init`: the recipe that a file names, and a file that explains every setting."""

import sys
from pathlib import Path

import msgspec
import pytest

from jurist.cli.options import help_rows, known_settings
from jurist.config import load_settings
from jurist.errors import BudgetSpent
from jurist.recipes import catalogue
from jurist.recipes.catalogue import RECIPES, recipe_called
from jurist.recipes.loop.compare import Comparison, Facts
from jurist.recipes.loop.folder import LoopProgress
from jurist.recipes.loop.rounds import LoopOutcome
from jurist.recipes.loop.settings import LoopConfig
from support.cli import run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def known(monkeypatch):
    """A recipe that does nothing, to look at the command line alone."""
    Path("mine.yaml").write_text("recipe: rlaif\nprompts: tiny:8\npolicy: tiny\njudge: tiny:fair\n")

    class Config(LoopConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
        judge: str = ""

    seen = {}

    def facts(number, kl):
        compared = Comparison(0.7, 0.05, 0.6, 0.8, 50, words=12.0, words_before=15.5, kl=kl)
        return Facts(round=number, policy="p", compared=compared, usd=0.5, seconds=2.0)

    def recipe(cfg, on_progress):
        seen["cfg"] = cfg
        on_progress(LoopProgress(1, 2, "label", done=4, total=8))
        if cfg.budget:
            raise BudgetSpent("Stopped: budget of $1.00 reached")
        return LoopOutcome("round-2", [facts(1, 1.0), facts(2, 2.5)], cfg.judge, "nothing is held out")

    monkeypatch.setattr(catalogue, "recipe_called", lambda name: (Config, recipe))
    monkeypatch.setattr(catalogue, "need_trainers", lambda what: None)
    return seen


def test_a_row_a_round_is_printed_with_its_interval(known):
    done = run("run", "mine.yaml", "--seed", 4, "-o", "there", "--judge", "tired")
    heads, first, second, *rest = done.out.splitlines()
    assert done.code == 0
    assert (known["cfg"].seed, known["cfg"].out) == (4, "there")
    assert "70.0% (60.0% to 80.0%, n = 50)" in first
    assert second.split()[8:12] == ["2.50", "15.5", "to", "12.0"]
    assert "proxy" not in heads, "a column that no round has anything for is left out"
    assert rest == ["stopped  tired", "warning  nothing is held out", "cost     $0.0000", "policy   round-2"]


def test_a_machine_gets_the_outcome_and_a_spent_budget_ends_with_3(known):
    done = run("run", "--rounds", 2, "-r", "mine.yaml", "--json")
    assert msgspec.json.decode(done.out, type=LoopOutcome).rounds[1].compared.kl == 2.5
    assert "round 1 of 2 · label · 4 of 8" in done.err
    done = run("run", "mine.yaml", "--budget", "1usd")
    assert (done.code, done.err.splitlines()[-1]) == (3, "jurist: Stopped: budget of $1.00 reached")


@pytest.mark.parametrize("name", RECIPES)
def test_init_writes_the_shipped_recipe_and_explains_every_setting(name):
    done = run("init", name)
    file = Path(f"{name}.yaml")
    settings, _ = recipe_called(name)
    assert (done.code, done.out.split("Run it with: ")[1].strip()) == (0, f"jurist run {file}")
    assert load_settings(settings, file) == load_settings(settings, ROOT / "recipes" / file)
    assert f"{file} is there already" in run("init", name).line

    words = "".join(file.read_text().replace("#", " ").split())
    for rows in help_rows(known_settings(settings)).values():
        assert not [row for row in rows if "".join("".join(row).split()) not in words]


def test_without_the_trainers_libraries_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run("init", "rlaif").code == 0
    way_out = "needs torch, which is not installed. Install it with: pip install 'jurist[train]'"
    for words in (("run", "rlaif.yaml"), ("demo",)):
        assert run(*words).line.endswith(way_out)
