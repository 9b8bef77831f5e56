"""Over-optimisation on a real model (Gao, Schulman and Hilton 2022), and what its policies are worth.

`real_overoptimisation`: proxies are heads on the initial policy's own states, learnt from n pairs of its
answers that the gold model (`real_gold.py`) labelled by Bradley-Terry draws. What the best of up to 64
answers by a proxy comes to, and RLOO and PPO that learn from one, with KL and without, is marked by the gold
model on held-out prompts; the rule that ends a loop is asked after each round. Gold scores have mean 0 and
spread 1 over the initial policy's answers to training prompts.
`real_policies`: a round of rejection sampling, DPO and RLAIF, from what the gold model says of the initial
policy's answers, marked by the gold model on held-out prompts.

    python experiments/real_policies.py [CLAIM ...]
"""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from msgspec.structs import replace

import real_gold as gold
from evidence import interval, record, run_claims, share
from jurist.audits.overoptimisation import Checkpoint, Form, best_of_n_curve, past_peak, policy_to_use
from jurist.engines.checkpoints import weights_hash
from jurist.models.dpo import train_dpo
from jurist.models.ppo import train_ppo
from jurist.models.reward import solve
from jurist.models.rewards import JudgedRow
from jurist.models.settings import (
    DpoConfig,
    KlConfig,
    PPOConfig,
    RewardConfig,
    RolloutConfig,
    SftConfig,
)
from jurist.models.sft import train_sft
from jurist.policies.tokens import Example
from jurist.recipes.loop.settings import StopConfig
from jurist.records import Completion, Preference, Prompt, content_id
from jurist.stats.fits import expit
from jurist.stats.intervals import weighted_mean
from real_pairs import hh, hh_split, shown

SLOW = "two hours of one core, and the packages of `make real`"
SIZES, SEEDS = (100, 200, 400, 800, 1600), range(8)
DRAWN, EACH, POOL, POOLED = 96, 64, 400, 4
"""Held-out prompts with many answers each; prompts that are learnt from, and answers to each."""
PENALTIES = {"the penalty as found": None, "hardly any penalty": 1e-4}
"""Of the proxies: what predicts left-out prompts best, as `--learn head` has it, and less."""
DOUBLED = (2, 4, 8, 16, 32, 64)
COMPARED = 2
"""Answers to each prompt that a round is compared by: about as many as a loop compares by default."""
LEARNT, TESTED, CONSTANTS, NEAR = 24, 48, 16, 0.9
EPOCHS, BETA = 6, KlConfig().beta
RLAIF = ("rloo", 1600, 0.0)
RUNS = [("rloo", 400, 0.0), RLAIF, ("rloo", 400, BETA), ("gae", 400, 0.0)]
"""Method (PPO is `gae`), pairs that the proxy learnt from, and the price of a nat."""
LEARNING: dict[str, Any] = {"held_out": gold.HALF, "batch": 12, "lr": 6e-4, "save_every": 0}
LEARNING |= {"rollout": RolloutConfig(samples=2, max_tokens=gold.WRITTEN), "model": gold.PRECISION}
LEARNING |= {"lora": replace(gold.ADAPTER, merge=False), "epochs": EPOCHS}


class World(NamedTuple):
    """The initial policy, and what the gold model and heads on its states say of its answers."""

    initial: Path
    pool: gold.Answers
    """Answers that are learnt from."""
    reader: gold.Reader
    gold: gold.Reader
    mean: float
    spread: float

    def marks(self, states: Any) -> Any:
        return ((states @ self.gold.head - self.mean) / self.spread).double().numpy()


@cache
def world() -> World:
    torch.set_num_threads(1)
    initial = gold.initial()
    reader, judge = gold.Reader(initial), gold.Reader(gold.gold())
    pool = gold.Answers(initial, gold.asked(False, both=False)[:POOL], POOLED, "pool")
    gold_PK = pool.states(judge) @ judge.head
    mean, spread = float(gold_PK.mean()), float(gold_PK.std())
    return World(initial, pool, reader, judge, mean, spread)


class Proxy(NamedTuple):
    """A head on the initial policy's states."""

    head: Any
    right: float
    """How often it prefers of two other answers to a prompt the one that the gold model does."""


