"""What the experiments in the small world share: a judge's labels, and what is true of what was learnt.

Everything goes the way a user would go: prompts in a file, `jurist label` with the tiny policy and a planted
judge, then `train_reward`, `train_dpo` and `train_ppo` on the run. Only marking looks at the truth.

A pair is a tie in truth where fewer than 55 of 100 fair people would prefer either answer (a difference of
0.05 in true score: twelve words of comfortable length). Such pairs are left out where the share of right
choices is asked for; policies are compared on every prompt, by their exact scores, and equal scores count
half.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from jurist.models.batch import Example, tokenise
from jurist.models.dpo import logprobs, train_dpo
from jurist.models.drawing import draw
from jurist.models.judge import RewardJudge
from jurist.models.policy import load_policy
from jurist.models.ppo import train_ppo
from jurist.models.ppo_settings import PPOConfig
from jurist.models.reward import train_reward
from jurist.models.settings import DpoConfig, RewardConfig
from jurist.preferences import PreferConfig
from jurist.recipes.label import label
from jurist.recipes.settings import LabelConfig
from jurist.records import Completion, Preference, Prompt, Sampling, content_id
from jurist.run import read_records
from jurist.stats.intervals import wilson
from jurist.tiny.model import cache_folder, tiny_checkpoint
from jurist.tiny.world import prompts, true_preference, true_score
from jurist.verdicts.settings import JudgeConfig

MOST_TOKENS = 64
JUDGE = {"sharpness": 2.0, "noise": 1.5, "ignorant": []}
"""Right about four pairs in five, whatever the domain, and about as sure as it may be."""
LABELLED, OF_EACH = 2_000, 4
"""Prompts, and answers to each; all six pairs of them are judged."""
REWARD: dict[str, Any] = {"epochs": 2.5, "batch": 24, "lr": 2e-3, "save_every": 0}
THOROUGH: dict[str, Any] = {"epochs": 6.0, "batch": 24, "lr": 1.2e-3, "save_every": 0}
"""Twice as long at a lower rate: what the reward model can come to. PPO learns as much from the quick one."""
DPO: dict[str, Any] = {"epochs": 1.0, "batch": 32, "lr": 5e-4, "save_every": 0}
KL_TARGET = 8.0
PPO_PROMPTS = 1_280
PPO: dict[str, Any] = {
    "batch": 32,
    "samples": 4,
    "minibatches": 2,
    "max_tokens": MOST_TOKENS,
    "lr": 1e-3,
    "value_lr": 1e-2,
    "beta": 0.1,
    "horizon": 1000.0,
    "save_every": 0,
}
TIE = 0.05
"""How far the share of people who prefer one may be from one half where the pair counts as a tie."""
HELD_OUT_SEED = 500
"""Prompts to mark with; the seeds of the experiments are far from it."""


def request(prompt: Prompt) -> str:
    return prompt.messages[-1].content


def held_out_prompts(n: int) -> list[Prompt]:
    """None of these texts is among the prompts that are learnt from: the numbers at their ends differ."""
    far = islice(prompts(40_000, HELD_OUT_SEED), 40_000 - n, None)
    return list(far)


class Learner:
    """What is learnt from the labels of one seed, each part made once and kept for the other experiments."""

    def __init__(self, seed: int) -> None:
        self.seed, self.anchor = seed, tiny_checkpoint()
        told = (JUDGE, LABELLED, OF_EACH, REWARD, DPO, PPO, PPO_PROMPTS, KL_TARGET, self.anchor.name)
        self.run = cache_folder() / "experiments" / f"{seed}-{content_id(*told)[:12]}"
        self.seconds: dict[str, float] = {}
        """Processor time of each part."""
        self._once("labels", lambda: labelled(self.run, n=LABELLED, seed=1 + seed))
        self._told = {"base": str(self.anchor), "seed": seed}

    def reward(self) -> Path:
        told = {**REWARD, **self._told, "data": str(self.run), "out": str(self.run / "reward")}
        return self._once("reward", lambda: train_reward(RewardConfig(**told)))

    def thorough_reward(self) -> Path:
        told = {**THOROUGH, **self._told, "data": str(self.run), "out": str(self.run / "thorough")}
        return self._once("thorough", lambda: train_reward(RewardConfig(**told)))

    def dpo(self) -> Path:
        told = {**DPO, **self._told, "data": str(self.run), "out": str(self.run / "dpo")}
        return self._once("dpo", lambda: train_dpo(DpoConfig(**told)))

    def ppo(self, *, held: bool = True, epochs: float = 1.0) -> Path:
        """On prompts of its own; with `held` false nothing keeps it near the anchor."""
        name = f"{'ppo' if held else 'free'}-{epochs:g}"
        near = {"kl_target": KL_TARGET} if held else {"beta": 0.0}
        where = {"anchor": str(self.anchor), "out": str(self.run / name), "reward": str(self.reward())}
        cfg = PPOConfig(**{**PPO, **self._told, **where, **near, "epochs": epochs})
        return self._once(name, lambda: train_ppo(cfg, prompts(PPO_PROMPTS, 201 + self.seed)))

    def _once(self, name: str, work: Callable[[], object]) -> Path:
        kept = self.run / f"{name}.seconds"
        if not kept.exists():
            started = time.process_time()
            work()
            kept.write_text(str(round(time.process_time() - started, 1)))
        self.seconds[name] = float(kept.read_text())
        return self.run / name / "model"


def labelled(out: Path, *, n: int, seed: int) -> Path:
    """A run of `jurist label`: n prompts, some answers each, a judge asked about every pair of them."""
    out.mkdir(parents=True, exist_ok=True)
    asked = out / "asked.jsonl"
    rows = [{"prompt": request(one), "domain": one.domain} for one in prompts(n, seed)]
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sampling = Sampling(max_tokens=MOST_TOKENS, seed=seed)
    return _run(
        out,
        seed,
        prompts=str(asked),
        policy="tiny:policy",
        k=OF_EACH,
        sampling=sampling,
        prefer=PreferConfig(rule="all_pairs"),
    )


def labelled_pairs(out: Path, file: Path, seed: int) -> Path:
    """The same for pairs that are there already."""
    return _run(out, seed, pairs=str(file))


def _run(out: Path, seed: int, **source: Any) -> Path:
    judge = JudgeConfig(engine={"engine": "tiny:planted", "extra": JUDGE})
    label(LabelConfig(judge=judge, out=str(out), seed=seed, export=(), **source))
    return out


def better(asked: str, one: str, other: str) -> bool | None:
    """Whether the first is truly better; None for a tie."""
    lead = true_preference(asked, one, other) - 0.5
    return None if abs(lead) < TIE else lead > 0


def preferences(run: Path) -> Iterator[Preference]:
    return read_records(run / "preferences.jsonl", Preference)


def judge_is_right(run: Path) -> float:
    """Share of the labels, ties in truth aside, that are right."""
    said = (better(request(row.prompt), row.chosen.text, row.rejected.text) for row in preferences(run))
    known = [one for one in said if one is not None]
    return sum(known) / len(known)


class Pair(Struct, frozen=True):
    """Two answers nobody was trained on, and which is truly better."""

    prompt: Prompt
    one: str
    other: str
    one_is_better: bool


def test_pairs(anchor: Path, n: int) -> list[Pair]:
    """Pairs of the anchor's own answers to held-out prompts, without ties in truth."""
    asked = held_out_prompts(2 * n)
    found = []
    for prompt, (one, other) in zip(asked, answers(anchor, asked, 2), strict=True):
        truth = better(request(prompt), one, other)
        if truth is not None:
            found.append(Pair(prompt, one, other, truth))
    return found[:n]


