"""Does the KL to the anchor keep PPO from winning the reward model while losing the truth?

The reward model learnt from a judge that is right four times in five, so it is right about the answers the
anchor gives, and about others only by luck. One policy learns from it held near the anchor, one with nothing
to hold it; the rest is the same. Both are marked after one pass over the prompts and after three.
Over-optimisation is when, from the one to the other, the proxy, the reward model's own score, goes up while
the true score goes down.

SLOW: about ten minutes on one core.
"""

from __future__ import annotations

from pathlib import Path

from evidence import over_seeds, record
from jurist.models.judge import RewardJudge
from jurist.records import Completion, Prompt
from small_world import KL_TARGET, Learner, Said, held_out_prompts, said_by

SEEDS = (11, 12, 13)
LATE = 3.0
"""Passes over the prompts: what is wrong with a proxy shows in the long run."""
NOISE = 0.05
"""Two standard errors of a mean true score: less is no fall."""
PROMPTS, SAMPLES = 300, 3


def scored(reward: RewardJudge, asked: list[Prompt], said: Said) -> tuple[float, float]:
    """What the reward model thinks of these answers, and what they are truly worth: the means."""
    rows = [
        (prompt, Completion.of(prompt.id, text))
        for prompt, texts in zip(asked, said.texts, strict=True)
        for text in texts
    ]
    proxy = reward.score_many(rows)
    truth = [score for scores in said.true_scores(asked) for score in scores]
    return round(sum(proxy) / len(proxy), 3), round(sum(truth) / len(truth), 3)


def one_seed(seed: int, _: Path) -> dict[str, dict[str, float]]:
    learner = Learner(seed)
    policies = {"anchor": learner.anchor}
    for name, held in (("held", True), ("free", False)):
        policies[f"{name}_early"] = learner.ppo(held=held)
        policies[f"{name}_late"] = learner.ppo(held=held, epochs=LATE)
    reward, asked = RewardJudge(learner.reward()), held_out_prompts(PROMPTS)
    found = {}
    for name, policy in policies.items():
        said = said_by(policy, asked, SAMPLES)
        proxy, truth = scored(reward, asked, said)
        found[name] = {"proxy": proxy, "truth": truth, "kl": round(said.kl(policy, learner.anchor), 2)}
    return found


def main() -> None:
    told = over_seeds(one_seed, SEEDS)

    def moved(who: str, what: str) -> list[float]:
        return [round(one[f"{who}_late"][what] - one[f"{who}_early"][what], 3) for one in told]

    held, free = moved("held", "truth"), moved("free", "truth")
    apart = [one["held_late"]["truth"] - one["free_late"]["truth"] for one in told]
    record(
        "kl_prevents_overoptimisation",
        value=round(sum(free) / len(free), 3),
        low=min(free),
        high=max(free),
        bar=(
            "in every seed: KL off, the proxy rises and the truth falls from one pass to three, to below the"
            " held policy's; held, the truth does not fall"
        ),
        holds=max(free) < -NOISE < min(held) and min(moved("free", "proxy")) > 0 and min(apart) > NOISE,
        packages=("jurist", "torch", "transformers"),
        truth_moved_with_kl=held,
        truth_moved_without=free,
        proxy_moved_without=moved("free", "proxy"),
        kl_target=KL_TARGET,
        prompts=PROMPTS,
        seeds=told,
    )


if __name__ == "__main__":
    main()