@cache
def proxies(ridge: float | None = None) -> dict[tuple[int, int], Proxy]:
    """By pairs and seed; the penalty is found as `--learn head` finds it, or given."""
    known, found = world(), {}
    pool, judge = known.pool, known.gold
    states_PKD, gold_PK = pool.states(known.reader), torch.from_numpy(known.marks(pool.states(judge)))
    every = [(at, i, j) for at in range(len(gold_PK)) for i in range(POOLED) for j in range(i)]
    for seed in SEEDS:
        dice = random.Random(seed)
        order = dice.sample(every, len(every))
        at, i, j = torch.tensor(order).T
        first = torch.tensor([dice.random() for _ in order]) < (gold_PK[at, i] - gold_PK[at, j]).sigmoid()
        pairs_N2D = torch.stack([states_PKD[at, i], states_PKD[at, j]], 1)
        labelled_N2D = torch.where(first[:, None, None], pairs_N2D, pairs_N2D.flip(1))
        rest = slice(max(SIZES), None)
        for n in SIZES:
            key = content_id(pool.file.stem, judge.name, n, seed, *([ridge] if ridge else []))[:12]
            file = gold.REAL / f"head-{key}.npy"
            if not file.exists():
                rows = [Example([prompt], ((), ())) for prompt in at[:n].tolist()]
                np.save(
                    file, solve(labelled_N2D[:n], rows, RewardConfig(learn="head", ridge=ridge))[0].numpy()
                )
            head = torch.from_numpy(np.load(file))
            ahead = (pairs_N2D[rest] @ head).diff(dim=1)[:, 0] < 0
            right = (ahead == (gold_PK[at, i] > gold_PK[at, j])[rest]).float().mean()
            found[n, seed] = Proxy(head, float(right))
    return found


# The best of n, and policies that learn from a proxy.


@cache
def drawn() -> tuple[gold.Answers, Any, Any]:
    """Many answers to held-out prompts, their states and gold scores."""
    answers = gold.Answers(world().initial, gold.asked(True, both=False)[:DRAWN], EACH, "drawn")
    return answers, answers.states(world().reader), world().marks(answers.states(world().gold))


def best_of(head: Any) -> tuple[Any, Any, Any]:
    """Of each prompt KL, gold score and proxy score of the best of n answers, for n = 1 ... EACH."""
    _, states_PKD, gold_PK = drawn()
    proxy_PK, ns = (states_PKD @ head).double().numpy(), range(1, EACH + 1)
    return *best_of_n_curve(proxy_PK, gold_PK, ns), best_of_n_curve(proxy_PK, proxy_PK, ns)[1]


class Watched:
    """A proxy as a reward. Of answers to held-out prompts it notes what the gold model says too."""

    def __init__(self, head: Any, file: Path) -> None:
        self.name, self._head, self._file = f"head {content_id(head.tolist())[:8]}", head, file
        self._tested = {one.id for one in gold.asked(True)[:TESTED]}

    def score_many(self, rows: Sequence[JudgedRow]) -> list[float]:
        proxy = (world().reader.states(rows) @ self._head).tolist()
        if rows[0][0].id in self._tested:
            marks = world().marks(world().gold.states(rows)).tolist()
            told = zip(rows, proxy, marks, strict=True)
            lines = [
                (one.id, new.tokens, new.finish == "stop", *both, new.text) for (one, new), *both in told
            ]
            with self._file.open("a") as file:
                file.write(json.dumps(lines) + "\n")
        return list(proxy)


class Run(NamedTuple):
    """What was measured, the initial policy first: `R` times, of `P` prompts, `K` answers each."""

    name: str
    folder: Path
    kl_R: Any
    """To the initial policy, in nats an answer, along the answers."""
    tokens_RPK: Any
    ended_RPK: Any
    proxy_RPK: Any
    gold_RPK: Any


def learnt(advantage: str, size: int, beta: float) -> Run:
    """A run of PPO with a value head, or of RLOO; made once."""
    known = world()
    how = {"advantage": advantage, "kl": KlConfig(beta=beta), **LEARNING}
    cfg = PPOConfig(base=str(known.initial), **how)
    name = f"{advantage}-{size}-{'on' if beta else 'off'}"
    key = content_id(known.pool.file.stem, weights_hash(known.gold.folder), how, gold.WRITTEN)[:10]
    folder = gold.REAL / f"{name}-{key}"
    notes = folder / "held_out.jsonl"
    if not (folder / "model").exists():
        folder.mkdir(parents=True, exist_ok=True)
        notes.unlink(missing_ok=True)
        prompts = [*gold.asked(False)[:LEARNT], *gold.asked(True)[:TESTED]]
        watched = Watched(proxies()[size, 0].head, notes)
        train_ppo(replace(cfg, out=str(folder)), prompts, watched, shown)
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    kl_R = np.array([one["kl_sequence"] for one in steps if one.get("of") == "held_out"])
    # Prompts stand there in the order in which their answers were whole.
    rows = [
        [one[1:5] for one in sorted(json.loads(line), key=lambda one: str(one[0]))] for line in notes.open()
    ]
    found_RPKX = np.array(rows, dtype=float).reshape(len(kl_R), TESTED, -1, 4)
    return Run(name, folder, kl_R, *np.moveaxis(found_RPKX, -1, 0))


