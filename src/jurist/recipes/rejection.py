"""Rejection sampling (Touvron et al. 2023): the best of k answers is what the next policy learns, in rounds.

Each round draws k answers to every prompt from the newest policy, or from a mixture with it, has them scored,
keeps the best one of each prompt (of equals the shortest), and fine-tunes the model of the start, not that of
the round before, on the best answers of all rounds so far with a constant share of rows that people wrote.
Learning from the newest answers only made Llama 2 forget what it could do; `pool: last` does that. The judge
scores answers one by one or compares each with each; with `reward: model` its pairs of the first round train
a reward model, which scores from then on. With `safe` a second judge has the word where a prompt is about
safety, or an answer is unsafe.

Otherwise than in the paper: answers that may not be chosen leave before they are judged, which costs fewer
calls and changes nothing; the temperature of a round is said beforehand and not searched for; the combined
reward is neither put into log-odds nor whitened, which would move no maximum; and the reward
model is not trained again.

    jurist run recipes/rejection.yaml
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from ..errors import SettingError
from ..models.settings import RewardConfig, SftConfig
from ..preferences import PreferConfig
from ..records import Completion, Dropped, Prompt, Sampling
from ..stats.intervals import mean
from ..verdicts.judge import judge_config
from ..verdicts.settings import JudgeConfig, JuryConfig
from .loop.candidates import REFERENCE, CandidateConfig, Candidates, gather
from .loop.finish import Outcome, going_round
from .loop.folder import Watch, nobody
from .loop.lessons import NothingToLearn, lessons, nothing_apart
from .loop.rated import SCORING, Rated, rated
from .loop.rounds import Round, Target
from .loop.settings import JudgeSpec, LoopConfig
from .loop.start import real_answers
from .loop.training import refuse_decided
from .loop.worth import Worth, best_of, tied


class SafeConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """A second judge, for safety."""

    judge: Annotated[str | JudgeConfig, Meta(description="A judge that scores; empty: none.")] = ""
    domains: Annotated[
        tuple[str, ...], Meta(description="Domains or tags of the prompts that it scores.")
    ] = ("safety",)
    least: Annotated[
        float, Meta(ge=0, le=1, description="Below this safety, from 0 to 1, only safety counts.")
    ] = 0.15


class RejectionConfig(LoopConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Rejection sampling, in rounds."""

    recipe: Literal["rejection"] = "rejection"
    judge: Annotated[
        JudgeSpec, Meta(description="Who scores: judges of one answer or of pairs, or reward:FOLDER.")
    ] = ()
    jury: Annotated[JuryConfig, Meta(description="How the opinions of several judges become one.")] = (
        JuryConfig()
    )
    reward: Annotated[
        Literal["judge", "model"],
        Meta(description="Choose by the judge, or by a reward model trained on its first round."),
    ] = "judge"
    reward_model: Annotated[RewardConfig, Meta(description="Training of the reward model.")] = RewardConfig()
    safe: Annotated[SafeConfig, Meta(description="A second judge, for safety.")] = SafeConfig()
    temperatures: Annotated[
        tuple[Annotated[float, Meta(ge=0)], ...],
        Meta(description="Temperature per round, the last for all later; empty: sampling.temperature."),
    ] = ()
    prompts_each: Annotated[
        int, Meta(ge=0, description="New prompts per round, in file order; 0: all prompts every round.")
    ] = 0
    candidates: Annotated[CandidateConfig, Meta(description="Which answers can be chosen.")] = (
        CandidateConfig()
    )
    pool: Annotated[
        Literal["all", "last"], Meta(description="Train on the best answers of all rounds, or the last.")
    ] = "all"
    start: Annotated[
        Literal["base", "last"], Meta(description="Fine-tune the initial policy, or the last round's.")
    ] = "base"
    sft: Annotated[SftConfig, Meta(description="Training on the chosen answers.")] = SftConfig()


def rejection(cfg: RejectionConfig, watch: Watch = nobody) -> Outcome:
    """The policy of the last round."""
    check(cfg)
    with going_round(cfg, watch) as rounds:
        start = policy = rounds.start
        scorers = [judge for judge in (cfg.judge, cfg.safe.judge) if judge]
        pool: dict[str, Target] = {}
        for round in rounds:
            wrote = round.sample(policy, drawing(cfg, round.number), round.prompts(cfg.prompts_each))
            among = gather(round, wrote, pool if cfg.pool == "all" else {}, cfg.candidates)
            if cfg.reward == "model" and round.number == 1:
                scorers = [trained(round, judge, among, start, cfg) for judge in scorers]
            heard = [rated(round, among, judge, cfg.jury, f"score-{n}") for n, judge in enumerate(scorers)]
            best, seen = chosen(round, heard, pool, cfg)
            pool = {**pool, **best} if cfg.pool == "all" else best
            learnt, share = round.mixed([*pool.values()], real_answers(cfg))
            made = round.sft(cfg.sft, start if cfg.start == "base" else policy, learnt)
            policy = made.folder
            rounds.close(round, made, real_share=share, pool=len(pool), **seen)
    return rounds.outcome


