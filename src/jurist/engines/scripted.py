"""The engine that answers from a plain function: for tests, demos, and judges that are rules."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from inspect import isawaitable
from pathlib import Path
from traceback import extract_tb
from typing import Any

from msgspec.structs import replace

from ..errors import JuristError, SettingError
from ..records import Usage
from .engine import Ask, Engine, EngineConfig, Reply
from .prices import Price, cost_of

CHARACTERS_PER_TOKEN = 4
"""Of English prose in the usual vocabularies; other scripts take more tokens."""
Function = Callable[[Ask], "str | Reply | Awaitable[str | Reply]"]


class Scripted(Engine):
    """Answers from `function`; a reply without usage is counted at four characters per token."""

    def __init__(self, function: Function, name: str = "scripted", price: Price | None = None) -> None:
        self.name = name
        self.price = price or Price()
        self.calls = 0
        self._function = function

    async def answer(self, ask: Ask) -> Reply:
        self.calls += 1
        try:
            got: Any = self._function(ask)
            if isawaitable(got):
                got = await got
        except JuristError:
            raise
        except Exception as error:
            raise SettingError(f"the function behind {self.name} failed: {describe_fault(error)}") from error
        reply = Reply(got) if isinstance(got, str) else got
        if not isinstance(reply, Reply):
            raise SettingError(f"the function behind {self.name} returned {got!r}. Return a text or a Reply")
        if reply.usage == Usage():
            reply = replace(reply, usage=guessed_usage(ask, reply))
        return reply if reply.cost else replace(reply, cost=cost_of(reply.usage, self.price))


def open_scripted(config: EngineConfig) -> Scripted:
    """`scripted:module:function`."""
    spec = config.engine.partition(":")[2]
    found = load_function(spec)
    if not callable(found):
        raise SettingError(f"'{spec}' is a {type(found).__name__}, not a function from an Ask to text")
    return Scripted(found, f"scripted:{spec}", config.price)


def guessed_usage(ask: Ask, reply: Reply) -> Usage:
    """Four characters per token, where nothing better is known."""
    thought = len(reply.reasoning) // CHARACTERS_PER_TOKEN
    read = sum(len(message.content) for message in ask.messages) // CHARACTERS_PER_TOKEN
    return Usage(read, 0, len(reply.text) // CHARACTERS_PER_TOKEN + thought, thought)


def load_function(spec: str) -> Any:
    """The object at `module:name`; modules in the current folder count."""
    module, _, name = spec.partition(":")
    if not name:
        raise SettingError(f"'{spec}' names no function. Write it as module:function")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return getattr(import_module(module), name)
    except Exception as error:  # whatever the module does when it is imported
        raise SettingError(
            f"cannot load '{spec}': {type(error).__name__}: {error}. Write module:function, start where the"
            f" module is, and see all of it with: python -c 'import {module}'"
        ) from error


def describe_fault(error: Exception) -> str:
    """What went wrong in a user's own code, and in which line of it."""
    ours = str(Path(__file__).parents[1])
    theirs = [at for at in extract_tb(error.__traceback__) if not at.filename.startswith(ours)]
    where = f" ({theirs[-1].filename}:{theirs[-1].lineno})" if theirs else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}. Fix the function and run again"
