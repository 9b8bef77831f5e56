"""Opens endpoints: whose server it is decides the address, the dialect and what the models will not take."""

from __future__ import annotations

import re
from typing import Any

from ..errors import SettingError
from ..records import content_id
from .connect import checked
from .dialects import Dialect, Quirks
from .dialects.anthropic import Messages
from .dialects.openai import ChatCompletions
from .endpoint import Endpoint
from .open import key_from
from .prices import known_price
from .settings import EngineConfig

OPENAI = "https://api.openai.com/v1"
ANTHROPIC = "https://api.anthropic.com/v1"
REASONING = re.compile(r"^(gpt-5|o\d)")
"""OpenAI's reasoning models take no temperature and give no log-probs."""


def open_openai(config: EngineConfig) -> Endpoint:
    """OpenAI itself, or anything that speaks like it at the address after the @."""
    model, url = _model_and_url(config)
    if url:
        return _open(config, url, ChatCompletions(model, _quirks(config)))
    thinks = REASONING.match(model) is not None
    quirks = _quirks(
        config,
        max_tokens_name="max_completion_tokens",
        sends_temperature=not thinks,
        gives_logprobs=not thinks,
    )
    return _open(config, OPENAI, ChatCompletions(model, quirks))


def open_anthropic(config: EngineConfig) -> Endpoint:
    model, url = _model_and_url(config)
    return _open(config, url or ANTHROPIC, Messages(model, _quirks(config)))


def open_self_hosted(config: EngineConfig) -> Endpoint:
    model, url = _model_and_url(config)
    if not url:
        kind = config.engine.partition(":")[0]
        name, _, host = model.rpartition("@")
        bare = name and (":" in host or "." in host or host.startswith("localhost"))
        place = f"{name}@http://{host}" if bare else f"{model}@http://localhost:8000/v1"
        raise SettingError(f"'{config.engine}' has no address. Write {kind}:{place}")
    return _open(config, url, ChatCompletions(model, _quirks(config)))


def _model_and_url(config: EngineConfig) -> tuple[str, str]:
    """The address starts at the last @: model names may hold one, addresses with passwords are refused."""
    rest = config.engine.partition(":")[2]
    model, at, url = rest.partition("@http")
    if at and "@" in url:
        raise SettingError(
            "an address with a user name or password in it would end up in the run folder."
            " Put the key into an environment variable and name it with key_env"
        )
    return model, f"http{url}" if at else ""


def _quirks(config: EngineConfig, **usual: Any) -> Quirks:
    """What is usual for the vendor, unless the settings say otherwise."""
    said = {
        "max_tokens_name": config.max_tokens_name or None,
        "sends_temperature": config.sends_temperature,
        "gives_logprobs": config.gives_logprobs,
        "draws_many": config.draws_many,
    }
    return Quirks(extra=config.extra, **{**usual, **{k: v for k, v in said.items() if v is not None}})


def _open(config: EngineConfig, url: str, dialect: Dialect) -> Endpoint:
    checked(url)
    kind, _, rest = config.engine.partition(":")
    model = f"{kind}:{rest.partition('@http')[0]}"
    price = config.price or (known_price(model) if url in (OPENAI, ANTHROPIC) else None)
    # What is merged into every request changes the replies: another `extra` is another engine to the journal.
    name = f"{model}+{content_id(config.extra)[:6]}" if config.extra else model
    key_env = config.key_env or dialect.key_env
    endpoint = Endpoint(name, url, dialect, config, price, key_from(key_env))
    if url in (OPENAI, ANTHROPIC) and not key_from(key_env):
        endpoint.lacks_key = key_env
    return endpoint
