"""RLAIF from one end to the other, in the small world: two steps of each kind of training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jobs import LEARNS, MOVES, loop_settings

from jurist.errors import BudgetSpent
from jurist.recipes.rlaif import RlaifConfig, rlaif
from jurist.run import read_records
from jurist.serve import serving
from jurist.tiny.judges import Planted

pytest.importorskip("transformers", reason="training is an extra")
pytestmark = pytest.mark.slow


def settings(folder: Path, name: str, *words: str) -> RlaifConfig:
    return loop_settings(
        RlaifConfig,
        folder,
        *words,
        n=24,
        out=str(folder / name),
        judge={"engine": "tiny:planted"},
        k=2,
        reward_model=LEARNS,
        ppo={**MOVES, "rollout": {"max_tokens": 24}},
        dpo=MOVES,
    )


@pytest.mark.parametrize(
    "words",
    [
        ("--optimiser", "ppo"),
        ("--optimiser", "rloo"),
        ("--optimiser", "dpo", "--rounds", "2", "--stop.lost", "0", "--stop.agreement", "0"),
        ("--reward", "judge"),
    ],
    ids=" ".join,
)
def test_each_way_through_ends_in_a_policy_that_has_moved(tmp_path, words):
    cfg = settings(tmp_path, "loop", *words)

    outcome = rlaif(cfg)

    last = outcome.rounds[-1]
    assert len(outcome.rounds) == cfg.rounds
    assert last.compared.kl != 0
    assert last.compared.n > 0
    assert (last.proxy is None) == (cfg.optimiser == "dpo")
    assert (Path(outcome.policy) / "model.safetensors").exists()
    written = read_records(tmp_path / "loop" / "rounds.jsonl", type(last))
    assert [one.policy_hash for one in written] == [one.policy_hash for one in outcome.rounds]


def test_the_same_loop_makes_the_same_weights_and_starts_again_for_nothing(tmp_path):
    first = rlaif(settings(tmp_path, "one"))
    other = rlaif(settings(tmp_path, "two"))
    again = rlaif(settings(tmp_path, "one"))

    hashes = {one.rounds[-1].policy_hash for one in (first, other, again)}
    assert len(hashes) == 1
    assert again == first


def test_a_judge_behind_http_teaches_the_same_as_one_in_this_process(tmp_path):
    here = rlaif(settings(tmp_path, "here"))
    with serving(Planted()) as server:
        judge = json.dumps({"engine": f"vllm:judge@{server.url}"})
        there = rlaif(settings(tmp_path, "there", "--judge", judge))
        calls = server.calls

    assert calls > 0
    assert there.rounds[-1].policy_hash == here.rounds[-1].policy_hash


def test_a_live_judge_is_paid_from_the_loops_budget(tmp_path):
    judge = {"engine": "tiny:planted", "price": {"input": 1000.0, "output": 1000.0}}
    words = ("--reward", "judge", "--judge.engine", json.dumps(judge), "--budget", "1usd")

    with pytest.raises(BudgetSpent, match="budget of"):
        rlaif(settings(tmp_path, "loop", *words))


def test_people_in_the_mixture_keep_their_share(tmp_path):
    rows = [
        {"prompt": "What is 1 plus 1?", "chosen": f"It makes 2, I hope, {n}.", "rejected": f"{n} No."}
        for n in range(40)
    ]
    (tmp_path / "human.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("--real.file", str(tmp_path / "human.jsonl"), "--real.share", "0.4", "--optimiser", "dpo")

    outcome = rlaif(settings(tmp_path, "loop", *words))

    assert outcome.rounds[-1].real_share == pytest.approx(0.4, abs=0.02)
