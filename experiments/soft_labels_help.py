"""Does a reward model learn more from a noisy judge's probabilities than from its votes?

In the small world a judge sees the difference between two answers blurred, so that it is right about four
times in five, and says how sure that leaves it. One reward model learns its probabilities, another only which
of the two it preferred; all else is the same. Both are marked with the true preference on pairs they never
saw. Five seeds, each with its own pairs, noise and order; what counts is the difference within a seed.
"""

from __future__ import annotations

import math
import random
import statistics
import tempfile
from pathlib import Path

import torch
from scipy.special import ndtr
from scipy.stats import t as student

from evidence import record
from jurist.models.policy import load_policy
from jurist.models.reward import Scorer, score, train_reward
from jurist.models.rows import pair_example
from jurist.models.settings import RewardConfig
from jurist.records import Completion, Preference, Prompt
from jurist.tiny.answers import MEDIOCRE, compose
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import prompts, true_score

SLOW = "about three minutes"
SEEDS, PAIRS, TEST_PAIRS, RIGHT = 5, 1_000, 2_500, 0.8
TRAINING = {"batch": 32, "epochs": 4.0, "lr": 2e-3, "centre": 0.0, "save_every": 0}


def pairs(n: int, seed: int) -> list[tuple[Prompt, str, str, float]]:
    """Prompts with two answers of a mediocre assistant, and by how much the first is truly better."""
    draw = random.Random(seed)
    found = []
    for prompt in prompts(2 * n, seed):
        request = prompt.messages[-1].content
        one, two = compose(request, MEDIOCRE, draw), compose(request, MEDIOCRE, draw)
        difference = true_score(request, one) - true_score(request, two)
        if abs(difference) > 1e-9 and len(found) < n:
            found.append((prompt, one, two, difference))
    return found


def blur(differences: list[float], right: float) -> float:
    """The noise under which a judge is right that often, by bisection."""
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        share = statistics.fmean(ndtr(abs(one) / middle) for one in differences)
        low, high = (middle, high) if share > right else (low, middle)
    return low


def judged(rows: list[tuple[Prompt, str, str, float]], seed: int) -> list[Preference]:
    """What the judge says, and how sure it is given how badly it sees."""
    draw = random.Random(f"noise {seed}")
    noise = blur([row[3] for row in rows], RIGHT)
    spread = statistics.pstdev([row[3] for row in rows])
    shrunk = spread / (noise * math.hypot(spread, noise))
    found = []
    for number, (prompt, one, two, difference) in enumerate(rows):
        p = float(ndtr((difference + draw.gauss(0, noise)) * shrunk))
        chosen, rejected = (one, two) if p >= 0.5 else (two, one)
        texts = Completion.of(prompt.id, chosen), Completion.of(prompt.id, rejected)
        found.append(Preference(str(number), prompt, *texts, p=max(p, 1 - p)))
    return found


def truly_right(folder: Path, rows: list[tuple[Prompt, str, str, float]]) -> float:
    policy = load_policy(folder, kind="reward")
    found = [(p, Completion.of(p.id, one), Completion.of(p.id, two)) for p, one, two, _ in rows]
    examples = [pair_example(Preference("", *texts, p=1.0), policy.tokenizer) for texts in found]
    scores = score(Scorer(policy.model), examples, 8192)
    agree = [(one > two) == (row[3] > 0) for (one, two), row in zip(scores, rows, strict=True)]
    return statistics.fmean(agree)


def main() -> None:
    torch.set_num_threads(1)
    base, gains, told = str(tiny_checkpoint()), [], []
    test = pairs(TEST_PAIRS, seed=10_000)
    for seed in range(SEEDS):
        rows = pairs(PAIRS, seed=1 + seed)
        labels = judged(rows, seed)
        chosen_better = [
            true_score(one.prompt.messages[-1].content, one.chosen.text)
            > true_score(one.prompt.messages[-1].content, one.rejected.text)
            for one in labels
        ]
        with tempfile.TemporaryDirectory() as out:
            right = {}
            for soft in (True, False):
                place = str(Path(out) / str(soft))
                cfg = RewardConfig(data="pairs", base=base, out=place, soft=soft, seed=seed, **TRAINING)
                right[soft] = truly_right(train_reward(cfg, labels), test)
        gains.append(right[True] - right[False])
        told.append({"judge": statistics.fmean(chosen_better), "soft": right[True], "hard": right[False]})
        print({name: round(value, 4) for name, value in told[-1].items()}, flush=True)
    mean = statistics.fmean(gains)
    width = student.ppf(0.975, SEEDS - 1) * statistics.stdev(gains) / math.sqrt(SEEDS)
    record(
        "soft_labels_help",
        value=round(mean, 4),
        low=round(mean - width, 4),
        high=round(mean + width, 4),
        bar="95 % interval of the gain in true accuracy above 0, paired over 5 seeds",
        holds=mean - width > 0,
        packages=("jurist", "torch", "transformers"),
        seeds=[{name: round(value, 4) for name, value in one.items()} for one in told],
        pairs=PAIRS,
        test_pairs=TEST_PAIRS,
    )


if __name__ == "__main__":
    main()
