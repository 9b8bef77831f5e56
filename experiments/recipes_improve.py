"""Does every recipe, from the labels of an AI judge alone, make a policy that is truly better than its start?

The recipe files as they are shipped, run in the tiny world with three seeds. Better is what the small world
knows to be better: on held-out prompts both policies answer once, and the oracle compares. A row a recipe.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from evidence import record
from jurist.cli.options import known_settings, parse
from jurist.config import load_settings, read_recipe
from jurist.recipes.catalogue import recipe_called

SLOW = "twelve minutes"
SEEDS = (1, 2, 3)
RECIPES = Path(__file__).resolve().parent.parent / "recipes"
WAYS = {
    "rlaif-ppo": ("rlaif.yaml", []),
    "rlaif-dpo": ("rlaif.yaml", ["--optimiser", "dpo"]),
    "direct-rlaif": ("direct-rlaif.yaml", []),
    "constitutional": ("constitutional.yaml", []),
    "rejection": ("rejection.yaml", []),
    "self-rewarding": ("self_rewarding.yaml", []),
}
MORE = ["--compare.held_out", "0.5", "--compare.most", "400", "--prompts", "tiny:600"]


def run(file: Path, words: list[str], seed: int, folder: Path) -> Any:
    settings, recipe = recipe_called(str(read_recipe(file)["recipe"]))
    overrides, _ = parse([*words, *MORE], known_settings(settings))
    out = str(folder / f"{file.stem}-{seed}-{len(words)}")
    return recipe(load_settings(settings, file, overrides, out=out, seed=seed))


def row(outcome: Any) -> dict[str, Any]:
    last = outcome.rounds[-1].compared
    return {
        "win_rate": [round(one.compared.win_rate, 4) for one in outcome.rounds],
        "low": round(last.low, 4),
        "high": round(last.high, 4),
        "n": last.n,
        "words": [round(last.words_before, 1), round(last.words, 1)],
        "kl": last.kl and round(last.kl, 2),
        "stopped": outcome.stopped,
        "judging": [one.agreement and round(one.agreement.value, 3) for one in outcome.rounds],
        "seconds": round(outcome.seconds, 1),
    }


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = {
            name: [row(run(RECIPES / file, words, seed, Path(folder))) for seed in SEEDS]
            for name, (file, words) in WAYS.items()
        }
    lows = [one["low"] for runs in rows.values() for one in runs]
    for name, runs in rows.items():
        print(name, [(one["win_rate"], one["low"]) for one in runs])
    record(
        "recipes_improve",
        value=min(lows),
        bar="the lower end of every recipe's win rate over its start, in each of three seeds, is above 0.5",
        holds=min(lows) > 0.5,
        recipes=rows,
        packages=("jurist", "torch", "transformers"),
    )


if __name__ == "__main__":
    main()
