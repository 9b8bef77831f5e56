"""Does a reward model learn more from a noisy judge's probabilities than from its votes?

In the small world a planted judge is right about four pairs in five, and about as sure as it may be. Its
labels come as any user's do: a file of pairs, asked about in both orders by `jurist label`. One reward model
learns its probabilities, another only which of the two it preferred; all else is the same. Both are marked
with the true preference on pairs they never saw, ties in truth left out. Each seed has its own pairs, noise
and order; what counts is the difference within a seed.

SLOW: about five minutes on one core.
"""

from __future__ import annotations

import json
import random
import statistics
from functools import partial
from pathlib import Path

from evidence import mean_of, over_seeds, record
from jurist.models.reward import train_reward
from jurist.models.settings import RewardConfig
from jurist.tiny.answers import MEDIOCRE, compose
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import prompts
from small_world import Pair, agreement, better, judge_is_right, labelled_pairs, request

FIRST_SEED, SEEDS = 3_000, 12
PAIRS, TEST_PAIRS = 400, 1_500
TRAINING = {"batch": 32, "epochs": 8.0, "lr": 2e-3, "save_every": 0}


def pairs(n: int, seed: int) -> list[Pair]:
    """Prompts with two answers of a mediocre assistant of which one is truly better."""
    draw, found = random.Random(seed), []
    for prompt in prompts(2 * n, seed):
        one, other = (compose(request(prompt), MEDIOCRE, draw) for _ in range(2))
        truth = better(request(prompt), one, other)
        if truth is not None:
            found.append(Pair(prompt, one, other, truth))
    return found[:n]


def one_seed(seed: int, out: Path, base: Path, test: list[Pair]) -> dict[str, float]:
    rows = [
        {"prompt": request(one.prompt), "first": one.one, "second": one.other} for one in pairs(PAIRS, seed)
    ]
    (out / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = labelled_pairs(out / "run", out / "pairs.jsonl", seed)
    found = {"judge": judge_is_right(run)}
    for name in ("soft", "hard"):
        told = {**TRAINING, "data": str(run), "base": str(base), "seed": seed, "soft": name == "soft"}
        folder = train_reward(RewardConfig(**told, out=str(out / name)))
        found[name] = statistics.fmean(agreement(folder, test))
    return {name: round(value, 4) for name, value in found.items()}


def main() -> None:
    one = partial(one_seed, base=tiny_checkpoint(), test=pairs(TEST_PAIRS, seed=10_000))
    told = over_seeds(one, range(FIRST_SEED, FIRST_SEED + SEEDS))
    mean, low, high = mean_of([one["soft"] - one["hard"] for one in told])
    record(
        "soft_labels_help",
        value=mean,
        low=low,
        high=high,
        bar=f"95 % interval of the gain in true accuracy above 0, paired over {SEEDS} seeds",
        holds=low > 0,
        packages=("jurist", "torch", "transformers"),
        seeds=told,
        pairs=PAIRS,
        test_pairs=TEST_PAIRS,
    )


if __name__ == "__main__":
    main()
