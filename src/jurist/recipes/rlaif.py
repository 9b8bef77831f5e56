"""Reinforcement learning from AI feedback (Lee et al. 2023): a judge's preferences, a reward model, PPO.

Each round samples completions from the current policy, or from a mixture of policies, has them judged in
both orders, trains a reward model on the soft labels of all rounds so far, and lets the policy learn from it
while the KL to the SFT model holds it back. With `reward: judge` there is no reward model: the judge's score
at every step is the reward (direct RLAIF). With `optimiser: dpo` the policy learns from the preferences
themselves. Rounds after the first are on-line: they sample from the policy of the round before.

Otherwise than in the paper: PPO or RLOO instead of REINFORCE with a baseline; scores run from 1 to 9, since
many models write 10 as two tokens; beta charges the KL and does not scale the reward unless `ppo.rlaif`.

    jurist run recipes/rlaif.yaml
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, to_builtins

from ..config import settings_from
from ..errors import SettingError
from ..models.ppo_settings import PPOConfig
from ..models.settings import DpoConfig, RewardConfig
from ..preferences import PreferConfig
from ..records import Preference
from ..verdicts.judge import judge_config
from ..verdicts.settings import JudgeConfig, JuryConfig
from .loop.finish import Outcome, going_round
from .loop.folder import Watch, nobody
from .loop.lessons import lessons
from .loop.settings import JudgeSpec, LoopConfig
from .loop.start import real_pairs
from .loop.training import by_reward, refuse_decided


class RlaifConfig(LoopConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """RLAIF and direct RLAIF."""

    recipe: Literal["rlaif"] = "rlaif"
    judge: Annotated[JudgeSpec, Meta(description="Who judges; several judges are a jury.")] = ()
    jury: Annotated[JuryConfig, Meta(description="How the opinions of several judges become one.")] = (
        JuryConfig()
    )
    prefer: Annotated[PreferConfig, Meta(description="Which pairs are kept.")] = PreferConfig()
    reward: Annotated[
        Literal["model", "judge"],
        Meta(description="Train with a reward model, or with the judge's score at every step."),
    ] = "model"
    optimiser: Annotated[Literal["ppo", "rloo", "dpo"], Meta(description="How the policy is trained.")] = (
        "ppo"
    )
    reward_model: Annotated[RewardConfig, Meta(description="Training of the reward model.")] = RewardConfig()
    ppo: Annotated[PPOConfig, Meta(description="Training with ppo or rloo.")] = PPOConfig()
    dpo: Annotated[DpoConfig, Meta(description="Training with dpo.")] = DpoConfig()


def rlaif(cfg: RlaifConfig, watch: Watch = nobody) -> Outcome:
    """The policy of the last round."""
    check(cfg)
    with going_round(cfg, watch) as rounds:
        start = policy = rounds.start
        pairs: list[Preference] = []
        for round in rounds:
            labelled, share = None, 0.0
            if cfg.reward == "judge":
                made = round.reinforce(by_reward(cfg.optimiser, cfg.ppo), policy, start, scored_by(cfg))
            else:
                labelled = round.label(policy, cfg.judge, prefer=cfg.prefer, jury=cfg.jury)
                pairs += lessons(labelled, cfg.stop)
                learnt, share = round.mixed(pairs, real_pairs(cfg))
                if cfg.optimiser == "dpo":
                    made = round.dpo(cfg.dpo, policy, start, learnt)
                else:
                    reward = round.reward_model(cfg.reward_model, start, learnt).folder
                    made = round.reinforce(by_reward(cfg.optimiser, cfg.ppo), policy, start, reward)
            policy = made.folder
            rounds.close(round, made, labelled, real_share=share, reward=made.metrics.get("reward"))
    return rounds.outcome


def scored_by(cfg: RlaifConfig) -> dict[str, Any]:
    """The judge of the settings as one that scores a single completion."""
    if isinstance(cfg.judge, tuple):
        raise SettingError(
            f"reward: judge asks one judge at every step, got {len(cfg.judge)}."
            " Name one, or set: reward: model"
        )
    judge = judge_config(cfg.judge)
    told = {key: value for key, value in to_builtins(judge).items() if value != getattr(JudgeConfig(), key)}
    return {**told, "kind": "pointwise" if judge.kind == "pairwise" else judge.kind}


def check(cfg: RlaifConfig) -> None:
    """Settings that need each other."""
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
        settings_from(JudgeConfig, scored_by(cfg))
    refuse_decided(cfg, ("reward_model", "ppo", "dpo"))
