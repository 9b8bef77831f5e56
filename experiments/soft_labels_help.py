"""Does a reward model learn more from a noisy judge's probabilities than from its votes?

The pairs are such as most are in practice: two answers of a fairly good assistant, of which many are nearly
ties. Nobody takes those out beforehand; a vote makes a coin's throw of each, and a probability near one half
next to nothing. The labels come as any user's do: a file of pairs, asked about in both orders by `jurist
label`, with the planted judge as it comes. One reward model learns its probabilities, another only which of
the two it preferred, with the training of `recipes/rlaif.yaml`. Both are marked with the true preference on
held-out questions, ties left out.
"""

from __future__ import annotations

import random
import statistics
from pathlib import Path

from msgspec.structs import replace

import small_world as world
from evidence import Interval, differences, mean_of, over_seeds, record
from jurist.models.reward import train_reward
from jurist.stats.agreement import ece
from jurist.tiny.answers import Habits, compose
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import Side, prompts

SLOW = "about six minutes of one core"
SEEDS = range(6_000, 6_016)
PAIRS, TEST_PAIRS = 400, 1_000
ASSISTANT = Habits(wrong=0.15, guessing=0.35, asking=0.2, harmful=0.25, cold=0.3, vague=0.1, rambling=0.1)


def pairs(n: int, seed: int, side: Side, *, ties: bool) -> list[world.Pair]:
    """Prompts with two answers of the assistant, with or without those of which neither is better."""
    draw, found = random.Random(seed), []
    for prompt in prompts(2 * n if side == "train" else 2_000, seed, side):
        one, other = (compose(world.request(prompt), ASSISTANT, draw) for _ in range(2))
        truth = world.better(world.request(prompt), one, other)
        if one != other and (ties or truth is not None):
            found.append(world.Pair(prompt, one, other, bool(truth)))
    return found[:n]


def one_seed(seed: int, folder: Path) -> dict[str, float | str]:
    rows = [(world.request(one.prompt), one.one, one.other) for one in pairs(PAIRS, seed, "train", ties=True)]
    run, test = (
        world.label_pairs(folder / "run", rows, seed=seed),
        pairs(TEST_PAIRS, seed, "held_out", ties=False),
    )
    cfg = world.settings_of("rlaif", seed, folder).reward_model
    found: dict[str, float | str] = judged(run)
    for name in ("soft", "hard"):
        given = {"data": str(run), "base": str(tiny_checkpoint()), "seed": seed, "soft": name == "soft"}
        model = train_reward(replace(cfg, **given, out=str(folder / name)))
        found[name] = round(statistics.fmean(world.agreement(model, test)), 4)
    null, value = world.null_agreement(test)
    return {**found, "null": null, "null_agrees": value}


def judged(run: Path) -> dict[str, float | str]:
    """How good the judge is on the pairs that are no ties, how honest its probabilities are, and the ties."""
    rows = list(world.preferences(run))
    truth = world.rightly_chosen(rows)
    p, right = zip(
        *((row.p, float(one)) for row, one in zip(rows, truth, strict=True) if one is not None), strict=True
    )
    judge, error, ties = statistics.fmean(right), ece(p, right), truth.count(None) / len(truth)
    return {"judge": round(judge, 4), "judge_ece": round(error, 4), "ties": round(ties, 4)}


def main() -> None:
    seeds = over_seeds(one_seed, SEEDS)

    def apart(one: str, other: str) -> Interval:
        return mean_of(differences(*([float(row[name]) for row in seeds] for name in (one, other))))

    gain, over_length = apart("soft", "hard"), apart("soft", "null_agrees")
    record(
        "soft_labels_help",
        gain,
        null={"votes in place of probabilities": 0.0},
        bar=f"gain in true accuracy, paired over {len(seeds)} seeds, and lead over the best that the answers'"
        " lengths alone tell: both intervals above 0",
        holds=gain[1] > 0 and over_length[1] > 0,
        more={"over_length": over_length, "seeds": seeds, "pairs": PAIRS, "test_pairs": TEST_PAIRS},
    )


if __name__ == "__main__":
    main()
