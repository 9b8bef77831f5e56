"""Reward models of a pretrained model of 270 M weights (Gemma 3), from labels that people and judges gave.

The labels are recorded in `shared/data`, by nobody on this project. All are marked on prompts that nothing
was learnt from, by what humans said there; clusters of the intervals are prompts.

`real_reward_model`: dialogues of HH-RLHF, how accuracy grows with labels, beside the best of what learnt
nothing and of a bag of words. `real_ai_vs_human_labels`: labels by judges in place of humans' (PandaLM,
LLMBar). `real_soft_labels`: probabilities in place of their sign. `real_two_orders`: the mean of a judge's
verdicts in both orders in place of one verdict, for as many pairs and for as many calls.

    python experiments/real_rewards.py [CLAIM ...]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from evidence import Interval, record, run_claims
from jurist.stats.intervals import clustered_mean, clustered_share
from real_pairs import (
    FOLDS,
    SPLITS,
    Array,
    Pairs,
    hh,
    hh_split,
    human_rewards,
    llmbar,
    pandalm,
    qlora,
    read_answers,
)
from support import gemma, recorded

SLOW = (
    "two hours of one core the first time; what is read and trained is kept in ~/.cache/jurist/real/rewards"
)
SEEDS = 20
CURVE, ADAPTED = (100, 200, 400, 800, 1600), (400, 1600)
MARGIN = 0.03
"""What AI labels may lose against human ones."""
DESIGN = {"splits": SPLITS, "folds": FOLDS}
ONE = "one order at random"


def decided(p_N: Array) -> Array:
    return ~np.isnan(p_N) & (p_N != 0.5)


def right(ahead: Array, gold_N: Array) -> Array:
    """How often, over the splits, the better answer of each pair is ahead; nan where neither is better."""
    sign_N = np.where(decided(gold_N), np.sign(gold_N - 0.5), np.nan)
    return np.mean((1 + np.sign(np.atleast_2d(ahead)) * sign_N) / 2, axis=0)


def over_prompts(values_N: Array, prompts_N: Array, of: Any = clustered_mean) -> Interval:
    known = ~np.isnan(values_N)
    found = of(values_N[known], prompts_N[known])
    return round(found.value, 4), round(found.low, 4), round(found.high, 4)


def accuracy(pairs: Pairs, ahead: Array, gold_N: Array) -> Interval:
    return over_prompts(right(ahead, gold_N), pairs.prompts, clustered_share)


def gain(pairs: Pairs, one: Array, other: Array, gold_N: Array) -> Interval:
    return over_prompts(right(one, gold_N) - right(other, gold_N), pairs.prompts)


def losses(ahead: Array, gold_N: Array) -> Array:
    """Log loss on each pair that is decided, the mean over the splits."""
    sign_N = np.where(decided(gold_N), np.sign(gold_N - 0.5), np.nan)
    found_N = np.logaddexp(0, -np.nan_to_num(sign_N) * ahead).mean(0)
    return np.where(np.isnan(sign_N), np.nan, found_N)


def shuffled(p_N: Array) -> Array:
    """Labels that a fair coin turns round, another one in each split."""
    return np.where(np.random.default_rng(0).random((SPLITS, len(p_N))) < 0.5, p_N, 1 - p_N)


def real_reward_model() -> None:
    pairs, most, (taught, apart) = hh(), max(CURVE), hh_split()
    p_N, asked = pairs.by["human"], pairs.some(apart)
    likely = read_answers(asked.matchups, gemma.english(), "logprobs")
    apart_N2 = np.array([(likely[m.first.id] - likely[m.second.id]).numpy() for m in asked.matchups])
    null = {
        "longer": asked.longer,
        "shorter": -asked.longer,
        "bag of words": pairs.by_words(p_N, taught[:most])[apart],
    }
    null |= {"base log-prob": apart_N2[:, 0], "base log-prob a token": apart_N2[:, 1]}
    draws = [np.random.default_rng(seed).permutation(taught) for seed in range(SEEDS)]

    def heads(n: int, p: Array) -> Array:
        labels = np.broadcast_to(p, (SEEDS, len(p_N)))
        return np.array(
            [pairs.by_head(p_N, draw[:n])[apart] for p_N, draw in zip(labels, draws, strict=True)]
        )

    null["heads from shuffled labels"] = heads(most, shuffled(p_N)[0])
    adapters = {n: asked.by_adapter(human_rewards(n)) for n in ADAPTED}
    head = pairs.by_head(p_N, taught[:most])[apart]
    by_words, by_head = pairs.held_out(p_N, pairs.by_words), pairs.held_out(p_N)
    in_parts = {"head": accuracy(pairs, by_head, p_N), "bag of words": accuracy(pairs, by_words, p_N)}
    in_parts |= {"shorter": accuracy(pairs, -pairs.longer, p_N), "pairs": len(p_N)}
    in_parts |= {"head over bag of words": gain(pairs, by_head, by_words, p_N)}
    gold_N = asked.by["human"]
    nulls = {name: accuracy(asked, ahead, gold_N) for name, ahead in null.items()}
    best = max(nulls, key=lambda name: nulls[name][0])
    value = accuracy(asked, adapters[most], gold_N)
    record(
        "real_reward_model",
        value,
        null={name: one[0] for name, one in nulls.items()},
        bar=f"an adapter from {most} human labels: interval of its held-out accuracy above the best null's",
        holds=value[1] > nulls[best][0],
        nulls=nulls,
        pairs={"taught": len(taught), "held out": len(gold_N)},
        seeds={"heads": SEEDS, "adapters": 1},
        heads={n: accuracy(asked, heads(n, p_N), gold_N) for n in CURVE},
        adapters={n: accuracy(asked, ahead, gold_N) for n, ahead in adapters.items()},
        adapter_and_head=accuracy(asked, adapters[most] / adapters[most].std() + head / head.std(), gold_N),
        over_best_null=gain(asked, adapters[most], null[best], gold_N),
        more={"all pairs, in five parts": in_parts},
    )


def real_ai_vs_human_labels() -> None:
    jury, judges = llmbar(), (*recorded.JUDGES, "jury")
    found = {"PandaLM": by_source(pandalm(), ("gpt-3.5", "PandaLM-7B"))}
    for name, hard in (("LLMBar, natural and processed", 0), ("LLMBar, adversarial", 1)):
        found[name] = by_source(jury.some(jury.by["adversarial"] == hard), judges)
    print(json.dumps(found, indent=1))
    nulls, first = found["PandaLM"]["nulls"], found["PandaLM"]["gpt-3.5"]
    record(
        "real_ai_vs_human_labels",
        first["AI over human, same pairs"],
        null={name: one[0] for name, one in nulls.items()},
        bar="heads from gpt-3.5's labels in place of humans', same pairs of PandaLM: difference in accuracy"
        f" on held-out human majorities, interval above -{MARGIN}; their accuracy above the best null's",
        holds=first["AI over human, same pairs"][1] > -MARGIN
        and first["AI labels, same pairs"][1] > max(one[0] for one in nulls.values()),
        more=DESIGN | found,
    )


def by_source(pairs: Pairs, judges: Sequence[str]) -> dict[str, Any]:
    """Heads from each source of labels, marked on human labels."""
    human_N = gold_N = pairs.by["human"]
    by_human = pairs.held_out(human_N)
    null = {"longer": pairs.longer, "always the first": np.ones(len(gold_N))}
    null |= {"bag of words": pairs.held_out(human_N, pairs.by_words)}
    null |= {"heads from shuffled labels": pairs.held_out(shuffled(human_N))}
    found: dict[str, Any] = {
        "marked": int(decided(gold_N).sum()),
        "prompts": len(set(pairs.prompts[decided(gold_N)])),
    }
    found |= {"nulls": {name: accuracy(pairs, ahead, gold_N) for name, ahead in null.items()}}
    found |= {"human labels": accuracy(pairs, by_human, gold_N)}
    for judge in judges:
        ai_N = pairs.by[judge]
        same = decided(ai_N) & decided(human_N)
        ai, human = (pairs.held_out(np.where(same, p_N, np.nan)) for p_N in (ai_N, human_N))
        found[judge] = {
            "same pairs": int(same.sum()),
            "the judge itself": accuracy(pairs, ai_N - 0.5, np.where(same, gold_N, np.nan)),
            "human labels, same pairs": accuracy(pairs, human, gold_N),
            "AI labels, same pairs": accuracy(pairs, ai, gold_N),
            "AI over human, same pairs": gain(pairs, ai, human, gold_N),
            "AI labels, all": accuracy(pairs, pairs.held_out(ai_N), gold_N),
            "AI over human, all": gain(pairs, pairs.held_out(ai_N), by_human, gold_N),
        }
    return found


def real_soft_labels() -> None:
    panda, jury, eight = pandalm(), llmbar(), qlora()
    sets = {
        "PandaLM, three humans": (panda, panda.by["shares"], panda.by["human"]),
        "LLMBar, all judges in both orders": (jury, jury.by["jury"], jury.by["human"]),
        "QLoRA, GPT-4 in both orders": (eight, eight.by["GPT-4"], eight.by["GPT-4"]),
    }
    found, gains, prompts = dict[str, Any](), [], []
    for name, (pairs, p_N, gold_N) in sets.items():
        soft, hard = pairs.held_out(p_N), pairs.held_out((1 + np.sign(p_N - 0.5)) / 2)
        apart = losses(soft, gold_N) - losses(hard, gold_N)
        found[name] = {
            "pairs": int((~np.isnan(p_N)).sum()),
            "between 0 and 1": int(((p_N > 0) & (p_N < 1)).sum()),
            "soft": accuracy(pairs, soft, gold_N),
            "hard": accuracy(pairs, hard, gold_N),
            "soft over hard": gain(pairs, soft, hard, gold_N),
            "log loss, hard": round(float(np.nanmean(losses(hard, gold_N))), 4),
            "log loss, soft less hard": over_prompts(apart, pairs.prompts),
        }
        gains.append(right(soft, gold_N) - right(hard, gold_N))
        prompts.append([f"{name} {at}" for at in pairs.prompts])
    print(json.dumps(found, indent=1))
    value = over_prompts(np.concatenate(gains), np.concatenate(prompts))
    record(
        "real_soft_labels",
        value,
        null={"the sign of the same labels": 0},
        bar="gain in accuracy on held-out pairs, all three sets together: interval above 0",
        holds=value[1] > 0,
        more=DESIGN | {"sets": found},
    )


def real_two_orders() -> None:
    panda, jury, eight = pandalm(), llmbar(), qlora()
    sets = {
        f"LLMBar, {judge}, marked by humans": (jury, held_out(jury, judge), jury.by["human"])
        for judge in recorded.JUDGES
    }
    name = "QLoRA, GPT-4, marked by it in both orders"
    by_itself = {name: (eight, held_out(eight, "GPT-4"), eight.by["GPT-4"])}
    everything, asked = np.arange(len(eight.matchups)), {one.prompt.id for one in eight.matchups}
    heads = {way: [eight.head(p_N, everything) for p_N in p_SN] for way, p_SN in ways(eight, "GPT-4").items()}
    for name, pairs in (("PandaLM", panda), ("LLMBar", jury)):
        new = np.array([one.prompt.id not in asked for one in pairs.matchups])
        ahead = {way: np.array([pairs.marks(head_D) for head_D in some]) for way, some in heads.items()}
        gold_N = np.where(new, pairs.by["human"], np.nan)
        sets[f"QLoRA, GPT-4, marked by humans on {name}"] = (pairs, ahead, gold_N)
    found = {}
    for name, (pairs, ahead, gold_N) in (sets | by_itself).items():
        found[name] = {way: accuracy(pairs, some, gold_N) for way, some in ahead.items()}
        found[name] |= {
            f"{way}, over {ONE}": gain(pairs, some, ahead[ONE], gold_N) for way, some in ahead.items()
        }
    print(json.dumps(found, indent=1))

    def pooled(way: str) -> Interval:
        values = [right(ahead[way], gold) - right(ahead[ONE], gold) for _, ahead, gold in sets.values()]
        prompts = [[f"{len(pairs.matchups)} {at}" for at in pairs.prompts] for pairs, _, _ in sets.values()]
        return over_prompts(np.concatenate(values), np.concatenate(prompts))

    value = pooled("both orders")
    record(
        "real_two_orders",
        value,
        null={ONE: 0},
        bar="accuracy on held-out human labels by the mean of both orders, less that by one order of the same"
        " pairs, all judges and sets together: interval above 0",
        holds=value[1] > 0,
        for_as_many_calls=pooled("both orders, half the pairs"),
        more=DESIGN | {"sets": found},
    )


def held_out(pairs: Pairs, judge: str) -> dict[str, Array]:
    return {way: pairs.held_out(p_SN) for way, p_SN in ways(pairs, judge).items()}


def ways(pairs: Pairs, judge: str) -> dict[str, Array]:
    """A judge's labels in each split, of pairs that it was read on in both orders."""
    dice, both = np.random.default_rng(1), np.broadcast_to(pairs.by[judge], (SPLITS, len(pairs.matchups)))
    orders = [np.where(np.isnan(both), np.nan, pairs.by[f"{judge}, order {n}"]) for n in (1, 2)]
    drawn = dice.random(both.shape) < 0.5
    half = np.where(dice.random(both.shape) < 0.5, both, np.nan)
    found = {"both orders": both, ONE: np.where(drawn, *orders), "the same order for all": orders[0]}
    return found | {"both orders, half the pairs": half}


if __name__ == "__main__":
    torch.set_num_threads(1)
    run_claims(real_reward_model, real_ai_vs_human_labels, real_soft_labels, real_two_orders)
