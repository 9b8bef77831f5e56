"""Judges by name, and asking them everything about one prompt.

A judge is a callable from a matchup to a verdict, or from a prompt and a completion to one with a score.
Ours sit in the dictionary `JUDGES`; anyone else's is named as `module:name`.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Coroutine, Iterator, Sequence
from hashlib import blake2b
from typing import Any, Final, Literal, Protocol, runtime_checkable

from msgspec.structs import replace

from ..config import settings_from
from ..engines.engine import ENGINES, Engine, EngineSpec
from ..engines.scripted import describe_fault, load_function
from ..errors import CallFailed, CallRefused, DataError, JuristError, MissingExtra, SettingError, nearest
from ..records import Completion, Matchup, Prompt, Verdict
from . import rules
from .ask import Answer, JudgePrompt
from .constitution import Constitution, draw, load_constitution
from .settings import JudgeConfig, read_swap

OpenEngine = Callable[[EngineSpec], Engine]


@runtime_checkable
class Judge(Protocol):
    """Compares the two completions of a matchup, in the order they are in."""

    name: str
    kind: Literal["pairwise"]

    async def __call__(self, matchup: Matchup, sample: int = 0) -> Verdict: ...


@runtime_checkable
class Scorer(Protocol):
    """Scores one completion."""

    name: str
    kind: Literal["pointwise"]

    async def __call__(self, prompt: Prompt, completion: Completion, sample: int = 0) -> Verdict: ...


def _answer_fields(answer: Answer) -> dict[str, Any]:
    """The reply behind a verdict, word for word, and what it cost."""
    reply = answer.reply
    return {
        "unread": answer.reading.unread,
        "forced": answer.forced,
        "label_mass": answer.label_mass,
        "rationale": answer.rationale or reply.reasoning,
        "raw": reply.text,
        "call": reply.call,
        "usage": reply.usage,
        "cost": reply.cost,
        "seconds": reply.seconds,
    }


class Pairwise:
    """A model that says which of two completions is better, perhaps under a principle of a constitution."""

    kind: Literal["pairwise"] = "pairwise"

    def __init__(
        self, cfg: JudgeConfig, engine: Engine, constitution: Constitution | None = None, seed: int = 0
    ) -> None:
        self.swap, self.samples = cfg.swap, cfg.samples
        self.engine, self.constitution, self.seed = engine, constitution, seed
        drawn_from = f"{constitution.id} {seed}" if constitution else ""
        self.prompt = JudgePrompt(cfg, "pairwise", engine, drawn_from)
        self.name = self.prompt.name

    async def __call__(self, matchup: Matchup, sample: int = 0) -> Verdict:
        drawn_from = self.constitution
        principle = draw(drawn_from, matchup.id, self.seed, sample) if drawn_from is not None else None
        answer = await self.prompt.ask(self.engine, self.prompt.show_pair(matchup, principle), sample)
        return Verdict.of_pair(
            self.name,
            matchup,
            sample,
            p_first=answer.reading.value,
            principle=principle.id if principle else "",
            **_answer_fields(answer),
        )


class Pointwise:
    """A model that scores one completion on a scale, or by five points earned one by one."""

    kind: Literal["pointwise"] = "pointwise"
    swap = "never"

    def __init__(self, cfg: JudgeConfig, engine: Engine) -> None:
        self.samples, self.scale = cfg.samples, cfg.bounds
        self.engine = engine
        self.prompt = JudgePrompt(cfg, "pointwise", engine)
        self.name = self.prompt.name

    async def __call__(self, prompt: Prompt, completion: Completion, sample: int = 0) -> Verdict:
        answer = await self.prompt.ask(self.engine, self.prompt.show_one(prompt, completion), sample)
        return Verdict.of_one(
            self.name, completion, sample, score=answer.reading.value, **_answer_fields(answer)
        )


class FunctionJudge:
    """A user's function as a judge: it returns a probability, `first`, `second`, `tie`, None or a Verdict."""

    kind: Literal["pairwise"] = "pairwise"

    def __init__(self, cfg: JudgeConfig, function: Callable[[Matchup], Any]) -> None:
        self.name, self.swap, self.samples = cfg.name or cfg.kind, cfg.swap, cfg.samples
        self._function = function

    async def __call__(self, matchup: Matchup, sample: int = 0) -> Verdict:
        got = await _call(self.name, self._function, matchup)
        if isinstance(got, Verdict):
            return got
        if isinstance(got, str):
            got = {"first": 1.0, "second": 0.0, "tie": 0.5}.get(got, got)
        if got is not None and not (isinstance(got, int | float) and 0 <= got <= 1):
            raise DataError(
                f"the judge {self.name} returned {got!r} about matchup {matchup.id}."
                " Return a probability from 0 to 1, 'first', 'second', 'tie', None or a Verdict"
            )
        fields: dict[str, Any] = {"unread": "no_verdict"} if got is None else {"p_first": float(got)}
        return Verdict.of_pair(self.name, matchup, sample, **fields)


