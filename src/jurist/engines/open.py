"""From the name of an engine to the engine. Adding a kind is one line in KINDS."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from msgspec.structs import replace

from ..config import settings_from
from ..errors import MissingExtra, SettingError, nearest
from .engine import Engine
from .settings import EngineConfig

KINDS: dict[str, str] = {
    "openai": "jurist.engines.vendors:open_openai",
    "anthropic": "jurist.engines.vendors:open_anthropic",
    "vllm": "jurist.engines.vendors:open_self_hosted",
    "sglang": "jurist.engines.vendors:open_self_hosted",
    "scripted": "jurist.engines.scripted:open_scripted",
    "hf": "jurist.engines.local:open_local",
    "tiny": "jurist.tiny.policies:open_policy",
}
"""Each opens an engine from its settings; named, not imported, so that only the one in use is loaded."""


def open_engine(spec: str | Mapping[str, Any] | EngineConfig) -> Engine:
    """`openai:gpt-5-mini`, `vllm:Qwen/Qwen3-8B@http://host:8000/v1`, `module:function`, or a mapping."""
    config = engine_config(spec)
    kind, _, rest = config.engine.partition(":")
    if not rest:
        raise SettingError(f"'{config.engine}' names no model. Write it like openai:gpt-5-mini")
    if kind in KINDS:
        return _opener(kind)(config)
    if rest.isidentifier():  # module:function
        return _opener("scripted")(replace(config, engine=f"scripted:{config.engine}"))
    raise SettingError(nearest("kind of engine", kind, [*KINDS, "module:function"]))


def engine_config(spec: str | Mapping[str, Any] | EngineConfig) -> EngineConfig:
    if isinstance(spec, EngineConfig):
        return spec
    if isinstance(spec, str):
        return EngineConfig(spec)
    if "engine" not in spec:
        raise SettingError(f"these settings name no engine: {dict(spec)}. Add: engine: openai:gpt-5-mini")
    return settings_from(EngineConfig, dict(spec))


def _opener(kind: str) -> Callable[[EngineConfig], Engine]:
    module, _, name = KINDS[kind].partition(":")
    try:
        opener: Callable[[EngineConfig], Engine] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as why:
        if isinstance(why, ModuleNotFoundError) and not (why.name or "").startswith("jurist"):
            raise MissingExtra(f"a checkpoint in this process ({kind}:)", str(why.name), "train") from None
        raise SettingError(
            f"engines of kind '{kind}' cannot be loaded: {why}. See: pip show jurist"
        ) from None
    return opener


def key_from(env: str) -> str:
    """Keys come from the environment only, so that no recipe, log or run folder can hold one."""
    key = os.environ.get(env, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise SettingError(
            f"what {env} holds is no key: there is a space, a line break or a curly quote in it."
            f" Set it again with: export {env}=..."
        )
    return key
