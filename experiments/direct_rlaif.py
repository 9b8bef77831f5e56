"""Does asking the judge at every step do better than a reward model learnt from its labels (Lee et al. 2023)?

`recipes/rlaif.yaml` twice with the same judge, policy, prompts, seeds and steps: once with a reward model
learnt from all the judge's pairs, once with `--reward judge`, where it scores each answer as it is written.
The two rewards lie on different scales, so each answer is weighed against the others to its prompt (GRPO);
what is left of a reward is how much better it finds one than another. Both are steered to the same KL.

Otherwise than in the paper, which has REINFORCE with a learnt baseline. With one of those, or with RLOO,
direct RLAIF was level or behind on the seeds that were tried, perhaps because its scores differ more from
prompt to prompt.

Better is what the small world knows to be better: each policy and the start answer held-out prompts once.
Beside each raw win rate stands the one at equal length: the paper's logistic regression of winning on the
ratio of the two lengths, evaluated at 1. Intervals are over the seeds.

SLOW: about eight minutes of one core.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize

from evidence import mean_of, record
from jurist.cli.options import known_settings, parse
from jurist.config import load_settings
from jurist.recipes.rlaif import RlaifConfig, rlaif
from jurist.records import Verdict
from jurist.run import read_records
from jurist.stats.fits import sigmoid
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import true_score
from small_world import Said, held_out_prompts, metrics, request, said_by

SEEDS = (31, 32, 33, 34, 35, 36)
HELD_OUT = 600
RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "rlaif.yaml"
SAME = {"prompts": "tiny:300", "compare": {"held_out": 0.0}}
STEPS = "--ppo.samples 4 --ppo.batch 32 --ppo.minibatches 2 --ppo.epochs 4 --ppo.lr 1e-3"
HELD = "--ppo.advantage grpo --ppo.beta 0.1 --ppo.kl_target 5 --ppo.horizon 300"
WAYS = {"rlaif": "--prefer.rule all_pairs", "direct": "--reward judge"}
ASKED = held_out_prompts(HELD_OUT)


def taught(folder: Path, words: str, seed: int) -> tuple[Path, dict[str, float]]:
    """The policy, and what it took: processor time, and the judge's verdicts."""
    began = time.process_time()
    told, _ = parse(f"{words} {STEPS} {HELD}".split(), known_settings(RlaifConfig))
    cfg = load_settings(RlaifConfig, RECIPE, told, out=str(folder), seed=seed, **SAME)
    policy = Path(rlaif(cfg).policy)
    labels = folder / "round-1" / "label" / "verdicts.jsonl"
    live = int(sum(one["completions"] for one in metrics(policy.parent)))
    asked = sum(1 for _ in read_records(labels, Verdict)) if labels.exists() else live
    return policy, {"cpu_seconds": round(time.process_time() - began, 1), "verdicts": asked}


def against(ours: Said, theirs: Said) -> dict[str, float]:
    """True win rate, equal answers a half, and the same at equal length."""
    rows = [(request(one), a, b) for one, [a], [b] in zip(ASKED, ours.texts, theirs.texts, strict=True)]
    wins = [half(true_score(asked, a) - true_score(asked, b)) for asked, a, b in rows]
    ratios = [len(a.split()) / max(1, len(b.split())) for _, a, b in rows]
    return {
        "win_rate": round(statistics.fmean(wins), 4),
        "at_equal_length": round(at_equal_length(wins, ratios), 4),
        "length_ratio": round(statistics.fmean(ratios), 3),
    }


def half(lead: float) -> float:
    return 0.5 if abs(lead) < 1e-9 else float(lead > 0)


def at_equal_length(wins: Sequence[float], ratios: Sequence[float]) -> float:
    """What a logistic regression on the ratio of lengths says of a ratio of 1."""
    won_N, longer_N = np.array(wins), np.array(ratios) - 1.0

    def loss(told: Any) -> float:
        odds_N = told[0] + told[1] * longer_N
        return float(np.mean(np.logaddexp(0.0, odds_N) - won_N * odds_N))

    return sigmoid(minimize(loss, [0.0, 0.0]).x[0])


def one_seed(seed: int) -> dict[str, Any]:
    start = said_by(tiny_checkpoint(), ASKED, 1, seed)
    found: dict[str, Any] = {"seed": seed}
    said: dict[str, Said] = {}
    for way, words in WAYS.items():
        with tempfile.TemporaryDirectory() as folder:
            policy, cost = taught(Path(folder), words, seed)
            said[way] = said_by(policy, ASKED, 1, 1_000 + seed)
            kl = round(said[way].kl(policy, tiny_checkpoint()), 2)
        score = round(statistics.fmean(one for [one] in said[way].true_scores(ASKED)), 3)
        found[way] = {**against(said[way], start), "true_score": score, "kl": kl, **cost}
    found["direct against rlaif"] = against(said["direct"], said["rlaif"])
    print(found, flush=True)
    return found


def of_all(seeds: Sequence[dict[str, Any]]) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Mean and 95 % interval of every win rate."""
    return {
        who: {what: mean_of([one[who][what] for one in seeds]) for what in ("win_rate", "at_equal_length")}
        for who in (*WAYS, "direct against rlaif")
    }


def main() -> None:
    torch.set_num_threads(1)
    seeds = [one_seed(seed) for seed in SEEDS]
    told = of_all(seeds)
    mean, low, high = told["direct against rlaif"]["win_rate"]
    record(
        "direct_rlaif_against_rlaif",
        value=mean,
        low=low,
        high=high,
        bar="true win rate of direct RLAIF over RLAIF with the same judge: interval over"
        f" {len(SEEDS)} seeds above 0.5",
        holds=low > 0.5,
        packages=("jurist", "torch", "transformers"),
        over_seeds=told,
        seeds=seeds,
        held_out=HELD_OUT,
    )


if __name__ == "__main__":
    main()
