"""Does the KL to the initial policy keep PPO from winning the reward model while losing the truth?

The reward model learnt from a judge that is often wrong, so it is right about answers such as the initial
policy gives, and about others only by luck. One policy learns from it as `recipes/rlaif.yaml` has it, one
with the KL off; the rest is the same. Both are marked after the recipe's passes over the prompts and after
three times as many. Over-optimisation is when, from the one to the other, the proxy, the reward model's own
score, goes up while the true score goes down.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from evidence import over_seeds, record
from jurist.models.ppo import train_ppo
from jurist.models.reward import train_reward
from jurist.models.rewards import RewardJudge
from jurist.policies.policy import kl, load_to_read
from jurist.records import Completion, Prompt
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import prompts
from small_world import (
    PACKAGES,
    Written,
    held_out,
    initial,
    interval,
    label_answers,
    settings_of,
    write,
)

SLOW = "about twenty minutes of one core"
SEEDS, LATE = (131, 132, 133), 3
LABELLED, PPO_PROMPTS, HELD_OUT, SAMPLES = 280, 280, 400, 2


def proxies(reward: RewardJudge, asked: list[Prompt], answers: Written) -> float:
    rows = [
        (prompt, Completion.of(prompt.id, text))
        for prompt, texts in zip(asked, answers.texts, strict=True)
        for text in texts
    ]
    return round(statistics.fmean(score or 0.0 for score in reward.score_many(rows)), 3)


def one_seed(seed: int, folder: Path) -> dict[str, Any]:
    cfg, asked = settings_of("rlaif", seed, folder), held_out(HELD_OUT, seed)
    given = {"base": str(tiny_checkpoint()), "seed": seed}
    run = label_answers(folder / "labels", LABELLED, seed, prefer=cfg.prefer)
    model = train_reward(replace(cfg.reward_model, **given, data=str(run), out=str(folder / "reward")))
    reward = RewardJudge(model)

    def ppo(held: bool, late: bool) -> Path:
        off = replace(cfg.ppo.kl, beta=0.0, target=None)
        how = replace(
            cfg.ppo,
            **given,
            data="given",
            out=str(folder / f"ppo-{held}-{late}"),
            reward=str(model),
            kl=cfg.ppo.kl if held else off,
            epochs=cfg.ppo.epochs * (LATE if late else 1),
        )
        return train_ppo(how, prompts(PPO_PROMPTS, seed))

    first = write(initial(), asked, SAMPLES, seed)
    found: dict[str, Any] = {
        "initial": {"proxy": proxies(reward, asked, first), "truth": first.mean_score(asked)}
    }
    scores: dict[str, list[float]] = {}
    for who, held in (("held", True), ("free", False)):
        for when in ("early", "late"):
            policy = load_to_read(ppo(held, when == "late"))
            answers = write(policy, asked, SAMPLES, seed)
            scores[f"{who} {when}"] = [statistics.fmean(some) for some in answers.scores(asked)]
            found[f"{who} {when}"] = {
                "proxy": proxies(reward, asked, answers),
                "truth": answers.mean_score(asked),
                "kl": round(kl(policy, initial(), answers.rows), 2),
            }

    def apart(one: str, other: str) -> list[float]:
        return [a - b for a, b in zip(scores[one], scores[other], strict=True)]

    found["truth moved"] = {who: interval(apart(f"{who} late", f"{who} early")) for who in ("held", "free")}
    found["held over free"] = interval(apart("held late", "free late"))
    return found


def main() -> None:
    seeds = over_seeds(one_seed, SEEDS)
    worst = min((one["held over free"] for one in seeds), key=lambda one: one[0])
    rises = [one["free late"]["proxy"] - one["free early"]["proxy"] for one in seeds]
    record(
        "kl_prevents_overoptimisation",
        value=worst[0],
        low=worst[1],
        high=worst[2],
        null={"the same with the KL off": 0.0},
        bar="in every seed, from the recipe's passes to three times as many: KL off, the proxy rises and the"
        " truth falls, to below the policy with the KL, whose truth does not fall (95% intervals)",
        holds=min(rises) > 0
        and all(one["truth moved"]["free"][2] < 0 for one in seeds)
        and all(one["truth moved"]["held"][2] >= 0 for one in seeds)
        and worst[1] > 0,
        packages=PACKAGES,
        unit="true score with the KL less that without, in the worst seed",
        truth_moved_without=[one["truth moved"]["free"] for one in seeds],
        truth_moved_with_kl=[one["truth moved"]["held"] for one in seeds],
        proxy_moved_without=[round(one, 3) for one in rises],
        seeds=seeds,
        held_out=HELD_OUT,
    )


if __name__ == "__main__":
    main()
