"""Does choosing the shortest of the best and rejecting the longest of the worst keep answers from growing?

The loop of self-rewarding in the small world, with one thing otherwise: the policy's own judging has no
strong taste for length here, so a judge with a planted one sits in its place and scores by the same five
points. Each word beyond ten is worth a fortieth of a point of this world to it; nothing else is wrong with
it. The same loop runs with the best against the worst and with rho, each with seven answers to a prompt as
in Wu et al. 2024: among four there is seldom a short one near the top. What counts is how many words the
last policy needs for held-out prompts, beside how good its answers truly are. Eight seeds; a difference is
taken within a seed. Flat would be no growth at all; a good answer here is as long as a mediocre one.

SLOW: about two minutes of one core.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

from evidence import mean_of, over_seeds, record, write_prompts
from jurist.config import settings_from
from jurist.recipes.label import sample
from jurist.recipes.loop.folder import LoopRun
from jurist.recipes.loop.labels import preferences_of
from jurist.recipes.loop.round import Round
from jurist.recipes.self_rewarding import SelfRewardingConfig, rule_of
from jurist.recipes.settings import LabelConfig
from jurist.records import Completion
from jurist.run import read_records
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import prompts, true_score
from jurist.verdicts.settings import JudgeConfig

SEEDS = (11, 12, 13, 14, 15, 16, 17, 18)
ROUNDS, PROMPTS, ANSWERS, HELD_OUT = 3, 100, 7, 100
RHO = {"plain": (), "rho": (0.4,)}
LENGTH = 0.1
"""Log-odds a word; the judge's sharpness is four log-odds a point."""
JUDGE = JudgeConfig(kind="additive", engine={"engine": "tiny:planted", "extra": {"length": LENGTH}})


def looped(folder: Path, way: str, seed: int) -> list[str]:
    """The policies of all rounds, each in the anchor's place in the next."""
    settings: dict[str, Any] = {
        "out": str(folder / way),
        "prompts": write_prompts(folder / "prompts.jsonl", prompts(PROMPTS, 20 + seed)),
        "policy": "tiny",
        "k": ANSWERS,
        "rho": RHO[way],
        "sampling": {"temperature": 0.7, "top_p": 0.9, "max_tokens": 64},
        "compare": {"held_out": 0.0},
        "dpo": {"lr": 3e-4, "epochs": 2, "batch": 32, "soft": False, "save_every": 0},
        "seed": seed,
    }
    cfg = settings_from(SelfRewardingConfig, settings)
    policies = [str(tiny_checkpoint())]
    with LoopRun(cfg) as loop:
        for number in range(1, ROUNDS + 1):
            round = Round(loop, number)
            labelled = round.label(policies[-1], JUDGE, prefer=rule_of(cfg, number))
            made = round.dpo(cfg.dpo, policies[-1], policies[-1], preferences_of(labelled, cfg.stop.flips))
            policies.append(made.folder)
    return policies


def told(folder: Path, name: str, policy: str, seed: int) -> dict[str, float]:
    """How long its answers to held-out prompts are, and how good."""
    rows = list(prompts(HELD_OUT, 200 + seed))
    cfg = LabelConfig(
        out=str(folder / name),
        prompts=write_prompts(folder / "held_out.jsonl", rows),
        policy=f"hf:{policy}",
        sampling=settings_from(SelfRewardingConfig, {}).sampling,
        seed=seed,
    )
    sample(cfg)
    asked = {one.id: one.messages[-1].content for one in rows}
    texts = list(read_records(folder / name / "completions.jsonl", Completion))
    return {
        "words": round(statistics.fmean(len(one.text.split()) for one in texts), 2),
        "true score": round(statistics.fmean(true_score(asked[one.prompt_id], one.text) for one in texts), 3),
    }


def one_seed(seed: int, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"seed": seed, "start": told(folder, "start", str(tiny_checkpoint()), seed)}
    for way in RHO:
        found[way] = told(folder, f"{way}-end", looped(folder, way, seed)[-1], seed)
    return found


def main() -> None:
    if len(sys.argv) > 1:  # to try settings on a seed that is not reported
        over_seeds(one_seed, [int(sys.argv[1])])
        return
    seeds = over_seeds(one_seed, SEEDS)
    grown = {way: [one[way]["words"] / one["start"]["words"] - 1 for one in seeds] for way in RHO}
    mean, low, high = mean_of([plain - rho for plain, rho in zip(*grown.values(), strict=True)], 3)
    with_rho, plain = mean_of(grown["rho"], 3), mean_of(grown["plain"], 3)
    record(
        "rho_keeps_length",
        value=mean,
        low=low,
        high=high,
        bar="growth in words without rho less that with it: interval above 0; with rho at most half",
        holds=low > 0 and with_rho[0] <= plain[0] / 2,
        packages=("jurist", "torch", "transformers"),
        growth_plain=plain,
        growth_rho=with_rho,
        seeds=seeds,
    )


if __name__ == "__main__":
    main()
