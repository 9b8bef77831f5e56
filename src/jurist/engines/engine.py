"""An engine turns messages into text. This is the whole contract; `endpoint`, `local`, `scripted` keep it.

One method is required: `answer`. An engine that can draw several samples for one reading of the prompt also
has `answer_many`. Engines raise `CallFailed` when one call gave nothing, `CallRefused` when it never will,
and `EngineDown` when nothing gets through at all; they never return an invented reply.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from ..records import Message, Usage


class Ask(Struct, frozen=True, omit_defaults=True):
    """One question to a model. Two equal Asks to the same model are the same call."""

    messages: tuple[Message, ...]
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_logprobs: int = 0
    """How many alternatives to report at each token; 0 for no log-probs at all."""
    schema: dict[str, Any] | None = None
    """A JSON schema the reply has to follow."""
    labels: tuple[str, ...] = ()
    """The answers on offer. An engine that can weigh them without writing anything may do so."""
    sample: int = 0
    """Which of several draws of the same question. Part of the call's name; never sent."""


class Token(Struct, frozen=True, array_like=True):
    """One token of a reply with its log-prob and the best alternatives at its place (itself among them)."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


class Reply(Struct, frozen=True, omit_defaults=True):
    """What came back."""

    text: str
    finish: str = "stop"
    """`stop`; `length` when cut off; `refused` when a filter or the model's own refusal field ended it."""
    tokens: tuple[Token, ...] = ()
    """With log-probs, when they were asked for and the engine gives them."""
    reasoning: str = ""
    """What a reasoning model thought aloud, where the engine reports it apart from the text."""
    usage: Usage = Usage()
    seconds: float = 0.0
    cost: float = 0.0
    """US dollars."""
    call: str = ""
    """Its name in the journal, once it has one."""


@runtime_checkable
class Engine(Protocol):
    name: str
    """Kind and model, e.g. `openai:gpt-5-mini`: what a reply depends on. No host, no key."""

    async def answer(self, ask: Ask) -> Reply: ...

    async def close(self) -> None: ...


@runtime_checkable
class DrawsMany(Protocol):
    """An engine that reads the prompt once for several samples."""

    async def answer_many(self, ask: Ask, n: int) -> list[Reply]: ...


@runtime_checkable
class Queues(Protocol):
    """An engine that holds requests back: it says when one is really sent and when it has come back.

    `on_send` may raise `BudgetSpent`, and then nothing is sent.
    """

    on_send: Callable[[], None]
    on_back: Callable[[], None]


class StandIn:
    """What is known of an engine, on whatever stands in its place: a journal, an estimate."""

    def __init__(self, engine: Engine) -> None:
        self.name = engine.name
        self.gives_logprobs: bool = getattr(engine, "gives_logprobs", True)
        self.draws_many: bool = isinstance(engine, DrawsMany) and getattr(engine, "draws_many", True)
        self.price: Any = getattr(engine, "price", None)
        self.priced: bool = getattr(engine, "price", 0.0) is not None
        """False where nobody said what a call costs. An engine without a price of its own is free."""
