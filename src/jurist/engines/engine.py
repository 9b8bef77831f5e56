"""An engine turns messages into text: `endpoint`, `local` and `scripted` are engines.

One method is required, `answer`. Engines raise `CallFailed` when one call gave nothing, `CallRefused` when it
never will, and `EngineDown` when nothing gets through at all; they never return an invented reply.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from ..config import settings_from
from ..errors import CallFailed, CallRefused, MissingExtra, SettingError, nearest
from ..records import Message, Usage
from .prices import Price

_encode_ask = msgspec.msgpack.Encoder(order="deterministic").encode


class Ask(Struct, frozen=True, omit_defaults=True):
    """One question to a model."""

    messages: tuple[Message, ...]
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_logprobs: int = 0
    """How many alternatives to report at each token; 0 for no log-probs at all."""
    labels: tuple[str, ...] = ()
    """The answers a judge may give. Log-probs are kept where one of them may stand."""
    wants: Literal["text", "label", "forced_label"] = "text"
    """`label`: nothing but a label is expected, so an engine may weigh the labels without writing.
    `forced_label`: the engine holds the model to the labels.
    """
    thinking: bool = True
    """False: the model is told not to think first, in the server's own way."""
    sample: int = 0
    """Which of several samples of the same question. Part of the call's key; never sent."""


class Token(Struct, frozen=True, array_like=True):
    """One token of a reply with its log-prob and the best alternatives at its place (itself among them)."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()
    at: int = 0
    """Where it starts in the reply's text."""


class Reply(Struct, frozen=True, omit_defaults=True):
    """What came back."""

    text: str
    finish: str = "stop"
    """`stop`; `length` when cut off; `refused` when a filter or the model's own refusal field ended it."""
    tokens: tuple[Token, ...] = ()
    """With log-probs, when they were asked for and the engine gives them."""
    reasoning: str = ""
    """What a reasoning model thought, where the engine reports it apart from the text."""
    usage: Usage = Usage()
    seconds: float = 0.0
    cost: float = 0.0
    """US dollars."""
    sent: bytes = b""
    """What was really asked, where the engine knows better than `identity` beforehand; not kept."""
    call: str = ""
    """Its key in the journal, once it has one."""


class Engine:
    """The base of all engines. The attributes say what an engine is, so that nobody has to ask twice."""

    name: str
    """Kind and model, e.g. `openai:gpt-5-mini`. No host, no key."""
    price: Price | None = Price()
    """What a call costs; None where nobody said."""
    gives_logprobs: bool = True
    """False where it is known that there are none; otherwise each reply shows it."""
    samples_together: bool = False
    """It reads the prompt once for several samples."""
    meters_itself: bool = False
    """It reserves and settles the money of each request itself, when one is really sent."""
    retries: Mapping[str, int] = {}
    """Tries that gave nothing, by what went wrong."""
    in_process: bool = False
    """It computes here: two of one name are one."""
    budget: Any = None
    """The `Budget` of the work it answers for, which says when it is stopped."""
    doing: str = ""
    """What an engine in this process is at, or what it waits for, for the line of progress."""
    batched: bool = False  # it sends its calls in batches
    journal: Any = None  # the `Journal` of that work

    async def answer(self, ask: Ask) -> Reply:
        raise NotImplementedError

    async def samples(self, ask: Ask, n: int) -> list[Reply]:
        """n replies to one question; fewer where some failed, and an error where all did."""
        return await gather_replies([self.answer(sample_of(ask, ask.sample + i)) for i in range(n)])

    def identity(self, ask: Ask) -> bytes:
        """All that decides the reply, but for the sample's number: the journal's key is made of it."""
        return self.name.encode() + b"\0" + _encode_ask(replace(ask, sample=0))

    def latencies(self) -> tuple[float, float, float] | None:
        """Seconds within which half, nine tenths and 99 in 100 of its calls were answered."""
        return None

    def share(self, processes: int) -> None:
        """So many processes use it at once: its caps are divided among them."""

    def hand_over(self) -> tuple[dict[str, int], list[float]]:
        """Retries and latencies since the last time, for the process that counts those of all."""
        return {}, []

    def add_seen(self, retries: Mapping[str, int], latencies: Sequence[float]) -> None:
        """Retries and latencies that another process saw."""

    async def close(self) -> None:
        """Nothing to close."""


