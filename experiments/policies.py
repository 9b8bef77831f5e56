"""Are policies that learnt from an AI judge's labels truly better, in the tiny world?

`nulls_lose`: what learnt nothing, beside the initial policy: every constant answer of the corpus and the
best of them joined, openings, the question copied, the longest of its answers, empty phrases, every noun
named; chosen on the very questions they are marked on. `recipes_improve`: the recipe files as shipped.
`direct_rlaif_against_rlaif` (Lee et al. 2023): the judge scores each answer as it is written, or a reward
model does that learnt from its comparisons; unlike in the paper, both have PPO with a learnt value.
`policy_beats_initial` and `reward_model_agrees`: DPO, and PPO on a reward model, from the planted judge's
labels alone, with the training settings of `recipes/rlaif.yaml` and more prompts. `soft_labels_help`: a
reward model from the judge's probabilities, or from its votes, on pairs of which many are nearly ties. All
are marked on held-out questions.

    python experiments/policies.py [CLAIM ...]
"""

import itertools
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

import small_world as world
from evidence import Interval, differences, interval, mean_of, over_seeds, record, run_claims, share
from jurist.models.dpo import train_dpo
from jurist.models.ppo import train_ppo
from jurist.models.reward import train_reward
from jurist.stats.agreement import ece
from jurist.tiny.answers import GOOD, MEDIOCRE, Habits, compose, null_wins, won
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import Side, prompts, true_score

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

QUESTIONS, SEED, SCREENED = 2000, 20, 400


def nulls_lose() -> None:
    asked = world.held_out(QUESTIONS, SEED)
    requests = [world.request(one) for one in asked]
    answers = world.write(world.initial(), asked, world.ANSWERS, SEED).texts
    greedy = [text for [text] in world.write(world.initial(), asked, temperature=0.0).texts]
    rows = [(question, first, own) for question, [first, *own] in zip(requests, answers, strict=True)]
    found = {name: interval(wins) for name, wins in null_wins(rows).items()}
    constant, searched = best_constant([row[:2] for row in rows])

    def against(texts: Sequence[str]) -> Interval:
        scored = zip(rows, texts, strict=True)
        return interval([won(true_score(q, new) - true_score(q, old)) for (q, old, _), new in scored])

    found[f"best constant: {constant}"] = against([constant] * len(asked))
    again, draw = found.pop("untrained"), random.Random(SEED)
    found = dict(sorted(found.items(), key=lambda one: -one[1][0]))
    print(*(f"{row} {name[:90]}" for name, row in found.items()), sep="\n")
    best = next(iter(found))
    record(
        "nulls_lose",
        found[best],
        null=best,
        bar="the upper end of the best null's interval is below 0.5",
        holds=max(row[2] for row in found.values()) < 0.5,
        constants_searched=searched,
        at_temperature_0=against(greedy),
        scripted_and_good=against([compose(one, GOOD, draw) for one in requests]),
        initial_true_score=round(statistics.fmean(true_score(q, first) for q, first, _ in rows), 4),
        more={"nulls": found, "drawn_again": again, "questions": QUESTIONS},
    )


def best_constant(rows: Sequence[tuple[str, str]]) -> tuple[str, int]:
    """The best of all constants, and among how many."""

    def wins(text: str, among: Sequence[tuple[str, str]]) -> float:
        return statistics.fmean(won(true_score(q, text) - true_score(q, answer)) for q, answer in among)

    draw, few = random.Random(SEED), rows[:SCREENED]
    corpus = ((world.request(one), habits) for one in prompts(3000, SEED) for habits in (MEDIOCRE, GOOD))
    found = {compose(*one, draw) for one in corpus}
    ranked = sorted(found, key=lambda text: -wins(text, few))
    # Domains alternate, so this takes the best constant of each.
    parts = {*ranked[:6], *(max(found, key=lambda text: wins(text, few[at::4])) for at in range(4))}
    joined = {" ".join(some) for n in (2, 3) for some in itertools.permutations(sorted(parts), n)}
    joined |= {one.replace(". ", ", ") for one in joined}
    ranked = sorted({*ranked[:40], *joined}, key=lambda text: -wins(text, few))[:60]
    return max(ranked, key=lambda text: wins(text, rows)), len(found) + len(joined)


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
        row, agreed = trial.mark(outcome.policy), [one.agreement for one in outcome.rounds]
        row["judge_agrees"] = [one and (one.value, one.low, one.high) for one in agreed]
        row["rounds"] = [one.compared.win_rate for one in outcome.rounds]
        row |= {"stopped": outcome.stopped, "improves": world.beats(row)}
        found[way] = {**row, "seconds": sum(one.seconds for one in outcome.rounds)}
    return found


