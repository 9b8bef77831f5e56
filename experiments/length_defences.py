"""Which defences keep a policy from growing longer on the labels of a judge that likes length?

In the small world the tiny policy gives six answers to each prompt, and a judge with a planted taste for
length (a tenth of a log-odd for each word, beside four for a point of true quality) compares them two by
two. From its labels a policy is trained by DPO, once as they are and once with each defence: length taken
out of the labels (`prefer.length_penalty`), pairs chosen against length (`rho`), the judge told that length
is no merit (this one gives up three quarters of its taste when told; how much a real judge does has to be
measured), length-normalised DPO, R-DPO and SimPO. And from a reward model on all pairs by PPO, once as it
is and once with length taken out of the reward. What counts is how many words the answers to held-out
prompts have gained on the start, and whether they are truly as good as without the defence.

    python experiments/length_defences.py         what the seeds came to; those not there yet are run
    python experiments/length_defences.py 1       one seed, kept for the line above

SLOW: about five minutes of one core for each seed.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jurist.models.dpo import train_dpo
from jurist.models.ppo import train_ppo
from jurist.models.ppo_settings import PPOConfig
from jurist.models.reward import train_reward
from jurist.models.settings import DpoConfig, RewardConfig
from jurist.preferences.settings import PreferConfig
from jurist.recipes.label import label
from jurist.recipes.settings import LabelConfig
from jurist.records import Preference, Sampling, content_id
from jurist.run import read_records
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import prompts
from jurist.verdicts.settings import JudgeConfig
from small_world import MOST_TOKENS, held_out_prompts, request, said_by

SEEDS = (1, 2, 3)
PROMPTS, OF_EACH, HELD_OUT = 300, 6, 300
JUDGE = {"length": 0.1, "heeds": 0.75, "ignorant": []}
DPO: dict[str, Any] = {"epochs": 3.0, "batch": 32, "lr": 5e-4, "save_every": 0, "soft": False}
REWARD: dict[str, Any] = {"epochs": 2.0, "batch": 32, "lr": 2e-3, "save_every": 0}
PPO: dict[str, Any] = {
    "batch": 32,
    "samples": 4,
    "minibatches": 2,
    "max_tokens": MOST_TOKENS,
    "lr": 1e-3,
    "value_lr": 1e-2,
    "beta": 0.05,
    "save_every": 0,
}
PPO_PROMPTS = 640
PENALTY = 2.0
"""At labelling, in log-odds; and on the reward."""
LABELS: dict[str, PreferConfig] = {
    "undefended": PreferConfig(),
    "length penalty": PreferConfig(length_penalty=PENALTY),
    "rho": PreferConfig(rule="rho", rho=0.4),
}
LOSSES: dict[str, dict[str, Any]] = {
    "length-normalised DPO": {"loss": "length_normalised"},
    "R-DPO": {"loss": "r_dpo", "alpha": 0.05},
    "SimPO": {"loss": "simpo"},
}


class Seed:
    """One seed, in a folder of its own; every question to a model is asked once."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder, self.anchor = seed, folder, tiny_checkpoint()
        self.asked = folder / "asked.jsonl"
        rows = [{"prompt": request(one), "domain": one.domain} for one in prompts(PROMPTS, 900 + seed)]
        self.asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.told: dict[str, Any] = {"base": str(self.anchor), "seed": seed}

    def labels(self, prefer: PreferConfig, *, against_length: bool = False) -> list[Preference]:
        name = content_id(prefer, against_length)[:8]
        engine = {"engine": "tiny:planted", "extra": JUDGE}
        label(
            LabelConfig(
                out=str(self.folder / name),
                journal=str(self.folder / "journal"),
                prompts=str(self.asked),
                policies=("tiny:policy",),
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
        where = {"anchor": str(self.anchor), "out": str(out), "reward": str(reward)}
        cfg = PPOConfig(**{**PPO, **more, **self.told, **where})
        return train_ppo(cfg, prompts(PPO_PROMPTS, 1_200 + self.seed))

    def reward(self) -> Path:
        rows = self.labels(PreferConfig(rule="all_pairs"))
        cfg = RewardConfig(**{**REWARD, **self.told, "data": "given", "out": str(self.folder / "reward")})
        return train_reward(cfg, rows)


def ways(seed: Seed) -> dict[str, Callable[[], Path]]:
    """How each policy is made, the undefended ones first."""
    plain = seed.labels(LABELS["undefended"])
    reward: list[Path] = []

    def learnt_reward() -> Path:
        reward[:] = reward or [seed.reward()]
        return reward[0]

    return {
        **{name: lambda prefer=prefer: seed.dpo(seed.labels(prefer)) for name, prefer in LABELS.items()},
        "judge told": lambda: seed.dpo(seed.labels(LABELS["undefended"], against_length=True)),
        **{name: lambda loss=loss: seed.dpo(plain, **loss) for name, loss in LOSSES.items()},
        "undefended PPO": lambda: seed.ppo(learnt_reward()),
        "length-corrected reward": lambda: seed.ppo(learnt_reward(), length_penalty=PENALTY),
    }


def told(policy: Path, seed: int) -> dict[str, float]:
    """How long its answers to held-out prompts are, and how good."""
    asked = held_out_prompts(HELD_OUT)
    said = said_by(policy, asked, 2, seed)
    words = [len(text.split()) for texts in said.texts for text in texts]
    scores = [score for some in said.true_scores(asked) for score in some]
    return {
        "words": round(statistics.fmean(words), 2),
        "true_score": round(statistics.fmean(scores), 4),
    }


def one_seed(seed: int, only: tuple[str, ...] = ()) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as name:
        here = Seed(seed, Path(name))
        found = {"start": told(here.anchor, seed)}
        for way, make in ways(here).items():
            if not only or way in only:
                started = time.process_time()
                found[way] = told(make(), seed)
                print(f"{way:26} {found[way]}  {time.process_time() - started:.0f} s", flush=True)
    return found
