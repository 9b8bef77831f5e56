"""A reward by its name: a reward model's folder, a live judge, a rule, or a user's function.

A live judge that scores completions one by one is direct RLAIF (Lee et al. 2023, section 3.3): its score on
a scale is brought to [-1, 1], so that beta means the same whatever the scale. Every call goes through the
run's journal: a killed run that draws its completions again does not pay for their verdicts again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from ..config import settings_from
from ..engines.budget import Budget, parse_money
from ..engines.engine import ENGINES
from ..engines.journaled import Engines
from ..engines.scripted import load_function
from ..errors import CallFailed, CallRefused, SettingError
from ..journal import Journal, money_in
from ..records import Completion, Prompt, Verdict
from ..verdicts.judge import JUDGES, OpenEngine, Pointwise, Scorer, open_judge
from ..verdicts.settings import JudgeConfig
from .judge import RewardJudge
from .ppo_settings import PPOConfig
from .rewards import Reward, Rewards, ScoresMany


class Live:
    """A judge as a reward: the mean of its draws, on [-1, 1] where it has a scale."""

    def __init__(self, scorer: Scorer) -> None:
        self.name = scorer.name
        self._scorer = scorer
        self._draws: int = getattr(scorer, "samples", 1)
        self._scale = scorer.scale if isinstance(scorer, Pointwise) else None

    async def __call__(self, prompt: Prompt, completion: Completion) -> Verdict:
        heard = await asyncio.gather(
            *(self._scorer(prompt, completion, draw) for draw in range(self._draws)), return_exceptions=True
        )
        verdicts = [one for one in heard if isinstance(one, Verdict)]
        for one in heard:
            # One draw that failed leaves the others; a spent budget or a dead engine stops the run.
            if isinstance(one, BaseException) and not (
                verdicts and isinstance(one, CallFailed | CallRefused)
            ):
                raise one
        scores = [one.score for one in verdicts if one.score is not None]
        if not scores:
            return verdicts[0]
        return replace(verdicts[0], score=self._unit(sum(scores) / len(scores)), unread="")

    def _unit(self, score: float) -> float:
        if self._scale is None:
            return score
        low, high = self._scale
        return (2.0 * score - low - high) / (high - low)


def reward_called(spec: str | dict[str, Any], engine: OpenEngine, seed: int = 0) -> Reward | ScoresMany:
    """The reward of this name or with these settings of a judge."""
    if not spec:
        raise SettingError(
            "there is no reward to learn from. Name a reward model's folder, a judge or a function:"
            " --reward runs/mine/models/reward/model"
        )
    if isinstance(spec, str):
        if (Path(spec) / "config.json").exists():
            return RewardJudge(spec)
        if "/" in spec.partition(":")[0]:
            raise SettingError(f"there is no reward model at {spec}. Name its folder: --reward FOLDER")
        kind, _, rest = spec.partition(":")
        if kind not in JUDGES and kind not in ENGINES and rest.isidentifier():
            return _function(spec)
        spec = {"kind": "pointwise", "engine": spec} if kind in ENGINES else {"kind": spec}
    cfg = settings_from(JudgeConfig, {"kind": "pointwise", **spec})
    judge = open_judge(cfg, engine, seed)
    if isinstance(judge, ScoresMany):
        return judge
    if judge.kind != "pointwise":
        raise SettingError(
            f"the judge '{cfg.kind}' compares two completions, and a reward is about one."
            " Set: --reward.kind pointwise, or train a reward model on its verdicts: jurist train reward RUN"
        )
    return Live(judge)


def _function(spec: str) -> Reward:
    found = load_function(spec)
    if not callable(found):
        raise SettingError(
            f"'{spec}' is {found!r}, which cannot be called. Name a function of a prompt and a completion:"
            " --reward module:function"
        )
    reward: Reward = found
    return reward


@contextmanager
def rewards_of(
    cfg: PPOConfig, given: Reward | ScoresMany | None, rank: int = 0, world: int = 1
) -> Iterator[Rewards]:
    """The reward that was given, or the one the settings name, its calls kept in `journal.sqlite`; each
    process has a journal of its own.
    """
    if given is not None:
        with Rewards(given) as rewards:
            yield rewards
        return
    out, cap = Path(cfg.out), parse_money(cfg.budget)
    out.mkdir(parents=True, exist_ok=True)
    left = None if cap is None else max(0.0, cap - sum(money_in(out))) / world
    journal = Journal(out / (f"journal-{rank}.sqlite" if rank else "journal.sqlite"))
    # Each process watches over its part of what is left.
    money = Budget(None if left is None else journal.spent + journal.uncertain + left, journal)
    engines = Engines(journal, money)
    try:
        with Rewards(reward_called(cfg.reward, engines, cfg.seed)) as rewards:
            try:
                rewards.run(engines.prepare())
                yield rewards
            finally:
                rewards.run(engines.close())
    finally:
        journal.close()