def direct_rlaif_against_rlaif() -> None:
    seeds = over_seeds(direct_and_not, range(121, 127))
    found = mean_of([one["direct over rlaif"] for one in seeds])
    over_initial = {way: mean_of([one[way]["win_rate"][0] for one in seeds]) for way in ("direct", "rlaif")}
    record(
        "direct_rlaif_against_rlaif",
        found,
        null={"RLAIF with a reward model, against itself": 0.5},
        bar="true win rate of direct RLAIF over RLAIF, both as shipped: interval over"
        f" {len(seeds)} seeds above 0.5, and direct RLAIF beats the initial policy and the best null in each",
        holds=found[1] > 0.5 and all(world.beats(one["direct"]) for one in seeds),
        more={"over_initial": over_initial, "seeds": seeds},
    )


def direct_and_not(seed: int, folder: Path) -> dict[str, Any]:
    trial, found, scores = world.Trial(600, seed), dict[str, Any](), []
    for way, name in (("direct", "direct-rlaif"), ("rlaif", "rlaif")):
        policy = world.run_recipe(world.settings_of(name, seed, folder / way)).policy
        scores.append(world.write(policy, trial.asked, 1, seed + 1).scores(trial.asked))
        found[way] = trial.mark(policy)
    steps = (folder / "direct" / "round-1" / "policy" / "metrics.jsonl").read_text().splitlines()
    labels = (folder / "rlaif" / "round-1" / "label" / "verdicts.jsonl").read_text().splitlines()
    direct = int(sum(json.loads(step).get("completions", 0) for step in steps))
    found["direct over rlaif"] = round(statistics.fmean(world.win_each(*scores)), 4)
    return {**found, "verdicts": {"rlaif": len(labels), "direct": direct}}


LABELLED, PPO_PROMPTS, PAIRS = 1_000, 640, 1_000


def policy_beats_initial() -> None:
    seeds = over_seeds(trained, range(111, 114))
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
    made = {"dpo": timed("dpo", lambda: train_dpo(settings("dpo", cfg.dpo)))}
    made["ppo"] = timed("ppo", lambda: train_ppo(ppo, prompts(PPO_PROMPTS, seed)))
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


FEW = 400
ASSISTANT = Habits(wrong=0.15, guessing=0.35, asking=0.2, harmful=0.25, cold=0.3, vague=0.1, rambling=0.1)


def soft_labels_help() -> None:
    seeds = over_seeds(soft_and_hard, range(6_000, 6_016))

    def apart(one: str, other: str) -> Interval:
        return mean_of(differences(*([float(row[name]) for row in seeds] for name in (one, other))))

    gain, over_length = apart("soft", "hard"), apart("soft", "null_agrees")
    record(
        "soft_labels_help",
        gain,
        null={"votes in place of probabilities": 0.0},
        bar=f"gain in true accuracy, paired over {len(seeds)} seeds, and lead over the best that the answers'"
        " lengths alone tell: both intervals above 0",
        holds=gain[1] > 0 and over_length[1] > 0,
        more={"over_length": over_length, "seeds": seeds, "pairs": FEW, "test_pairs": PAIRS},
    )


def assistants_pairs(n: int, seed: int, side: Side, ties: bool) -> list[world.Pair]:
    """Prompts with two answers of the assistant, with or without ties in truth."""
    draw, found = random.Random(seed), []
    for prompt in prompts(2 * n if side == "train" else 2_000, seed, side):
        one, other = (compose(world.request(prompt), ASSISTANT, draw) for _ in range(2))
        truth = world.better(world.request(prompt), one, other)
        if one != other and (ties or truth is not None):
            found.append(world.Pair(prompt, one, other, bool(truth)))
    return found[:n]


def soft_and_hard(seed: int, folder: Path) -> dict[str, float | str]:
    pairs = assistants_pairs(FEW, seed, "train", ties=True)
    rows = [(world.request(one.prompt), one.one, one.other) for one in pairs]
    run = world.label_pairs(folder / "run", rows, seed=seed)
    # Of the judge: how good it is and how honest its probabilities are on what is no tie; and the ties.
    labels = list(world.preferences(run))
    truth = world.rightly_chosen(labels)
    known = [(row.p, float(one)) for row, one in zip(labels, truth, strict=True) if one is not None]
    p, right = zip(*known, strict=True)
    found: dict[str, float | str] = {"judge": round(statistics.fmean(right), 4)}
    found |= {"judge_ece": round(ece(p, right), 4), "ties": round(truth.count(None) / len(truth), 4)}
    test = assistants_pairs(PAIRS, seed, "held_out", ties=False)
    cfg = world.settings_of("rlaif", seed, folder).reward_model
    for name in ("soft", "hard"):
        given = {"data": str(run), "base": str(tiny_checkpoint()), "seed": seed, "soft": name == "soft"}
        model = train_reward(replace(cfg, **given, out=str(folder / name)))
        found[name] = round(statistics.fmean(world.agreement(model, test)), 4)
    null, value = world.null_agreement(test)
    return {**found, "null": null, "null_agrees": value}


if __name__ == "__main__":
    run_claims(nulls_lose, recipes_improve, direct_rlaif_against_rlaif)
    run_claims(policy_beats_initial, soft_labels_help)
