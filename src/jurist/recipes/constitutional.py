"""Constitutional AI (Bai et al. 2022): principles take the place of human labels of harm.

Supervised phase: the policy answers each red-team prompt, finds fault with its answer under a principle
drawn from the constitution, and writes it anew; then again, under another. The base learns all revisions,
mixed with the policy's own answers to helpful prompts. Reinforcement phase: that policy answers each
red-team prompt twice, a judge weighs the two under a principle drawn for the pair, and its probabilities,
mixed with human pairs about helpfulness, make a preference model, against which the policy learns while
the KL to the supervised one holds it back.

Otherwise than in the paper: a revision that changed nothing is not learnt from, since a critic that misses a
fault leaves it in place. Both orders of a pair are asked. Without human pairs the judge compares the
helpful answers too. A judge that reasons is clamped to [0.4, 0.6] as in the paper, unless its temperature
is learnt from human labels (`rl.calibrate`), which keeps the order of what the clamp flattens.

    jurist run recipes/constitutional.yaml
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from ..errors import DataError, SettingError
from ..models.settings import DpoConfig, PPOConfig, RewardConfig, SftConfig
from ..preferences import PreferConfig
from ..preferences.decide import FEWEST_LABELS, Learnt
from ..records import Preference, Verdict
from ..run import read_json, read_records
from ..verdicts.calibrate import Calibration, apply
from ..verdicts.constitution import load_constitution
from ..verdicts.judge import judge_config
from ..verdicts.settings import JudgeConfig
from .loop.folder import LoopRun, OnLoopProgress
from .loop.labels import preferences_of
from .loop.revise import ReviseConfig, Revised, revise
from .loop.round import Round, engine_of, policy_gradient
from .loop.rounds import LoopOutcome, run_rounds
from .loop.settings import AtLeast1, LoopConfig, refuse_decided

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
    k: Annotated[
        AtLeast1, Meta(description="Completions per helpful prompt, and per prompt for the judge.")
    ] = 2
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


def constitutional(cfg: ConstitutionalConfig, on_progress: OnLoopProgress | None = None) -> LoopOutcome:
    """The policy of the last round."""
    check_constitutional(cfg)
    principles, ppo = load_constitution(cfg.constitution), policy_gradient(cfg.rl.optimiser, cfg.rl.ppo)
    with run_rounds(cfg, on_progress) as rounds:
        initial = policy = ref = rounds.initial
        harmful = red_team_prompts(rounds.loop, cfg.red_team)
        judge = principled_judge(cfg, initial)
        pairs: list[Preference] = []
        temperature = None
        for round in rounds:
            labelled = reward = None
            if "sl" in cfg.phases:
                revised = revise(round, policy, cfg.revise, principles, cfg.red_team)
                made = round.sft(cfg.sft, cfg.base or initial, revised, "sft")
                policy = ref = made.folder
            if "rl" in cfg.phases:
                temperature = temperature or learn_temperature(round, judge, cfg.rl.calibrate)
                labelled = round.label(policy, judge, prefer=cfg.rl.prefer, prompts=harmful)
                pairs += apply_temperature(preferences_of(labelled, cfg.stop.flips), temperature)
                learnt = round.mix_real_rows(pairs)
                if cfg.rl.optimiser == "dpo":
                    made = round.dpo(cfg.rl.dpo, policy, ref, learnt)
                else:
                    reward = round.reward_model(cfg.rl.reward_model, initial, learnt)
                    made = round.reinforce(ppo, policy, ref, reward)
                policy = made.folder
            round.write("ledger", ledger_of(round))
            rounds.finish(round, made, labelled, reward)
    return rounds.outcome


def red_team_prompts(loop: LoopRun, domains: tuple[str, ...]) -> Path:
    """The prompts whose answers the judge compares: those that ask for harm where human pairs cover the
    others, or else all."""
    prompts = loop.read_prompts("train")
    harmful = [one for one in prompts if one.domain in domains]
    if not harmful:
        there = ", ".join(sorted({one.domain or "none" for one in prompts}))
        raise DataError(
            f"none of the {len(prompts)} prompts to train on has the domain {' or '.join(domains)};"
            f" the domains there are: {there}. Say which of them ask for harm: --red_team '[DOMAIN]'"
        )
    loop.write_lines("prompts/red_team", harmful)
    return loop.prompts("red_team" if loop.cfg.real.file else "train")


def principled_judge(cfg: ConstitutionalConfig, initial: str) -> JudgeConfig:
    """The judge in full. One that reasons is over-confident: it is clamped, or calibrated."""
    judge = judge_config(cfg.rl.judge)
    if isinstance(cfg.rl.judge, str) and judge.kind == "pairwise":
        judge = replace(judge, kind="constitution")
    if judge.kind == "constitution":
        judge = replace(judge, constitution=judge.constitution or cfg.constitution)
        judge = judge if judge.engine is not None else replace(judge, engine=engine_of(initial))
    clamped = judge.reason and judge.clamp is None and not cfg.rl.calibrate
    return replace(judge, clamp=CLAMP) if clamped else judge


def check_constitutional(cfg: ConstitutionalConfig) -> None:
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


def learn_temperature(round: Round, judge: JudgeConfig, pairs: str) -> Calibration | None:
    """The judge's temperature, from pairs with human labels; None where no file of them is named."""
    if not pairs:
        return None
    labelled = round.judge("calibrate", judge, pairs=pairs, labels="given")
    learnt = read_json(Path(labelled.run) / "learnt.json", Learnt)
    for found in learnt.calibrations.values():
        return found
    raise DataError(
        f"{pairs} has {learnt.labels} labelled pairs that the judge could read, and a temperature is learnt"
        f" from {FEWEST_LABELS} at least. Add pairs, or leave out: rl.calibrate"
    )


