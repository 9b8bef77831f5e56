"""Self-rewarding language models (Yuan et al. 2024): the policy writes the answers and judges them itself.

Each round the policy answers every prompt four times and scores each answer three times by points earned one
by one; the mean scores decide which answer is chosen and which rejected, a prompt whose answers all score
the same leaves by name, and DPO moves the policy away from itself of the round before. With `rho` the chosen
answer is the shortest near the top and the rejected one the longest near the bottom (Wu et al. 2024), which
keeps the judge's taste for length from being learnt. Who praises himself is watched: in each round the judge
that compares the policies also looks at a sample of the pairs, and how often the policy judged as it did is
among the round's facts.

Otherwise than in the paper: the policy is taken as it comes, with no fine-tuning on judgements first; its
judgements are drawn from the whole distribution, not its upper nine tenths; one pass over the pairs makes a
round, and no checkpoint is chosen on the way.

    jurist run recipes/self_rewarding.yaml
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta
from msgspec.structs import replace

from ..errors import SettingError
from ..models.settings import DpoConfig
from ..preferences import PreferConfig
from ..records import Sampling
from ..stats.intervals import mean
from ..verdicts.settings import JudgeConfig, JuryConfig
from .lines import Share as Agreed
from .lines import share as agreed
from .loop.candidates import some_of
from .loop.finish import Outcome, going_round
from .loop.folder import Watch, nobody
from .loop.invent import InventConfig, invented
from .loop.labelling import Labelled, engine_of
from .loop.lessons import lessons
from .loop.rounds import Round
from .loop.settings import LoopConfig, Share
from .loop.start import real_pairs
from .loop.training import refuse_decided
from .loop.worth import opinions_of, scores_of

ADDITIVE = JudgeConfig(kind="additive", reason=True, samples=3, logprobs=False)
"""As in the paper: a justification, then the sum of the points; three times."""


class SelfRewardingConfig(LoopConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Self-rewarding, in rounds."""

    recipe: Literal["self_rewarding"] = "self_rewarding"
    sampling: Annotated[Sampling, Meta(description="How completions are sampled.")] = Sampling(
        temperature=0.7, top_p=0.9, max_tokens=512
    )
    judge: Annotated[JudgeConfig, Meta(description="How the policy scores its own answers.")] = ADDITIVE
    prefer: Annotated[PreferConfig, Meta(description="Which pairs are kept.")] = PreferConfig()
    rho: Annotated[
        tuple[Share, ...],
        Meta(
            description="Share of the score range that counts as top and bottom, per round; empty: best"
            " and worst. Wu et al.: 0, 0.32, 0.32, 0.4."
        ),
    ] = ()
    prompts_each: Annotated[
        int, Meta(ge=0, description="New prompts per round, in file order; 0: all prompts every round.")
    ] = 0
    invent: Annotated[InventConfig, Meta(description="Prompts written by a model.")] = InventConfig()
    watched: Annotated[
        int, Meta(ge=0, description="Prompts per round of which compare.judge sees one pair.")
    ] = 100
    dpo: Annotated[DpoConfig, Meta(description="Training of each round.")] = DpoConfig(lr=1e-6, soft=False)


def self_rewarding(cfg: SelfRewardingConfig, watch: Watch = nobody) -> Outcome:
    """The policy of the last round."""
    check(cfg)
    with going_round(cfg, watch) as rounds:
        start = policy = rounds.start
        for round in rounds:
            prompts = invented(round, cfg.invent, start, round.prompts(cfg.prompts_each))
            itself = replace(cfg.judge, engine=engine_of(policy))
            labelled = round.label(policy, itself, prompts=prompts, prefer=preferring(cfg, round.number))
            learnt, share = round.mixed(lessons(labelled, cfg.stop), real_pairs(cfg))
            judging, reward = outside(round, labelled, cfg), praise(labelled)
            made = round.dpo(cfg.dpo, policy, policy, learnt)
            policy = made.folder
            rounds.close(round, made, labelled, real_share=share, judging=judging, reward=reward)
    return rounds.outcome


def preferring(cfg: SelfRewardingConfig, number: int) -> PreferConfig:
    """How a round chooses its pairs."""
    if not cfg.rho:
        return cfg.prefer
    return replace(cfg.prefer, rule="rho", rho=cfg.rho[min(number, len(cfg.rho)) - 1])


def outside(round: Round, labelled: Labelled, cfg: SelfRewardingConfig) -> Agreed | None:
    """How often the policy judged a pair as the outside judge does."""
    if not cfg.compare.judge or not cfg.watched:
        return None
    sample = some_of(round, labelled.run, cfg.watched)
    theirs = round.judge(sample.path, cfg.compare.judge, matchups="random:1", step="outside")
    return agreement(chances(labelled.run), chances(theirs.run))


def chances(run: str) -> dict[str, float]:
    """For each matchup that was read, the probability that the completion with the lesser id is better."""
    return {
        one.matchup_id: one.p_first if one.first_id < one.second_id else 1 - one.p_first
        for _, opinions in opinions_of(run, JuryConfig())
        for one in opinions
        if one.p_first is not None
    }


def agreement(ours: Mapping[str, float], theirs: Mapping[str, float]) -> Agreed | None:
    """Of the pairs that they decided, those that we decided likewise; one on which we are torn is a half."""
    both = [(ours[name], p) for name, p in theirs.items() if name in ours and p != 0.5]
    right = sum(0.5 if mine == 0.5 else float((mine > 0.5) == (p > 0.5)) for mine, p in both)
    return agreed(right, len(both))


def praise(labelled: Labelled) -> float | None:
    """What the policy thought of its own answers."""
    scores = [
        score for case, _ in opinions_of(labelled.run, JuryConfig()) for score in scores_of(case).values()
    ]
    return mean(scores) if scores else None


def check(cfg: SelfRewardingConfig) -> None:
    """Settings that need each other."""
    if cfg.judge.kind not in ("pointwise", "additive"):
        raise SettingError(
            f"a policy that rewards itself scores its answers one by one, got kind: {cfg.judge.kind}."
            " Set: --judge.kind additive"
        )
    if cfg.judge.engine is not None:
        raise SettingError(
            f"the policy is its own judge here, got judge.engine: {cfg.judge.engine}. Leave it out,"
            " or let another judge with the recipe rlaif and optimiser: dpo"
        )
    if cfg.mixture:
        raise SettingError("the policy learns from its own answers alone, got a mixture. Leave it out")
    refuse_decided(cfg, ("dpo",))