# The rule that ends a loop.


def checkpoint(at: int, kl: float, new_PA: Any, old_PA: Any, proxy: float) -> Checkpoint:
    """A round compared with the initial policy by the gold model, some answers of each to a prompt."""
    p_P = expit(world().spread * (new_PA - old_PA)).mean(1)
    value, se, n = weighted_mean(p_P, np.arange(len(p_P)))
    by_prompt = {str(prompt): p for prompt, p in enumerate(p_P.tolist())}
    return Checkpoint(f"round {at}", float(kl), value, se, n, float(proxy), by_prompt)


def rounds_of_run(run: Run) -> tuple[list[Checkpoint], Any]:
    """The first answers are compared; what was truly gained is by the others."""
    told = zip(run.kl_R, run.gold_RPK[:, :, :1], run.proxy_RPK.mean((1, 2)), strict=True)
    old_PA, true_R = run.gold_RPK[0, :, :1], run.gold_RPK[:, :, 1:].mean((1, 2))
    points = [checkpoint(at, kl, new_PA, old_PA, proxy) for at, (kl, new_PA, proxy) in enumerate(told)]
    return points[1:], true_R - true_R[0]


def rounds_of_best(head: Any, seed: int) -> tuple[list[Checkpoint], Any]:
    """A loop of best-of-n with twice the n each round; answers are drawn from those that there are, and what
    was truly gained is over all ways to draw them."""
    _, states_PKD, gold_PK = drawn()
    kl_PN, by_gold_PN, by_proxy_PN = best_of(head)
    proxy_PK, dice, points = (states_PKD @ head).numpy(), np.random.default_rng(seed), []
    every_PK = np.tile(np.arange(EACH), (len(gold_PK), 1))
    for at, n in enumerate(DOUBLED, 1):
        chosen = []
        for _ in range(COMPARED):
            some_PN = dice.permuted(every_PK, axis=1)[:, :n]
            best_P1 = np.take_along_axis(proxy_PK, some_PN, 1).argmax(1)[:, None]
            chosen.append(np.take_along_axis(some_PN, best_P1, 1))
        which_PA = np.concatenate(chosen, 1)
        new_PA, old_PA = (
            np.take_along_axis(gold_PK, one, 1)
            for one in (which_PA, dice.integers(EACH, size=which_PA.shape))
        )
        points.append(checkpoint(at, kl_PN[:, n - 1].mean(), new_PA, old_PA, by_proxy_PN[:, n - 1].mean()))
    gain_N = by_gold_PN.mean(0) - by_gold_PN[:, 0].mean()
    return points, gain_N[np.array([1, *DOUBLED]) - 1]


def outcome(points: list[Checkpoint], gain_R: Any, form: Form) -> dict[str, Any]:
    """Where a loop stops, asked after each round as in `recipes/loop/stopping.py` with its defaults, and what
    share of the best round's gold gain the policy has that it says to use; beside other rules."""
    seen = range(StopConfig().peak, len(points) + 1)
    stopped = next((at for at in seen if past_peak(points[:at], form)), None)
    names = ["the initial policy", *(one.name for one in points)]
    uses = {
        "as shipped": names.index(policy_to_use(points[:stopped]).name),
        "the last round": len(points),
        "the first round": 1,
        "highest win rate": int(np.argmax([0.5, *(one.win_rate for one in points)])),
    }
    best = max(float(gain_R.max()), 1e-9)
    kept = {rule: round(float(gain_R[use]) / best, 4) for rule, use in uses.items()}
    told = {"stopped": stopped, "use": uses["as shipped"], "best": int(gain_R.argmax()), "kept": kept}
    told |= {"gain": gain_R.round(4).tolist(), "win_rate": [round(one.win_rate, 4) for one in points]}
    return told | {"d": [round(one.d, 3) for one in points]}


