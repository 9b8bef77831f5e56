"""Which defences keep a policy from growing longer on the labels of a judge that likes length?

In the small world the tiny policy gives six answers to each prompt, and a judge with a planted taste for
length (a tenth of a log-odd for each word, beside four for a point of true quality) compares them two by
two. From its labels a policy is trained by DPO, once as they are and once with each defence: length taken
out of the labels (`prefer.length_penalty`), pairs chosen against length (`rho`), the judge told that length
is no merit (this one gives up three quarters of its taste when told; how much of it a real judge gives up
has to be measured), length-normalised DPO, R-DPO and SimPO. And by PPO from a reward model on its labels,
once as it is and once with length taken out of the reward. What counts is how many words the answers to
held-out prompts have gained on the start's, and whether they are truly as good as without the defence. A
judge without the taste shows how much growth was worth having. Settings were tuned on other seeds.

    python experiments/length_defences.py            what all came to; what is not there yet is run
    python experiments/length_defences.py 1 R-DPO    one seed, or one policy of it, kept for the line above

SLOW: about two minutes of one core for each seed.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from evidence import record
from jurist.engines.checkpoints import cache_folder
from jurist.models.dpo import train_dpo
from jurist.models.ppo import train_ppo
from jurist.models.reward import train_reward
from jurist.models.settings import (
    DpoConfig,
    KlConfig,
    PenaltyConfig,
    PPOConfig,
    PpoOptimConfig,
    RewardConfig,
    RolloutConfig,
    ValueConfig,
)
from jurist.preferences import PreferConfig
from jurist.recipes.label import label
from jurist.recipes.settings import LabelConfig
from jurist.records import Preference, Sampling, content_id
from jurist.run import read_records
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import prompts
from jurist.verdicts.settings import JudgeConfig
from small_world import MOST_TOKENS, held_out, mean_words, request, write

SEEDS = (4, 5, 6)
PROMPTS, OF_EACH, HELD_OUT = 300, 6, 300
JUDGE = {"length": 0.1, "heeds": 0.75, "noise": 0.0, "fooled": 0.0, "ignorant": []}
DPO: dict[str, Any] = {"epochs": 3.0, "batch": 32, "lr": 5e-4, "save_every": 0, "soft": False}
REWARD: dict[str, Any] = {"epochs": 2.0, "batch": 32, "lr": 2e-3, "save_every": 0}
PPO: dict[str, Any] = {
    "batch": 32,
    "lr": 1e-3,
    "optim": PpoOptimConfig(minibatches=2),
    "rollout": RolloutConfig(samples=4, max_tokens=MOST_TOKENS),
    "value": ValueConfig(lr=1e-2),
    "kl": KlConfig(beta=0.05),
    "save_every": 0,
}
PPO_PROMPTS = 320
PLAIN = PreferConfig()
LABELS = {
    "length penalty": PreferConfig(length_penalty=2.0),
    "rho": PreferConfig(rule="rho", rho=0.4),
}
# The papers' rates are for answers of hundreds of tokens; those here have a dozen words.
LOSSES: dict[str, dict[str, Any]] = {
    "length-normalised DPO": {"loss": "length_normalised", "beta": 30.0, "lr": 3e-4, "epochs": 4.0},
    "R-DPO": {"loss": "r_dpo", "alpha": 0.15},
    "SimPO": {"loss": "simpo", "beta": 25.0, "gamma": 2.0},
}
CORRECTED_REWARD = {"penalty": PenaltyConfig(length=0.4)}
AGAINST = {"length-corrected reward": "undefended PPO"}
"""What a defence is held against, where it is not `undefended`."""
REFERENCES = ("start", "undefended", "undefended PPO", "no taste")


class Seed:
    """One seed, in a folder of its own; every question to a model is asked once."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder, self.initial = seed, folder, tiny_checkpoint()
        self.asked = folder / "asked.jsonl"
        rows = [{"prompt": request(one), "domain": one.domain} for one in prompts(PROMPTS, 900 + seed)]
        self.asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.told: dict[str, Any] = {"base": str(self.initial), "seed": seed}

    def labels(self, prefer: PreferConfig, against_length: bool = False, **planted: Any) -> list[Preference]:
        name = content_id(prefer, against_length, planted)[:8]
        engine = {"engine": "tiny:planted", "extra": {**JUDGE, **planted}}
        label(
            LabelConfig(
                out=str(self.folder / name),
                journal=str(self.folder / "journal"),
                prompts=str(self.asked),
                policy="tiny:policy",
                k=OF_EACH,
                sampling=Sampling(max_tokens=MOST_TOKENS, seed=self.seed),
                judge=JudgeConfig(engine=engine, against_length=against_length),
                prefer=prefer,
                export=(),
                seed=self.seed,
            )
        )
        return list(read_records(self.folder / name / "preferences.jsonl", Preference))

    def dpo(self, rows: list[Preference], **loss: Any) -> Path:
        out = self.folder / f"dpo-{content_id(loss, [row.id for row in rows])[:8]}"
        cfg = DpoConfig(**{**DPO, **loss, **self.told, "data": "given", "out": str(out)})
        return train_dpo(cfg, rows)

    def ppo(self, reward: Path, **more: Any) -> Path:
        out = self.folder / f"ppo-{content_id(more)[:8]}"
        where = {"reference": str(self.initial), "out": str(out), "reward": str(reward)}
        cfg = PPOConfig(**{**PPO, **more, **self.told, **where})
        return train_ppo(cfg, prompts(PPO_PROMPTS, 1_200 + self.seed))

    def reward(self) -> Path:
        rows = self.labels(PreferConfig(rule="all_pairs"))[:: OF_EACH // 2]
        cfg = RewardConfig(**{**REWARD, **self.told, "data": "given", "out": str(self.folder / "reward")})
        return train_reward(cfg, rows)


def ways(seed: Seed) -> dict[str, Callable[[], Path]]:
    """How each policy is made."""
    plain, reward = cache(lambda: seed.labels(PLAIN)), cache(seed.reward)
    return {
        "undefended": lambda: seed.dpo(plain()),
        "no taste": lambda: seed.dpo(seed.labels(PLAIN, length=0.0)),
        **{name: partial(lambda prefer: seed.dpo(seed.labels(prefer)), one) for name, one in LABELS.items()},
        "judge told": lambda: seed.dpo(seed.labels(PLAIN, against_length=True)),
        **{name: partial(lambda loss: seed.dpo(plain(), **loss), one) for name, one in LOSSES.items()},
        "undefended PPO": lambda: seed.ppo(reward()),
        "length-corrected reward": lambda: seed.ppo(reward(), **CORRECTED_REWARD),
    }


def told(policy: Path, seed: int) -> dict[str, float]:
    """How long its answers to held-out prompts are, and how good."""
    asked = held_out(HELD_OUT, seed)
    answers = write(policy, asked, 2, seed)
    return {"words": round(mean_words(answers), 2), "true_score": answers.mean_score(asked)}


def one_seed(seed: int, only: tuple[str, ...] = ()) -> dict[str, dict[str, float]]:
    """What every way came to. Each is kept as it is done, since all take minutes."""
    settings = (JUDGE, DPO, REWARD, PPO, LABELS, LOSSES, CORRECTED_REWARD, PROMPTS, PPO_PROMPTS, HELD_OUT)
    folder = cache_folder() / "experiments" / f"length-defences-{seed}-{content_id(*settings)[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    here, kept = Seed(seed, folder), folder / "told.json"
    found: dict[str, dict[str, float]] = json.loads(kept.read_text()) if kept.exists() else {}
    for way, make in {"start": lambda: here.initial, **ways(here)}.items():
        if way not in found and (not only or way in only):
            found[way] = told(make(), seed)
            print(f"{way:26} {found[way]}", flush=True)
            kept.write_text(json.dumps(found))
    return found


def defended(way: str, seeds: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """How much of the growth a defence cut in each seed, and what that cost in true quality."""
    against = AGAINST.get(way, "undefended")
    grown = [one[against]["words"] - one["start"]["words"] for one in seeds]
    cut = [
        1 - (one[way]["words"] - one["start"]["words"]) / grew for one, grew in zip(seeds, grown, strict=True)
    ]
    better = [one[way]["true_score"] - one[against]["true_score"] for one in seeds]
    return {
        "cut": round(statistics.fmean(cut), 3),
        "cut_by_seed": [round(one, 3) for one in cut],
        "true_score_gained": round(statistics.fmean(better), 3),
        "true_score_gained_by_seed": [round(one, 3) for one in better],
        "holds": min(cut) >= 0.5 and statistics.fmean(better) >= 0,
    }


def main() -> None:
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        one_seed(int(sys.argv[1]), tuple(sys.argv[2:]))
        return
    seeds = [one_seed(seed) for seed in SEEDS]
    found = {way: defended(way, seeds) for way in seeds[0] if way not in REFERENCES}
    for way, one in found.items():
        print(f"{'holds      ' if one['holds'] else 'falls short'} {way:26} {one}")
    worst = min(found, key=lambda way: found[way]["cut"])
    record(
        "length_defences",
        value=found[worst]["cut"],
        bar="each defence cuts the growth in words by half or more in every seed, at no loss of true quality",
        holds=all(one["holds"] for one in found.values()),
        packages=("jurist", "torch", "transformers"),
        unit=f"share of the undefended growth that is cut, of the weakest defence: {worst}",
        hold=[way for way, one in found.items() if one["holds"]],
        fall_short=[way for way, one in found.items() if not one["holds"]],
        defences=found,
        seeds=seeds,
    )


if __name__ == "__main__":
    main()