def apply_temperature(pairs: Iterable[Preference], how: Calibration | None) -> list[Preference]:
    """The same preferences at the judge's temperature."""
    if how is None:
        return list(pairs)
    ps = ((one, apply(one.p, how.temperature)) for one in pairs)
    return [replace(one, p=p, margin=abs(2 * p - 1)) for one, p in ps]


class PrincipleCounts(Struct, frozen=True):
    """What one principle did in a labelling under a constitution, and in the revisions of a round."""

    principle: str
    judged: int = 0
    """Questions under it, the orders joined."""
    unread: int = 0
    decided: int = 0
    """Those with p more than 0.1 from 0.5. A principle that never decides can go."""
    revised: int = 0
    changed: int = 0
    """Revisions under it, and those that came to another text."""


def ledger(verdicts: Iterable[Verdict], revised: Iterable[Revised] = ()) -> list[PrincipleCounts]:
    """The counts of every principle that was drawn."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    questions: dict[tuple[str, ...], list[float | None]] = defaultdict(list)
    for one in verdicts:
        p = 1 - one.p_first if one.p_first is not None and one.first_id > one.second_id else one.p_first
        questions[one.judge, one.matchup_id, str(one.sample), one.principle].append(p)
    for (*_, principle), ps in questions.items():
        read = [p for p in ps if p is not None]
        whole = len(read) == len(ps)
        decided = whole and abs(fmean(read) - 0.5) > 0.1
        counts[principle].update(judged=1, unread=int(not whole), decided=int(decided))
    for row in revised:
        for revision in row.revisions:
            changed = revision.completion is not None and revision.unused != "unchanged"
            counts[revision.principle].update(revised=1, changed=int(changed))
    return [PrincipleCounts(name, **counts[name]) for name in sorted(counts) if name]


def ledger_of(round: Round) -> list[PrincipleCounts]:
    """Of a round; a phase that was not done adds nothing."""
    verdicts, revised = round.path / "label" / "verdicts.jsonl", round.path / "revisions.jsonl"
    return ledger(
        read_records(verdicts, Verdict) if verdicts.exists() else (),
        read_records(revised, Revised) if revised.exists() else (),
    )
