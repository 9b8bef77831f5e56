"""How the vendors want to be asked, and how they answer: one file a dialect.

A dialect turns an Ask into the bytes of a request and the bytes of a response into Replies. It knows nothing
of connections, tries or prices.
"""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import Struct

from ..engine import Ask, Reply


class Unreadable(Exception):
    """A 200 whose body is not the reply it should be; worth another try."""


class Quirks(Struct, frozen=True):
    """What a model will not take, or wants under another name."""

    max_tokens_name: str = "max_tokens"
    """`max_completion_tokens` for OpenAI's own models."""
    sends_temperature: bool = True
    """Reasoning models refuse temperature and top_p."""
    gives_logprobs: bool = True
    draws_many: bool = True
    """Understands `n`: several samples for one reading of the prompt."""
    extra: dict[str, Any] = {}
    """Merged into every request's body, e.g. vLLM's `chat_template_kwargs`."""


class Dialect(Protocol):
    quirks: Quirks
    path: str
    key_env: str
    """Where the key is looked up when the settings name no other place."""

    def headers(self, key: str) -> dict[str, str]: ...

    def write(self, ask: Ask, n: int = 1) -> bytes: ...

    def read(self, body: bytes) -> list[Reply]:
        """One reply a choice, in their order; `Unreadable` when it is not a reply at all."""
