"""Constitutional AI (Bai et al. 2022): principles take the place of people's labels of harm.

Supervised phase: the policy answers each red-team prompt, finds fault with its answer under a principle
drawn from the constitution, and writes it anew; then again, under another. The base learns all revisions,
mixed with the policy's own answers to helpful prompts. Reinforcement phase: that policy answers each
red-team prompt twice, a judge weighs the two under a principle drawn for the pair, and its probabilities,
mixed with people's pairs about helpfulness, make a preference model, against which the policy learns while
the KL to the supervised one holds it back.

Otherwise than in the paper: a revision that changed nothing is not learnt from, since a critic that misses a
fault leaves it in place. Both orders of a pair are asked. Without pairs by people the judge compares the
helpful answers too. A judge that reasons is clamped to [0.4, 0.6] as in the paper, unless its temperature
is learnt from people's labels (`rl.calibrate`), which keeps the order of what the clamp flattens.

    jurist run recipes/constitutional.yaml
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from ..errors import DataError, SettingError
from ..models.ppo_settings import PPOConfig
from ..models.settings import DpoConfig, RewardConfig, SftConfig
from ..preferences import PreferConfig
from ..records import Preference
from ..verdicts.constitution import load_constitution
from ..verdicts.judge import judge_config
from ..verdicts.settings import JudgeConfig
from .ledger import of_round
from .loop.calibrate import calibration, put_right
from .loop.finish import Outcome, going_round
from .loop.folder import Loop, Watch, nobody
from .loop.lessons import lessons
from .loop.revise import ReviseConfig, revise
from .loop.rounds import engine_of
from .loop.settings import Count, LoopConfig
from .loop.start import real_pairs
from .loop.training import by_reward, refuse_decided

CLAMP = (0.4, 0.6)


class FeedbackConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The reinforcement phase."""

    judge: Annotated[
        str | JudgeConfig,
        Meta(description="Judge of pairs by a principle; no engine: the initial policy."),
    ] = JudgeConfig(kind="constitution")
    calibrate: Annotated[
        str, Meta(description="Pairs with human labels, to calibrate the judge's probabilities on.")
    ] = ""
    prefer: Annotated[PreferConfig, Meta(description="Which pairs are kept.")] = PreferConfig(ties="soft")
    optimiser: Annotated[Literal["ppo", "rloo", "dpo"], Meta(description="How the policy is trained.")] = (
        "ppo"
    )
    reward_model: Annotated[RewardConfig, Meta(description="Training of the reward model.")] = RewardConfig()
    ppo: Annotated[PPOConfig, Meta(description="Training with ppo or rloo.")] = PPOConfig()
    dpo: Annotated[DpoConfig, Meta(description="Training with dpo.")] = DpoConfig()


