"""Are policies that learnt from an AI judge's labels truly better, in the tiny world?

`recipes_improve`: the recipe files as they are shipped. `direct_rlaif_against_rlaif` (Lee et al. 2023): the
judge scores each answer as it is written, or a reward model does that learnt from its comparisons; otherwise
than in the paper, both have PPO with a learnt value. `policy_beats_initial` and `reward_model_agrees`: from
the planted judge's labels alone a reward model, a policy by DPO and one by PPO on that reward model, with
the training settings of `recipes/rlaif.yaml` and more prompts. All are marked on held-out questions, beside
the best null.

    python experiments/policies.py [CLAIM ...]
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

import small_world as world
from evidence import mean_of, over_seeds, record, run_claims, share
from jurist.models.dpo import train_dpo
from jurist.models.ppo import train_ppo
from jurist.models.reward import train_reward
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import prompts

SLOW = "three quarters of an hour of one core"
HELD_OUT = 800
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "rlaif-ppo": ("rlaif", {}),
    "rlaif-dpo": ("rlaif", {"optimiser": "dpo"}),
    "direct-rlaif": ("direct-rlaif", {}),
    "constitutional": ("constitutional", {}),
    "rejection": ("rejection", {}),
    "self-rewarding": ("self_rewarding", {}),
}


def recipes_improve() -> None:
    seeds = over_seeds(all_recipes, range(101, 104))
    every = [mark for one in seeds for mark in one.values()]
    record(
        "recipes_improve",
        **world.worst_of(every),
        bar="every recipe in each of three seeds: true win rate over the initial policy above 0.5, and above"
        " that of the best null, both 95% intervals over held-out prompts",
        holds=all(one["improves"] for one in every),
        unit="the lowest win rate of a recipe and seed",
        improving={way: sum(one[way]["improves"] for one in seeds) for way in WAYS},
        more={"recipes": {way: [one[way] for one in seeds] for way in WAYS}, "held_out": HELD_OUT},
    )


def all_recipes(seed: int, folder: Path) -> dict[str, dict[str, Any]]:
    trial, found = world.Trial(HELD_OUT, seed), dict[str, dict[str, Any]]()
    for way, (name, changes) in WAYS.items():
        outcome = world.run_recipe(world.settings_of(name, seed, folder / way, changes))
        found[way], agreed = trial.mark(outcome.policy), [one.agreement for one in outcome.rounds]
        found[way]["judge_agrees"] = [one and (one.value, one.low, one.high) for one in agreed]
        found[way]["rounds"] = [one.compared.win_rate for one in outcome.rounds]
        found[way] |= {"stopped": outcome.stopped, "improves": world.beats(found[way])}
        found[way]["seconds"] = sum(one.seconds for one in outcome.rounds)
    return found


def direct_rlaif_against_rlaif() -> None:
    seeds = over_seeds(direct_and_not, range(121, 127))
    found = mean_of([one["direct over rlaif"] for one in seeds])
    record(
        "direct_rlaif_against_rlaif",
        found,
        null={"RLAIF with a reward model, against itself": 0.5},
        bar="true win rate of direct RLAIF over RLAIF, both as shipped: interval over"
        f" {len(seeds)} seeds above 0.5, and direct RLAIF beats the initial policy and the best null in each",
        holds=found[1] > 0.5 and all(world.beats(one["direct"]) for one in seeds),
        over_initial={
            way: mean_of([one[way]["win_rate"][0] for one in seeds]) for way in ("direct", "rlaif")
        },
        seeds=seeds,
    )


def direct_and_not(seed: int, folder: Path) -> dict[str, Any]:
    trial, ways = world.Trial(600, seed), {"direct": "direct-rlaif", "rlaif": "rlaif"}
    policies = {
        way: world.run_recipe(world.settings_of(name, seed, folder / way)).policy
        for way, name in ways.items()
    }
    answers = [world.write(policy, trial.asked, 1, seed + 1) for policy in policies.values()]
    wins = world.win_each(*(one.scores(trial.asked) for one in answers))
    steps = (folder / "direct" / "round-1" / "policy" / "metrics.jsonl").read_text().splitlines()
    labels = (folder / "rlaif" / "round-1" / "label" / "verdicts.jsonl").read_text().splitlines()
    direct = int(sum(json.loads(step).get("completions", 0) for step in steps))
    found = {"direct over rlaif": round(statistics.fmean(wins), 4)}
    found |= {way: trial.mark(policy) for way, policy in policies.items()}
    return {**found, "verdicts": {"rlaif": len(labels), "direct": direct}}


LABELLED, PPO_PROMPTS, PAIRS = 1_000, 640, 1_000


def policy_beats_initial() -> None:
    seeds = over_seeds(trained, range(111, 114))
    reward_models(seeds)
    marks = [mark for one in seeds for mark in one["policies"].values()]
    record(
        "policy_beats_initial",
        **world.worst_of(marks),
        bar="in every seed DPO and PPO: true win rate over the initial policy above 0.5, and above that of"
        " the best null, both 95% intervals over held-out prompts; each part under 180 s",
        holds=all(map(world.beats, marks)) and max(max(one["cpu_seconds"].values()) for one in seeds) < 180,
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


def trained(seed: int, folder: Path) -> dict[str, Any]:
    cfg, seconds = world.settings_of("rlaif", seed, folder), dict[str, float]()
    given = {"data": str(folder / "labels"), "base": str(tiny_checkpoint()), "seed": seed}

    def timed(part: str, work: Callable[[], Path]) -> Path:
        began = time.process_time()
        made = work()
        seconds[part] = round(time.process_time() - began, 1)
        return made

    def settings(part: str, cfg: Any, **more: str) -> Any:
        return replace(cfg, **given, out=str(folder / part), **more)

    run = timed("labels", lambda: world.label_answers(folder / "labels", LABELLED, seed))
    reward = timed("reward", lambda: train_reward(settings("reward", cfg.reward_model)))
    ppo = settings("ppo", cfg.ppo, reward=str(reward))
    made = {
        "dpo": timed("dpo", lambda: train_dpo(settings("dpo", cfg.dpo))),
        "ppo": timed("ppo", lambda: train_ppo(ppo, prompts(PPO_PROMPTS, seed))),
    }
    trial, pairs = world.Trial(HELD_OUT, seed), held_out_pairs(PAIRS, seed)
    right = [one for one in world.rightly_chosen(world.preferences(run)) if one is not None]
    return {
        "judge": round(statistics.fmean(right), 4),
        "reward": share(world.agreement(reward, pairs)),
        "reward_null": world.null_agreement(pairs),
        "policies": {name: trial.mark(policy) for name, policy in made.items()},
        "cpu_seconds": seconds,
    }


def held_out_pairs(n: int, seed: int) -> list[world.Pair]:
    """The initial policy's own answers to held-out questions, without ties in truth."""
    asked = world.held_out(min(2 * n, 2_000), seed)
    answers = zip(asked, world.write(world.initial(), asked, world.ANSWERS, seed).texts, strict=True)
    pairs = ((prompt, *two) for prompt, some in answers for two in (some[:2], some[2:]))
    marked = ((row, world.better(world.request(row[0]), *row[1:])) for row in pairs)
    return [world.Pair(*row, truth) for row, truth in marked if truth is not None][:n]


if __name__ == "__main__":
    run_claims(recipes_improve, direct_rlaif_against_rlaif, policy_beats_initial)
