"""Does asking the judge at every step do better than a reward model learnt from its labels (Lee et al. 2023)?

`recipes/direct-rlaif.yaml` against `recipes/rlaif.yaml`, both as they are shipped, with the same seeds: in
the one the judge scores each answer as it is written, in the other a reward model learnt from its comparisons
does. Otherwise than in the paper, both have PPO with a learnt value and not REINFORCE with a baseline. The
two policies answer each held-out question once.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from evidence import mean_of, over_seeds, record
from small_world import Trial, beats, run_recipe, settings_of, win_each, write

SLOW = "about fifteen minutes of one core"
SEEDS, HELD_OUT = (121, 122, 123, 124, 125, 126), 600
WAYS = {"direct": "direct-rlaif", "rlaif": "rlaif"}


def one_seed(seed: int, folder: Path) -> dict[str, Any]:
    trial = Trial(HELD_OUT, seed)
    policies = {way: run_recipe(settings_of(name, seed, folder / way)).policy for way, name in WAYS.items()}
    answers = [write(policy, trial.asked, 1, seed + 1) for policy in policies.values()]
    wins = win_each(*(one.scores(trial.asked) for one in answers))
    steps = (folder / "direct" / "round-1" / "policy" / "metrics.jsonl").read_text().splitlines()
    labels = (folder / "rlaif" / "round-1" / "label" / "verdicts.jsonl").read_text().splitlines()
    direct = int(sum(json.loads(step).get("completions", 0) for step in steps))
    return {
        **{way: trial.mark(policy) for way, policy in policies.items()},
        "direct over rlaif": round(statistics.fmean(wins), 4),
        "verdicts": {"rlaif": len(labels), "direct": direct},
    }


def main() -> None:
    seeds = over_seeds(one_seed, SEEDS)
    found = mean_of([one["direct over rlaif"] for one in seeds])
    record(
        "direct_rlaif_against_rlaif",
        found,
        null={"RLAIF with a reward model, against itself": 0.5},
        bar="true win rate of direct RLAIF over RLAIF, both as shipped: interval over"
        f" {len(SEEDS)} seeds above 0.5, and direct RLAIF beats the initial policy and the best null in each",
        holds=found[1] > 0.5 and all(beats(one["direct"]) for one in seeds),
        over_initial={way: mean_of([one[way]["win_rate"][0] for one in seeds]) for way in WAYS},
        more={"seeds": seeds, "held_out": HELD_OUT},
    )


if __name__ == "__main__":
    main()