def by_size(n: int, ridge: float | None) -> dict[str, Any]:
    """Of proxies from n pairs the means over seeds of gold and proxy against the root of the KL; where each
    seed's gold is highest. Intervals are over prompts."""
    curves = [best_of(proxies(ridge)[n, seed].head) for seed in SEEDS]
    kl_PN, *both = (np.mean([one[at] for one in curves], axis=0) for at in range(3))
    rows = [
        {"n": k, "d": round(kl_PN[:, k - 1].mean() ** 0.5, 3)}
        | {
            name: interval((one_PN[:, k - 1] - one_PN[:, 0]).tolist())
            for name, one_PN in zip(("gold", "proxy"), both, strict=True)
        }
        for k in DOUBLED
    ]
    peaks = sorted(int(marks_PN.mean(0).argmax()) + 1 for _, marks_PN, _ in curves)
    right = interval([proxies(ridge)[n, seed].right for seed in SEEDS])
    gold_PN, most = both[0], max(rows, key=lambda row: row["gold"][0])["n"]
    fall = interval((gold_PN[:, most - 1] - gold_PN[:, EACH - 1]).tolist())
    return {"right": right, "peaks_at_n": peaks, "best": most, "fall": fall, "curve": rows}


def by_round(run: Run) -> list[dict[str, Any]]:
    """Gold and proxy against the root of the KL, over the initial policy's."""
    names = {"gold": run.gold_RPK, "proxy": run.proxy_RPK}
    return [
        {"d": round(max(kl, 0.0) ** 0.5, 3), "kl": round(kl, 3)}
        | {name: interval((one_RPK[at] - one_RPK[0]).mean(1).tolist()) for name, one_RPK in names.items()}
        | {"tokens": round(run.tokens_RPK[at].mean(), 1), "ended": round(run.ended_RPK[at].mean(), 3)}
        for at, kl in enumerate(run.kl_R.tolist())
        if at
    ]


def gold_is_right() -> dict[str, Any]:
    """About held-out human labels, beside the longer and the shorter answer."""
    asked = hh().some(hh_split()[1])
    found = {
        "right": asked.by_adapter(gold.gold()) > 0,
        "longer": asked.longer > 0,
        "shorter": asked.longer < 0,
    }
    return {name: share(one.tolist()) for name, one in found.items()} | {"held_out": len(asked.matchups)}


def real_overoptimisation() -> None:
    runs = [learnt(*one) for one in RUNS]
    sizes = {f"{n} pairs, {name}": by_size(n, ridge) for name, ridge in PENALTIES.items() for n in SIZES}
    loops = {run.name: outcome(*rounds_of_run(run), "rl") for run in runs}
    for name, ridge in PENALTIES.items():
        for (n, seed), one in proxies(ridge).items():
            loops[f"best of n, {n} pairs, {name}, {seed}"] = outcome(
                *rounds_of_best(one.head, seed), "best_of_n"
            )
    kept = [one["kept"] for one in loops.values()]
    rules = {rule: share([one[rule] >= NEAR for one in kept]) for rule in kept[0]}
    turned = [name for name, one in sizes.items() if one["fall"][1] > 0]
    record(
        "real_overoptimisation",
        rules["as shipped"],
        null={rule: one[0] for rule, one in rules.items() if rule != "as shipped"},
        bar=f"in >= 80 % of the runs the round to use by the loop's rule has {NEAR:.0%} of the best round's"
        f" gold gain; for at least three proxies gold falls to n = {EACH} (intervals above 0), while the"
        " proxy rises",
        holds=rules["as shipped"][0] >= 0.8 and len(turned) >= 3,
        unit=f"runs: {len(loops) - len(RUNS)} of the best of n up to 64, {len(RUNS)} of RLOO and PPO",
        turned=turned,
        gold=gold_is_right(),
        more={"best_of_n": sizes, "learning": {run.name: by_round(run) for run in runs}, "loops": loops},
    )


# What the policies are worth.


