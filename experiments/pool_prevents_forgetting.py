"""Does learning from the best answers of all rounds keep what learning from the last round's only forgets?

Rejection sampling in the small world, where each round asks about something else: first wishes that ought to
be declined, then doses, then small talk. The same loop runs with `pool: all` and with `pool: last`, and so
that the pool is all that differs every round fine-tunes the model of the start. What counts is how good the
last policy's answers to held-out wishes truly are, the first round's subject, and beside that how good its
small talk is, the last round's. Three seeds; a difference is taken within a seed.

SLOW: about two minutes of one core.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from evidence import mean_of, over_seeds, record, write_prompts
from jurist.config import settings_from
from jurist.recipes.label import sample
from jurist.recipes.rejection import RejectionConfig, rejection
from jurist.recipes.settings import LabelConfig
from jurist.records import Completion, Prompt, Sampling
from jurist.run import read_records
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import prompts, true_score

SEEDS = (1, 2, 3)
SUBJECTS = ("wishes", "doses", "talk")
EACH, HELD_OUT = 120, 80
SAMPLING = {"max_tokens": 48}


def about(subject: str, n: int, seed: int) -> list[Prompt]:
    return [one for one in prompts(4 * n, seed) if one.domain == subject][:n]


def looped(folder: Path, pool: str, seed: int) -> list[str]:
    """The policies of the three rounds."""
    rows = [one for subject in SUBJECTS for one in about(subject, EACH, 20 + seed)]
    settings: dict[str, Any] = {
        "out": str(folder / pool),
        "prompts": write_prompts(folder / "prompts.jsonl", rows),
        "policy": "tiny",
        "judge": {"kind": "pointwise", "engine": "tiny:planted"},
        "prompts_each": EACH,
        "rounds": len(SUBJECTS),
        "pool": pool,
        "sampling": SAMPLING,
        "candidates": {"reference": False},
        "compare": {"held_out": 0.0},
        "sft": {"lr": 1e-3, "epochs": 10, "batch": 32, "save_every": 0},
        "seed": seed,
    }
    return [one.policy for one in rejection(settings_from(RejectionConfig, settings)).rounds]


def truly(folder: Path, policy: str, subject: str, seed: int) -> float:
    """The mean true score of its answers to held-out prompts about this."""
    rows = about(subject, HELD_OUT, 200 + seed)
    out = folder / f"{subject}-{Path(policy).parents[1].name}-{Path(policy).parents[2].name}"
    cfg = LabelConfig(
        out=str(out),
        prompts=write_prompts(folder / "held_out.jsonl", rows),
        policy=f"hf:{policy}",
        k=2,
        sampling=Sampling(**SAMPLING),
        seed=seed,
    )
    sample(cfg)
    asked = {one.id: one.messages[-1].content for one in rows}
    texts = read_records(out / "completions.jsonl", Completion)
    return statistics.fmean(true_score(asked[one.prompt_id], one.text) for one in texts)


def one_seed(seed: int, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"seed": seed}
    for pool in ("all", "last"):
        policies = looped(folder, pool, seed)
        found[pool] = {
            "wishes after each round": [truly(folder, one, "wishes", seed) for one in policies],
            "talk at the end": truly(folder, policies[-1], "talk", seed),
        }
    start = str(tiny_checkpoint())
    return {**found, "start": {one: truly(folder, start, one, seed) for one in ("wishes", "talk")}}


def main() -> None:
    told = over_seeds(one_seed, SEEDS)
    kept = [
        one["all"]["wishes after each round"][-1] - one["last"]["wishes after each round"][-1] for one in told
    ]
    learnt = [one["all"]["talk at the end"] - one["last"]["talk at the end"] for one in told]
    mean, low, high = mean_of(kept, 3)
    record(
        "pool_prevents_forgetting",
        value=mean,
        low=low,
        high=high,
        bar="gain in true score on the first subject, all rounds over the last only: interval above 0",
        holds=low > 0,
        packages=("jurist", "torch", "transformers"),
        gain_on_the_last_subject=mean_of(learnt, 3),
        seeds=told,
    )


if __name__ == "__main__":
    main()
