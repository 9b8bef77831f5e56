"""Does the KL to the initial policy keep PPO from winning the reward model while losing the truth?

The reward model learnt from a judge that is often wrong, so it is right about answers such as the initial
policy gives, and about others only by luck. One policy learns from it as `recipes/rlaif.yaml` has it
("held"), one with the KL off ("free"). Both are marked after the recipe's passes over the prompts and after
three times as many. Over-optimisation is when, from the one to the other, the proxy, the reward model's own
score, goes up while the true score goes down.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from evidence import differences, interval, over_seeds, record
from jurist.models.ppo import train_ppo
from jurist.models.reward import train_reward
from jurist.models.rewards import RewardJudge
from jurist.policies.policy import Policy, kl, load_to_read
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import prompts
from small_world import held_out, initial, label_answers, proxy_scores, settings_of, write

SLOW = "about twenty minutes of one core"
SEEDS, LATE = (131, 132, 133), 3
LABELLED, PPO_PROMPTS, HELD_OUT, SAMPLES = 280, 280, 400, 2


def one_seed(seed: int, folder: Path) -> dict[str, Any]:
    cfg, asked = settings_of("rlaif", seed, folder), held_out(HELD_OUT, seed)
    given = {"base": str(tiny_checkpoint()), "seed": seed}
    run = label_answers(folder / "labels", LABELLED, seed, prefer=cfg.prefer)
    model = train_reward(replace(cfg.reward_model, **given, data=str(run), out=str(folder / "reward")))
    reward, scores, found = RewardJudge(model), dict[str, list[float]](), dict[str, Any]()

    def mark(name: str, policy: Policy) -> None:
        answers = write(policy, asked, SAMPLES, seed)
        rows = [(one, text) for one, texts in zip(asked, answers.texts, strict=True) for text in texts]
        proxy = round(statistics.fmean(proxy_scores(reward, rows)), 3)
        scores[name] = [statistics.fmean(some) for some in answers.scores(asked)]
        found[name] = {"proxy": proxy, "truth": answers.mean_score(asked)}
        found[name]["kl"] = round(kl(policy, initial(), answers.rows), 2)

    mark("initial", initial())
    for who, how in (("held", cfg.ppo.kl), ("free", replace(cfg.ppo.kl, beta=0.0, target=None))):
        for when, passes in (("early", 1), ("late", LATE)):
            out = {"data": "given", "out": str(folder / f"{who}-{when}"), "reward": str(model)}
            ppo = replace(cfg.ppo, **given, **out, kl=how, epochs=cfg.ppo.epochs * passes)
            mark(f"{who} {when}", load_to_read(train_ppo(ppo, prompts(PPO_PROMPTS, seed))))

    def apart(one: str, other: str) -> tuple[float, float, float]:
        return interval(differences(scores[one], scores[other]))

    found["truth moved"] = {who: apart(f"{who} late", f"{who} early") for who in ("held", "free")}
    return {**found, "held over free": apart("held late", "free late")}


def main() -> None:
    seeds = over_seeds(one_seed, SEEDS)
    worst = min((one["held over free"] for one in seeds), key=lambda one: one[0])
    rises = [one["free late"]["proxy"] - one["free early"]["proxy"] for one in seeds]
    held, free = ([one["truth moved"][who] for one in seeds] for who in ("held", "free"))
    falls = all(high < 0 for _, _, high in free) and all(high >= 0 for _, _, high in held)
    record(
        "kl_prevents_overoptimisation",
        worst,
        null={"the same with the KL off": 0.0},
        bar="in every seed, from the recipe's passes to three times as many: KL off, the proxy rises and the"
        " truth falls, to below the policy with the KL, whose truth does not fall (95% intervals)",
        holds=min(rises) > 0 and falls and worst[1] > 0,
        unit="true score with the KL less that without, in the worst seed",
        truth_moved_without=free,
        truth_moved_with_kl=held,
        proxy_moved_without=[round(one, 3) for one in rises],
        seeds=seeds,
        held_out=HELD_OUT,
    )


if __name__ == "__main__":
    main()
