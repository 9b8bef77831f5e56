"""Judges by name, and asking them everything about one prompt.

A judge is a callable from a matchup to a verdict, or from a prompt and a completion to one with a score.
Ours sit in the dictionary `JUDGES`; anyone else's is named as `module:name`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, Final, Literal, NamedTuple, Protocol, cast

import msgspec
from msgspec.structs import replace

from ..config import settings_from
from ..engines.engine import ENGINES, Engine, EngineSpec
from ..engines.scripted import load_function
from ..errors import CallFailed, CallRefused, SettingError, nearest
from ..prompts.rows import require
from ..records import Completion, Matchup, Prompt, Verdict
from .ask import JudgePrompt
from .constitution import Constitution, draw, load_constitution
from .rules import BASELINES, CHECKS, FunctionJudge, FunctionScorer
from .settings import JudgeConfig, read_swap

OpenEngine = Callable[[EngineSpec], Engine]


class Judge(Protocol):
    """Compares the two completions of a matchup, in the order they are in."""

    name: str
    kind: Literal["pairwise"]

    async def __call__(self, matchup: Matchup, sample: int = 0) -> Verdict: ...


class Scorer(Protocol):
    """Scores one completion."""

    name: str
    kind: Literal["pointwise"]

    async def __call__(self, prompt: Prompt, completion: Completion, sample: int = 0) -> Verdict: ...


class Pairwise:
    """A model that says which of two completions is better, perhaps under a principle of a constitution."""

    kind: Literal["pairwise"] = "pairwise"

    def __init__(
        self, cfg: JudgeConfig, engine: Engine, constitution: Constitution | None = None, seed: int = 0
    ) -> None:
        self.swap, self.samples = cfg.swap, cfg.samples
        self.constitution, self.seed = constitution, seed
        self.prompt = JudgePrompt(cfg, engine, f"{constitution.id} {seed}" if constitution else "")
        self.name = self.prompt.name

    async def __call__(self, matchup: Matchup, sample: int = 0) -> Verdict:
        principles = self.constitution
        principle = draw(principles, matchup.id, self.seed, sample) if principles is not None else None
        p, fields = await self.prompt.ask(self.prompt.show_pair(matchup, principle), sample)
        fields["principle"] = principle.id if principle else ""
        return Verdict.of_pair(self.name, matchup, sample, p_first=p, **fields)


class Pointwise:
    """A model that scores one completion on a scale, or by five points earned one by one."""

    kind: Literal["pointwise"] = "pointwise"

    def __init__(self, cfg: JudgeConfig, engine: Engine) -> None:
        self.samples, self.scale = cfg.samples, cfg.bounds
        self.prompt = JudgePrompt(cfg, engine)
        self.name = self.prompt.name

    async def __call__(self, prompt: Prompt, completion: Completion, sample: int = 0) -> Verdict:
        score, fields = await self.prompt.ask(self.prompt.show_one(prompt, completion), sample)
        return Verdict.of_one(self.name, completion, sample, score=score, **fields)


class JudgeContext(NamedTuple):
    """What there is to make a judge from."""

    cfg: JudgeConfig
    kind: str
    argument: str
    """What stands behind the colon: `numeric:0.01`."""
    open: OpenEngine
    seed: int

    @property
    def engine(self) -> Engine:
        if self.cfg.engine is None:
            raise SettingError(f"the judge '{self.cfg.kind}' asks a model. Set its engine: openai:gpt-5-mini")
        return self.open(self.cfg.engine)


def _reward_model(context: JudgeContext) -> Scorer:
    """Named, not imported: whoever has no reward model needs no torch."""
    require("torch", "a reward model as a judge", "train")
    judge: Any = load_function("jurist.models.rewards:RewardJudge")
    return cast(Scorer, judge(context.argument, context.cfg.name))


JUDGES: Final[dict[str, Callable[[JudgeContext], Judge | Scorer]]] = {
    "pairwise": lambda ctx: Pairwise(ctx.cfg, ctx.engine),
    "pointwise": lambda ctx: Pointwise(ctx.cfg, ctx.engine),
    "additive": lambda ctx: Pointwise(ctx.cfg, ctx.engine),
    "constitution": lambda ctx: Pairwise(
        ctx.cfg, ctx.engine, load_constitution(ctx.cfg.constitution), ctx.seed
    ),
    "reward": _reward_model,
    # A check knows: of two with different scores one is better with p = 1.
    **dict.fromkeys(CHECKS, lambda ctx: FunctionScorer(ctx.cfg, CHECKS[ctx.kind](ctx.argument), "certain")),
    **dict.fromkeys(BASELINES, lambda ctx: FunctionJudge(ctx.cfg, BASELINES[ctx.kind])),
}


def judge_config(spec: JudgeConfig | str | dict[str, Any]) -> JudgeConfig:
    """The settings of a short form: `shorter`, `my_module:my_judge`, or an engine, to be asked in pairs."""
    if isinstance(spec, JudgeConfig):
        spec = msgspec.to_builtins(spec)  # from Python, types are not checked before
    elif isinstance(spec, str):
        spec = JudgeConfig.from_word(spec)
    if not isinstance(spec, dict):
        raise SettingError(f"a judge is a name or a mapping, got {spec!r}. Try: openai:gpt-5-mini")
    return settings_from(JudgeConfig, spec)


def open_judge(cfg: JudgeConfig | str | dict[str, Any], engine: OpenEngine, seed: int = 0) -> Judge | Scorer:
    """The judge these settings describe; `engine` opens the engine they name."""
    cfg = judge_config(cfg)
    kind, _, argument = cfg.kind.partition(":")
    if kind in JUDGES:
        return JUDGES[kind](JudgeContext(cfg, kind, argument, engine, seed))
    if not argument:
        ways = "Or name an engine, openai:MODEL, or your own as module:name"
        raise SettingError(f"{nearest('judge', cfg.kind, JUDGES)} {ways}")
    if not argument.isidentifier():
        # `vlm:MODEL@http://...` was meant as an engine; no function is called like that.
        raise SettingError(nearest("kind of engine", kind, ENGINES))
    function = load_function(cfg.kind)
    if not callable(function):
        raise SettingError(f"'{cfg.kind}' is {function!r}, not a function. Write it as module:function")
    made = FunctionScorer if getattr(function, "kind", "") == "pointwise" else FunctionJudge
    return made(cfg, function)


def orders(swap: str, matchup: Matchup, seed: int = 0) -> tuple[Matchup, ...]:
    """The matchup in each order it is to be asked in; which share is asked in both is decided by content."""
    if swap != "always":
        digest = blake2b(f"{matchup.id} {seed}".encode(), digest_size=8, person=b"swap").digest()
        if int.from_bytes(digest, "big") / 2**64 >= read_swap(swap):
            return (matchup,)
    return matchup, matchup.swapped()


async def ask_judges(
    prompt: Prompt,
    completions: Sequence[Completion],
    matchups: Sequence[Matchup],
    judges: Sequence[Judge | Scorer],
    seed: int = 0,
) -> list[Verdict]:
    """All the verdicts of these judges about one prompt, asked at once, by judge, matchup, order and sample.

    A call that failed is an unread verdict. What stops a whole job is raised once calls in flight are back.
    """
    asked: list[Coroutine[Any, Any, Verdict]] = []
    for judge in judges:
        name, samples = judge.name, range(getattr(judge, "samples", 1))
        if judge.kind == "pointwise":
            asked += [
                _answered(judge(prompt, one, sample), partial(Verdict.of_one, name, one, sample))
                for one in completions
                for sample in samples
            ]
            continue
        swap = getattr(judge, "swap", "always")
        asked += [
            _answered(judge(shown, sample), partial(Verdict.of_pair, name, shown, sample), shown is not one)
            for one in matchups
            for shown in orders(swap, one, seed)
            for sample in samples
        ]
    if len(asked) < 2:
        return [await one for one in asked]
    verdicts = await asyncio.gather(*asked, return_exceptions=True)
    for one in verdicts:
        if isinstance(one, BaseException):
            raise one
    return [one for one in verdicts if isinstance(one, Verdict)]


async def _answered(
    verdict: Awaitable[Verdict], unread: Callable[..., Verdict], swapped: bool = False
) -> Verdict:
    """The verdict, or an unread one where the call failed."""
    try:
        found = await verdict
    except (CallFailed, CallRefused) as error:
        reason = "call_refused" if isinstance(error, CallRefused) else "call_failed"
        found = unread(unread=reason, raw=str(error))
    return replace(found, order="swapped") if swapped else found
