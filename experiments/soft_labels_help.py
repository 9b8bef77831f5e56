"""Does a reward model learn more from a noisy judge's probabilities than from its votes?

The pairs are such as most are in practice: two answers of a fairly good assistant, of which every third pair
is nearly a tie. Nobody takes those out beforehand; a vote makes a coin's throw of each, and a probability
near one half next to nothing. The planted judge is right about four pairs in five, ties aside, and about as
sure as it may be. Its labels come as any user's do: a file of pairs, asked about in both orders by
`jurist label`. One reward model learns its probabilities, another only which of the two it preferred; all
else is the same. Both are marked with the true preference on pairs they never saw, ties in truth left out.
Each seed has its own pairs, noise and order; what counts is the difference within a seed.

It falls short: with 400 pairs the gain is smaller than what one draw of the pairs makes of either model. On
the four seeds that this setting was chosen with it was clear; pairs without ties, a judge that errs less and
one that is less sure had shown less there.

SLOW: about five minutes on one core.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import tempfile
from pathlib import Path

import torch
from scipy.stats import t as student

from evidence import record
from jurist.models.reward import train_reward
from jurist.models.settings import RewardConfig
from jurist.stats.agreement import ece
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.policies import Habits, compose
from jurist.tiny.world import prompts
from small_world import Pair, agreement, better, labelled_pairs, preferences, request

FIRST_SEED, SEEDS = 5_000, 16
PAIRS, TEST_PAIRS = 400, 1_500
ASSISTANT = Habits(wrong=0.15, guessing=0.35, harmful=0.25, curt=0.1, rude=0.3, rambling=0.35)
TRAINING = {"batch": 32, "epochs": 8.0, "lr": 2e-3, "save_every": 0}


def pairs(n: int, seed: int, *, ties: bool) -> list[Pair]:
    """Prompts with two answers of the assistant, with or without those of which neither is better."""
    draw, found = random.Random(seed), []
    for prompt in prompts(3 * n, seed):
        one, other = (compose(request(prompt), ASSISTANT, draw) for _ in range(2))
        truth = better(request(prompt), one, other)
        if one != other and (ties or truth is not None):
            found.append(Pair(prompt, one, other, bool(truth)))
    return found[:n]


def one_seed(seed: int, base: Path, test: list[Pair], out: Path) -> dict[str, float]:
    rows = [
        {"prompt": request(one.prompt), "first": one.one, "second": one.other}
        for one in pairs(PAIRS, seed, ties=True)
    ]
    (out / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = labelled_pairs(out / "run", out / "pairs.jsonl", seed)
    found = judged(run)
    for name in ("soft", "hard"):
        told = {**TRAINING, "data": str(run), "base": str(base), "seed": seed, "soft": name == "soft"}
        folder = train_reward(RewardConfig(**told, out=str(out / name)))
        found[name] = statistics.fmean(agreement(folder, test))
    return {name: round(value, 4) for name, value in found.items()}


def judged(run: Path) -> dict[str, float]:
    """How good the judge is on the pairs that are no ties, how honest its probabilities are, and the ties."""
    rows = list(preferences(run))
    truth = [better(request(row.prompt), row.chosen.text, row.rejected.text) for row in rows]
    known = [(row.p, right) for row, right in zip(rows, truth, strict=True) if right is not None]
    return {
        "judge": statistics.fmean(right for _, right in known),
        "judge_ece": ece([p for p, _ in known], [float(right) for _, right in known]),
        "ties": truth.count(None) / len(truth),
    }


def main() -> None:
    torch.set_num_threads(1)
    base, test, told = tiny_checkpoint(), pairs(TEST_PAIRS, seed=10_000, ties=False), []
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        with tempfile.TemporaryDirectory() as out:
            told.append(one_seed(seed, base, test, Path(out)))
        print(told[-1], flush=True)
    gains = [one["soft"] - one["hard"] for one in told]
    mean = statistics.fmean(gains)
    width = student.ppf(0.975, SEEDS - 1) * statistics.stdev(gains) / math.sqrt(SEEDS)
    record(
        "soft_labels_help",
        value=round(mean, 4),
        low=round(mean - width, 4),
        high=round(mean + width, 4),
        bar=f"95 % interval of the gain in true accuracy above 0, paired over {SEEDS} seeds",
        holds=mean - width > 0,
        packages=("jurist", "torch", "transformers"),
        seeds=told,
        pairs=PAIRS,
        test_pairs=TEST_PAIRS,
    )


if __name__ == "__main__":
    main()
