"""From a judge that is often wrong, do we get a reward model and policies that are truly better?

In the tiny world the initial policy answers, the planted judge compares its answers two by two, and from
those labels alone come a reward model, a policy by DPO and one by PPO on that reward model, with the training
settings of `recipes/rlaif.yaml` and more prompts. Then the truth is asked, on held-out questions: the reward
model about pairs, beside which of them is shorter; the policies beside the initial one and the best null.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from evidence import over_seeds, record, share
from jurist.models.dpo import train_dpo
from jurist.models.ppo import train_ppo
from jurist.models.reward import train_reward
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import prompts
from small_world import (
    ANSWERS,
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
    rightly_chosen,
    settings_of,
    worst_of,
    write,
)

SLOW = "about fifteen minutes of one core"
SEEDS = (111, 112, 113)
LABELLED, PPO_PROMPTS, HELD_OUT, PAIRS = 1_000, 640, 800, 1_000


def one_seed(seed: int, folder: Path) -> dict[str, Any]:
    cfg, seconds = settings_of("rlaif", seed, folder), dict[str, float]()
    given = {"data": str(folder / "labels"), "base": str(tiny_checkpoint()), "seed": seed}

    def timed(part: str, work: Callable[[], Path]) -> Path:
        began = time.process_time()
        made = work()
        seconds[part] = round(time.process_time() - began, 1)
        return made

    def settings(part: str, cfg: Any, **more: str) -> Any:
        return replace(cfg, **given, out=str(folder / part), **more)

    run = timed("labels", lambda: label_answers(folder / "labels", LABELLED, seed))
    reward = timed("reward", lambda: train_reward(settings("reward", cfg.reward_model)))
    ppo = settings("ppo", cfg.ppo, reward=str(reward))
    made = {
        "dpo": timed("dpo", lambda: train_dpo(settings("dpo", cfg.dpo))),
        "ppo": timed("ppo", lambda: train_ppo(ppo, prompts(PPO_PROMPTS, seed))),
    }
    trial, pairs = Trial(HELD_OUT, seed), held_out_pairs(PAIRS, seed)
    right = [one for one in rightly_chosen(preferences(run)) if one is not None]
    return {
        "judge": round(statistics.fmean(right), 4),
        "reward": share(agreement(reward, pairs)),
        "reward_null": null_agreement(pairs),
        "policies": {name: trial.mark(policy) for name, policy in made.items()},
        "cpu_seconds": seconds,
    }


def held_out_pairs(n: int, seed: int) -> list[Pair]:
    """The initial policy's own answers to held-out questions, without ties in truth."""
    asked = held_out(min(2 * n, 2_000), seed)
    answers = zip(asked, write(initial(), asked, ANSWERS, seed).texts, strict=True)
    pairs = ((prompt, *two) for prompt, some in answers for two in (some[:2], some[2:]))
    marked = ((row, better(request(row[0]), *row[1:])) for row in pairs)
    return [Pair(*row, truth) for row, truth in marked if truth is not None][:n]


def main() -> None:
    seeds = over_seeds(one_seed, SEEDS)
    reward_models(seeds)
    marks = [mark for one in seeds for mark in one["policies"].values()]
    record(
        "policy_beats_initial",
        **worst_of(marks),
        bar="in every seed DPO and PPO: true win rate over the initial policy above 0.5, and above that of"
        " the best null, both 95% intervals over held-out prompts; each part under 180 s",
        holds=all(map(beats, marks)) and max(max(one["cpu_seconds"].values()) for one in seeds) < 180,
        unit="the lowest win rate of a method and seed",
        more={"seeds": seeds, "held_out": HELD_OUT},
    )


def reward_models(seeds: Sequence[dict[str, Any]]) -> None:
    worst = min(seeds, key=lambda one: one["reward"][0] - one["reward_null"][1])
    rows = [(one["reward"], one["judge"], one["reward_null"][1]) for one in seeds]
    record(
        "reward_model_agrees",
        worst["reward"],
        null=dict([worst["reward_null"]]),
        bar="in every seed the reward model is right about held-out pairs at least as often as the judge it"
        " learnt from was about its labels, and the interval is above the best null's share",
        holds=all(value >= judge and low > null for (value, low, _), judge, null in rows),
        unit="share of pairs decided rightly in the worst seed",
        seeds=[{"reward": one["reward"], "null": one["reward_null"]} for one in seeds],
        cpu_seconds=[one["cpu_seconds"]["reward"] for one in seeds],
        more={"judge": [one["judge"] for one in seeds], "prompts": LABELLED, "pairs": PAIRS},
    )


if __name__ == "__main__":
    main()
