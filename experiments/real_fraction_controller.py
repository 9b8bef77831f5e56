"""Does a share of people's rows, raised when the answers grow alike, keep a loop that feeds on itself varied?

Rejection sampling in the small world for five generations, each fine-tuned from the one before on what that
one wrote: the best of four by a judge, or whatever it wrote. Without people's rows, and with the controller
as it is shipped (`real.share` 0.3, `real.alarm` 0.05), where people are the small world's own writers, whom
the start learnt from. Variety is measured on held-out prompts that all generations answer, against the
start. Beside that the toy of a Gaussian that is fitted to its own narrowed samples for forty generations,
under every rule for mixing.

SLOW: about fifteen minutes on one core.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evidence import record
from jurist.audits.diversity import diversity
from jurist.audits.finding import Finding
from jurist.config import settings_from
from jurist.engines.checkpoints import cache_folder
from jurist.recipes.loop.compare import Comparison, Facts, generations, read_rounds
from jurist.recipes.loop.settings import RealConfig
from jurist.recipes.loop.stopping import real_share_for
from jurist.recipes.rejection import RejectionConfig, rejection
from jurist.records import content_id
from jurist.tiny.answers import MEDIOCRE, compose
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import prompts, true_score

SEEDS = (1, 2, 3)
ROUNDS, PROMPTS, PEOPLE = 5, 320, 2400
LOOP: dict[str, Any] = {
    "policy": "tiny",
    "judge": {"kind": "pointwise", "engine": "tiny:planted"},
    "rounds": ROUNDS,
    "pool": "last",
    "start": "last",
    "sampling": {"max_tokens": 48},
    "candidates": {"reference": False},
    "compare": {"held_out": 0.5},
    "stop": {"lost": 0.0, "saturated": 0.0},
    "sft": {"lr": 1e-3, "epochs": 4, "batch": 32, "save_every": 0},
}
"""Nothing stops these loops: what they would come to is what is asked."""
ARMS: dict[str, dict[str, Any]] = {
    "best of 4": {"k": 4},
    "own answers": {"k": 1},
    "best of 4, people at 0.3": {"k": 4, "alarm": 0.0},
    "best of 4, controller": {"k": 4, "alarm": 0.05},
}
WATCHED = ("distinct_2", "unique", "kinds", "compression", "recall")


def people(folder: Path, seed: int) -> str:
    """Conversations by whom the start learnt from, about other prompts."""
    draw = random.Random(seed)
    asked = (one.messages[-1].content for one in prompts(PEOPLE, 700 + seed))
    turns = [(one, compose(one, MEDIOCRE, draw)) for one in asked]
    roles = ("user", "assistant")
    rows = [
        {"messages": [{"role": role, "content": text} for role, text in zip(roles, two, strict=True)]}
        for two in turns
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "people.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "people.jsonl")


def looped(folder: Path, arm: str, seed: int) -> Path:
    how = ARMS[arm]
    (folder / "prompts.jsonl").write_text(
        "".join(
            json.dumps({"prompt": one.messages[-1].content}) + "\n" for one in prompts(PROMPTS, 40 + seed)
        )
    )
    out = folder / f"{arm.replace(' ', '-').replace(',', '')}-{content_id(how)[:6]}"
    settings = {
        **LOOP,
        "k": how["k"],
        "out": str(out),
        "prompts": str(folder / "prompts.jsonl"),
        "seed": seed,
    }
    if "alarm" in how:
        settings["real"] = {"file": people(folder, seed), "alarm": how["alarm"]}
    rejection(settings_from(RejectionConfig, settings))
    return out


def quality(out: Path) -> list[float]:
    """The mean true score of every generation's answers."""
    asked = {
        row["id"]: row["messages"][-1]["content"]
        for row in map(json.loads, (out / "prompts" / "held_out.jsonl").read_text().splitlines())
    }
    return [
        round(
            float(
                np.mean([true_score(asked[at], text) for at, some in one.answers.items() for text in some])
            ),
            3,
        )
        for one in generations(out)
    ]


def lost(found: Finding) -> list[float]:
    """The value and its interval."""
    return [round(one, 3) for one in (found.value, found.low, found.high) if one is not None]


def one_seed(seed: int) -> dict[str, Any]:
    folder = cache_folder() / "experiments" / f"autophagy-{seed}-{content_id(LOOP, PROMPTS, PEOPLE)[:12]}"
    found: dict[str, Any] = {"seed": seed}
    for arm in ARMS:
        folder.mkdir(parents=True, exist_ok=True)
        out = looped(folder, arm, seed)
        written, facts = generations(out), read_rounds(out)
        told = {one.name.partition(".")[2]: one for one in diversity(written)}
        found[arm] = {
            "lost": {name: lost(told[name]) for name in WATCHED if name in told},
            "distinct": [round(one.compared.distinct or 0.0, 3) for one in facts],
            "people's share": [round(one.real_share, 2) for one in facts],
            "true score": quality(out),
        }
    return found


def gaussian(narrowed: float, rule: str, seed: int, times: int = 40, each: int = 200) -> float:
    """The variance that is left after so many generations of fitting a normal to its own samples."""
    dice = np.random.default_rng(seed)
    first = dice.normal(size=each)
    pool, mean, variance = first, 0.0, 1.0
    facts: list[Facts] = []
    for at in range(1, times + 1):
        made = dice.normal(mean, (narrowed * variance) ** 0.5, each)
        fresh = dice.normal(size=each)
        pool = np.concatenate([pool, made])
        share = real_share_for(facts, RealConfig(file="people")) if rule == "controller" else 0.3
        some = dice.normal(size=round(share * each / (1 - share)))
        rows = {
            "synthetic": made,
            "accumulate": pool,
            "fixed": np.concatenate([first, made]),
            "fresh": np.concatenate([fresh, made]),
            "share 0.3": np.concatenate([some, made]),
            "controller": np.concatenate([some, made]),
        }[rule]
        mean, variance = float(rows.mean()), float(rows.var(ddof=1))
        facts.append(Facts(at, "", compared=Comparison(distinct=variance, distinct_before=1.0)))
    return variance


RULES = ("synthetic", "accumulate", "fixed", "fresh", "share 0.3", "controller")


def toy() -> dict[str, dict[str, float]]:
    return {
        f"narrowed to {narrowed:g}": {
            rule: round(float(np.mean([gaussian(narrowed, rule, seed) for seed in range(200)])), 3)
            for rule in RULES
        }
        for narrowed in (1.0, 0.9, 0.7)
    }


def main() -> None:
    torch.set_num_threads(1)
    tiny_checkpoint()
    gauss = toy()
    print(gauss, flush=True)
    told = []
    for seed in SEEDS:
        told.append(one_seed(seed))
        print(json.dumps(told[-1]), flush=True)
    held = [
        max(one["best of 4, controller"]["lost"][name][0] for name in ("distinct_2", "unique"))
        for one in told
    ]
    contracted = [one["best of 4"]["lost"]["distinct_2"][1] for one in told]
    record(
        "real_fraction_controller",
        value=round(max(held), 3),
        low=round(min(held), 3),
        high=round(max(held), 3),
        bar=(
            "variety lost in five generations (pairs of words, different answers to one prompt): with the"
            " controller at most 10 % in every seed; without people's rows surely more than that"
        ),
        holds=max(held) <= 0.10 < min(contracted),
        packages=("jurist", "torch", "transformers", "numpy"),
        lost_without_people=[one["best of 4"]["lost"]["distinct_2"] for one in told],
        seeds=told,
        gaussian_variance_left_after_40=gauss,
    )


if __name__ == "__main__":
    main()
