"""What can be said about an engine in a recipe, beyond its name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from .prices import Price

Positive = Annotated[float, Meta(gt=0)]


class EngineConfig(Struct, frozen=True, omit_defaults=True):
    """`openai:gpt-5-mini`, or `{engine: openai:gpt-5-mini, rpm: 500, ...}`."""

    engine: str
    """Kind, model and, for a server of one's own, its address: `vllm:Qwen/Qwen3-8B@http://host:8000/v1`."""
    concurrency: Annotated[int, Meta(ge=1)] = 256
    """The most requests under way; how many really are is found out by trying."""
    rpm: Positive | None = None
    """Requests a minute, where the vendor sets a cap."""
    tpm: Positive | None = None
    """Tokens a minute, read and written together."""
    timeout: Positive = 120.0
    """Seconds for one try."""
    max_tries: Annotated[int, Meta(ge=1)] = 6
    give_up_after: Positive = 45.0
    """Seconds without a single answer after which the run stops."""
    price: Price | None = None
    """`{input: , cached: , output: }` in dollars a million tokens, or `{gpu_hour: }`."""
    key_env: str = ""
    """The environment variable with the key, where it is not the vendor's usual one."""
    extra: dict[str, Any] = {}
    """Merged into every request, e.g. `{chat_template_kwargs: {enable_thinking: false}}`."""
    max_tokens_name: Literal["", "max_tokens", "max_completion_tokens"] = ""
    sends_temperature: bool | None = None
    """false for models that refuse a temperature."""
    gives_logprobs: bool | None = None
    draws_many: bool | None = None
    """Whether the server understands `n`."""
