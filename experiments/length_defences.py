"""Does what an audit advises against length bias keep a policy's answers from growing, at what cost?

`recipes/rlaif.yaml` with DPO, as shipped but for its judge, to whom each word is worth a fortieth of a point
of the tiny world: twice what the recipe plants. A policy is trained on its labels as they are, and with each
of two defences that `length.excess` advises, at the values it advises. The words of the answers to held-out
questions are counted; how good they are the world knows. A judge that does not care about length stands
beside them: how much growth was worth having.

What telling the judge (`--judge.against_length true`) is worth depends on the judge; no planted one shows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evidence import differences, mean_of, over_seeds, record
from jurist.tiny.model import tiny_checkpoint
from small_world import held_out, mean_words, run_recipe, settings_of, write

SLOW = "about six minutes of one core"
SEEDS, HELD_OUT = (181, 182, 183), 300
LENGTH = 0.1
"""Log-odds a word; the judge's sharpness is four log-odds a point."""
DEFENCES: dict[str, dict[str, Any]] = {
    "length penalty": {"prefer.length_penalty": 1.0},
    "rho": {"prefer.rule": "rho", "prefer.rho": 0.3},
}
WAYS: dict[str, dict[str, Any]] = {"undefended": {}, "fair judge": {}, **DEFENCES}


def one_seed(seed: int, folder: Path) -> dict[str, Any]:
    asked, policies = held_out(HELD_OUT, seed), {"initial": str(tiny_checkpoint())}
    for way, changes in WAYS.items():
        faults = {"position": 1.0, "length": 0.0 if way == "fair judge" else LENGTH}
        given = {"optimiser": "dpo", "judge.engine.extra": faults, "compare.held_out": 0.0, **changes}
        policies[way] = run_recipe(settings_of("rlaif", seed, folder / way.replace(" ", "-"), given)).policy
    answers = {way: write(policy, asked, 1, seed) for way, policy in policies.items()}
    words = {way: round(mean_words(one), 2) for way, one in answers.items()}
    return {way: {"words": words[way], "true score": one.mean_score(asked)} for way, one in answers.items()}


def main() -> None:
    seeds = over_seeds(one_seed, SEEDS)
    grown = {way: [one[way]["words"] / one["initial"]["words"] - 1 for one in seeds] for way in WAYS}
    scores = {way: [one[way]["true score"] for one in seeds] for way in WAYS}
    gained = {way: differences(scores[way], scores["undefended"]) for way in DEFENCES}
    worst = max(DEFENCES, key=lambda way: sum(grown[way]))
    halved = {
        way: all(now <= bad / 2 for now, bad in zip(grown[way], grown["undefended"], strict=True))
        for way in DEFENCES
    }
    record(
        "length_defences",
        mean_of(grown[worst], 3),
        null={"growth without a defence": mean_of(grown["undefended"], 3)[0]},
        bar="in each of three seeds with either defence: growth in words at most half of that without, and"
        " truly better answers",
        holds=all(halved.values()) and all(min(some) > 0 for some in gained.values()),
        unit=f"growth in words over the initial policy, of the weaker defence: {worst}",
        growth={way: mean_of(some, 3) for way, some in grown.items()},
        true_score={way: mean_of(some, 3) for way, some in scores.items()},
        seeds=seeds,
    )


if __name__ == "__main__":
    main()
