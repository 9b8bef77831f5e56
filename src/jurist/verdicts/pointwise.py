"""How good one completion is, asked of a model: a number on a scale, or five points earned one by one.

With log-probs the score is the expectation over the score tokens, which tells near-equals apart where the
likeliest number alone would tie (Lee et al. 2023).
"""

from __future__ import annotations

from typing import Literal

from ..engines.engine import Engine
from ..records import Completion, Prompt, Verdict
from .ask import Question
from .read import LOW_MASS, Reading, read_score
from .settings import JudgeConfig
from .told import about_one, evidence


class Pointwise:
    """Scores one completion."""

    kind: Literal["pointwise"] = "pointwise"
    swap = "never"

    def __init__(self, cfg: JudgeConfig, engine: Engine) -> None:
        self.samples, self.scale = cfg.samples, cfg.bounds
        self.engine = engine
        self.question = Question(cfg, "pointwise", engine)
        self.name = self.question.name

    async def __call__(self, prompt: Prompt, completion: Completion, sample: int = 0) -> Verdict:
        ask = self.question.single(prompt, completion, sample)
        reply = await self.question.put_to(self.engine, ask)
        if self.question.lacks_logprobs(reply):
            reading = Reading(unread=LOW_MASS)
        else:
            reading = read_score(reply.text, *self.scale, reply.finish, reply.tokens)
        return about_one(self.name, completion, sample, score=reading.score, **evidence(reply, reading))
