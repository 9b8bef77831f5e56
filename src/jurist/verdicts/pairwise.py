"""Which of two completions is better, asked of a model; perhaps under a principle drawn for each question."""

from __future__ import annotations

from typing import Literal

from ..engines.engine import Engine
from ..records import Matchup, Verdict
from .ask import Question
from .constitution import Constitution, draw
from .read import LOW_MASS, Reading, read_choice
from .settings import JudgeConfig
from .told import about_pair, evidence


class Pairwise:
    """Judges a matchup as it is seated. Asking in both orders is up to the caller, see `judge.hear`."""

    kind: Literal["pairwise"] = "pairwise"

    def __init__(
        self, cfg: JudgeConfig, engine: Engine, constitution: Constitution | None = None, seed: int = 0
    ) -> None:
        self.swap, self.samples = cfg.swap, cfg.samples
        self.engine, self.constitution, self.seed = engine, constitution, seed
        self.question = Question(cfg, "pairwise", engine, f"{constitution.id} {seed}" if constitution else "")
        self.name = self.question.name

    async def __call__(self, matchup: Matchup, sample: int = 0) -> Verdict:
        principle = None
        if self.constitution is not None:
            principle = draw(self.constitution, matchup.id, self.seed, sample)
        ask = self.question.pair(matchup, principle, sample)
        reply = await self.question.put_to(self.engine, ask)
        if self.question.lacks_logprobs(reply):
            reading = Reading(unread=LOW_MASS)
        else:
            reading = read_choice(reply.text, self.question.menu, reply.finish, reply.tokens)
        return about_pair(
            self.name,
            matchup,
            sample,
            p_first=reading.p_first,
            principle=principle.id if principle else "",
            **evidence(reply, reading),
        )