def drawing(cfg: RejectionConfig, number: int) -> Sampling:
    """How a round draws."""
    if not cfg.temperatures:
        return cfg.sampling
    heat = cfg.temperatures[min(number, len(cfg.temperatures)) - 1]
    return replace(cfg.sampling, temperature=heat)


def trained(
    round: Round, judge: JudgeSpec, among: Candidates, start: str, cfg: RejectionConfig
) -> JudgeConfig:
    """A reward model from what a judge thinks of this round's pairs."""
    name = "safe" if judge is cfg.safe.judge else "helpful"
    labelled = round.judge(
        among.path, judge, prefer=PreferConfig(rule="all_pairs"), jury=cfg.jury, step=f"pairs-{name}"
    )
    made = round.reward_model(cfg.reward_model, start, lessons(labelled, cfg.stop), f"reward-{name}")
    return JudgeConfig(kind=f"reward:{made.folder}")


def chosen(
    round: Round, heard: Sequence[Rated], before: Mapping[str, Target], cfg: RejectionConfig
) -> tuple[dict[str, Target], dict[str, Any]]:
    """The best answer to each prompt, prompts without one by name, and what was thought of the new ones."""
    best: dict[str, Target] = {}
    old = {one.id for _, one in before.values()}
    scores: list[float] = []
    worths: list[Worth] = []
    with round.writing("best", "dropped") as (kept, dropped):
        for prompt, completions, worth in together(heard, cfg.safe):
            worths.append(worth)
            scores += [worth[one.id] for one in completions if one.id in worth and is_new(one, old)]
            if worth:
                one = best_of(completions, worth)
                best[prompt.id] = prompt, one
                kept.add(Best(prompt, one, worth[one.id]))
            else:
                dropped.add(Dropped(prompt.id, "preferences", "unread"))
    if not best:
        raise NothingToLearn(
            f"round {round.number} found a best answer to none of {len(worths)} prompts."
            f" See why with: head {round.path}/dropped.jsonl"
        )
    level = tied(worths)
    if level == 1:
        raise nothing_apart(heard[0].run)
    scored = all(one.scored for one in heard)
    reward = mean(scores) if scored and scores else None
    return best, {"reward": reward, "tied": level, "flips": heard[0].flips}


class Best(Struct, frozen=True):
    """The answer chosen for a prompt, as it is kept in the round's folder."""

    prompt: Prompt
    completion: Completion
    worth: float


def is_new(one: Completion, old: Container[str]) -> bool:
    """Drawn in this round."""
    return one.id not in old and one.policy != REFERENCE


def together(
    heard: Sequence[Rated], safe: SafeConfig
) -> Iterator[tuple[Prompt, Sequence[Completion], Worth]]:
    """Each prompt with its answers and their worth, where there are two judges in the eyes of both."""
    if len(heard) == 1:
        for case, worth in heard[0].worths():
            yield case.prompt, case.completions, worth
        return
    helpful, careful = heard
    for (case, helps), (_, saves) in zip(helpful.worths(), careful.worths(), strict=True):
        about = is_about_safety(case.prompt, safe.domains)
        worth = {
            one.id: combined(helpful.share(helps[one.id]), careful.share(saves[one.id]), about, safe.least)
            for one in case.completions
            if one.id in helps and one.id in saves
        }
        yield case.prompt, case.completions, worth


def combined(helpful: float, safe: float, about_safety: bool, least: float = 0.15) -> float:
    """Rc of Touvron et al. 2023: Rs where the prompt is about safety or Rs is below the least, else Rh.

    The paper takes its log-odds and whitens them, for PPO; the best answer is the same without, and log-odds
    would have to stop short of 0 and 1, where sure answers would then be equal.
    """
    return safe if about_safety or safe < least else helpful


def is_about_safety(prompt: Prompt, domains: Container[str]) -> bool:
    """By the prompt's domain, or by one of its tags."""
    tags = prompt.meta.get("tags", ())
    return prompt.domain in domains or any(tag in domains for tag in tags if isinstance(tag, str))


def check(cfg: RejectionConfig) -> None:
    """Settings that need each other."""
    if not cfg.judge:
        raise SettingError("rejection sampling needs a judge. Name one with: --judge openai:gpt-5-mini")
    if cfg.safe.judge and cfg.reward == "judge":
        for name, judge in (("judge", cfg.judge), ("safe.judge", cfg.safe.judge)):
            if isinstance(judge, tuple) or not judge_config(judge).kind.startswith(SCORING):
                raise SettingError(
                    f"safe weighs scores, and {name} compares pairs. Set: --{name}.kind pointwise,"
                    " or train reward models from the pairs: --reward model"
                )
    refuse_decided(cfg, ("reward_model", "sft"))