def sample_of(ask: Ask, sample: int) -> Ask:
    """The same question for another sample; with a seed, each sample gets its own."""
    seed = None if ask.seed is None else ask.seed + sample - ask.sample
    return replace(ask, sample=sample, seed=seed)


async def gather_replies(calls: Sequence[Awaitable[Reply]]) -> list[Reply]:
    """Those calls' replies that did not fail; where all did, the first one's error."""
    got = await asyncio.gather(*calls, return_exceptions=True)
    replies = [one for one in got if isinstance(one, Reply)]
    for one in got:
        if isinstance(one, BaseException) and not (replies and isinstance(one, CallFailed | CallRefused)):
            raise one
    return replies


Positive = Annotated[float, Meta(gt=0)]


class EngineConfig(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """`openai:gpt-5-mini`, or `{engine: openai:gpt-5-mini, rpm: 500, ...}`."""

    engine: Annotated[str, Meta(description="VENDOR:MODEL, or VENDOR:MODEL@http://host:8000/v1.")]
    concurrency: Annotated[int, Meta(ge=1, description="Most requests at once; adapts below that.")] = 256
    rpm: Annotated[Positive | None, Meta(description="Requests a minute, if the vendor has a cap.")] = None
    tpm: Annotated[Positive | None, Meta(description="Tokens a minute, in and out together.")] = None
    timeout: Annotated[Positive, Meta(description="Seconds for one try.")] = 600.0
    max_tries: Annotated[int, Meta(ge=1, description="Tries of one call.")] = 6
    give_up_after: Annotated[Positive, Meta(description="Seconds without any answer to stop after.")] = 60.0
    price: Annotated[Price | None, Meta(description="In dollars; the vendor's list price by default.")] = None
    key_env: Annotated[str, Meta(description="Environment variable with the key; else the vendor's.")] = ""
    extra: Annotated[dict[str, Any], Meta(description="Merged into requests: {reasoning_effort: low}.")] = {}
    batch: Annotated[bool, Meta(description="Send batch files, at half price; takes up to a day.")] = False


EngineSpec = str | Mapping[str, Any] | EngineConfig
"""How an engine may be named."""
ENGINES: Final[dict[str, str]] = {
    **dict.fromkeys(
        (
            *("openai", "anthropic", "gemini", "azure", "openrouter", "together", "fireworks", "groq"),
            *("deepseek", "vllm", "sglang", "llamacpp", "ollama"),
        ),
        "jurist.engines.vendors:open_endpoint",
    ),
    "scripted": "jurist.engines.scripted:open_scripted",
    "hf": "jurist.policies.engine:open_local",
    "tiny": "jurist.tiny:open_policy",
}
"""What opens each kind of engine. Named, not imported, so that only the one in use is loaded."""


def open_engine(spec: EngineSpec) -> Engine:
    """`openai:gpt-5-mini`, `vllm:Qwen/Qwen3-8B@http://host:8000/v1`, `module:function`, or a mapping."""
    config = engine_config(spec)
    kind, _, rest = config.engine.partition(":")
    if not rest:
        raise SettingError(f"'{config.engine}' names no model. Write it like openai:gpt-5-mini")
    if kind not in ENGINES and rest.isidentifier():  # module:function
        kind, config = "scripted", replace(config, engine=f"scripted:{config.engine}")
    if kind not in ENGINES:
        raise SettingError(nearest("kind of engine", kind, [*ENGINES, "module:function"]))
    module, _, name = ENGINES[kind].partition(":")
    try:
        opener: Callable[[EngineConfig], Engine] = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("jurist"):
            raise
        raise MissingExtra(f"a checkpoint in this process ({kind}:)", str(error.name), "train") from None
    engine = opener(config)
    if config.batch and not engine.batched:
        raise SettingError(f"{kind}: takes no batches; openai, groq and anthropic do. Leave out batch")
    return engine


def engine_config(spec: EngineSpec) -> EngineConfig:
    if isinstance(spec, EngineConfig):
        return spec
    return EngineConfig(spec) if isinstance(spec, str) else settings_from(EngineConfig, dict(spec))
