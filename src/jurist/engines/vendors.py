"""The vendors, and what each is known to take. What a server can do is learnt from its replies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from msgspec.structs import replace

from ..errors import SettingError
from ..records import content_id
from .batch import BatchEngine
from .dialects import ChatCompletions, Messages, Takes
from .endpoint import Endpoint
from .engine import EngineConfig
from .prices import listed_price


class Vendor(Takes, frozen=True):
    """A row of the table: where its API is, or a server of one's own usually listens, and what it takes."""

    url: str
    key_env: str = ""
    extra: Mapping[str, Any] = {}
    hosted: bool = True
    """It bills by the list, and nothing about it can be asked for free."""
    batch: bool = False  # of calls, as OpenAI or Anthropic take them


_TEMPLATE = {"chat_template_kwargs": {"enable_thinking": False}}
_EFFORT = {"reasoning_effort": "none"}
_NO_THINKING = {"thinking": {"type": "disabled"}}
_LATER = "max_completion_tokens"
_CLAUDE = "https://api.anthropic.com/v1"
_GEMINI = "https://generativelanguage.googleapis.com/v1beta/openai"
_DEEPSEEK = "https://api.deepseek.com/v1"
_STRICT = {"provider": {"require_parameters": True}}
TABLE: Final[dict[str, Vendor]] = {
    "openai": Vendor("https://api.openai.com/v1", "OPENAI_API_KEY", max_tokens=_LATER, batch=True),
    "anthropic": Vendor(_CLAUDE, "ANTHROPIC_API_KEY", n=False, logprobs=False, batch=True),
    "gemini": Vendor(_GEMINI, "GEMINI_API_KEY", no_thinking=_EFFORT, logprobs=False, seed=False),
    "azure": Vendor("", "AZURE_OPENAI_API_KEY", max_tokens=_LATER, key_header="api-key"),
    "openrouter": Vendor("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", extra=_STRICT),
    "together": Vendor("https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    "fireworks": Vendor("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY", no_thinking=_EFFORT),
    "groq": Vendor("https://api.groq.com/openai/v1", "GROQ_API_KEY", n=False, logprobs=False, batch=True),
    "deepseek": Vendor(_DEEPSEEK, "DEEPSEEK_API_KEY", constraint="", no_thinking=_NO_THINKING, n=False),
    "vllm": Vendor("http://localhost:8000/v1", constraint="choice", no_thinking=_TEMPLATE, hosted=False),
    "sglang": Vendor("http://localhost:30000/v1", constraint="regex", no_thinking=_TEMPLATE, hosted=False),
    "llamacpp": Vendor("http://localhost:8080/v1", constraint="grammar", no_thinking=_TEMPLATE, hosted=False),
    "ollama": Vendor("http://localhost:11434/v1", no_thinking=_EFFORT, hosted=False),
}
REASONING: Final = re.compile(r"^(gpt-5|o\d)")
"""OpenAI's reasoning models take no temperature; of these only gpt-5.1 and later can be told not to think."""
NO_EFFORT: Final = re.compile(r"^(o\d|gpt-5($|-))")
_OURS: Final = frozenset(
    {"max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of", "messages", "stream"}
)
"""What no `extra` may set."""
SECRET: Final = re.compile(r"key|token|secret|sig|auth|pass|cred", re.IGNORECASE)


def open_endpoint(config: EngineConfig) -> Endpoint:
    """The vendor's own address, or the one after the @."""
    kind, _, rest = config.engine.partition(":")
    vendor = TABLE[kind]
    model, given = _split_address(kind, rest)
    url = given or vendor.url
    if not url:
        raise SettingError(
            f"'{config.engine}' has no address. Write {kind}:{model}@https://RESOURCE.openai.azure.com/openai/v1"
        )
    _refuse_bad_address(url)
    _refuse_extra(config)
    hosted = vendor.hosted and not given
    takes: Takes = vendor
    if kind in ("openai", "azure"):
        takes = _openai_takes(model, vendor, compatible=kind == "openai" and not hosted)
    extra = {**(vendor.extra if hosted else {}), **config.extra}
    # What is merged into every request changes the replies: another `extra` is another engine to a reader.
    name = f"{kind}:{model}" + (f"+{content_id(config.extra)[:6]}" if config.extra else "")
    price = config.price or (listed_price(kind, model) if hosted else None)
    key_env = config.key_env or vendor.key_env or "OPENAI_API_KEY"
    dialect = (Messages if kind == "anthropic" else ChatCompletions)(model, takes, extra)
    opened = BatchEngine if config.batch and vendor.batch else Endpoint
    return opened(name, url.rstrip("/"), dialect, replace(config, price=price, key_env=key_env), hosted)


def _openai_takes(model: str, takes: Takes, compatible: bool) -> Takes:
    """OpenAI's models differ; a compatible server at another address is asked with the usual names."""
    if compatible:
        return Takes(no_thinking=_TEMPLATE)
    if REASONING.match(model) is None:
        return takes
    if NO_EFFORT.match(model):
        return replace(takes, temperature=False, logprobs=False)
    return replace(takes, temperature=False, no_thinking=_EFFORT)


def _split_address(kind: str, rest: str) -> tuple[str, str]:
    """The address starts at the last @http: model names may hold an @."""
    model, at, url = rest.rpartition("@http")
    if at:
        return model, f"http{url}"
    name, _, host = rest.rpartition("@")
    if name and (":" in host or "." in host or host.startswith("localhost")):
        raise SettingError(f"'{host}' is not a web address. Write {kind}:{name}@http://{host}")
    return rest, ""


def _refuse_extra(config: EngineConfig) -> None:
    """What a budget is reserved by has one place, and so have keys."""
    for name in config.extra:
        if name in _OURS:
            raise SettingError(
                f"extra: {name} is not taken from there, because budgets are reserved by it. Set"
                " --judge.max_tokens, --sampling.max_tokens, --judge.samples or -k"
            )
        if SECRET.search(name) and "token" not in name:
            raise SettingError(
                f"extra: {name} would end up in the run folder. Put the key into an environment variable and"
                " name it: --judge.engine.key_env NAME"
            )
    if config.key_env and not config.key_env.isidentifier():
        raise SettingError(
            "key_env is the name of an environment variable, e.g. OPENAI_API_KEY, and not the key itself"
        )


def _refuse_bad_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, or too large a one
        usable = False
    if not usable:
        raise SettingError(f"'{url}' is not a web address. Write it like http://localhost:8000/v1")
    if "@" in parts.netloc or any(SECRET.search(name) for name, _ in parse_qsl(parts.query)):
        raise SettingError(
            "an address with a key or a password in it would end up in the run folder."
            " Put the key into an environment variable and name it: --judge.engine.key_env NAME"
        )