def agreement(reward: Path, pairs: Sequence[Pair]) -> list[bool]:
    """For each pair, whether the reward model agrees with the truth."""
    rows = [
        (pair.prompt, Completion.of(pair.prompt.id, text))
        for pair in pairs
        for text in (pair.one, pair.other)
    ]
    scores = RewardJudge(reward).score_many(rows)
    return [(scores[2 * at] > scores[2 * at + 1]) == pair.one_is_better for at, pair in enumerate(pairs)]


def answers(folder: Path, asked: Sequence[Prompt], samples: int, seed: int = 0) -> list[list[str]]:
    """What this policy says to each prompt."""
    return said_by(folder, asked, samples, seed).texts


class Said(Struct, frozen=True):
    """Answers of one policy, as text and as tokens."""

    texts: list[list[str]]
    examples: list[Example]

    def true_scores(self, asked: Sequence[Prompt]) -> list[list[float]]:
        return [
            [true_score(request(prompt), text) for text in texts]
            for prompt, texts in zip(asked, self.texts, strict=True)
        ]

    def kl(self, policy: Path, anchor: Path) -> float:
        """Nats an answer between the policy that gave these answers and its anchor."""
        ours, theirs = (
            logprobs(load_policy(one).model.eval(), self.examples, 8192) for one in (policy, anchor)
        )
        gaps = [a - b for one, two in zip(ours, theirs, strict=True) for a, b in zip(one, two, strict=True)]
        return sum(gaps) / len(gaps)


def said_by(folder: Path, asked: Sequence[Prompt], samples: int, seed: int = 0) -> Said:
    policy = load_policy(folder)
    heads = [tokenise(one, (), policy.tokenizer) for one in asked]
    drawn = draw(
        policy.model,
        [one.prompt_ids for one in heads],
        samples=samples,
        max_tokens=MOST_TOKENS,
        end_ids=[policy.tokenizer.eos_token_id],
        keys=[f"{seed} {one.id}" for one in asked],
    )
    ids = [[one.ids for one in drawn[at : at + samples]] for at in range(0, len(drawn), samples)]
    texts = [[policy.tokenizer.decode(one, skip_special_tokens=True).strip() for one in some] for some in ids]
    examples = [replace(head, answers=some) for head, some in zip(heads, ids, strict=True)]
    return Said(texts, examples)


class Wins(Struct, frozen=True):
    """How a policy does against its anchor, prompt by prompt."""

    share: float
    """One answer each; equal true scores count half."""
    low: float
    high: float
    """95 % bounds over the prompts, by bootstrap."""
    strictly: float
    """Share of the prompts where its answer is truly better."""
    worse: float
    of_means: float
    """The same with the mean of all answers to a prompt instead of one."""


def wins(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> Wins:
    """From the true scores of the answers to each prompt."""
    single = [_half(one[0], two[0]) for one, two in zip(ours, theirs, strict=True)]
    means = [_half(sum(one) / len(one), sum(two) / len(two)) for one, two in zip(ours, theirs, strict=True)]
    draw_, n = random.Random(0), len(single)
    again = sorted(sum(draw_.choices(single, k=n)) / n for _ in range(2000))
    share = sum(single) / n
    strictly = single.count(1.0) / n
    return Wins(share, again[49], again[1949], strictly, single.count(0.0) / n, sum(means) / n)


def _half(one: float, two: float) -> float:
    return 0.5 if abs(one - two) < 1e-9 else float(one > two)


def interval(right: Sequence[bool]) -> tuple[float, float, float]:
    low, high = wilson(sum(right), len(right))
    return sum(right) / len(right), low, high


def metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
