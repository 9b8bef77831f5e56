"""Rewards from a judge or a reward model for other people's trainers, in their process or served.

    trainer = GRPOTrainer(model, reward_funcs=jurist.reward_function("reward:runs/mine/reward/model"), ...)

A single completion is scored as in `jurist train ppo`. A judge of pairs compares the completions of a prompt
with each other, and the reward of one is the mean of 2p - 1 over the others. No score is None, never 0.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, cast

from ..completions import matchups
from ..engines.budget import Budget, parse_money
from ..engines.checkpoints import in_training
from ..engines.journaled import Engines
from ..errors import CallRefused, DataError, SettingError
from ..journal import Journal
from ..models.rewards import JudgeRewards, Rewards, RewardSource, Scored, Value, read_score
from ..prompts.load import turns
from ..records import Completion, Group, Matchup, Prompt, Usage, Verdict
from ..verdicts.judge import ask_judges, judge_config, open_judge
from ..verdicts.settings import JudgeConfig
from ..verdicts.settle import Opinion, settle, settle_scores

AnyJudge = str | dict[str, Any] | JudgeConfig
"""As `--judge` takes it, or the folder of a reward model."""
PromptText = tuple[Prompt, str]


class Scoring:
    """One judge at work: every call is kept in the journal and paid within the budget."""

    def __init__(self, judge: AnyJudge, journal: Journal, budget: Budget) -> None:
        if isinstance(judge, str) and (in_training(judge) / "config.json").exists():
            judge = f"reward:{judge}"
        cfg, journal.at_once = judge_config(judge), True
        self.budget, self.engines = budget, Engines(journal, budget)
        budget.stops = False  # after a question that is too dear others may follow
        self.judge = cast(Any, open_judge(cfg, self.engines))
        if any(one.engine.batched for one in self.engines):
            raise SettingError("a batch takes hours, and somebody waits here. Leave out: batch")
        self.failed: Counter[str] = Counter()
        """Scores, and comparisons, that came to nothing, by reason."""
        self._clamp, self._pairs = cfg.clamp, self.judge.kind == "pairwise"
        self.source: RewardSource = self._compete if self._pairs else JudgeRewards(self.judge)

    async def rewards(self, rows: Sequence[PromptText]) -> list[Scored]:
        """The score of each row; those of one prompt go to the judge together."""
        groups: dict[tuple[str, str | None], list[int]] = {}
        for place, (prompt, _) in enumerate(rows):
            groups.setdefault((prompt.id, prompt.reference), []).append(place)
        if self._pairs and min(map(len, groups.values()), default=2) < 2:
            raise CallRefused(
                f"the judge {self.judge.name} compares two completions, and a prompt came with one."
                " Send all its completions together, or score them one by one with: --judge.kind pointwise"
            )
        found: list[Any] = [None] * len(rows)

        async def score(places: list[int]) -> None:
            prompt = rows[places[0]][0]
            values: Any = self.source(prompt, [Completion.of(prompt.id, rows[at][1]) for at in places])
            for at, value in zip(places, await values, strict=True):
                found[at] = read_score(value)
                self.failed.update(filter(None, [found[at].failed]))

        await asyncio.gather(*map(score, groups.values()))
        return found

    async def compare(self, met: Sequence[Matchup]) -> tuple[list[Opinion], Usage]:
        """What the judge thinks of these matchups of one prompt, and the tokens that it took."""
        completions = {one.id: one for matchup in met for one in (matchup.first, matchup.second)}
        verdicts = await ask_judges(met[0].prompt, [*completions.values()], met, [self.judge]) if met else []
        if self._pairs:
            about = defaultdict[str, list[Verdict]](list)
            for said in verdicts:
                about[said.matchup_id].append(said)
            opinions = [settle(about[one.id], one, clamp=self._clamp) for one in met]
        else:
            opinions = [settle_scores(verdicts, one, self.judge.scale or "logits") for one in met]
        self.failed.update(one.unread for one in opinions if one.unread)
        return opinions, sum((one.usage for one in verdicts), Usage())

    async def _compete(self, prompt: Prompt, completions: Sequence[Completion]) -> list[Value]:
        """Equal texts never meet; a comparison that failed counts for neither."""
        wins: dict[str, list[float]] = {one.id: [] for one in completions}
        met, _ = matchups(Group(prompt, tuple({one.id: one for one in completions}.values())))
        opinions, _ = await self.compare(met)
        unread = {}
        for one in (*opinions, *(opinion.swapped() for opinion in opinions)):
            if one.p_first is None:
                unread[one.first_id] = Verdict(one.first_id, self.judge.name, unread=one.unread)
            else:
                wins[one.first_id].append(2 * one.p_first - 1)
        # Without either, all are the same text.
        return [fmean(wins[one.id]) if wins[one.id] else unread.get(one.id, 0.0) for one in completions]


class RewardFunction(ExitStack):
    """A judge or a reward model as a reward: `f(prompts, completions)` for TRL, `f.verl` for verl.

    What failed is None, never 0. Answered calls are kept in the file `journal`, for the next start as well.
    """

    def __init__(
        self, judge: AnyJudge, *, budget: str | float | None = None, journal: str | Path | None = None
    ) -> None:
        super().__init__()
        # Each process of a training has a journal of its own, and watches over its part of the budget.
        rank, cap = os.environ.get("RANK", "0"), parse_money(budget)
        cap = cap and cap / int(os.environ.get("WORLD_SIZE", 1))
        path = Path(journal or self.enter_context(TemporaryDirectory()) + "/journal.sqlite")
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = Journal(path if rank == "0" else path.with_stem(f"{path.stem}-{rank}"))
        self.budget = Budget(cap, self.enter_context(closing(kept)))
        self._scoring = Scoring(judge, kept, self.budget)
        self._rewards = self.enter_context(Rewards(self._scoring.source))
        self.callback(lambda: self._rewards.run(self._scoring.engines.close()))
        self._rewards.run(self._scoring.engines.prepare())
        self.__name__ = self._scoring.judge.name  # in TRL's logs

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
    ) -> list[float | None]:
        """As TRL calls it: texts or turns. The judge is shown a column `reference` or `answer`."""
        answers = columns.get("reference") or columns.get("answer") or [None] * len(prompts)
        rows = zip(map(prompt_of, prompts, answers), map(completion_text, completions), strict=True)
        return [one.score for one in self._rewards.run(self._scoring.rewards([*rows]))]

    def verl(
        self, data_source: str, solution_str: str, ground_truth: Any = None, extra_info: Any = None, **_: Any
    ) -> float | None:
        """As verl calls it. verl does not hand on the prompt: keep it in the data's `extra_info`."""
        asked = (extra_info or {}).get("prompt") or (extra_info or {}).get("question")
        if not asked:
            where = 'Put the prompt into its extra_info: {"prompt": ...}'
            raise DataError(f"a row of {data_source} does not say what was asked. {where}")
        rows = [(prompt_of(asked, ground_truth), solution_str)]
        scored: list[Scored] = self._rewards.run(self._scoring.rewards(rows))
        return scored[0].score


reward_function = RewardFunction


def prompt_of(asked: Any, reference: Any = None) -> Prompt:
    return Prompt.of(turns(asked, "prompt"), reference=None if reference is None else str(reference))


def completion_text(completion: Any) -> str:
    """Of a text, or of turns the last one's."""
    return completion if isinstance(completion, str) else turns(completion, "completion")[-1].content
