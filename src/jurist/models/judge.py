"""A trained reward model as a judge: `--judge reward:FOLDER`. It scores completions; p is the sigmoid of two.

Calls that come in together go through the model together, those to one prompt sharing it, in a thread beside
the event loop. As a PPO reward the same object scores a whole step at once, by `score_many`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from msgspec.structs import replace

from ..engines.checkpoints import gives_rewards
from ..errors import SettingError
from ..records import Completion, Prompt, Verdict, content_id

TOKENS = 16384
"""Token slots in one forward pass."""
_GATHER_SECONDS = 0.005
TOO_LONG = "too long"
"""Why there is no score: the model has no positions for the whole of it."""
Row = tuple[Prompt, Completion]


class RewardJudge:
    """Scores one completion."""

    kind: Literal["pointwise"] = "pointwise"
    swap = "never"
    scale = "logits"
    samples = 1

    def __init__(self, folder: str | Path, name: str = "") -> None:
        from .policy import load_to_read
        from .reward import Scorer

        if not str(folder):
            raise SettingError(
                "a reward model is a folder. Write it as: --judge reward:runs/mine/reward/model"
            )
        policy = load_to_read(folder, kind="reward")
        if not gives_rewards(policy.path):
            raise SettingError(
                f"{folder} is a language model and has learnt no reward. Train one from it with:"
                f" jurist train reward RUN --base {folder}"
            )
        self._longest = policy.longest
        self._tokenizer = policy.tokenizer
        self._scorer = Scorer(policy.model).eval()
        self.name = name or f"reward:{Path(folder).name}:{policy.hash[:12]}"
        self._waiting: list[tuple[Row, asyncio.Future[float | None]]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reward")

    async def __call__(self, prompt: Prompt, completion: Completion, sample: int = 0) -> Verdict:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[float | None] = loop.create_future()
        self._waiting.append(((prompt, completion), answer))
        if len(self._waiting) == 1:
            loop.call_later(_GATHER_SECONDS, lambda: loop.create_task(self._score_waiting()))
        score = await answer
        return Verdict(
            id=content_id(self.name, completion.id, sample),
            judge=self.name,
            first_id=completion.id,
            score=score,
            unread=TOO_LONG if score is None else "",
            sample=sample,
        )

    async def _score_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        rows = [row for row, _ in waiting]
        loop = asyncio.get_running_loop()
        try:
            scores = await loop.run_in_executor(self._thread, self.score_many, rows)
        except Exception as error:  # whoever waits hears of it, whatever it is
            for _, answer in waiting:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), score in zip(waiting, scores, strict=True):
            if not answer.done():
                answer.set_result(score)

    def score_many(self, rows: Sequence[Row]) -> list[float | None]:
        """The score of each completion, those to one prompt sharing it; None where one is too long."""
        from .batch import tokenise
        from .reward import score

        order = sorted(range(len(rows)), key=lambda index: rows[index][0].id)
        groups = [list(group) for _, group in groupby(order, key=lambda index: rows[index][0].id)]
        found: list[float | None] = [None] * len(rows)
        fitting, examples = [], []
        for group in groups:
            prompt, completions = rows[group[0]][0], [rows[index][1] for index in group]
            whole = tokenise(prompt, completions, self._tokenizer, closed=True)
            room = self._longest - len(whole.prompt_ids)
            fits = [at for at, answer in enumerate(whole.answers) if len(answer) <= room]
            if fits:
                fitting.append([group[at] for at in fits])
                examples.append(replace(whole, answers=[whole.answers[at] for at in fits]))
        for group, scores in zip(fitting, score(self._scorer, examples, TOKENS), strict=True):
            for index, value in zip(group, scores, strict=True):
                found[index] = value
        return found


def open_reward(needs: Any) -> RewardJudge:
    """From what a judge is made of."""
    return RewardJudge(needs.argument, needs.cfg.name)
