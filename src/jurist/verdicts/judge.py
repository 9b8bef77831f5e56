"""Judges by name, and asking them everything about one prompt.

A judge is a callable from a matchup to a verdict, or from a prompt and a completion to one with a score.
Ours sit in the dictionary `JUDGES`; anyone else's is named as `module:name`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from hashlib import blake2b
from typing import Any, Final, Literal, Protocol, runtime_checkable

from msgspec.structs import replace

from ..config import settings_from
from ..engines.engine import Engine
from ..engines.open import KINDS
from ..engines.scripted import load_function
from ..errors import CallFailed, CallRefused, MissingExtra, SettingError, nearest
from ..records import Completion, Matchup, Prompt, Verdict
from . import rules
from .constitution import load_constitution
from .pairwise import Pairwise
from .pointwise import Pointwise
from .read import CALL_FAILED, CALL_REFUSED
from .settings import Example, JudgeConfig, read_swap
from .theirs import TheirJudge, TheirScorer
from .told import about_one, about_pair

__all__ = ["JUDGES", "Example", "Judge", "JudgeConfig", "Scorer", "hear", "open_judge", "orders"]


@runtime_checkable
class Judge(Protocol):
    """Compares the two completions of a matchup, as they are seated."""

    name: str
    kind: Literal["pairwise"]

    async def __call__(self, matchup: Matchup, sample: int = 0) -> Verdict: ...


@runtime_checkable
class Scorer(Protocol):
    """Scores one completion."""

    name: str
    kind: Literal["pointwise"]

    async def __call__(self, prompt: Prompt, completion: Completion, sample: int = 0) -> Verdict: ...


OpenEngine = Callable[[str | dict[str, Any]], Engine]


class Needs:
    """What there is to make a judge from."""

    def __init__(self, cfg: JudgeConfig, argument: str, engine: OpenEngine, seed: int) -> None:
        self.cfg, self.argument, self.seed = cfg, argument, seed
        self._open = engine

    @property
    def engine(self) -> Engine:
        if self.cfg.engine is None:
            raise SettingError(f"the judge '{self.cfg.kind}' asks a model. Set its engine: openai:gpt-5-mini")
        return self._open(self.cfg.engine)

    @property
    def name(self) -> str:
        """A rule's name, with what it was told."""
        return self.cfg.name or self.cfg.kind


def _constitution(needs: Needs) -> Pairwise:
    return Pairwise(needs.cfg, needs.engine, load_constitution(needs.cfg.constitution), needs.seed)


def _reward_model(needs: Needs) -> Scorer:
    """Named, not imported: whoever has no reward model needs no torch."""
    try:
        opened: Scorer = load_function("jurist.models.judge:open_reward")(needs)
    except ImportError:
        raise MissingExtra("a reward model as a judge", "torch", "train") from None
    return opened


JUDGES: Final[dict[str, Callable[[Needs], Judge | Scorer]]] = {
    "pairwise": lambda needs: Pairwise(needs.cfg, needs.engine),
    "pointwise": lambda needs: Pointwise(needs.cfg, needs.engine),
    "constitution": _constitution,
    "reward": _reward_model,
    "exact": lambda needs: rules.Rule(needs.name, rules.exact),
    "numeric": lambda needs: rules.Rule(needs.name, rules.numeric(_tolerance(needs.argument))),
    "regex": lambda needs: rules.Rule(needs.name, rules.regex(needs.argument)),
    "json_schema": lambda needs: rules.Rule(needs.name, rules.json_schema(needs.argument)),
    "shorter": lambda needs: rules.Planted(needs.name, rules.shorter, needs.cfg.swap),
    "longer": lambda needs: rules.Planted(needs.name, rules.longer, needs.cfg.swap),
    "first": lambda needs: rules.Planted(needs.name, rules.first, needs.cfg.swap),
    "second": lambda needs: rules.Planted(needs.name, rules.second, needs.cfg.swap),
}


def judge_config(spec: JudgeConfig | str | dict[str, Any]) -> JudgeConfig:
    """The settings of a short form: `shorter`, `my_module:my_judge`, or an engine, to be asked in pairs."""
    if isinstance(spec, JudgeConfig):
        return spec
    if isinstance(spec, dict):
        return settings_from(JudgeConfig, spec)
    kind = spec.partition(":")[0]
    is_engine = kind not in JUDGES and kind in KINDS
    return JudgeConfig(engine=spec) if is_engine else JudgeConfig(kind=spec)


