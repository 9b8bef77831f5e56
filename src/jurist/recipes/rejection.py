"""Rejection sampling (Touvron et al. 2023): the best of k answers is what the next policy learns, in rounds.

Each round draws k answers to every prompt from the newest policy, or from a mixture with it, has them scored,
keeps the best one of each prompt (of equals the shortest), and fine-tunes the model of the start, not that of
the round before, on the best answers of all rounds so far with a constant share of human rows.
Learning from the newest answers only made Llama 2 forget what it could do; `pool: last` does that. The judge
scores answers one by one or compares each with each; with `reward: model` its pairs of the first round train
a reward model, which scores from then on. With `safe` a second judge has the word where a prompt is about
safety, or an answer is unsafe.

Otherwise than in the paper: answers that may not be chosen leave before they are judged, which costs fewer
calls and changes nothing; all rounds sample at one temperature, which is not searched for; the combined
reward is neither put into log-odds nor whitened, which would move no maximum; and the reward model is not
trained again.

    jurist run recipes/rejection.yaml
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from ..completions.load import same_words
from ..errors import SettingError
from ..models.settings import RewardConfig, SftConfig
from ..preferences import PreferConfig
from ..preferences.decide import read_judges
from ..preferences.pairs import is_refusal, shortest
from ..records import Completion, Dropped, Prompt
from ..stats.fits import sigmoid
from ..verdicts.cases import Case
from ..verdicts.judge import judge_config
from ..verdicts.settings import JudgeConfig, JuryConfig
from .lines import counted
from .loop.folder import OnLoopProgress
from .loop.labels import (
    AnswerScores,
    LabelledRun,
    NothingToLearn,
    all_tied,
    drawn_in,
    preferences_of,
    refuse_noise,
    scored_cases,
    scores_singly,
    tied,
)
from .loop.rounds import LoopOutcome, PromptAnswer, Round, run_rounds
from .loop.settings import JudgeSpec, LoopConfig, PromptsEach, refuse_decided

SCORING = ("pointwise", "additive", "reward", "exact", "numeric", "regex", "json_schema")
"""Kinds of judges that score single answers."""
REFERENCE = "human:reference"
"""Who wrote the answer that a prompt came with."""


class CandidateConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Which answers may be chosen. One that was cut off never is."""

    reference: Annotated[bool, Meta(description="The prompt's reference answer is a candidate too.")] = True
    longest: Annotated[int, Meta(ge=0, description="Most characters of a candidate; 0: no limit.")] = 0
    refusals: Annotated[Literal["keep", "drop"], Meta(description="Those that decline.")] = "keep"


class SafeConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """A second judge, for safety."""

    judge: Annotated[str | JudgeConfig, Meta(description="A judge that scores; empty: none.")] = ""
    domains: Annotated[tuple[str, ...], Meta(description="Domains or tags it decides on.")] = ("safety",)
    least: Annotated[float, Meta(ge=0, le=1, description="Below it safety decides everywhere.")] = 0.15


