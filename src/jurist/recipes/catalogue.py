"""The recipes that go round, by the name that stands under `recipe:` in their files."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from ..errors import MissingExtra, SettingError, nearest

RECIPES: Final = {
    "rlaif": "rlaif:RlaifConfig:rlaif",
    "constitutional": "constitutional:ConstitutionalConfig:constitutional",
    "rejection": "rejection:RejectionConfig:rejection",
    "self_rewarding": "self_rewarding:SelfRewardingConfig:self_rewarding",
}
"""File, settings, function. They are opened only when they are named: all of them need torch."""


def recipe_called(name: str) -> tuple[type[Any], Callable[..., Any]]:
    """The settings of a recipe, and what runs it."""
    if name not in RECIPES:
        raise SettingError(nearest("recipe", name, RECIPES))
    file, settings, function = RECIPES[name].split(":")
    module = needing_torch(f"jurist.recipes.{file}", f"the recipe {name}")
    return getattr(module, settings), getattr(module, function)


def needing_torch(module: str, what: str) -> Any:
    """A module that cannot be opened without the trainers' libraries; what to install where they lack."""
    try:
        found = import_module(module)
        from transformers.utils import logging
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("jurist"):
            raise
        raise MissingExtra(what, missing.name or "torch", "train") from None
    logging.disable_progress_bar()  # ours tells more than that weights are being loaded
    return found
