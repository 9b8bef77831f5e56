"""Self-rewarding language models (Yuan et al. 2024): the policy writes the answers and judges them itself.

Each round the policy answers every prompt four times and scores each answer three times by points earned one
by one; the mean scores decide which answer is chosen and which rejected, a prompt whose answers all score
the same is dropped, and DPO moves the policy away from itself of the round before. With `rho` the chosen
answer is the shortest near the top and the rejected one the longest near the bottom (Wu et al. 2024), which
keeps length bias from being learnt. How often the judge that compares the policies agrees with the policy,
on a sample of each round's pairs, shows whether it judges well or only praises itself.

Otherwise than in the paper: the policy is taken as it comes, with no fine-tuning on judgements first; its
judgements are drawn from the whole distribution, not its upper nine tenths; the learning rate is DPO's usual
one, half of theirs; one pass over the pairs makes a round, and no checkpoint is chosen on the way.

    jurist run recipes/self_rewarding.yaml
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from ..engines.engine import EngineConfig
from ..errors import SettingError
from ..models.settings import DpoConfig
from ..preferences import PreferConfig
from ..records import Dropped, Prompt, Sampling
from ..run import read_records
from ..verdicts.settings import JudgeConfig
from .loop.folder import OnLoopProgress
from .loop.labels import preferences_of
from .loop.rounds import LoopOutcome, Round, engine_of, run_rounds
from .loop.settings import Fraction, LoopConfig, PromptsEach, refuse_decided

ADDITIVE = JudgeConfig(kind="additive", reason=True, samples=3, logprobs=False)
"""As in the paper: a justification, then the sum of the points; three times."""
SHOWN, SHOWN_INVENTED, TRIES = 6, 2, 3
FEWEST_WORDS, MOST_WORDS, TOO_LIKE = 3, 150, 0.7
"""Of an invented prompt; and its ROUGE-L to a known one."""
HOW = Sampling(temperature=0.6, top_p=0.9, max_tokens=256)
QUESTION = (
    "Below are requests that people sent to an assistant, one a line. Write one more that they might have"
    " sent, unlike these in what it is about. Write the request alone, on one line.\n\n{shown}"
)


class InventConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Prompts that a model makes up, beside those of the file."""

    prompts: Annotated[int, Meta(ge=0, description="New prompts per round.")] = 0
    engine: Annotated[str | EngineConfig, Meta(description="Writer; empty: the initial policy.")] = ""


class SelfRewardingConfig(LoopConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Self-rewarding, in rounds."""

    recipe: Literal["self_rewarding"] = "self_rewarding"
    sampling: Annotated[Sampling, Meta(description="How completions are sampled.")] = Sampling(
        temperature=0.7, top_p=0.9, max_tokens=512
    )
    judge: Annotated[JudgeConfig, Meta(description="How the policy scores its own answers.")] = ADDITIVE
    prefer: Annotated[PreferConfig, Meta(description="Which pairs are kept.")] = PreferConfig()
    rho: Annotated[
        tuple[Fraction, ...], Meta(description="Share of the scores that is top, or bottom, per round.")
    ] = ()
    prompts_each: PromptsEach = 0
    invent: Annotated[InventConfig, Meta(description="Prompts written by a model.")] = InventConfig()
    dpo: Annotated[DpoConfig, Meta(description="Training of each round.")] = DpoConfig(soft=False)


def self_rewarding(cfg: SelfRewardingConfig, on_progress: OnLoopProgress | None = None) -> LoopOutcome:
    check_self_rewarding(cfg)
    with run_rounds(cfg, on_progress) as rounds:
        initial = policy = rounds.initial
        for round in rounds:
            prompts = invent(round, cfg.invent, initial, round.prompts(cfg.prompts_each))
            itself = replace(cfg.judge, engine=engine_of(policy))
            labelled = round.label(policy, itself, prompts=prompts, prefer=rule_of(cfg, round.number))
            learnt = round.mix_real_rows(preferences_of(labelled, cfg.stop.flips))
            made = round.train(cfg.dpo, policy, learnt, reference=policy)
            policy = made.folder
            rounds.finish(round, made, labelled, itself)
    return rounds.outcome


def rule_of(cfg: SelfRewardingConfig, number: int) -> PreferConfig:
    """How a round chooses its pairs."""
    if not cfg.rho:
        return cfg.prefer
    return replace(cfg.prefer, rule="rho", rho=cfg.rho[min(number, len(cfg.rho)) - 1])


def check_self_rewarding(cfg: SelfRewardingConfig) -> None:
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


def invent(round: Round, cfg: InventConfig, initial: str, file: Path) -> Path:
    """The prompts of the round and, where some are wanted, new ones like them at their end."""
    if not cfg.prompts:
        return file
    known, held_out = [*read_records(file, Prompt)], round.loop.read_prompts("held_out")
    new: list[Prompt] = []
    dropped: list[Dropped] = []
    for attempt in range(TRIES):
        wanted = range(cfg.prompts - len(new))
        draws = [random.Random(f"{round.seed} {attempt} {place}") for place in wanted]
        asked = [Prompt.of(QUESTION.format(shown="\n".join(few_shot(known, new, draw)))) for draw in draws]
        for one in round.answers(f"invent-{attempt}", cfg.engine or initial, asked, sampling=HOW):
            written = one.answers[0].text.strip() if one.answers else ""
            text = written.partition("\n")[0].removeprefix("- ").strip()
            prompt = Prompt.of(text, meta={"invented": True})
            if reason := unfit(text, [_text(one) for one in (*known, *new, *held_out)]):
                dropped.append(Dropped(prompt.id, "prompts", reason, text))
            else:
                new.append(prompt)
    round.write("invented-dropped", dropped)
    return round.write("invented", [*known, *new])


def few_shot(known: Sequence[Prompt], new: Sequence[Prompt], draw: random.Random) -> list[str]:
    """Six given prompts and two invented ones, in any order."""
    picked = draw.sample(list(known), min(SHOWN, len(known)))
    picked += draw.sample(list(new), min(SHOWN_INVENTED, len(new)))
    draw.shuffle(picked)
    return [" ".join(_text(one).split()) for one in picked]


def unfit(text: str, known: Sequence[str]) -> str:
    """Why a new prompt is no good; empty when it is."""
    words = len(text.split())
    if not words:
        return "empty"
    if not FEWEST_WORDS <= words <= MOST_WORDS:
        return "too_short" if words < FEWEST_WORDS else "too_long"
    return "not_new" if any(rouge_l(text, other) >= TOO_LIKE for other in known) else ""


def rouge_l(one: str, other: str) -> float:
    """F1 of the longest common subsequence of words (Lin 2004)."""
    ours, theirs = one.casefold().split(), other.casefold().split()
    row = [0] * (len(theirs) + 1)
    for word in ours:
        before = 0
        for place, match in enumerate(theirs, 1):
            before, row[place] = row[place], before + 1 if word == match else max(row[place], row[place - 1])
    return 2 * row[-1] / (len(ours) + len(theirs)) if ours or theirs else 0.0


def _text(prompt: Prompt) -> str:
    return prompt.messages[-1].content
