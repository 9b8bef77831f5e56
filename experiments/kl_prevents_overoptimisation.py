"""Does the KL to the anchor keep PPO from winning the reward model while losing the truth?

The reward model learnt from a judge that is right four times in five, so it is right about the answers the
anchor gives, and about others only by luck. One policy learns from it held near the anchor, one with nothing
to hold it; the rest is the same. Over-optimisation is when the proxy, the reward model's own score, goes up
while the true score goes down.

SLOW: about ten minutes on one core.
"""

from __future__ import annotations

import torch

from evidence import record
from jurist.models.judge import RewardJudge
from jurist.records import Completion, Prompt
from small_world import KL_TARGET, Learner, Said, held_out_prompts, said_by

SEEDS = (11, 12, 13)
EPOCHS = 3.0
"""Over the same prompts: what is wrong with a proxy shows in the long run."""
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


def one_seed(seed: int) -> dict[str, dict[str, float]]:
    learner = Learner(seed)
    policies = {"anchor": learner.anchor, "held": learner.ppo(epochs=EPOCHS)}
    policies["free"] = learner.ppo(held=False, epochs=EPOCHS)
    reward, asked = RewardJudge(learner.reward()), held_out_prompts(PROMPTS)
    found = {}
    for name, policy in policies.items():
        said = said_by(policy, asked, SAMPLES)
        proxy, truth = scored(reward, asked, said)
        found[name] = {"proxy": proxy, "truth": truth, "kl": round(said.kl(policy, learner.anchor), 2)}
    return found


def main() -> None:
    torch.set_num_threads(1)
    told = []
    for seed in SEEDS:
        told.append(one_seed(seed))
        print(told[-1], flush=True)

    def gain(who: str, what: str) -> list[float]:
        return [one[who][what] - one["anchor"][what] for one in told]

    held, free = gain("held", "truth"), gain("free", "truth")
    record(
        "kl_prevents_overoptimisation",
        value=round(sum(free) / len(free), 3),
        low=round(min(free), 3),
        high=round(max(free), 3),
        bar="in every seed: KL off, the proxy rises and the truth falls below the anchor; held, both rise",
        holds=max(free) < 0 < min(held) and min(gain("free", "proxy") + gain("held", "proxy")) > 0,
        packages=("jurist", "torch", "transformers"),
        true_gain_with_kl=[round(one, 3) for one in held],
        true_gain_without=[round(one, 3) for one in free],
        kl_target=KL_TARGET,
        prompts=PROMPTS,
        seeds=told,
    )


if __name__ == "__main__":
    main()