class ConstitutionalConfig(LoopConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Constitutional AI."""

    recipe: Literal["constitutional"] = "constitutional"
    k: Annotated[Count, Meta(description="Completions per helpful prompt, and per prompt for the judge.")] = 2
    phases: Annotated[
        tuple[Literal["sl", "rl"], ...], Meta(description="sl: supervised, rl: reinforcement, or both.")
    ] = ("sl", "rl")
    constitution: Annotated[str, Meta(description="Path of the principles; empty: ours.")] = ""
    red_team: Annotated[
        tuple[str, ...], Meta(description="Domains of the prompts that ask for something harmful.")
    ] = ("red_team",)
    revise: Annotated[ReviseConfig, Meta(description="How answers are revised.")] = ReviseConfig()
    base: Annotated[
        str, Meta(description="Model trained on the revisions: pretrained in the paper; empty: the policy.")
    ] = ""
    sft: Annotated[SftConfig, Meta(description="Training on the revisions.")] = SftConfig()
    rl: Annotated[FeedbackConfig, Meta(description="The reinforcement phase.")] = FeedbackConfig()


def constitutional(cfg: ConstitutionalConfig, watch: Watch = nobody) -> Outcome:
    """The policy of the last round."""
    check(cfg)
    principles = load_constitution(cfg.constitution)
    with going_round(cfg, watch) as rounds:
        start = policy = anchor = rounds.start
        harmful = part_red_team(rounds.loop, cfg.red_team)
        judge = judged_by(cfg, start)
        pairs: list[Preference] = []
        sureness = None
        for round in rounds:
            labelled, share = None, 0.0
            if "sl" in cfg.phases:
                rewritten = revise(round, policy, cfg.revise, principles, cfg.red_team)
                made = round.sft(cfg.sft, cfg.base or start, rewritten.targets(cfg.revise.up_to), "sl")
                policy = anchor = made.folder
            if "rl" in cfg.phases:
                sureness = sureness or calibration(round, judge, cfg.rl.calibrate)
                labelled = round.label(policy, judge, prefer=cfg.rl.prefer, prompts=harmful)
                pairs += put_right(lessons(labelled, cfg.stop), sureness)
                learnt, share = round.mixed(pairs, real_pairs(cfg))
                if cfg.rl.optimiser == "dpo":
                    made = round.dpo(cfg.rl.dpo, policy, anchor, learnt)
                else:
                    reward = round.reward_model(cfg.rl.reward_model, start, learnt).folder
                    made = round.reinforce(by_reward(cfg.rl.optimiser, cfg.rl.ppo), policy, anchor, reward)
                policy = made.folder
            rounds.loop.run.write_json(f"round-{round.number}/ledger.json", of_round(round.path))
            rounds.close(round, made, labelled, real_share=share, reward=made.metrics.get("reward"))
    return rounds.outcome


def part_red_team(loop: Loop, domains: tuple[str, ...]) -> Path:
    """The prompts whose answers the judge compares: those that ask for harm, where people's pairs speak for
    the others, or else all."""
    prompts = loop.read_prompts("train")
    harmful = [one for one in prompts if one.domain in domains]
    if not harmful:
        there = ", ".join(sorted({one.domain or "none" for one in prompts}))
        raise DataError(
            f"none of the {len(prompts)} prompts to train on has the domain {' or '.join(domains)};"
            f" the domains there are: {there}. Say which of them ask for harm: --red_team '[DOMAIN]'"
        )
    with loop.run.writing("prompts/red_team") as files:
        for one in harmful:
            files["prompts/red_team"].add(one)
    return loop.prompts("red_team" if loop.cfg.real.file else "train")


def judged_by(cfg: ConstitutionalConfig, start: str) -> JudgeConfig:
    """The judge in full. One that reasons is too sure of itself: it is clamped, or calibrated."""
    judge = judge_config(cfg.rl.judge)
    if isinstance(cfg.rl.judge, str) and judge.kind == "pairwise":
        judge = replace(judge, kind="constitution")
    if judge.kind == "constitution":
        judge = replace(judge, constitution=judge.constitution or cfg.constitution)
        judge = judge if judge.engine is not None else replace(judge, engine=engine_of(start))
    clamped = judge.reason and judge.clamp is None and not cfg.rl.calibrate
    return replace(judge, clamp=CLAMP) if clamped else judge


def check(cfg: ConstitutionalConfig) -> None:
    """Settings that need each other."""
    if not cfg.phases:
        raise SettingError("no phase is left to do. Set: phases: [sl, rl]")
    if cfg.real.file and "rl" not in cfg.phases:
        raise SettingError(
            f"real.file holds pairs for the reinforcement phase, and phases is {list(cfg.phases)};"
            " leave it out, or set: phases: [sl, rl]"
        )
    if cfg.rl.calibrate and isinstance(cfg.rl.judge, JudgeConfig) and cfg.rl.judge.clamp:
        raise SettingError(
            f"a temperature would lead out of the clamp {list(cfg.rl.judge.clamp)};"
            " leave out rl.judge.clamp, or rl.calibrate"
        )
    refuse_decided(cfg, ("sft",))
    refuse_decided(cfg.rl, ("reward_model", "ppo", "dpo"))
