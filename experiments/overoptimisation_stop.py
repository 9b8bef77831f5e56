"""Does the loop's stop find the policy to use where PPO learns what is wrong with its reward model?

A reward model from a judge that is often wrong, and PPO in eight rounds of one pass, with the KL off and as
`recipes/rlaif.yaml` has it. After each round the loop's `reason_to_stop`, with its defaults, sees what a loop
sees: the win rate over the initial policy on 200 held-out questions, the reward model's mean score, the KL.
The truth is told by the exact scores on 1,500 other questions. The null goes on to the last round.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from evidence import interval, over_seeds, record
from jurist.models.ppo import train_ppo
from jurist.models.reward import train_reward
from jurist.models.rewards import RewardJudge
from jurist.policies.policy import kl, load_to_read
from jurist.recipes.loop.compare import Comparison, Facts, checkpoint_of
from jurist.recipes.loop.settings import CompareConfig, StopConfig
from jurist.recipes.loop.stopping import reason_to_stop
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import prompts
from small_world import held_out, initial, label_answers, proxy_scores, settings_of, win_each, write

SLOW = "about ten minutes of one core"
SEEDS, ROUNDS = (251, 252, 253, 254), 8
LABELLED, PPO_PROMPTS = 280, 280
COMPARED, OTHERS = CompareConfig().most, 1500


def one_seed(seed: int, folder: Path) -> dict[str, Any]:
    cfg, given = settings_of("rlaif", seed, folder), {"base": str(tiny_checkpoint()), "seed": seed}
    run = label_answers(folder / "labels", LABELLED, seed, prefer=cfg.prefer)
    model = train_reward(replace(cfg.reward_model, **given, data=str(run), out=str(folder / "reward")))
    reward, asked = RewardJudge(model), held_out(COMPARED + OTHERS, seed)
    first = write(initial(), asked, 1, seed).scores(asked)
    off = replace(cfg.ppo.kl, beta=0.0, target=None)

    def one_round(policy: Path, at: int, penalty: Any) -> tuple[Path, Facts, dict[str, float], float]:
        """The next policy, what a loop knows of it, the verdicts, and its true gain."""
        out = folder / f"{penalty.beta:g}-{at}"
        how = replace(cfg.ppo, base=str(policy), reference=str(tiny_checkpoint()), reward=str(model))
        how = replace(how, kl=penalty, out=str(out), epochs=1, seed=100 * seed + at)
        policy = train_ppo(how, prompts(PPO_PROMPTS, seed))
        new = write(policy, asked, 1, seed + at)
        wins = win_each(new.scores(asked), first)
        rate, low, high = interval(wins[:COMPARED])
        texts = zip(asked[:COMPARED], (text for (text,) in new.texts), strict=False)
        proxy = statistics.fmean(proxy_scores(reward, texts))
        far = kl(load_to_read(policy), initial(), new.rows[:COMPARED])
        compared = Comparison(rate, (high - low) / 3.92, n=COMPARED, kl=round(far, 2))
        facts = Facts(at, str(at), proxy=round(proxy, 3), compared=compared)
        verdicts = {one.id: win for one, win in zip(asked[:COMPARED], wins, strict=False)}
        return policy, facts, verdicts, round(statistics.fmean(wins[COMPARED:]) - 0.5, 4)

    def rounds(penalty: Any) -> dict[str, Any]:
        policy, facts, points, gains, stops = tiny_checkpoint(), [], [], [0.0], []
        for at in range(1, ROUNDS + 1):
            policy, now, verdicts, gain = one_round(policy, at, penalty)
            facts, gains = [*facts, now], [*gains, gain]
            points += [one for one in [checkpoint_of(now, verdicts)] if one is not None]
            why = reason_to_stop(facts, points, StopConfig())
            stops += [(at, why.rpartition("use ")[2])] if why else []
        at, use = stops[0] if stops else (None, str(ROUNDS))
        best = max(gains) or 1.0
        return {
            "stopped after": at,
            "used": use,
            "share of the best": round(gains[int(use) if use.isdigit() else 0] / best, 3),
            "share of the last": round(gains[-1] / best, 3),
            "true gain": gains,
            "win rate": [one.compared.win_rate for one in facts],
            "proxy": [one.proxy for one in facts],
            "kl": [one.compared.kl for one in facts],
        }

    return {"seed": seed, "KL off": rounds(off), "KL as shipped": rounds(cfg.ppo.kl)}


def main() -> None:
    seeds = over_seeds(one_seed, SEEDS)
    shares = [one["KL off"]["share of the best"] for one in seeds]
    held = [one["KL as shipped"] for one in seeds]
    null = statistics.fmean(one["KL off"]["share of the last"] for one in seeds)
    record(
        "overoptimisation_stop",
        (statistics.fmean(shares), min(shares), max(shares)),
        null={"the last round's policy": null},
        bar="KL off: the policy to use has at least 0.9 of the best round's true gain in every seed, and more"
        " than the last one on average; KL as shipped: in no seed less than the last one",
        holds=min(shares) >= 0.9
        and statistics.fmean(shares) > null
        and all(one["share of the best"] >= one["share of the last"] for one in held),
        unit="share of the best round's true gain, mean over seeds; lowest and highest seed",
        seeds=seeds,
    )


if __name__ == "__main__":
    main()
