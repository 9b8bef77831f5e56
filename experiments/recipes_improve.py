"""Does every recipe, from the labels of an AI judge alone, make a policy that is truly better?

The recipe files as they are shipped, run in the tiny world with three seeds, each with its own prompts.
Better is what the world knows to be better: on questions of its held-out side the recipe's policy and the
initial one answer once. It has to beat the initial policy, and by more than the best of the nulls, which
learnt nothing, does.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from evidence import record
from small_world import PACKAGES, Trial, beats, run_recipe, settings_of

SLOW = "about fifteen minutes of one core"
SEEDS, HELD_OUT = (101, 102, 103), 800
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "rlaif-ppo": ("rlaif", {}),
    "rlaif-dpo": ("rlaif", {"optimiser": "dpo"}),
    "direct-rlaif": ("direct-rlaif", {}),
    "constitutional": ("constitutional", {}),
    "rejection": ("rejection", {}),
    "self-rewarding": ("self_rewarding", {}),
}


def row(way: str, trial: Trial) -> dict[str, Any]:
    name, changes = WAYS[way]
    with tempfile.TemporaryDirectory() as folder:
        outcome = run_recipe(settings_of(name, trial.seed, Path(folder) / way, changes))
        found = trial.mark(outcome.policy)
    found["rounds"] = [
        {
            "win_rate": one.compared.win_rate,
            "judge_agrees": one.agreement and [one.agreement.value, one.agreement.low, one.agreement.high],
        }
        for one in outcome.rounds
    ]
    print(trial.seed, way, found, outcome.stopped, flush=True)
    seconds = sum(one.seconds for one in outcome.rounds)
    return {**found, "stopped": outcome.stopped, "seconds": seconds, "improves": beats(found)}


def main() -> None:
    torch.set_num_threads(1)
    trials = [Trial(HELD_OUT, seed) for seed in SEEDS]
    rows = {way: [row(way, trial) for trial in trials] for way in WAYS}
    every = [one for some in rows.values() for one in some]
    worst = min(every, key=lambda one: one["win_rate"][1])
    record(
        "recipes_improve",
        value=worst["win_rate"][0],
        low=worst["win_rate"][1],
        high=worst["win_rate"][2],
        null={f"the best policy that learnt nothing: {worst['null']}": worst["null_win_rate"]},
        bar="every recipe in each of three seeds: true win rate over the initial policy above 0.5, and above"
        " that of the best null, both 95% intervals over held-out prompts",
        holds=all(one["improves"] for one in every),
        packages=PACKAGES,
        unit="the lowest win rate of a recipe and seed",
        improving={way: sum(one["improves"] for one in some) for way, some in rows.items()},
        recipes=rows,
        seeds=SEEDS,
        held_out=HELD_OUT,
    )


if __name__ == "__main__":
    main()