def open_judge(cfg: JudgeConfig | str | dict[str, Any], engine: OpenEngine, seed: int = 0) -> Judge | Scorer:
    """The judge these settings describe; `engine` opens the engine they name."""
    cfg = judge_config(cfg)
    kind, _, argument = cfg.kind.partition(":")
    if kind in JUDGES:
        return JUDGES[kind](Needs(cfg, argument, engine, seed))
    if not argument:
        raise SettingError(
            nearest("judge", cfg.kind, JUDGES)
            + " Or name an engine, openai:MODEL, or your own as module:name"
        )
    if not argument.isidentifier():
        # `vlm:MODEL@http://...` was meant as an engine; no function is called like that.
        raise SettingError(nearest("kind of engine", kind, KINDS))
    theirs = load_function(cfg.kind)
    if not callable(theirs):
        raise SettingError(
            f"'{cfg.kind}' is {theirs!r}, which cannot be called. Name a function: module:function"
        )
    made = TheirScorer if getattr(theirs, "kind", "") == "pointwise" else TheirJudge
    return made(cfg, theirs)


def _tolerance(argument: str) -> float:
    try:
        return float(argument or 1e-6)
    except ValueError:
        raise SettingError(f"a tolerance is a number, got '{argument}'; set kind: numeric:0.01") from None


def orders(judge_swap: str, matchup: Matchup, seed: int = 0) -> tuple[Matchup, ...]:
    """The matchup in each order it is to be asked in; which share is asked in both is decided by content."""
    if judge_swap == "always":
        return matchup, matchup.swapped()
    if judge_swap == "never":
        return (matchup,)
    digest = blake2b(f"{matchup.id} {seed}".encode(), digest_size=8, person=b"swap").digest()
    both = int.from_bytes(digest, "big") / 2**64 < read_swap(judge_swap)
    return (matchup, matchup.swapped()) if both else (matchup,)


async def hear(
    group_prompt: Prompt,
    completions: Sequence[Completion],
    matchups: Sequence[Matchup],
    judges: Sequence[Judge | Scorer],
    seed: int = 0,
) -> list[Verdict]:
    """All these judges say about one prompt, asked at once, in the order judge, matchup, order, sample.

    A call that failed is an unread verdict. What stops a whole job travels on once calls in flight are back.
    """
    asked = [one for judge in judges for one in _questions(group_prompt, completions, matchups, judge, seed)]
    if len(asked) < 2:
        return [await one for one in asked]
    heard = await asyncio.gather(*asked, return_exceptions=True)
    for one in heard:
        if isinstance(one, BaseException):
            raise one
    return [one for one in heard if isinstance(one, Verdict)]


def _questions(
    prompt: Prompt,
    completions: Sequence[Completion],
    matchups: Sequence[Matchup],
    judge: Judge | Scorer,
    seed: int,
) -> Iterator[Coroutine[Any, Any, Verdict]]:
    samples = range(getattr(judge, "samples", 1))
    if judge.kind == "pointwise":
        for completion in completions:
            for sample in samples:
                yield _score(judge, prompt, completion, sample)
        return
    swap = getattr(judge, "swap", "always")
    for matchup in matchups:
        for seated in orders(swap, matchup, seed):
            for sample in samples:
                yield _compare(judge, seated, seated is not matchup, sample)


async def _compare(judge: Judge, matchup: Matchup, turned: bool, sample: int) -> Verdict:
    try:
        verdict = await judge(matchup, sample)
    except (CallFailed, CallRefused) as error:
        verdict = about_pair(judge.name, matchup, sample, **_nothing(error))
    return replace(verdict, order="swapped") if turned else verdict


async def _score(judge: Scorer, prompt: Prompt, completion: Completion, sample: int) -> Verdict:
    try:
        return await judge(prompt, completion, sample)
    except (CallFailed, CallRefused) as error:
        return about_one(judge.name, completion, sample, **_nothing(error))


def _nothing(error: CallFailed | CallRefused) -> dict[str, str]:
    return {"unread": CALL_REFUSED if isinstance(error, CallRefused) else CALL_FAILED, "raw": str(error)}
