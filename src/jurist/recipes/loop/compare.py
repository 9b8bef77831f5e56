"""One policy against another on held-out prompts, in the eyes of a judge that had no part in the training.

    compare("hf:runs/mine/round-1/policy/model", "hf:sft", prompts, JudgeConfig(engine="openai:gpt-5-mini"))

Both answer each prompt once, and the judge is asked in both orders. Answers that are equal count a half; an
unread verdict counts as nothing, and is counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

from msgspec import Struct

from ...completions import sample_completions
from ...completions.load import same_words
from ...engines.budget import Budget
from ...engines.journaled import Engines
from ...errors import SettingError
from ...records import Completion, Dropped, Matchup, Prompt, Sampling
from ...run import Run
from ...stats.intervals import z_of
from ...verdicts.judge import Judge, Scorer, ask_judges, open_judge
from ...verdicts.settings import JudgeConfig
from ...verdicts.settle import ScoreScale, settle, settle_scores
from ..label import rows_under_way
from ..stream import in_order, run_async
from .stopping import Comparison

SAMPLES = 4
"""Answers to each held-out prompt: the first is judged, all of them say how different they are."""


class Looked(Struct, frozen=True):
    """A policy as it was found on held-out prompts."""

    comparison: Comparison | None
    distinct: float
    unique: float
    kl: float | None = None
    """Nats a completion, to the policy it is compared with."""
    usd: float = 0.0
    seconds: float = 0.0


class Answered(Struct, frozen=True):
    """A prompt with what both wrote, and how probable it is that the new one's is better."""

    prompt: Prompt
    new: tuple[Completion, ...]
    old: Completion | None
    p: float | None = None


def look(
    run: Run,
    new: str | dict[str, Any],
    old: str | dict[str, Any],
    prompts: Sequence[Prompt],
    judge: str | JudgeConfig,
    sampling: Sampling,
    *,
    budget: float | None = None,
    seed: int = 0,
    watch: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[Looked, list[Answered]]:
    """How the new one compares, how different its answers are, and the answers themselves."""
    money = Budget(budget, run.journal)
    engines = Engines(run.journal, money)

    async def answers() -> list[Answered]:
        found: list[Answered] = []
        try:
            ours, theirs = [(engines(new), 1.0)], [(engines(old), 1.0)]
            asked = open_judge(judge, engines, seed) if judge else None
            await engines.prepare()

            async def work(prompt: Prompt) -> Answered:
                mine = all_drawn(*await sample_completions(prompt, ours, SAMPLES, sampling, seed))
                if asked is None:
                    return Answered(prompt, tuple(mine), None)
                its, _ = await sample_completions(prompt, theirs, 1, sampling, seed)
                p = await _verdict(asked, prompt, mine, its, seed) if mine and its else None
                return Answered(prompt, tuple(mine), its[0] if its else None, p)

            async with aclosing(in_order(prompts, work, rows_under_way(engines))) as rows:
                async for row in rows:
                    found.append(row)
                    watch(len(found), len(prompts))
        finally:
            await engines.close()
        return found

    answered = run_async(answers(), money)
    groups = [[one.text for one in row.new] for row in answered]
    found = Looked(
        comparison=compared(answered) if judge else None,
        distinct=distinct([text for group in groups for text in group]),
        unique=unique(groups),
        usd=money.spent,
    )
    return found, answered


async def _verdict(
    judge: Judge | Scorer, prompt: Prompt, new: Sequence[Completion], old: Sequence[Completion], seed: int
) -> float | None:
    """p that the new answer is better; None where nothing usable was said."""
    if same_words(new[0].text, old[0].text):
        return 0.5
    matchup = Matchup.of(prompt, new[0], old[0])
    said = await ask_judges(prompt, (new[0], old[0]), [matchup], [judge], seed)
    scale: ScoreScale = getattr(judge, "scale", None) or "logits"
    opinion = settle(said, matchup) if judge.kind == "pairwise" else settle_scores(said, matchup, scale)
    return opinion.p_first


def all_drawn(kept: Sequence[Completion], dropped: Sequence[Dropped]) -> list[Completion]:
    """With those that were left out for being said before: how often a thing is said is what counts here."""
    known = {one.id: one for one in kept}
    return [*kept, *(known[one.subject_id] for one in dropped if one.subject_id in known)]


def compared(answered: Sequence[Answered]) -> Comparison:
    """The win rate with its 95 % interval, over prompts."""
    ps = [row.p for row in answered if row.p is not None]
    if not ps:
        raise SettingError(
            "the judge that compares policies gave nothing usable on any held-out prompt."
            " Try another with: --compare.judge JUDGE, or set: --compare.judge ''"
        )
    mean = sum(ps) / len(ps)
    spread = math.sqrt(sum((p - mean) ** 2 for p in ps) / max(1, len(ps) - 1))
    half = z_of(0.95) * max(spread, 0.5 / len(ps) ** 0.5) / math.sqrt(len(ps))
    return Comparison(
        win_rate=mean,
        low=max(0.0, mean - half),
        high=min(1.0, mean + half),
        n=len(ps),
        unread=len(answered) - len(ps),
        words=_words([row.new[0] for row in answered if row.new]),
        words_before=_words([row.old for row in answered if row.old is not None]),
        at_equal_length=_at_equal_length(answered),
    )


def _at_equal_length(answered: Sequence[Answered]) -> float | None:
    from ...audits.length_debt import length_debt

    met = [(row.p, row.new[0], row.old) for row in answered if row.p is not None and row.new and row.old]
    lengths = [(len(new.text), len(old.text)) for _, new, old in met]
    found = length_debt([p for p, _, _ in met], [new for new, _ in lengths], [old for _, old in lengths])
    return found.corrected.value if found else None


def _words(completions: Sequence[Completion]) -> float:
    return sum(len(one.text.split()) for one in completions) / max(1, len(completions))


def distinct(texts: Sequence[str]) -> float:
    """Different pairs of neighbouring words among a thousand drawn from all of them: the more is written, the
    less of it is new, and a policy that says more would seem to have lost its words.
    """
    import numpy as np

    from ...audits.diversity.words import AMONG, grams

    pairs = grams([texts], 2)
    return pairs.distinct(np.array([True]), AMONG) if len(pairs) else 0.0


def unique(groups: Sequence[Sequence[str]]) -> float:
    """Mean share of different answers among those to one prompt."""
    shares = [len({" ".join(text.split()) for text in group}) / SAMPLES for group in groups if group]
    return sum(shares) / len(shares) if shares else 0.0
