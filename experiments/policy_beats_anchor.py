"""From a judge that is right four times in five, do we get policies that are truly better than their anchor?

In the small world the tiny policy answers, a planted judge with noise of its own compares its answers two by
two, and from those labels alone come a reward model, a policy by DPO and a policy by PPO on that reward
model. Then the truth is asked: the reward model about pairs of answers to held-out prompts, the policies
about one answer each to held-out prompts, against one of the anchor's. Each seed has its own prompts,
answers, noise and order.

SLOW: about ten minutes on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import to_builtins

from evidence import over_seeds, record
from small_world import (
    KL_TARGET,
    Learner,
    agreement,
    held_out_prompts,
    interval,
    judge_is_right,
    said_by,
    test_pairs,
    wins,
)

SEEDS = (11, 12, 13)
PROMPTS, PAIRS, SAMPLES = 400, 1_000, 4


def one_seed(seed: int, _: Path) -> dict[str, Any]:
    """Everything from the labels to the truth about what was learnt from them."""
    learner = Learner(seed)
    folders = {"reward": learner.reward(), "dpo": learner.dpo(), "ppo": learner.ppo()}
    asked = held_out_prompts(PROMPTS)
    theirs = said_by(learner.anchor, asked, SAMPLES).true_scores(asked)
    said = {name: said_by(folders[name], asked, SAMPLES, 1) for name in ("dpo", "ppo")}
    scores = {name: one.true_scores(asked) for name, one in said.items()}
    pairs = test_pairs(learner.anchor, PAIRS)
    return {
        "judge_right": round(judge_is_right(learner.run), 4),
        "reward_agrees": [round(one, 4) for one in interval(agreement(learner.thorough_reward(), pairs))],
        "true_score": {"anchor": mean(theirs), **{name: mean(found) for name, found in scores.items()}},
        "wins": {name: rounded(wins(found, theirs)) for name, found in scores.items()},
        "kl": {name: round(one.kl(folders[name], learner.anchor), 2) for name, one in said.items()},
        "cpu_seconds": learner.seconds,
    }


def mean(scores: list[list[float]]) -> float:
    return round(sum(map(sum, scores)) / sum(map(len, scores)), 3)


def rounded(found: object) -> dict[str, float]:
    return {name: round(value, 4) for name, value in to_builtins(found).items()}


def main() -> None:
    told = over_seeds(one_seed, SEEDS)
    learnt_from_rewards(told)
    policies(told)


def learnt_from_rewards(told: Sequence[dict[str, Any]]) -> None:
    """The reward model's part."""
    agrees = min((one["reward_agrees"] for one in told), key=lambda one: one[0])
    record(
        "reward_model_agrees",
        value=agrees[0],
        low=agrees[1],
        high=agrees[2],
        bar="in every seed right on 0.85 of held-out pairs, from the labels of a judge that is right on 0.80",
        holds=agrees[0] >= 0.85,
        packages=("jurist", "torch", "transformers"),
        unit="share of right choices in the worst seed",
        judge_right=[one["judge_right"] for one in told],
        seeds=[one["reward_agrees"] for one in told],
        cpu_seconds=[one["cpu_seconds"]["thorough"] for one in told],
        pairs=PAIRS,
    )


def policies(told: Sequence[dict[str, Any]]) -> None:
    """The policies' part."""
    won = [one["wins"][how] for one in told for how in ("dpo", "ppo")]
    worst = min(won, key=lambda one: one["share"])
    near = max(one["kl"]["ppo"] for one in told)
    parts = ("labels", "reward", "dpo", "ppo-1")
    slowest = max(one["cpu_seconds"][part] for one in told for part in parts)
    record(
        "policy_beats_anchor",
        value=worst["share"],
        low=worst["low"],
        high=worst["high"],
        bar=(
            "in every seed DPO and PPO truly better than the anchor on 0.70 of held-out prompts, 95 % bounds"
            f" above 0.60; PPO's KL at most {KL_TARGET} nats; each part under 180 s"
        ),
        holds=(
            worst["share"] >= 0.7
            and min(one["low"] for one in won) > 0.6
            and near <= KL_TARGET
            and slowest < 180
        ),
        packages=("jurist", "torch", "transformers"),
        largest_ppo_kl=near,
        slowest_cpu_seconds=slowest,
        prompts=PROMPTS,
        seeds=told,
    )


if __name__ == "__main__":
    main()
