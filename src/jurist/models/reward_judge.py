"""A trained reward model as a judge: `--judge reward:FOLDER`. It scores completions; p is the sigmoid of two.

Calls that come in together go through the model together, those to one prompt sharing it, in a thread beside
the event loop. As a PPO reward the same object scores a whole step at once, by `score_many`. A completion
that was cut off is read as it is, at its last token and without a token that ends it, in training as well: it
is never scored as if it had been finished.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from msgspec.structs import replace

from ..engines.checkpoints import gives_rewards
from ..errors import SettingError
from ..policies.tokens import TextRow, tokenise_many
from ..records import Completion, Prompt, Verdict

TOKENS = 16384
"""Token slots in one forward pass."""
_GATHER_SECONDS = 0.005
NO_SCORE = "too long or empty"
"""Why there is no score: the model has no positions for the whole of it, or there is no token to read at."""
JudgedRow = tuple[Prompt, Completion]


class RewardJudge:
    """Scores one completion."""

    kind: Literal["pointwise"] = "pointwise"
    swap = "never"
    scale = "logits"
    samples = 1

    def __init__(self, folder: str | Path, name: str = "") -> None:
        from ..policies.policy import load_to_read

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
        self._policy = policy
        self.name = name or f"reward:{Path(folder).name}:{policy.hash[:12]}"
        self._waiting: list[tuple[JudgedRow, asyncio.Future[float | None]]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reward")

    async def __call__(self, prompt: Prompt, completion: Completion, sample: int = 0) -> Verdict:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[float | None] = loop.create_future()
        self._waiting.append(((prompt, completion), answer))
        if len(self._waiting) == 1:
            loop.call_later(_GATHER_SECONDS, lambda: loop.create_task(self._score_waiting()))
        score = await answer
        unread = NO_SCORE if score is None else ""
        return Verdict.of_one(self.name, completion, sample, score=score, unread=unread)

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

    def score_many(self, rows: Sequence[JudgedRow]) -> list[float | None]:
        """The score of each completion, those to one prompt sharing it; None where one cannot be scored."""
        from ..policies.policy import token_stats

        by_prompt: dict[str, list[int]] = {}
        for index, (prompt, _) in enumerate(rows):
            by_prompt.setdefault(prompt.id, []).append(index)
        groups = list(by_prompt.values())
        texts: Iterator[TextRow] = (
            (rows[group[0]][0], [rows[index][1] for index in group], {}) for group in groups
        )
        places: list[int] = []
        examples = []
        for group, whole in zip(groups, tokenise_many(texts, self._policy.tokenizer), strict=True):
            room = self._policy.max_positions - len(whole.prompt_ids)
            fits = [at for at, answer in enumerate(whole.answers) if 0 < len(answer) <= room]
            if fits:
                places += [group[at] for at in fits]
                examples.append(replace(whole, answers=[whole.answers[at] for at in fits]))
        found: list[float | None] = [None] * len(rows)
        if examples:
            scores: Any = token_stats(self._policy, examples, TOKENS, ("reward",)).reward_A
            for index, value in zip(places, scores.tolist(), strict=True):
                found[index] = value
        return found


def open_reward(needs: Any) -> RewardJudge:
    """From what a judge is made of."""
    return RewardJudge(needs.argument, needs.cfg.name)
