"""Rejection sampling (Touvron et al. 2023): the best of k answers is what the next policy learns, in rounds.

Each round draws k answers to every prompt from the newest policy, or from a mixture with it, has them scored,
keeps the best one of each prompt (of equals the shortest), and fine-tunes the model of the start, not that of
the round before, on the best answers of all rounds so far with a constant share of human rows.
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

from collections.abc import Container, Iterator, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from ..errors import SettingError
from ..models.settings import RewardConfig, SftConfig
from ..preferences import PreferConfig
from ..records import Completion, Dropped, Prompt, Sampling
from ..verdicts.judge import judge_config
from ..verdicts.settings import JudgeConfig, JuryConfig
from .loop.candidates import CandidateConfig, ScoredRun, gather, score
from .loop.folder import OnLoopProgress
from .loop.labels import AnswerScores, NothingToLearn, PromptAnswer, all_tied, best_of, preferences_of, tied
from .loop.round import Round
from .loop.rounds import LoopOutcome, run_rounds
from .loop.settings import JudgeSpec, LoopConfig, refuse_decided

SCORING = ("pointwise", "additive", "reward", "exact", "numeric", "regex", "json_schema")
"""Kinds of judges that score single answers."""


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


def rejection(cfg: RejectionConfig, on_progress: OnLoopProgress | None = None) -> LoopOutcome:
    """The policy of the last round."""
    check_rejection(cfg)
    with run_rounds(cfg, on_progress) as rounds:
        initial = policy = rounds.initial
        scorers = [judge for judge in (cfg.judge, cfg.safe.judge) if judge]
        pool: dict[str, PromptAnswer] = {}
        for round in rounds:
            drawn = round.sample(policy, sampling_of(cfg, round.number), round.prompts(cfg.prompts_each))
            answers = gather(round, drawn.run, pool if cfg.pool == "all" else {}, cfg.candidates)
            if cfg.reward == "model" and round.number == 1:
                scorers = [reward_from_pairs(round, judge, answers, initial, cfg) for judge in scorers]
            scored = [score(round, answers, judge, cfg.jury, f"score-{n}") for n, judge in enumerate(scorers)]
            best, facts = choose_best(round, scored, cfg.safe)
            pool = {**pool, **best} if cfg.pool == "all" else best
            learnt = round.mix_real_rows([*pool.values()])
            made = round.sft(cfg.sft, initial if cfg.start == "base" else policy, learnt)
            policy = made.folder
            proxy = scorers[0] if scored[0].pointwise else None
            rounds.finish(round, made, scored[0].labelled, proxy, pool=len(pool), **facts)
    return rounds.outcome


def sampling_of(cfg: RejectionConfig, number: int) -> Sampling:
    """How a round samples."""
    if not cfg.temperatures:
        return cfg.sampling
    return replace(cfg.sampling, temperature=cfg.temperatures[min(number, len(cfg.temperatures)) - 1])


def reward_from_pairs(
    round: Round, judge: JudgeSpec, answers: str, initial: str, cfg: RejectionConfig
) -> JudgeConfig:
    """A reward model from a judge's labels of all this round's pairs."""
    name = "safe" if judge is cfg.safe.judge else "helpful"
    rule = PreferConfig(rule="all_pairs")
    labelled = round.judge(f"pairs-{name}", judge, completions=answers, prefer=rule, jury=cfg.jury)
    pairs = preferences_of(labelled, cfg.stop.flips)
    made = round.reward_model(cfg.reward_model, initial, pairs, f"reward_model-{name}")
    return JudgeConfig(kind=f"reward:{made.folder}")


def choose_best(
    round: Round, scored: Sequence[ScoredRun], safe: SafeConfig
) -> tuple[dict[str, PromptAnswer], dict[str, Any]]:
    """The best answer to each prompt, prompts without one with a reason, and how many were tied."""
    best: dict[str, PromptAnswer] = {}
    seen: list[AnswerScores] = []
    with round.writing("best", "dropped") as (kept, dropped):
        for prompt, completions, scores in combine_scores(scored, safe):
            seen.append(scores)
            if scores:
                one = best_of(completions, scores)
                best[prompt.id] = prompt, one
                kept.add(Best(prompt, one, scores[one.id]))
            else:
                dropped.add(Dropped(prompt.id, "preferences", "unread"))
    if not best:
        raise NothingToLearn(
            f"round {round.number} found a best answer to none of {len(seen)} prompts."
            f" See why with: head {round.path}/dropped.jsonl"
        )
    level = tied(seen)
    if level == 1:
        raise all_tied(scored[0].labelled.run)
    return best, {"tied": level}


class Best(Struct, frozen=True):
    """The answer chosen for a prompt, as it is kept in the round's folder."""

    prompt: Prompt
    completion: Completion
    score: float


def combine_scores(
    scored: Sequence[ScoredRun], safe: SafeConfig
) -> Iterator[tuple[Prompt, Sequence[Completion], AnswerScores]]:
    """Each prompt with its answers and their scores, where there are two judges by both."""
    if len(scored) == 1:
        for case, scores in scored[0].scores():
            yield case.prompt, case.completions, scores
        return
    helpful, careful = scored
    for (case, helps), (_, saves) in zip(helpful.scores(), careful.scores(), strict=True):
        about = is_about_safety(case.prompt, safe.domains)
        scores = {
            name: combined(helpful.to_unit(helps[name]), careful.to_unit(saves[name]), about, safe.least)
            for name in helps.keys() & saves.keys()
        }
        yield case.prompt, case.completions, scores


def combined(helpful: float, safe: float, about_safety: bool, least: float = 0.15) -> float:
    """Rc of Touvron et al. 2023: Rs where the prompt is about safety or Rs is below the least, else Rh.

    The paper takes its log-odds and whitens them, for PPO; the best answer is the same without, and log-odds
    would have to stop short of 0 and 1, where confident scores would then be equal.
    """
    return safe if about_safety or safe < least else helpful


def is_about_safety(prompt: Prompt, domains: Container[str]) -> bool:
    """By the prompt's domain, or by one of its tags."""
    tags = prompt.meta.get("tags", ())
    return prompt.domain in domains or any(tag in domains for tag in tags if isinstance(tag, str))


def check_rejection(cfg: RejectionConfig) -> None:
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
