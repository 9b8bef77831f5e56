"""From a judge that is often wrong, do we get a reward model and policies that are truly better?

In the tiny world the initial policy answers, the planted judge compares its answers two by two, and from
those labels alone come a reward model, a policy by DPO and a policy by PPO on that reward model, with the
training settings of `recipes/rlaif.yaml` and more prompts than it has. Then the truth is asked: the reward
model about pairs of answers to held-out questions, beside which of them is shorter; the policies about one
answer each, beside the initial policy and the best of the nulls.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from evidence import over_seeds, record
from jurist.models.dpo import train_dpo
from jurist.models.ppo import train_ppo
from jurist.models.reward import train_reward
from jurist.stats.intervals import wilson
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import prompts
from small_world import (
    ANSWERS,
    PACKAGES,
    Interval,
    Pair,
    Trial,
    agreement,
    beats,
    better,
    held_out,
    initial,
    label_answers,
    null_agreement,
    preferences,
    request,
    settings_of,
    write,
)

SLOW = "about fifteen minutes of one core"
SEEDS = (111, 112, 113)
LABELLED, PPO_PROMPTS, HELD_OUT, PAIRS = 1_000, 640, 800, 1_000


def one_seed(seed: int, folder: Path) -> dict[str, Any]:
    seconds: dict[str, float] = {}

    def timed(part: str, work: Callable[[], Path]) -> Path:
        began = time.process_time()
        made = work()
        seconds[part] = round(time.process_time() - began, 1)
        return made

    cfg = settings_of("rlaif", seed, folder)
    run = timed("labels", lambda: label_answers(folder / "labels", LABELLED, seed))
    given = {"data": str(run), "base": str(tiny_checkpoint()), "seed": seed}
    reward = timed(
        "reward", lambda: train_reward(replace(cfg.reward_model, **given, out=str(folder / "reward")))
    )
    made = {
        "dpo": timed("dpo", lambda: train_dpo(replace(cfg.dpo, **given, out=str(folder / "dpo")))),
        "ppo": timed(
            "ppo",
            lambda: train_ppo(
                replace(cfg.ppo, **given, out=str(folder / "ppo"), reward=str(reward)),
                prompts(PPO_PROMPTS, seed),
            ),
        ),
    }
    trial, pairs = Trial(HELD_OUT, seed), held_out_pairs(PAIRS, seed)
    return {
        "judge": judge_accuracy(run),
        "reward": share(agreement(reward, pairs)),
        "reward_null": null_agreement(pairs),
        "policies": {name: trial.mark(policy) for name, policy in made.items()},
        "cpu_seconds": seconds,
    }


def judge_accuracy(run: Path) -> float:
    """Share of the labels, ties in truth aside, that are right."""
    truth = (better(request(row.prompt), row.chosen.text, row.rejected.text) for row in preferences(run))
    return round(statistics.fmean(one for one in truth if one is not None), 4)


def held_out_pairs(n: int, seed: int) -> list[Pair]:
    """The initial policy's own answers to held-out questions, without ties in truth."""
    asked = held_out(min(2 * n, 2_000), seed)
    found = []
    for prompt, some in zip(asked, write(initial(), asked, ANSWERS, seed).texts, strict=True):
        for one, other in (some[:2], some[2:]):
            truth = better(request(prompt), one, other)
            if truth is not None:
                found.append(Pair(prompt, one, other, truth))
    return found[:n]


def share(right: Sequence[bool]) -> Interval:
    low, high = wilson(sum(right), len(right))
    return round(sum(right) / len(right), 4), round(low, 4), round(high, 4)


def main() -> None:
    seeds = over_seeds(one_seed, SEEDS)
    reward_models(seeds)
    policies(seeds)


def reward_models(seeds: Sequence[dict[str, Any]]) -> None:
    worst = min(seeds, key=lambda one: one["reward"][0] - one["reward_null"][1])
    null, beaten = worst["reward_null"]
    record(
        "reward_model_agrees",
        value=worst["reward"][0],
        low=worst["reward"][1],
        high=worst["reward"][2],
        null={null: beaten},
        bar="in every seed the reward model is right about held-out pairs at least as often as the judge it"
        " learnt from was about its labels, and the interval is above the best null's share",
        holds=all(
            one["reward"][0] >= one["judge"] and one["reward"][1] > one["reward_null"][1] for one in seeds
        ),
        packages=PACKAGES,
        unit="share of pairs decided rightly in the worst seed",
        judge=[one["judge"] for one in seeds],
        seeds=[{"reward": one["reward"], "null": one["reward_null"]} for one in seeds],
        cpu_seconds=[one["cpu_seconds"]["reward"] for one in seeds],
        prompts=LABELLED,
        pairs=PAIRS,
    )


def policies(seeds: Sequence[dict[str, Any]]) -> None:
    marks = [mark for one in seeds for mark in one["policies"].values()]
    worst = min(marks, key=lambda mark: mark["win_rate"][1])
    record(
        "policy_beats_initial",
        value=worst["win_rate"][0],
        low=worst["win_rate"][1],
        high=worst["win_rate"][2],
        null={f"the best policy that learnt nothing: {worst['null']}": worst["null_win_rate"]},
        bar="in every seed DPO and PPO: true win rate over the initial policy above 0.5, and above that of"
        " the best null, both 95% intervals over held-out prompts; each part under 180 s",
        holds=all(map(beats, marks)) and max(max(one["cpu_seconds"].values()) for one in seeds) < 180,
        packages=PACKAGES,
        unit="the lowest win rate of a method and seed",
        seeds=seeds,
        held_out=HELD_OUT,
    )


if __name__ == "__main__":
    main()
