"""Does every recipe, from the labels of an AI judge alone, make a policy that is truly better?

The recipe files as they are shipped, run in the tiny world with three seeds, each with its own prompts, and
marked on held-out questions: a policy has to beat the initial one, and by more than the best null does.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from evidence import record
from small_world import Trial, beats, run_recipe, settings_of, worst_of

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
    agreed = [
        one.agreement and [one.agreement.value, one.agreement.low, one.agreement.high]
        for one in outcome.rounds
    ]
    wins = [one.compared.win_rate for one in outcome.rounds]
    found["rounds"] = [{"win_rate": a, "judge_agrees": b} for a, b in zip(wins, agreed, strict=True)]
    print(trial.seed, way, found, outcome.stopped, flush=True)
    seconds = sum(one.seconds for one in outcome.rounds)
    return {**found, "stopped": outcome.stopped, "seconds": seconds, "improves": beats(found)}


def main() -> None:
    torch.set_num_threads(1)
    trials = [Trial(HELD_OUT, seed) for seed in SEEDS]
    rows = {way: [row(way, trial) for trial in trials] for way in WAYS}
    every = [one for some in rows.values() for one in some]
    record(
        "recipes_improve",
        **worst_of(every),
        bar="every recipe in each of three seeds: true win rate over the initial policy above 0.5, and above"
        " that of the best null, both 95% intervals over held-out prompts",
        holds=all(one["improves"] for one in every),
        unit="the lowest win rate of a recipe and seed",
        improving={way: sum(one["improves"] for one in some) for way, some in rows.items()},
        more={"recipes": rows, "seeds": SEEDS, "held_out": HELD_OUT},
    )


if __name__ == "__main__":
    main()