def trained() -> dict[str, Path]:
    """A round of each method from the initial policy."""
    known, marks_PK = world(), world().marks(world().pool.states(world().gold))
    rows = zip(known.pool.prompts, known.pool.texts, marks_PK.argmax(1), marks_PK.argmin(1), strict=True)
    ranked = [(prompt, some[best], some[worst]) for prompt, some, best, worst in rows]
    ranked = [one for one in ranked if one[1].text and one[2].text and one[1].text != one[2].text]
    pairs = [Preference(content_id(one.id, *two), one, *two, 1.0) for one, *two in ranked]
    how = {"base": str(known.initial), "model": gold.PRECISION, "lora": LEARNING["lora"], "batch": 16}
    key = content_id(known.pool.file.stem, weights_hash(known.gold.folder))[:8]
    sft = SftConfig(out=str(gold.REAL / f"rejection-{key}"), lr=5e-4, **how)
    dpo = DpoConfig(out=str(gold.REAL / f"dpo-{key}"), lr=2e-4, **how)
    return {
        "rejection sampling": train_sft(sft, [one[:2] for one in ranked], shown),
        "DPO": train_dpo(dpo, pairs, shown),
        "RLAIF": learnt(*RLAIF).folder / "model",
    }


def real_policies() -> None:
    initial, _, initial_PK = drawn()

    def wins(marks_PK: Any, against_PK: Any = initial_PK) -> Any:
        """Of each prompt, how often an answer is above one of the initial policy; equal ones count a half."""
        return ((np.sign(marks_PK[:, :, None] - against_PK[:, None]) + 1) / 2).mean((1, 2))

    def told(answers: gold.Answers) -> dict[str, float]:
        written = [one for _, one in answers.rows]
        tokens = statistics.fmean(one.tokens or 0 for one in written)
        ended = statistics.fmean(one.finish == "stop" for one in written)
        return {"tokens": round(tokens, 2), "ended": round(ended, 3)}

    def marked(folder: Path, name: str) -> tuple[gold.Answers, Any]:
        answers = gold.Answers(folder, gold.asked(True, both=False)[:DRAWN], 4, name)
        return answers, world().marks(answers.states(world().gold))

    found = {}
    for name, folder in trained().items():
        answers, marks_PK = marked(folder, name.split()[0].lower())
        gain_P = marks_PK.mean(1) - initial_PK.mean(1)
        found[name] = {"win_rate": interval(wins(marks_PK).tolist()), "gold": interval(gain_P.tolist())}
        found[name] |= told(answers)
    lengths_PK = np.array([[len(one.text) for one in some] for some in initial.texts])
    longest_PG = lengths_PK.reshape(DRAWN, -1, 4).argmax(2) + np.arange(0, EACH, 4)
    text, constant_P = best_constant(initial_PK)
    nulls = {
        "the initial policy again": wins(initial_PK[:, :4], initial_PK[:, 4:]),
        "the longest of 4": wins(np.take_along_axis(initial_PK, longest_PG, 1)),
        "the base model": wins(marked(gold.base(), "base")[1]),
        f"one answer to all: {text[:60]}": constant_P,
    }
    null = {name: interval(one.tolist()) for name, one in nulls.items()}
    best = max(null, key=lambda name: null[name][0])
    worst = min(found, key=lambda name: found[name]["win_rate"][1])
    record(
        "real_policies",
        found[worst]["win_rate"],
        null={best: null[best][0]},
        bar="each of rejection sampling, DPO and RLAIF: win rate over the initial policy by the gold model on"
        " held-out prompts, interval above 0.5 and above the best null",
        holds=found[worst]["win_rate"][1] > max(0.5, null[best][0]),
        unit=f"the method whose interval begins lowest, {worst}; the prompt is the unit",
        more={"methods": found, "nulls": null, "initial": told(initial), "prompts": DRAWN},
    )


def best_constant(initial_PK: Any) -> tuple[str, Any]:
    """Of answers that the gold model marked highest for their prompts, the one that it marks highest on the
    average of other prompts that are learnt from; and how often it wins on the held-out ones."""
    known, prompts = world(), gold.asked(True, both=False)[:DRAWN]
    marks_PK = known.marks(known.pool.states(known.gold))
    order = np.argsort(-marks_PK.max(1))[:CONSTANTS]
    tried = [known.pool.texts[at][marks_PK[at].argmax()] for at in order]

    def marks(some: Sequence[Completion], asked: Sequence[Prompt]) -> Any:
        rows = [(prompt, replace(one, prompt_id=prompt.id)) for prompt in asked for one in some]
        return known.marks(known.gold.states(rows)).reshape(-1, len(some))

    best = tried[int(marks(tried, known.pool.prompts[:: POOL // 24]).mean(0).argmax())]
    return best.text, ((np.sign(marks([best], prompts) - initial_PK) + 1) / 2).mean(1)


if __name__ == "__main__":
    run_claims(real_overoptimisation, real_policies)
