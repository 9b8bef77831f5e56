"""A trained reward model as a judge: `--judge reward:FOLDER`. It scores completions; p is the sigmoid of two.

Calls that come in together go through the model together, those to one prompt sharing it, in a thread beside
the event loop. As a PPO reward the same object scores a whole step at once, by `score_many`. A completion
that was cut off is read as it is, at its last token and without a token that ends it, in training as well: it
is never scored as if it had been finished.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from msgspec.structs import replace

from ..engines.checkpoints import gives_rewards
from ..errors import SettingError
from ..policies.policy import load_to_read, token_stats
from ..policies.tokens import Example, tokenise_many
from ..records import Completion, Prompt, Verdict
from .processes import merged

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
        self._waiting: list[JudgedRow] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reward")

    async def __call__(self, prompt: Prompt, completion: Completion, sample: int = 0) -> Verdict:
        if not self._waiting:
            self._scores = asyncio.create_task(self._score_waiting())
        self._waiting.append((prompt, completion))
        place, scores = len(self._waiting) - 1, self._scores
        score = (await asyncio.shield(scores))[place]  # who no longer waits does not stop the others
        unread = NO_SCORE if score is None else ""
        return Verdict.of_one(self.name, completion, sample, score=score, unread=unread)

    async def _score_waiting(self) -> list[float | None]:
        await asyncio.sleep(_GATHER_SECONDS)
        rows, self._waiting = self._waiting, []
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.score_many, rows)

    def score_many(self, rows: Sequence[JudgedRow]) -> list[float | None]:
        """The score of each completion, those to one prompt sharing it; None where one cannot be scored."""
        by_prompt: dict[str, list[int]] = {}
        for index, (prompt, _) in enumerate(rows):
            by_prompt.setdefault(prompt.id, []).append(index)
        groups = list(by_prompt.values())
        texts = [(rows[some[0]][0], [rows[index][1] for index in some], dict[str, Any]()) for some in groups]
        fitting: dict[int, Example] = {}
        for group, whole in zip(groups, tokenise_many(texts, self._policy.tokenizer), strict=True):
            room = self._policy.max_positions - len(whole.prompt_ids)
            for index, answer in zip(group, whole.answers, strict=True):
                if 0 < len(answer) <= room:
                    fitting[index] = replace(whole, answers=[answer])
        if not fitting:
            return [None] * len(rows)
        stats: Any = token_stats(self._policy, merged([*fitting.values()]), TOKENS, ("reward",))
        found = dict(zip(fitting, stats.reward_A.tolist(), strict=True))
        return [found.get(index) for index in range(len(rows))]
