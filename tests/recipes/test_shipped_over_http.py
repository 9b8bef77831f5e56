"""The shipped recipes with nothing changed but who is asked: judges behind HTTP, not in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jurist.cli.options import known_settings, parse
from jurist.config import load_settings, read_recipe
from jurist.engines.engine import open_engine
from jurist.recipes.catalogue import recipe_called
from jurist.records import Preference
from jurist.run import read_records
from jurist.serve import serving
from jurist.tiny.judges import Planted, oracle

pytest.importorskip("transformers", reason="training is an extra")
pytestmark = pytest.mark.slow

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
SMALL = {
    "rlaif": ("--ppo.epochs", "1", "--reward_model.epochs", "1", "--compare.held_out", "0.3"),
    "direct-rlaif": ("--ppo.epochs", "1", "--compare.held_out", "0.3"),
    "constitutional": ("--rl.reward_model.epochs", "1", "--compare.held_out", "0.3"),
    "rejection": ("--rounds", "1", "--sft.epochs", "1"),
    "self_rewarding": ("--rounds", "1", "--dpo.epochs", "1"),
}


def run(name: str, out: Path, *words: str) -> str:
    """The hash of the policy that the recipe ends in, on few prompts."""
    file = RECIPES / f"{name}.yaml"
    settings, recipe = recipe_called(str(read_recipe(file)["recipe"]))
    few = ("--prompts", "tiny:24", "--k", "2", *SMALL[name])
    overrides, _ = parse([*few, *words], known_settings(settings))
    cfg = load_settings(settings, file, overrides, out=str(out))
    return str(recipe(cfg).rounds[-1].policy_hash)


def labels(loop: Path) -> dict[tuple[str, str], float]:
    rows = read_records(loop / "round-1" / "label" / "preferences.jsonl", Preference)
    return {(row.chosen.id, row.rejected.id): row.p for row in rows}


def judges_of(name: str) -> tuple[str, Planted]:
    """Where the recipe names its judge, and that judge."""
    recipe = read_recipe(RECIPES / f"{name}.yaml")["tiny"]
    place = "rl.judge" if name == "constitutional" else "judge"
    named = recipe["rl"]["judge"] if name == "constitutional" else recipe["judge"]
    engine = named.get("engine")
    return place, Planted(**engine.get("extra", {})) if isinstance(engine, dict) else Planted()


@pytest.mark.parametrize("name", ["rlaif", "direct-rlaif", "constitutional", "rejection"])
def test_judges_behind_http_teach_what_those_in_this_process_teach(tmp_path, name):
    place, judge = judges_of(name)
    here = run(name, tmp_path / "here")
    with serving({"judge": judge, "oracle": oracle}) as served:
        words = (
            f"--{place}.engine",
            f"vllm:judge@{served.url}",
            "--compare.judge",
            f"vllm:oracle@{served.url}",
        )
        there = run(name, tmp_path / "there", *words)
        asked = served.calls

    assert asked > 0
    assert there == here


def test_a_checkpoint_behind_http_teaches_what_it_teaches_in_this_process(tmp_path):
    """The local engine serves; the recipe sees an address like any other."""
    from jurist.tiny.model import tiny_checkpoint

    judge = f"hf:{tiny_checkpoint()}"
    dpo = ("--optimiser", "dpo", "--dpo.epochs", "1", "--judge.kind", "pointwise", "--judge.engine")
    run("rlaif", tmp_path / "here", *dpo, judge)
    with serving(open_engine(judge).answer) as served:
        run("rlaif", tmp_path / "there", *dpo, f"vllm:policy@{served.url}")
        asked = served.calls

    assert asked > 0
    # An address gives the likeliest few log-probs, a checkpoint at hand those of every label: a label beyond
    # the few moves a score now and then.
    here, there = labels(tmp_path / "here"), labels(tmp_path / "there")
    assert there.keys() == here.keys()
    apart = sorted(abs(there[pair] - here[pair]) for pair in here)
    assert apart[len(apart) // 2] < 5e-3, apart
    assert apart[-1] < 0.1, apart


def test_every_shipped_recipe_that_goes_round_is_tried():
    going_round = {file.stem for file in RECIPES.glob("*.yaml") if "recipe" in read_recipe(file)}

    assert going_round == set(SMALL), json.dumps(sorted(going_round))
