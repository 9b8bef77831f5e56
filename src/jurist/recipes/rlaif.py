"""Reinforcement learning from AI feedback (Lee et al. 2023): a judge's preferences, a reward model, PPO.

Each round samples completions from the current policy, or from a mixture of policies, has them judged in
both orders, trains a reward model on the soft labels of all rounds so far, and lets the policy learn from it
while the KL to the initial policy holds it back. With `reward: judge` there is no reward model: the judge's
score at every step is the reward (direct RLAIF). With `optimiser: dpo` the policy learns from the preferences
themselves. Rounds after the first are on-line: they sample from the policy of the round before.

Otherwise than in the paper: PPO or RLOO instead of REINFORCE with a baseline; scores run from 1 to 9, since
many models write 10 as two tokens; beta charges the KL and does not scale the reward.

    jurist run recipes/rlaif.yaml
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta
from msgspec.structs import replace

from ..errors import SettingError
from ..models.settings import DpoConfig, PPOConfig, RewardConfig
from ..preferences import PreferConfig
from ..records import Preference
from ..verdicts.judge import judge_config
from ..verdicts.settings import JudgeConfig, JuryConfig
from .loop.folder import OnLoopProgress
from .loop.labels import preferences_of
from .loop.rounds import LoopOutcome, Trained, run_rounds
from .loop.settings import JudgeSpec, LoopConfig, Optimiser, refuse_decided


class RlaifConfig(LoopConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """RLAIF and direct RLAIF."""

    recipe: Literal["rlaif"] = "rlaif"
    judge: Annotated[JudgeSpec, Meta(description="Who judges; several judges are a jury.")] = ()
    jury: Annotated[JuryConfig, Meta(description="How several opinions become one.")] = JuryConfig()
    prefer: Annotated[PreferConfig, Meta(description="Which pairs are kept.")] = PreferConfig()
    reward: Annotated[Literal["model", "judge"], Meta(description="A reward model, or the judge itself.")] = (
        "model"
    )
    optimiser: Annotated[Optimiser, Meta(description="How the policy is trained.")] = "ppo"
    reward_model: Annotated[RewardConfig, Meta(description="Training of the reward model.")] = RewardConfig()
    ppo: Annotated[PPOConfig, Meta(description="Training with ppo or rloo.")] = PPOConfig()
    dpo: Annotated[DpoConfig, Meta(description="Training with dpo.")] = DpoConfig()


def rlaif(cfg: RlaifConfig, on_progress: OnLoopProgress | None = None) -> LoopOutcome:
    check_rlaif(cfg)
    with run_rounds(cfg, on_progress) as rounds:
        initial = policy = rounds.initial
        pairs: list[Preference] = []
        for round in rounds:
            labelled = None
            scorer: Trained | JudgeConfig | None
            if cfg.reward == "judge":
                scorer = live_judge(cfg)
                made = round.reinforce(cfg, policy, initial, scorer)
            else:
                labelled = round.label(policy, cfg.judge, prefer=cfg.prefer, jury=cfg.jury)
                pairs += preferences_of(labelled, cfg.stop.flips)
                made, scorer = round.learn(cfg, policy, initial, initial, round.mix_real_rows(pairs))
            policy = made.folder
            rounds.finish(round, made, labelled, scorer)
    return rounds.outcome


def live_judge(cfg: RlaifConfig) -> JudgeConfig:
    """The judge of the settings as one that scores a single completion."""
    if isinstance(cfg.judge, tuple):
        raise SettingError(
            f"reward: judge asks one judge at every step, got {len(cfg.judge)}."
            " Name one, or set: reward: model"
        )
    judge = judge_config(cfg.judge)
    return replace(judge, kind="pointwise") if judge.kind == "pairwise" else judge


def check_rlaif(cfg: RlaifConfig) -> None:
    if not cfg.judge:
        raise SettingError("RLAIF needs a judge. Name one with: --judge openai:gpt-5-mini")
    if cfg.reward == "model" and cfg.k < 2:
        raise SettingError(f"pairs need two answers to a prompt, got k: {cfg.k}; set -k 2, or: reward: judge")
    if cfg.reward == "judge":
        if cfg.optimiser == "dpo":
            raise SettingError(
                "reward: judge scores completions as they are written, and dpo writes none;"
                " set optimiser: ppo, or reward: model"
            )
        live_judge(cfg)
    refuse_decided(cfg, ("reward_model", "ppo", "dpo"))