class RejectionConfig(LoopConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Rejection sampling, in rounds."""

    recipe: Literal["rejection"] = "rejection"
    judge: Annotated[JudgeSpec, Meta(description="Judges of answers, of pairs, or reward:FOLDER.")] = ()
    jury: Annotated[JuryConfig, Meta(description="How several opinions become one.")] = JuryConfig()
    reward: Annotated[
        Literal["judge", "model"], Meta(description="The judge, or a reward model of its first round.")
    ] = "judge"
    reward_model: Annotated[RewardConfig, Meta(description="Training of the reward model.")] = RewardConfig()
    safe: Annotated[SafeConfig, Meta(description="A second judge, for safety.")] = SafeConfig()
    prompts_each: PromptsEach = 0
    candidates: Annotated[CandidateConfig, Meta(description="What can be chosen.")] = CandidateConfig()
    pool: Annotated[Literal["all", "last"], Meta(description="Learn the best of these rounds.")] = "all"
    start: Annotated[Literal["base", "last"], Meta(description="Tune the initial policy, or the last.")] = (
        "base"
    )
    sft: Annotated[SftConfig, Meta(description="Training on the chosen answers.")] = SftConfig()


def rejection(cfg: RejectionConfig, on_progress: OnLoopProgress | None = None) -> LoopOutcome:
    check_rejection(cfg)
    with run_rounds(cfg, on_progress) as rounds:
        initial = policy = rounds.initial
        scorers = [judge for judge in (cfg.judge, cfg.safe.judge) if judge]
        pool: dict[str, PromptAnswer] = {}
        for round in rounds:
            drawn = round.label(policy, prompts=round.prompts(cfg.prompts_each))
            answers = gather(round, drawn, pool if cfg.pool == "all" else {}, cfg.candidates)
            if cfg.reward == "model" and round.number == 1:
                scorers = [reward_from_pairs(round, judge, answers, initial, cfg) for judge in scorers]
            scored = [
                round.run(f"score-{n}", judge, completions=answers, jury=cfg.jury)
                for n, judge in enumerate(scorers)
            ]
            best, level = choose_best(round, scored, cfg)
            pool = {**pool, **best} if cfg.pool == "all" else best
            learnt = round.mix_real_rows([*pool.values()])
            made = round.train(cfg.sft, initial if cfg.start == "base" else policy, learnt)
            policy = made.folder
            proxy = scorers[0] if scores_singly(scored[0].run) else None
            rounds.finish(round, made, scored[0], proxy, tied=level)
    return rounds.outcome


def gather(round: Round, drawn: LabelledRun, best: Mapping[str, PromptAnswer], cfg: CandidateConfig) -> str:
    """The candidates of every prompt of the round, as a folder that can be judged.

    The best so far stands again beside the new ones, so that the best of a round is the best of all rounds,
    whichever kind of judge decides; a judge that scores is not asked about it twice."""
    rows: list[tuple[Prompt, list[Completion]]] = []
    lost: list[Dropped] = []
    for prompt, answers, _ in drawn_in(drawn.run):
        kept, gone = candidates(prompt, answers, best[prompt.id][1] if prompt.id in best else None, cfg)
        lost += gone
        rows += [(prompt, kept)] if kept else []
    if not rows:
        raise NothingToLearn(
            f"no answer may be chosen ({counted(Counter(one.reason for one in lost))}). Allow longer ones"
            " (--sampling.max_tokens 1024), or name a policy that ends its answers"
        )
    folder = round.write_answers("candidates", rows)
    round.write("candidates/dropped", lost)
    return folder


def candidates(
    prompt: Prompt, drawn: Sequence[Completion], best: Completion | None, cfg: CandidateConfig
) -> tuple[list[Completion], list[Dropped]]:
    """Those that may be chosen, each text once; the others with a reason."""
    known = [best] if best is not None else []
    if cfg.reference and prompt.reference:
        known.append(Completion.of(prompt.id, prompt.reference, REFERENCE))
    kept: list[Completion] = []
    dropped: list[Dropped] = []
    for one in (*known, *drawn):
        if any(same_words(one.text, other.text) for other in kept):
            reason = "identical"
        elif one.finish == "length":
            reason = "truncated"
        elif cfg.longest and len(one.text) > cfg.longest:
            reason = "too_long"
        elif cfg.refusals == "drop" and is_refusal(one.text):
            reason = "refusal"
        else:
            kept.append(one)
            continue
        dropped.append(Dropped(one.id, "completions", reason))
    return kept, dropped if kept else [*dropped, Dropped(prompt.id, "completions", "nobody_left")]


def reward_from_pairs(
    round: Round, judge: JudgeSpec, answers: str, initial: str, cfg: RejectionConfig
) -> JudgeConfig:
    """A reward model from a judge's labels of all this round's pairs."""
    name = "safe" if judge is cfg.safe.judge else "helpful"
    rule = PreferConfig(rule="all_pairs")
    labelled = round.run(f"pairs-{name}", judge, completions=answers, prefer=rule, jury=cfg.jury)
    pairs = preferences_of(labelled, cfg.stop.flips)
    made = round.train(cfg.reward_model, initial, pairs, f"reward_model-{name}")
    return JudgeConfig(kind=f"reward:{made.folder}")


def choose_best(
    round: Round, scored: Sequence[LabelledRun], cfg: RejectionConfig
) -> tuple[dict[str, PromptAnswer], float | None]:
    """The best answer to each prompt, prompts without one with a reason, and the share that were tied."""
    for one in scored:
        refuse_noise(one, cfg.stop.flips)
    best: dict[str, Best] = {}
    dropped: list[Dropped] = []
    seen: list[AnswerScores] = []
    for case, scores in combine_scores(scored, cfg):
        seen.append(scores)
        if scores:
            top = best_of(case.completions, scores)
            best[case.prompt.id] = Best(case.prompt, top, scores[top.id])
        else:
            dropped.append(Dropped(case.prompt.id, "preferences", "unread"))
    round.write("best", best.values())
    round.write("dropped", dropped)
    if not best:
        raise NothingToLearn(
            f"round {round.number} found a best answer to none of {len(seen)} prompts."
            f" See why with: head {round.path}/dropped.jsonl"
        )
    level = tied(seen)
    if level == 1:
        raise all_tied(scored[0].run)
    return {name: (one.prompt, one.completion) for name, one in best.items()}, level


class Best(Struct, frozen=True):
    """The answer chosen for a prompt, as it is kept in the round's folder."""

    prompt: Prompt
    completion: Completion
    score: float


def best_of(completions: Iterable[Completion], scores: Mapping[str, float]) -> Completion:
    """The one that scored highest; of equals the shortest."""
    top = max(scores.values())
    return shortest(one for one in completions if scores.get(one.id) == top)


def combine_scores(
    scored: Sequence[LabelledRun], cfg: RejectionConfig
) -> Iterator[tuple[Case, AnswerScores]]:
    """Each prompt with the scores of its answers, where there are two judges by both."""
    if len(scored) == 1:
        yield from scored_cases(scored[0].run, cfg.jury)
        return
    both = [unit_scores(one.run, cfg.jury) for one in scored]
    for (case, helps), (_, saves) in zip(*both, strict=True):
        about = is_about_safety(case.prompt, cfg.safe.domains)
        names = helps.keys() & saves.keys()
        yield case, {name: combined(helps[name], saves[name], about, cfg.safe.least) for name in names}


def unit_scores(run: str, jury: JuryConfig) -> Iterator[tuple[Case, AnswerScores]]:
    """Scores on a scale from 0 to 1; those of a reward model have no bounds, and are log-odds."""
    scale = read_judges(Path(run))[0].scale if scores_singly(run) else None
    low, high = scale if isinstance(scale, tuple) else (0.0, 1.0)
    for case, scores in scored_cases(run, jury):
        places = {name: (value - low) / (high - low) for name, value in scores.items()}
        yield case, {name: sigmoid(at) for name, at in places.items()} if scale == "logits" else places


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
