"""The prompts of a loop, by the name that the settings give them."""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import SettingError
from ...prompts import load_prompts
from ...records import Prompt


def prompts_called(name: str) -> Iterator[Prompt]:
    """The prompts of a file; `tiny:160` are so many of the tiny world, always the same."""
    world, _, n = name.partition(":")
    if world != "tiny":
        yield from load_prompts(name)
        return
    from ...tiny.world import prompts

    if not n.isdigit():
        raise SettingError(f"the tiny world has as many prompts as you like, got '{name}'. Write: tiny:160")
    yield from prompts(int(n), seed=7)