class FunctionScorer:
    """A user's function as a scorer; it says so by its attribute `kind = "pointwise"`."""

    kind: Literal["pointwise"] = "pointwise"
    swap = "never"

    def __init__(self, cfg: JudgeConfig, function: Callable[[Prompt, Completion], Any]) -> None:
        self.name, self.samples = cfg.name or cfg.kind, cfg.samples
        self.scale = getattr(function, "scale", None)
        """Lowest and highest score, where the function has such an attribute."""
        self._function = function

    async def __call__(self, prompt: Prompt, completion: Completion, sample: int = 0) -> Verdict:
        got = await _call(self.name, self._function, prompt, completion)
        if isinstance(got, Verdict):
            return got
        if got is not None and not (isinstance(got, int | float) and math.isfinite(got)):
            raise DataError(
                f"the scorer {self.name} returned {got!r} about completion {completion.id}."
                " Return a number, None or a Verdict"
            )
        fields: dict[str, Any] = {"unread": "no_verdict"} if got is None else {"score": float(got)}
        return Verdict.of_one(self.name, completion, sample, **fields)


async def _call(judge: str, function: Callable[..., Any], *about: Any) -> Any:
    """What a user's function returns; a fault in it is named with its line."""
    try:
        got = function(*about)
        if inspect.isawaitable(got):
            got = await got
    except JuristError:
        raise
    except Exception as error:
        raise DataError(f"the judge {judge} failed: {describe_fault(error)}") from error
    # a single number of numpy's or torch's
    return got.item() if getattr(got, "ndim", None) == 0 else got


class JudgeContext:
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
        """A rule's name, with its argument."""
        return self.cfg.name or self.cfg.kind


def _constitution(context: JudgeContext) -> Pairwise:
    principles = load_constitution(context.cfg.constitution)
    return Pairwise(context.cfg, context.engine, principles, context.seed)


def _reward_model(context: JudgeContext) -> Scorer:
    """Named, not imported: whoever has no reward model needs no torch."""
    try:
        opened: Scorer = load_function("jurist.models.judge:open_reward")(context)
    except ImportError:
        raise MissingExtra("a reward model as a judge", "torch", "train") from None
    return opened


JUDGES: Final[dict[str, Callable[[JudgeContext], Judge | Scorer]]] = {
    "pairwise": lambda context: Pairwise(context.cfg, context.engine),
    "pointwise": lambda context: Pointwise(context.cfg, context.engine),
    "additive": lambda context: Pointwise(context.cfg, context.engine),
    "constitution": _constitution,
    "reward": _reward_model,
    "exact": lambda context: rules.Rule(context.name, rules.exact),
    "numeric": lambda context: rules.Rule(context.name, rules.numeric(_tolerance(context.argument))),
    "regex": lambda context: rules.Rule(context.name, rules.regex(context.argument)),
    "json_schema": lambda context: rules.Rule(context.name, rules.json_schema(context.argument)),
    "shorter": lambda context: rules.Heuristic(context.name, rules.shorter, context.cfg.swap),
    "longer": lambda context: rules.Heuristic(context.name, rules.longer, context.cfg.swap),
    "first": lambda context: rules.Heuristic(context.name, rules.first, context.cfg.swap),
    "second": lambda context: rules.Heuristic(context.name, rules.second, context.cfg.swap),
}


def judge_config(spec: JudgeConfig | str | dict[str, Any]) -> JudgeConfig:
    """The settings of a short form: `shorter`, `my_module:my_judge`, or an engine, to be asked in pairs."""
    if isinstance(spec, JudgeConfig):
        return spec
    if isinstance(spec, dict):
        return settings_from(JudgeConfig, spec)
    if not isinstance(spec, str):
        raise SettingError(
            f"a judge is a name or a mapping of settings, got {spec!r}. Try: openai:gpt-5-mini"
        )
    return JudgeConfig(**JudgeConfig.from_word(spec))


def open_judge(cfg: JudgeConfig | str | dict[str, Any], engine: OpenEngine, seed: int = 0) -> Judge | Scorer:
    """The judge these settings describe; `engine` opens the engine they name."""
    cfg = judge_config(cfg)
    kind, _, argument = cfg.kind.partition(":")
    if kind in JUDGES:
        return JUDGES[kind](JudgeContext(cfg, argument, engine, seed))
    if not argument:
        raise SettingError(
            nearest("judge", cfg.kind, JUDGES)
            + " Or name an engine, openai:MODEL, or your own as module:name"
        )
    if not argument.isidentifier():
        # `vlm:MODEL@http://...` was meant as an engine; no function is called like that.
        raise SettingError(nearest("kind of engine", kind, ENGINES))
    function = load_function(cfg.kind)
    if not callable(function):
        raise SettingError(
            f"'{cfg.kind}' is {function!r}, which cannot be called. Name a function: module:function"
        )
    made = FunctionScorer if getattr(function, "kind", "") == "pointwise" else FunctionJudge
    return made(cfg, function)


def _tolerance(argument: str) -> float:
    try:
        return float(argument or 1e-6)
    except ValueError:
        raise SettingError(f"a tolerance is a number, got '{argument}'; set kind: numeric:0.01") from None


def orders(swap: str, matchup: Matchup, seed: int = 0) -> tuple[Matchup, ...]:
    """The matchup in each order it is to be asked in; which share is asked in both is decided by content."""
    if swap == "always":
        return matchup, matchup.swapped()
    if swap == "never":
        return (matchup,)
    digest = blake2b(f"{matchup.id} {seed}".encode(), digest_size=8, person=b"swap").digest()
    both = int.from_bytes(digest, "big") / 2**64 < read_swap(swap)
    return (matchup, matchup.swapped()) if both else (matchup,)


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
    asked = [one for judge in judges for one in _questions(prompt, completions, matchups, judge, seed)]
    if len(asked) < 2:
        return [await one for one in asked]
    verdicts = await asyncio.gather(*asked, return_exceptions=True)
    for one in verdicts:
        if isinstance(one, BaseException):
            raise one
    return [one for one in verdicts if isinstance(one, Verdict)]


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
        for shown in orders(swap, matchup, seed):
            for sample in samples:
                yield _compare(judge, shown, shown is not matchup, sample)


async def _compare(judge: Judge, matchup: Matchup, swapped: bool, sample: int) -> Verdict:
    try:
        verdict = await judge(matchup, sample)
    except (CallFailed, CallRefused) as error:
        verdict = Verdict.of_pair(judge.name, matchup, sample, **_failure_fields(error))
    return replace(verdict, order="swapped") if swapped else verdict


async def _score(judge: Scorer, prompt: Prompt, completion: Completion, sample: int) -> Verdict:
    try:
        return await judge(prompt, completion, sample)
    except (CallFailed, CallRefused) as error:
        return Verdict.of_one(judge.name, completion, sample, **_failure_fields(error))


def _failure_fields(error: CallFailed | CallRefused) -> dict[str, str]:
    return {"unread": "call_refused" if isinstance(error, CallRefused) else "call_failed", "raw": str(error)}
